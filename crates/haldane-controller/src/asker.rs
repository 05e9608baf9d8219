//! Askers: gates of releases, and what they answer.
//!
//! The host states on each turn which gate it stands at, and takes along the answers that came since.
//!
//! **Invariant:** an asker never waits for anybody, and asks the same question once, however often it is stated.

use std::fmt;

use haldane_core::{
    RolloutId, ServiceName, VersionName,
    plan::Gate,
    rollout::{GateAnswer, GateKey},
};

use crate::turn::Key;

/// Who asks gates; never waits for anybody.
pub trait Asker: Send + Sync + fmt::Debug {
    /// Begins to ask; asking the same gate key again only takes in a subject that has changed.
    fn ask(&self, key: &Key, gate_key: &GateKey, gate: &Gate, subject: &Subject);

    /// Returns the answers that came since the last call. They may be of a question that was given up meanwhile.
    fn answers(&self, key: &Key) -> Vec<GateAnswer>;

    /// Stops asking for a rollout.
    fn forget(&self, key: &Key, rollout: &RolloutId);

    /// Forgets a release that is gone, with its answers.
    fn remove(&self, key: &Key);
}

/// What a gate is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The release, as the question names it.
    pub service: ServiceName,
    /// The version that serves users.
    pub stable: VersionName,
    /// The version on trial.
    pub canary: VersionName,
    /// The URL of stable's Service, where that is ready.
    pub stable_url: Option<String>,
    /// The URL of the canary's Service, where that is ready.
    pub canary_url: Option<String>,
    /// Why the rollout was rolled back, where that is what is told.
    pub why: Option<String>,
}
