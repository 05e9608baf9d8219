//! The same objects as files: one stream of YAML, a Kustomize base with overlays, or a Helm chart with its values.
//!
//! Who writes YAML is passed in, so that all YAML of this program looks alike.

mod helm;
mod kustomize;

use serde_json::{Value, json};

pub use self::{helm::helm, kustomize::kustomize};
use crate::manifests::Document;

/// The keys of an object that come first.
const HEAD: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Writes one value as YAML, with a line break at its end.
pub type ToYaml = fn(&Value) -> String;

/// A file to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path below the directory that is made.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// Returns the objects one after the other, each with what it is for.
#[must_use]
pub fn stream(documents: &[Document], to_yaml: ToYaml) -> String {
    documents.iter().map(|one| text(one, to_yaml)).collect()
}

/// Returns the objects as one, for programs.
#[must_use]
pub fn list(documents: &[Document]) -> Value {
    let items: Vec<&Value> = documents.iter().map(|one| &one.object).collect();
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}

fn text(document: &Document, to_yaml: ToYaml) -> String {
    let about = document.about.lines();
    let about: String = about.map(|line| format!("# {line}\n")).collect();
    format!("---\n{about}{}", object_text(&document.object, to_yaml))
}

/// Writes an object as people do: what it is comes first.
fn object_text(object: &Value, to_yaml: ToYaml) -> String {
    let mut rest = object.clone();
    let mut text = String::new();
    for key in HEAD {
        if let Some(value) = rest.as_object_mut().and_then(|rest| rest.remove(key)) {
            text.push_str(&to_yaml(&json!({ key: value })));
        }
    }
    if rest != json!({}) {
        text.push_str(&to_yaml(&rest));
    }
    text
}

/// Returns the objects part by part, each part with its file.
fn parts(documents: &[Document]) -> impl Iterator<Item = (&'static str, &[Document])> {
    let same = |left: &Document, right: &Document| left.part == right.part;
    let parts = documents.chunk_by(same);
    parts.filter_map(|part| Some((part.first()?.part.file(), part)))
}
