//! A Helm chart: the objects as templates, in which what differs from place to place is a value.

use serde_json::{Value, json};

use crate::manifests::{
    Document, Service, documents,
    layout::{File, ToYaml, parts, text},
};

/// Where a value stands: the kind, how the object's name ends, the place in it, and the value.
const PLACES: [Place; 15] = [
    Place::text(
        "Deployment",
        "",
        "/spec/template/spec/containers/0/image",
        "image",
    ),
    Place::text(
        "Deployment",
        "",
        "/spec/template/spec/containers/0/resources/requests/cpu",
        "resources.requests.cpu",
    ),
    Place::text(
        "Deployment",
        "",
        "/spec/template/spec/containers/0/resources/requests/memory",
        "resources.requests.memory",
    ),
    Place::text(
        "Deployment",
        "",
        "/spec/template/spec/containers/0/resources/limits/cpu",
        "resources.limits.cpu",
    ),
    Place::text(
        "Deployment",
        "",
        "/spec/template/spec/containers/0/resources/limits/memory",
        "resources.limits.memory",
    ),
    Place::number("Deployment", "-stable", "/spec/replicas", "replicas.min"),
    Place::number(
        "HorizontalPodAutoscaler",
        "",
        "/spec/minReplicas",
        "replicas.min",
    ),
    Place::number(
        "HorizontalPodAutoscaler",
        "",
        "/spec/maxReplicas",
        "replicas.max",
    ),
    Place::text("VirtualService", "", "/spec/hosts/1", "host"),
    Place::text("Ingress", "", "/spec/rules/0/host", "host"),
    Place::text("HTTPRoute", "", "/spec/hostnames/0", "host"),
    Place::text("HTTPProxy", "", "/spec/virtualhost/fqdn", "host"),
    Place::text(
        "Release",
        "",
        "/spec/sources/prometheus/prometheus",
        "prometheus",
    ),
    Place::text("Release", "", "/spec/rollout/hold", "rollout.hold"),
    Place::text("Release", "", "/spec/rollout/promote", "rollout.promote"),
];

/// Where a value stands.
struct Place {
    kind: &'static str,
    suffix: &'static str,
    pointer: &'static str,
    value: &'static str,
    is_text: bool,
}

/// Returns a chart that gives the same objects, in the namespace of the release.
#[must_use]
pub fn helm(service: &Service, to_yaml: ToYaml) -> Vec<File> {
    // Helm makes the namespace, by `--create-namespace`.
    let bare = Service {
        namespace: None,
        has_namespace: false,
        ..service.clone()
    };
    let mut all = documents(&bare);
    let mut values = json!({});
    for document in &mut all {
        take_values(document, &mut values);
    }
    let chart = json!({
        "apiVersion": "v2", "name": service.name.as_str(), "type": "application", "version": "0.1.0",
        "description": format!("{} in two Deployments, stable and canary, rolled out by Haldane.", service.name),
    });
    let about = "# What differs from place to place. `image` is what stable runs: set it to what a rollout has promoted.\n";
    let mut files = vec![
        File {
            path: "Chart.yaml".to_owned(),
            text: to_yaml(&chart),
        },
        File {
            path: "values.yaml".to_owned(),
            text: format!("{about}{}", to_yaml(&values)),
        },
    ];
    files.extend(parts(&all).map(|(name, part)| {
        File {
            path: format!("templates/{name}"),
            text: filled(
                &part
                    .iter()
                    .map(|one| text(one, to_yaml))
                    .collect::<String>(),
            ),
        }
    }));
    files
}

impl Place {
    const fn text(
        kind: &'static str,
        suffix: &'static str,
        pointer: &'static str,
        value: &'static str,
    ) -> Self {
        Self {
            kind,
            suffix,
            pointer,
            value,
            is_text: true,
        }
    }

    const fn number(
        kind: &'static str,
        suffix: &'static str,
        pointer: &'static str,
        value: &'static str,
    ) -> Self {
        Self {
            is_text: false,
            ..Self::text(kind, suffix, pointer, value)
        }
    }

    /// Returns what stands in the object until it is a text.
    fn mark(&self) -> String {
        format!("@@{}@@", self.value)
    }
}

/// Moves what differs from an object into the values, and leaves marks.
fn take_values(document: &mut Document, values: &mut Value) {
    let object = &mut document.object;
    let text = |pointer: &str| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    let (kind, name) = (text("/kind"), text("/metadata/name"));
    let is_meant = |place: &&Place| place.kind == kind && name.ends_with(place.suffix);
    for place in PLACES.iter().filter(is_meant) {
        if let Some(found) = object.pointer_mut(place.pointer) {
            put(values, place.value, found.take());
            *found = Value::String(place.mark());
        }
    }
}

/// Puts a value where its name says, by dots.
fn put(values: &mut Value, name: &str, value: Value) {
    let Some(map) = values.as_object_mut() else {
        return;
    };
    match name.split_once('.') {
        Some((first, rest)) => {
            let inner = map.entry(first.to_owned()).or_insert_with(|| json!({}));
            put(inner, rest, value);
        }
        None => {
            map.insert(name.to_owned(), value);
        }
    }
}

/// Replaces the marks by what Helm reads.
fn filled(text: &str) -> String {
    PLACES.iter().fold(text.to_owned(), |text, place| {
        let quote = if place.is_text { " | quote" } else { "" };
        let filled = format!("{{{{ .Values.{}{quote} }}}}", place.value);
        text.replace(&format!("\"{}\"", place.mark()), &filled)
    })
}
