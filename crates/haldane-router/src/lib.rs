//! The traffic routers of Kubernetes: for each, what its objects must say so that the canary gets its share.
//!
//! A router is a pure function from the objects that it sees and a [`Split`] to the objects as they should be. The host reads objects
//! from its watches, writes what differs, and asks again: an object that is as it should be gives no change. `docs/kubernetes.md` has
//! the table of what each router can do.
//!
//! **Invariants:** what a router did not put into an object it does not touch; after `cleared` an object is to the byte what it was
//! before, but that a canary which was there already gets no traffic.

pub mod alb;
pub mod ambassador;
pub mod apisix;
pub mod consul;
pub mod contour;
mod forms;
pub mod gloo;
pub mod knative;
pub mod kuma;
pub mod object;
pub mod ratio;
mod report;
pub mod route;
mod shape;
mod shares;
pub mod skipper;
pub mod split;
pub mod traefik;
#[cfg(test)]
mod trial;

pub use crate::{
    object::{Change, Kind, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, Route, RouteError, Router, Seen},
    split::{Backend, Split},
};
