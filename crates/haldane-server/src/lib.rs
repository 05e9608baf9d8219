//! The HTTP API of the daemon: every action of the command line is a call of it.
//!
//! [`Server`] listens on a unix socket that only its owner may open; that is the whole access control, so nothing here asks for
//! a password. The optional TCP listener offers `/metrics` and `/healthz` and nothing else. Routes stand in one table, from which
//! both the router and the OpenAPI document are made. What is neither the driver's nor HTTP comes through [`Extras`].
//!
//! **Invariant:** handlers convert and delegate; they hold no rule about rollouts. Every answer that is not a success is a
//! [`haldane_api::http::Refused`] as JSON.

mod app;
mod event;
mod extras;
mod handler;
mod limit;
mod log;
mod openapi;
mod refusal;
mod request;
mod route;
mod serve;
mod server;
mod socket;
#[cfg(test)]
mod testing;

pub use extras::{Extras, LogError, LogFollower, LogRequest, Metrics};
pub use openapi::openapi_json;
pub use server::{ServeError, Server, ServerConfig};
