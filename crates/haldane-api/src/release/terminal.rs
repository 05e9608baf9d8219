//! A release without a `Release`: what a terminal rolls out is kept in annotations of the workload itself.

use serde::{Deserialize, Serialize};

use crate::release::Spec;

/// The annotation of a workload that a terminal rolls out: a [`Terminal`] as JSON.
pub const TERMINAL_ANNOTATION: &str = "haldane.dev/terminal";

/// The annotation beside it that has the status, as that of a `Release`.
pub const TERMINAL_STATUS_ANNOTATION: &str = "haldane.dev/terminal-status";

/// What a terminal rolls out, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terminal {
    /// The name of the release.
    pub name: String,
    /// What is wanted of it.
    pub spec: Spec,
    /// The image that is put on trial; none where the objects ask for a new version themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Who wants it.
    #[serde(default)]
    pub by: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// How far it is.
    pub stage: Stage,
}

/// An image for a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// The container's name.
    pub container: String,
    /// Its new image.
    pub image: String,
}

/// How far a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// What serves is held; the image on trial is not put anywhere yet.
    Holding,
    /// The version on trial is in the objects: its rollout goes on, or is about to begin or to end.
    Going,
    /// It is over, and the objects are made what they were before.
    Leaving,
    /// Nothing is left to do.
    Over,
}

/// Why an annotation is no [`Terminal`].
#[derive(Debug, thiserror::Error)]
#[error("annotation {TERMINAL_ANNOTATION} can't be read")]
pub struct TerminalError(#[source] serde_json::Error);

impl Terminal {
    /// Reads an annotation.
    ///
    /// # Errors
    /// When a person broke it, or a later version wrote it.
    pub fn parse(text: &str) -> Result<Self, TerminalError> {
        serde_json::from_str(text).map_err(TerminalError)
    }

    /// Returns the workload that carries it: kind and name; `None` where the spec names none.
    #[must_use]
    pub fn carrier(&self) -> Option<(&'static str, &str)> {
        self.spec.workload.carrier()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_written_is_read_again_and_mistakes_are_told() {
        let terminal = Terminal {
            name: "shop".to_owned(),
            spec: serde_json::from_value(json!({"workload": {"deployment": {"name": "web"}}}))
                .unwrap(),
            image: Some(Image {
                container: "shop".to_owned(),
                image: "shop:v2".to_owned(),
            }),
            by: "ann".to_owned(),
            reason: None,
            stage: Stage::Going,
        };
        let text = serde_json::to_string(&terminal).unwrap();
        assert_eq!(Terminal::parse(&text).unwrap(), terminal);
        assert_eq!(terminal.carrier(), Some(("Deployment", "web")));
        let error = Terminal::parse("{}").unwrap_err();
        assert!(error.to_string().contains("haldane.dev/terminal"));
    }
}
