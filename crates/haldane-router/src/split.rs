//! How requests are to be split between two backends.

use std::collections::BTreeMap;

use haldane_core::{
    plan::{HeaderMatch, HeaderRoute},
    rollout::Traffic,
};

/// What a router is to bring about for one release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The release's name: the owner of what is added.
    pub release: String,
    /// The namespace of the release and of both backends.
    pub namespace: String,
    /// Who serves users.
    pub stable: Backend,
    /// Who is on trial.
    pub canary: Backend,
    /// The split itself.
    pub traffic: Traffic,
    /// The header by which a request asks for the canary, where the release has one; it counts while `traffic.is_open_to_override`.
    pub ask_by: Option<HeaderMatch>,
}

/// One side of a split.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The name of its Service.
    pub service: String,
    /// The labels that its pods have and those of the other side have not.
    pub labels: BTreeMap<String, String>,
}

impl Split {
    /// Returns the same split with all traffic on stable.
    #[must_use]
    pub fn stable_only(&self) -> Self {
        Self {
            traffic: Traffic::STABLE_ONLY,
            ..self.clone()
        }
    }

    /// Returns the rules by which a request reaches the canary whatever the weight, oldest first; `ask_by` comes last, while it counts.
    #[must_use]
    pub fn canary_routes(&self) -> Vec<HeaderRoute> {
        let asked = self
            .ask_by
            .iter()
            .filter(|_| self.traffic.is_open_to_override)
            .map(|condition| HeaderRoute {
                name: "ask".to_owned(),
                matches: vec![condition.clone()],
            });
        self.traffic
            .header_routes
            .iter()
            .filter(|route| !route.matches.is_empty())
            .cloned()
            .chain(asked)
            .collect()
    }
}
