//! What a command is about: a service of this machine, or a release in a namespace of a cluster.

use std::{fmt, str::FromStr};

use haldane_api::http::ServiceView;
use haldane_core::{NameError, ServiceName};

/// A service or release: `NAME`, or on Kubernetes also `NAMESPACE/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subject {
    /// The namespace; `None` on this machine, and where the usual one is meant.
    pub namespace: Option<String>,
    /// The name.
    pub name: ServiceName,
}

impl Subject {
    /// Returns what a view is of.
    pub(crate) fn of(view: &ServiceView) -> Self {
        Self {
            namespace: view.namespace.clone(),
            name: view.name.clone(),
        }
    }
}

impl FromStr for Subject {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (namespace, name) = match text.split_once('/') {
            // A namespace has the same letters as a service.
            Some((namespace, name)) => (Some(namespace.parse::<ServiceName>()?), name),
            None => (None, text),
        };
        Ok(Self {
            namespace: namespace.map(String::from),
            name: name.parse()?,
        })
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{}", self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_may_stand_before_the_name() {
        for text in ["shop", "web/shop"] {
            assert_eq!(text.parse::<Subject>().unwrap().to_string(), text);
        }
        for text in ["", "/shop", "web/", "a/b/c", "We/shop"] {
            assert!(text.parse::<Subject>().is_err(), "{text}");
        }
    }
}
