//! What goes wrong between a person and a cluster, in sentences that say what to do.

use std::{error::Error, time::Duration};

use haldane_core::ServiceName;
use kube::core::Status;

use crate::release::ReleaseError;

/// Why a question to a cluster, or a command, did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// It is not known which cluster is meant, or how to get into it.
    #[error("no access to a cluster: {0}; see `kubectl config get-contexts`, or give --kubeconfig")]
    NoAccess(String),
    /// Nobody answers there.
    #[error("the API server at {url} can't be reached: {why}")]
    Unreachable {
        /// Its address.
        url: String,
        /// Why.
        why: String,
    },
    /// The cluster does not know who asks.
    #[error(
        "the cluster does not accept who you are: {0}; are the credentials of this context still good?"
    )]
    Unauthorized(String),
    /// Who asks may not do this.
    #[error("{0}")]
    Forbidden(String),
    /// There is no such kind.
    #[error(
        "this cluster has no Releases; install Haldane's definitions (`kubectl get crd releases.haldane.dev`)"
    )]
    NoDefinition,
    /// There is no such release.
    #[error("no release {name} in namespace {namespace}; see `haldane get -A`")]
    NotFound {
        /// The namespace.
        namespace: String,
        /// The name.
        name: ServiceName,
    },
    /// The release was deleted meanwhile.
    #[error("release {name} in namespace {namespace} was deleted")]
    Gone {
        /// The namespace.
        namespace: String,
        /// The name.
        name: ServiceName,
    },
    /// There is no such rollout any more.
    #[error("{name} remembers no rollout {id}; see `haldane history {name}`")]
    NoRollout {
        /// The release.
        name: ServiceName,
        /// The rollout.
        id: String,
    },
    /// A name is none.
    #[error(transparent)]
    Name(#[from] ReleaseError),
    /// The command can't be written down.
    #[error("the command can't be given: {0}")]
    Command(String),
    /// The controller refused.
    #[error("{0}")]
    Refused(String),
    /// Somebody else's command took the place of this one before the controller saw it.
    #[error(
        "`{name}` by {by} took the place of this command before the controller saw it; look where it stands with `haldane status`"
    )]
    Overtaken {
        /// The other command.
        name: String,
        /// Whose it is.
        by: String,
    },
    /// Nobody carries commands out.
    #[error(
        "no controller answered within {} s; the command stays on the release and is carried out when one runs. \
         Look whether one does: `kubectl get lease -n haldane`, `haldane doctor --kube`",
        .0.as_secs()
    )]
    NoAnswer(Duration),
    /// No terminal carries commands out.
    #[error(
        "no terminal looks after {0} now: `haldane resume {0} --kube` goes on with it, `haldane abort {0} --kube` ends it"
    )]
    Unattended(ServiceName),
    /// The API server took too long.
    #[error("the API server did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// Kubernetes does not have this.
    #[error("{0}")]
    Unsupported(&'static str),
    /// Something else.
    #[error("the API server does not do it: {0}")]
    Other(String),
}

impl ClusterError {
    /// Says what an error of a call means.
    pub(crate) fn of(error: &kube::Error, url: &str) -> Self {
        if let kube::Error::Api(status) = error {
            return Self::of_status(status);
        }
        if let kube::Error::Auth(error) = error {
            return Self::Unauthorized(innermost(error));
        }
        if let kube::Error::SerdeError(error) = error {
            return Self::Other(format!("its answer can't be read: {error}"));
        }
        // All else is on the way there.
        Self::Unreachable {
            url: url.to_owned(),
            why: innermost(error),
        }
    }

    /// Says what a refusal by the API server means.
    pub(crate) fn of_status(status: &Status) -> Self {
        match status.code {
            401 => Self::Unauthorized(status.message.clone()),
            403 => Self::Forbidden(forbidden(&status.message)),
            // The server knows the path of no such kind: without details it is not an object that is missing.
            404 if status
                .details
                .as_ref()
                .is_none_or(|details| details.name.is_empty()) =>
            {
                Self::NoDefinition
            }
            _ => Self::Other(status.message.clone()),
        }
    }

    /// Whether trying again can't help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::TimedOut(_) | Self::Other(_) => false,
            Self::NoAccess(_)
            | Self::Unauthorized(_)
            | Self::Forbidden(_)
            | Self::NoDefinition
            | Self::NotFound { .. }
            | Self::Gone { .. }
            | Self::NoRollout { .. }
            | Self::Name(_)
            | Self::Command(_)
            | Self::Refused(_)
            | Self::Overtaken { .. }
            | Self::NoAnswer(_)
            | Self::Unattended(_)
            | Self::Unsupported(_) => true,
        }
    }
}

/// Returns what the last error of a chain says: those around it only say that there is one.
fn innermost(error: &dyn Error) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}

/// Turns the API server's refusal into a plain sentence: who may not do what where.
fn forbidden(message: &str) -> String {
    const ADVICE: &str = "ask an administrator of the cluster for the right";
    let quoted = |after: &str| {
        let (_, rest) = message.split_once(after)?;
        let (text, _) = rest.split_once('"')?;
        Some(text)
    };
    let verb = message
        .split_once("\" cannot ")
        .and_then(|(_, rest)| rest.split_once(' '))
        .map(|(verb, _)| verb);
    let (Some(who), Some(verb), Some(what)) = (quoted("User \""), verb, quoted("resource \""))
    else {
        return format!("forbidden: {message}; {ADVICE}");
    };
    let group = quoted("API group \"").filter(|group| !group.is_empty());
    let what = group.map_or_else(|| what.to_owned(), |group| format!("{what}.{group}"));
    let place = quoted("in the namespace \"").map_or_else(
        || "in the whole cluster".to_owned(),
        |namespace| format!("in namespace {namespace}"),
    );
    format!("{who} may not {verb} {what} {place}; {ADVICE}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_who_may_not_do_what_where() {
        let advice = "ask an administrator of the cluster for the right";
        for (message, expected) in [
            (
                r#"releases.haldane.dev "shop" is forbidden: User "ann" cannot patch resource "releases" in API group "haldane.dev" in the namespace "web""#,
                "ann may not patch releases.haldane.dev in namespace web",
            ),
            (
                r#"pods is forbidden: User "system:serviceaccount:ci:bot" cannot list resource "pods" in API group "" at the cluster scope"#,
                "system:serviceaccount:ci:bot may not list pods in the whole cluster",
            ),
            ("exceeded quota", "forbidden: exceeded quota"),
        ] {
            assert_eq!(forbidden(message), format!("{expected}; {advice}"));
        }
    }

    fn refused(code: u16, name: &str) -> ClusterError {
        let text =
            format!(r#"{{"code": {code}, "message": "told", "details": {{"name": "{name}"}}}}"#);
        ClusterError::of_status(&serde_json::from_str(&text).unwrap())
    }

    #[test]
    fn a_path_that_is_not_found_is_a_kind_that_is_missing() {
        assert!(matches!(refused(404, ""), ClusterError::NoDefinition));
        assert!(matches!(refused(404, "shop"), ClusterError::Other(_)));
        assert!(matches!(refused(401, ""), ClusterError::Unauthorized(_)));
        assert!(!refused(500, "").is_final() && refused(403, "").is_final());
    }
}
