//! Faults between a client and the API server: what can go wrong, and for which requests. Pure; [`proxy`] carries it out.
//!
//! The real server stays behind it: whatever is not told otherwise passes through unchanged.

pub(crate) mod proxy;
mod request;
mod rules;

use serde::{Deserialize, Serialize};

pub use crate::fault::request::Verb;
pub(crate) use crate::fault::{request::ApiRequest, rules::Rules};

/// What goes wrong, for which requests, and how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// What goes wrong.
    pub fault: Fault,
    /// Which requests it happens to.
    #[serde(default)]
    pub on: Matcher,
    /// How many of these pass before (0 unless given).
    #[serde(default)]
    pub skip: u64,
    /// How often it happens; without it as long as the rule stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

/// Which requests: those for which every member that is given holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Matcher {
    /// One of these verbs; all without one.
    #[serde(default)]
    pub verbs: Vec<Verb>,
    /// The API group, empty for the core one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    /// The plural, with its subresource if it is meant: `deployments`, `deployments/status`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A part of the client's `User-Agent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fault {
    /// The request is answered with this; the server never sees it.
    Refuse(Refusal),
    /// The server does what was asked, but the client is told this.
    DoneBut(Refusal),
    /// The server does what was asked, and the connection is closed without an answer.
    Lost,
    /// Neither does the server see the request, nor is it answered, until the rule is taken away; then the connection is closed.
    Silence,
    /// The request reaches the server this much later.
    #[serde(rename_all = "camelCase")]
    Slow {
        /// Milliseconds.
        delay_ms: u64,
    },
    /// A read is answered as the first one of the same address was after the rule was made.
    Stale,
    /// A watch, also one that is open already, is cut in the middle.
    CutWatch,
    /// A watch, also one that is open already, ends with the event that its version is too old (410).
    ExpireWatch,
    /// A watch, also one that is open already, stays open, but its events are held back until the rule is taken away.
    HoldWatch,
}

/// An answer of the API server that says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Refusal {
    /// 401: the token is not known (any more).
    Unauthorized,
    /// 403: the rights are gone.
    Forbidden,
    /// 409: somebody else wrote in the meantime.
    Conflict,
    /// 410: the version asked for is too old.
    Expired,
    /// 429: too many requests; come again in one second.
    TooManyRequests,
    /// 500.
    InternalError,
    /// 503.
    Unavailable,
    /// 504: it took too long.
    Timeout,
}

/// The number of a rule, by which it is taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId(pub u64);

/// A rule and how often it was followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleReport {
    /// Its number.
    pub id: RuleId,
    /// The rule.
    pub rule: Rule,
    /// How often its fault has happened.
    pub hits: u64,
}

impl Rule {
    /// Returns the rule that `fault` always happens to what `on` matches.
    #[must_use]
    pub fn always(fault: Fault, on: Matcher) -> Self {
        Self {
            fault,
            on,
            skip: 0,
            times: None,
        }
    }

    /// Returns the rule that `fault` happens once to what `on` matches.
    #[must_use]
    pub fn once(fault: Fault, on: Matcher) -> Self {
        Self {
            times: Some(1),
            ..Self::always(fault, on)
        }
    }

    fn matches(&self, req: &ApiRequest) -> bool {
        self.fault.can_happen_to(req.verb) && self.on.matches(req)
    }
}

impl Matcher {
    /// Returns what matches these verbs on this resource.
    #[must_use]
    pub fn new(verbs: &[Verb], resource: &str) -> Self {
        Self {
            verbs: verbs.to_vec(),
            resource: Some(resource.to_owned()),
            ..Self::default()
        }
    }

    fn matches(&self, req: &ApiRequest) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        (self.verbs.is_empty() || self.verbs.contains(&req.verb))
            && is(&self.group, &req.group)
            && is(&self.resource, &req.resource)
            && is(&self.namespace, &req.namespace)
            && is(&self.name, &req.name)
            && self
                .agent
                .as_ref()
                .is_none_or(|part| req.agent.contains(part.as_str()))
    }
}

impl Fault {
    fn can_happen_to(self, verb: Verb) -> bool {
        match self {
            Self::Refuse(_) | Self::Silence | Self::Slow { .. } => true,
            Self::DoneBut(_) | Self::Lost => verb != Verb::Watch,
            Self::Stale => matches!(verb, Verb::Get | Verb::List),
            Self::CutWatch | Self::ExpireWatch | Self::HoldWatch => verb == Verb::Watch,
        }
    }

    /// Whether it happens between the events of a watch, not to the request that opens it.
    fn is_of_open_watch(self) -> bool {
        matches!(self, Self::CutWatch | Self::ExpireWatch | Self::HoldWatch)
    }
}

impl Refusal {
    /// Returns the status code and the reason, as Kubernetes writes it.
    pub(crate) fn parts(self) -> (u16, &'static str) {
        match self {
            Self::Unauthorized => (401, "Unauthorized"),
            Self::Forbidden => (403, "Forbidden"),
            Self::Conflict => (409, "Conflict"),
            Self::Expired => (410, "Expired"),
            Self::TooManyRequests => (429, "TooManyRequests"),
            Self::InternalError => (500, "InternalError"),
            Self::Unavailable => (503, "ServiceUnavailable"),
            Self::Timeout => (504, "Timeout"),
        }
    }
}
