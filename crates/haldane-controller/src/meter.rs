//! Meters: what is measured of releases while their rollouts go on.
//!
//! The host states on each turn what is watched, and takes along what was counted since. How it is counted, and whom that asks, is the
//! matter of whoever implements this.
//!
//! **Invariant:** a meter never waits for anybody: what it does not know yet is not among what it returns.

use std::fmt;

use haldane_analysis::{Batch, sequential::Observed};
use haldane_api::release::Requests;
use haldane_core::{RolloutId, VersionName, Weight, plan::metric::Metric};

use crate::turn::Key;

/// What is measured of releases; never waits for anybody.
pub trait Meter: Send + Sync + fmt::Debug {
    /// Measures a release like this from now on; nothing where `None`.
    ///
    /// The same watch again changes nothing, and one that differs in its weight alone goes on counting. Any other begins anew: what
    /// was counted before that is not taken.
    fn watch(&self, key: &Key, watch: Option<&Watch>);

    /// Returns what was measured since the last call.
    fn take(&self, key: &Key) -> Measured;
}

/// What is measured of a release. Whoever judges several pairs by themselves watches each by a key of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// The rollout.
    pub rollout: RolloutId,
    /// The version that serves users.
    pub stable: VersionName,
    /// The version on trial.
    pub canary: VersionName,
    /// The weight that is verified to be in force.
    pub weight: Weight,
    /// The declared metrics of the plan.
    pub metrics: Vec<Metric>,
    /// Where requests are counted, if anywhere.
    pub requests: Option<Requests>,
    /// What the queries name the versions by.
    pub places: Places,
}

/// Where the versions are, as metric systems name them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// The namespace.
    pub namespace: String,
    /// The Ingress whose requests are split, if that is one.
    pub ingress: Option<String>,
    /// The route whose requests are split, if that is one: an HTTPRoute, a VirtualService, an ApisixRoute.
    pub route: Option<String>,
    /// Where stable is.
    pub stable: Place,
    /// Where the canary is.
    pub canary: Place,
}

/// Where one version is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// What runs it: the Deployment, or what has its place.
    pub deployment: String,
    /// The Service of its pods.
    pub service: String,
    /// The ReplicaSet of its pods, where that is known.
    pub replica_set: Option<String>,
}

/// What was measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// What was counted of requests, oldest first; their times never overlap, nor those of batches that were taken before.
    pub batches: Vec<Batch>,
    /// What metric systems told, oldest first of each metric.
    pub told: Vec<Observed>,
    /// Why something gives no data at present, one sentence each.
    pub faults: Vec<String>,
}
