//! The traffic routers of Kubernetes: for each, what its objects must say so that the canary gets its share.
//!
//! A router is a pure function from the objects that it sees and a [`Split`] to the objects as they should be. The host reads objects
//! from its watches, writes what differs, and asks again: an object that is as it should be gives no change. `docs/kubernetes/routers.md`
//! has the table of what each router can do.
//!
//! **Invariants:** what a router did not put into an object it does not touch; after `cleared` an object is to the byte what it was
//! before, but that a canary which was there already gets no traffic.

pub mod alb;
pub mod ambassador;
pub mod apisix;
pub mod consul;
pub mod contour;
pub mod gateway;
pub mod gloo;
pub mod istio;
pub mod kinds;
pub mod knative;
pub mod kuma;
pub mod linkerd;
pub mod nginx;
pub mod object;
pub mod route;
pub mod skipper;
pub mod smi;
pub mod split;
pub mod sticky;
pub mod traefik;

mod before;
mod edit;
mod forms;
mod made;
mod pattern;
mod report;
mod rules;
mod weighted;

#[cfg(test)]
mod tests;

pub use crate::{
    gateway::Gateway,
    istio::Istio,
    linkerd::Linkerd,
    nginx::Nginx,
    object::{Change, Kind, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, Route, RouteError, Router, Seen, catalog},
    smi::Smi,
    split::{Backend, Split},
    sticky::Sticky,
};
