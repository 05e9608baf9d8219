//! The traffic routers of Kubernetes: for each, what its objects must say so that the canary gets its share.
//!
//! A router is a pure function from the objects that it sees and a [`Split`] to the objects as they should be. The host reads objects
//! from its watches, writes what differs, and asks again: an object that is as it should be gives no change. `docs/kubernetes.md` has
//! the table of what each router can do.
//!
//! **Invariants:** what a router did not put into an object it does not touch; after `cleared` an object is to the byte what it was
//! before, but that a canary which was there already gets no traffic.

pub mod gateway;
pub mod istio;
pub mod linkerd;
pub mod nginx;
pub mod object;
pub mod route;
pub mod smi;
pub mod split;
pub mod sticky;

mod before;
#[cfg(test)]
mod case;
mod edit;
#[cfg(test)]
mod property;
mod rules;
mod weighted;

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
