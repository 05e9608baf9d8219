//! A real Kubernetes to test against, on one machine without containers: the *plane*.
//!
//! API server, controllers, scheduler, etcd and KWOK run in a network namespace of their own, so that any number of planes live side
//! by side; simulated pods answer real requests on their own addresses ([`Behavior`]); and a proxy before the API server lets go
//! wrong what a test wants to see go wrong ([`Rule`]). `docs/test-plane.md` says how to use it. It is not shipped.
//!
//! **Invariant:** whatever happens to the process that started a plane, nothing of the plane outlives it.

mod accept;
mod addon;
mod bench;
mod cli;
mod components;
mod control;
mod exchange;
mod fault;
mod host;
mod message;
mod plane;
mod pod;
mod site;
mod stages;

pub use crate::{
    addon::{Addon, Scrape},
    cli::main,
    components::{ComponentError, program},
    control::{ControlError, InstalledAddon, Status},
    exchange::Reply,
    fault::{Fault, Matcher, Refusal, Rule, RuleId, RuleReport, Verb},
    plane::{Plane, PlaneError, RequestError},
    pod::{Behavior, Problem, Share, Stop},
    site::SiteError,
};
