//! A Kustomize base with the objects, and overlays for two stages of their life.

use serde_json::{Value, json};

use crate::manifests::{
    Document, Part, Service, documents,
    layout::{File, ToYaml, object_text, parts, text},
};

/// The file that says what else there is.
const KUSTOMIZATION: &str = "kustomization.yaml";

/// The file that says how many pods there are in a stage.
const SIZE: &str = "size.yaml";

/// Returns `base`, `overlays/staging` and `overlays/production`.
#[must_use]
pub fn kustomize(service: &Service, to_yaml: ToYaml) -> Vec<File> {
    let namespace = service.namespace.clone();
    let bare = Service {
        namespace: None,
        ..service.clone()
    };
    // The overlays say the namespace, that of a Namespace as well, which needs a name until then.
    let mut all = documents(service);
    all.retain(|one| one.part == Part::Namespace);
    all.extend(documents(&bare));
    let mut files = base(&all, to_yaml);
    let name = namespace.map_or_else(|| service.name.to_string(), |name| name.to_string());
    let stages = [
        Stage {
            directory: "staging",
            about: "A place to try a version before its users see it: few pods.",
            namespace: format!("{name}-staging"),
            replicas: (1, 2),
        },
        Stage {
            directory: "production",
            about: "Where users are.",
            namespace: name,
            replicas: (service.replicas, service.replicas_max),
        },
    ];
    files.extend(
        stages
            .iter()
            .flat_map(|stage| overlay(service, to_yaml, stage)),
    );
    files
}

/// One overlay.
struct Stage {
    directory: &'static str,
    about: &'static str,
    namespace: String,
    replicas: (u32, u32),
}

fn base(all: &[Document], to_yaml: ToYaml) -> Vec<File> {
    let file = |(name, part): (&str, &[Document])| File {
        path: format!("base/{name}"),
        text: part.iter().map(|one| text(one, to_yaml)).collect(),
    };
    let mut files: Vec<File> = parts(all).map(file).collect();
    let names: Vec<&str> = parts(all).map(|(name, _)| name).collect();
    files.push(File {
        path: format!("base/{KUSTOMIZATION}"),
        text: object_text(&kustomization(json!({ "resources": names })), to_yaml),
    });
    files
}

fn overlay(service: &Service, to_yaml: ToYaml, stage: &Stage) -> Vec<File> {
    let mut image = json!({"name": service.image.repository()});
    if let (Some(image), Some(tag)) = (image.as_object_mut(), service.image.tag()) {
        image.insert("newTag".to_owned(), json!(tag));
    }
    let mut rest = json!({
        "namespace": stage.namespace,
        "resources": ["../../base"],
        "images": [image],
    });
    let path = |name: &str| format!("overlays/{}/{name}", stage.directory);
    let mut files = Vec::new();
    if let Some((kind, patch)) = sized(service, stage) {
        let target = json!({"kind": kind, "name": format!("{}-stable", service.name)});
        if let Some(rest) = rest.as_object_mut() {
            rest.insert(
                "patches".to_owned(),
                json!([{"target": target, "path": SIZE}]),
            );
        }
        files.push(File {
            path: path(SIZE),
            text: to_yaml(&patch),
        });
    }
    let text = object_text(&kustomization(rest), to_yaml);
    files.push(File {
        path: path(KUSTOMIZATION),
        text: format!(
            "# {} Set `newTag` to what a rollout has promoted.\n{text}",
            stage.about
        ),
    });
    files
}

/// Returns the patch of how many pods there are, with the kind that it is for, where the base says something else.
fn sized(service: &Service, stage: &Stage) -> Option<(&'static str, Value)> {
    let (least, most) = stage.replicas;
    if stage.replicas == (service.replicas, service.replicas_max) {
        return None;
    }
    let replace = |path: &str, value: u32| json!({"op": "replace", "path": path, "value": value});
    if service.replicas < service.replicas_max {
        let patch = [
            replace("/spec/minReplicas", least),
            replace("/spec/maxReplicas", most),
        ];
        return Some(("HorizontalPodAutoscaler", json!(patch)));
    }
    Some(("Deployment", json!([replace("/spec/replicas", least)])))
}

fn kustomization(mut rest: Value) -> Value {
    if let Some(rest) = rest.as_object_mut() {
        rest.insert(
            "apiVersion".to_owned(),
            json!("kustomize.config.k8s.io/v1beta1"),
        );
        rest.insert("kind".to_owned(), json!("Kustomization"));
    }
    rest
}
