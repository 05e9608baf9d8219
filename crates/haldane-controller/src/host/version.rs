//! Versions: what a pod template is called, and when two are the same.
//!
//! Two templates are the same version if they differ in nothing but the labels by which their Deployments select them; so a stable and
//! a canary Deployment of a pair, which need other labels, can carry the same version.

use haldane_core::VersionName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::json::{self, set};

/// The label that the Deployment controller gives its pods.
pub(super) const POD_HASH: &str = "pod-template-hash";

/// How much of a checksum names a template: 40 bits, so that of a thousand templates of one service two meet once in two million.
const HASH_CHARS: usize = 10;

/// How much of it stands in names for people.
const SHORT_CHARS: usize = 6;

/// A version of a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Version {
    /// What it is called: the tag of its image, as a rule.
    pub name: VersionName,
    /// The checksum of its template.
    pub hash: String,
    /// Its images by container.
    pub images: Vec<String>,
}

impl Version {
    /// Returns the version of these templates with the selectors of their Deployments; `other` is a version that it must not share its
    /// name with.
    pub(super) fn of(templates: &[(&Value, &Value)], other: Option<&Self>) -> Self {
        let hash = hash(templates);
        let images: Vec<String> = templates
            .iter()
            .flat_map(|(template, _)| images(template))
            .collect();
        let tag = images.first().and_then(|image| tag(image));
        let short = hash.get(..SHORT_CHARS).unwrap_or_default().to_owned();
        let named = |text: &str| text.parse::<VersionName>().ok();
        let is_taken = |name: &VersionName| {
            other.is_some_and(|other| &other.name == name && other.hash != hash)
        };
        let name = tag
            .and_then(named)
            .filter(|name| !is_taken(name))
            .or_else(|| named(&format!("{}-{short}", tag.unwrap_or("v"))))
            .or_else(|| named(&short));
        Self {
            #[expect(clippy::expect_used, reason = "hexadecimal digits are a name")]
            name: name.expect("a checksum is a name"),
            hash,
            images,
        }
    }

    /// Returns a few characters that tell this version from others, for names of objects.
    pub(super) fn short(&self) -> &str {
        self.hash.get(..SHORT_CHARS).unwrap_or(&self.hash)
    }
}

/// Returns the template with what its Deployment's selector demands replaced by what is the same on both sides of a pair: its own
/// labels are left out; where selectors and variables in it name one of them, the label's name stands for its value.
fn plain(template: &Value, selector: &Value) -> Value {
    let demanded = json::map(selector, "/matchLabels");
    let mut plain = template.clone();
    if let Some(spec) = plain.get_mut("spec") {
        exchange(spec, &|key, value| {
            (demanded.get(key) == Some(value)).then(|| placeholder(key))
        });
        exchange_variables(spec, &|value| {
            let found = demanded.iter().find(|(_, one)| *one == value);
            found.map(|(key, _)| placeholder(key))
        });
    }
    if let Some(metadata) = plain.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("creationTimestamp");
        if let Some(labels) = metadata.get_mut("labels").and_then(Value::as_object_mut) {
            labels.retain(|key, _| key != POD_HASH && !demanded.contains_key(key));
        }
        metadata.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    }
    plain
}

/// Returns `template` as the Deployment with the selector `to` can have it; `old` is the template that it has.
pub(super) fn transplanted(template: &Value, from: &Value, old: &Value, to: &Value) -> Value {
    let (demanded, labels) = (json::map(to, "/matchLabels"), labels(old));
    let filled = |value: &Value| {
        let key = value.as_str()?.strip_prefix(PLACEHOLDER)?;
        demanded.get(key).cloned()
    };
    let mut new = plain(template, from);
    if let Some(spec) = new.get_mut("spec") {
        exchange(spec, &|_, value| filled(value));
        exchange_variables(spec, &filled);
    }
    for (key, value) in labels.iter().filter(|(key, _)| demanded.contains_key(*key)) {
        set(&mut new, &["metadata", "labels", key], value.clone());
    }
    new
}

/// What stands before the name of a label that stands for its value; no label and no usual variable begins like this.
const PLACEHOLDER: &str = "\u{0}";

fn placeholder(label: &str) -> Value {
    Value::String(format!("{PLACEHOLDER}{label}"))
}

/// Exchanges values of the maps `matchLabels` anywhere within.
fn exchange(value: &mut Value, with: &impl Fn(&str, &Value) -> Option<Value>) {
    if let Some(labels) = value.get_mut("matchLabels").and_then(Value::as_object_mut) {
        for (key, value) in labels.iter_mut() {
            if let Some(new) = with(key, value) {
                *value = new;
            }
        }
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|inner| exchange(inner, with)),
        Value::Array(items) => items.iter_mut().for_each(|inner| exchange(inner, with)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Exchanges values of the containers' variables.
fn exchange_variables(spec: &mut Value, with: &impl Fn(&Value) -> Option<Value>) {
    for containers in ["containers", "initContainers"] {
        let containers = spec.get_mut(containers).and_then(Value::as_array_mut);
        for container in containers.into_iter().flatten() {
            let variables = container.get_mut("env").and_then(Value::as_array_mut);
            for value in variables
                .into_iter()
                .flatten()
                .filter_map(|one| one.get_mut("value"))
            {
                if let Some(new) = with(value) {
                    *value = new;
                }
            }
        }
    }
}

fn hash(templates: &[(&Value, &Value)]) -> String {
    let mut digest = Sha256::new();
    for (template, selector) in templates {
        // Maps are ordered by key, so that equal templates are equal texts.
        digest.update(plain(template, selector).to_string().as_bytes());
        digest.update([0]);
    }
    let bytes = digest.finalize();
    let begin = bytes.iter().take(HASH_CHARS / 2);
    begin.map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the images of a template, containers in their order.
pub(super) fn images(template: &Value) -> Vec<String> {
    let containers = template.pointer("/spec/containers");
    let containers = containers.and_then(Value::as_array).into_iter().flatten();
    containers
        .filter_map(|container| json::text(container, "/image").map(str::to_owned))
        .collect()
}

/// Returns the tag of an image, or the beginning of its checksum.
fn tag(image: &str) -> Option<&str> {
    if let Some((_, digest)) = image.split_once('@') {
        let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
        return hex.get(..HASH_CHARS);
    }
    let last = image.rsplit('/').next()?;
    last.split_once(':').map(|(_, tag)| tag)
}

/// Returns the labels of a template as a map of texts.
pub(super) fn labels(template: &Value) -> Map<String, Value> {
    json::map(template, "/metadata/labels")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn template(image: &str, track: &str) -> Value {
        json!({
            "metadata": {"labels": {"app": "shop", "version": track}},
            "spec": {"containers": [{"name": "shop", "image": image}]},
        })
    }

    fn selector(track: &str) -> Value {
        json!({"matchLabels": {"app": "shop", "version": track}})
    }

    fn version(image: &str, other: Option<&Version>) -> Version {
        Version::of(&[(&template(image, "stable"), &selector("stable"))], other)
    }

    #[test]
    fn a_version_is_called_by_its_tag() {
        for (image, name) in [
            ("shop:v2", "v2"),
            ("ghcr.io/orion/auth:v2.0.0", "v2.0.0"),
            ("localhost:5000/shop:2", "2"),
            ("shop@sha256:0123456789abcdef", "0123456789"),
        ] {
            assert_eq!(version(image, None).name.as_str(), name, "{image}");
        }
        let nameless = version("localhost:5000/shop", None);
        assert_eq!(nameless.name.as_str(), format!("v-{}", nameless.short()));
    }

    #[test]
    fn another_template_with_the_same_tag_has_another_name() {
        let stable = version("shop:latest", None);
        let mut changed = template("shop:latest", "stable");
        changed["spec"]["containers"][0]["env"] = json!([{"name": "A", "value": "b"}]);
        let other = Version::of(&[(&changed, &selector("stable"))], Some(&stable));
        assert_ne!(other.hash, stable.hash);
        assert_eq!(other.name.as_str(), format!("latest-{}", other.short()));
        let same = version("shop:latest", Some(&stable));
        assert_eq!(same, stable);
    }

    #[test]
    fn a_template_is_copied_to_the_other_side_of_a_pair() {
        let side = |image: &str, track: &str| {
            let mut template = template(image, track);
            template["metadata"]["labels"]["team"] = json!(image);
            template["spec"]["containers"][0]["env"] =
                json!([{"name": "TRACK", "value": track}, {"name": "A", "value": "b"}]);
            template["spec"]["affinity"] = json!({"podAntiAffinity": {"required": [
                {"labelSelector": {"matchLabels": {"app": "shop", "version": track}}},
            ]}});
            template
        };
        let (stable, canary) = (side("shop:v1", "stable"), side("shop:v2", "canary"));
        let (to, from) = (selector("stable"), selector("canary"));
        let copied = transplanted(&canary, &from, &stable, &to);
        assert_eq!(copied, side("shop:v2", "stable"));
        let of = |template, selector| Version::of(&[(template, selector)], None).hash;
        assert_eq!(of(&copied, &to), of(&canary, &from));
        assert_ne!(of(&stable, &to), of(&canary, &from));
    }

    #[test]
    fn labels_that_select_make_no_version() {
        let stable = Version::of(
            &[(&template("shop:v1", "stable"), &selector("stable"))],
            None,
        );
        let canary = Version::of(
            &[(&template("shop:v1", "canary"), &selector("canary"))],
            None,
        );
        assert_eq!(stable, canary);
        let mut made = template("shop:v1", "stable");
        made["metadata"]["labels"][POD_HASH] = json!("abc");
        made["metadata"]["creationTimestamp"] = Value::Null;
        assert_eq!(Version::of(&[(&made, &selector("stable"))], None), stable);
    }
}
