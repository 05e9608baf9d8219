//! The manifests of each mesh, and what must be true of all of them.

use haldane_api::{lint, manifest, yaml::to_yaml};
use serde::Deserialize as _;

use super::{
    layout::{File, helm, kustomize, stream},
    *,
};

pub(super) fn service(mesh: Mesh) -> Service {
    let place = |text: &str| text.parse().unwrap();
    Service {
        name: "auth-service".parse().unwrap(),
        namespace: Some(place("orion")),
        has_namespace: true,
        image: "ghcr.io/orion/auth:v1".parse().unwrap(),
        port: 8080,
        replicas: 3,
        replicas_max: 6,
        mesh,
        host: Some("auth.orion.io".parse().unwrap()),
        gateway: Some("edge/public".parse().unwrap()),
        live_path: "/healthz".parse().unwrap(),
        ready_path: "/readyz".parse().unwrap(),
        metrics_path: "/metrics".parse().unwrap(),
        prometheus: "http://prometheus.monitoring:9090".parse().unwrap(),
        monitoring: place("monitoring"),
        callers: vec![place("web")],
        deployer: Some("ci/pipeline".parse().unwrap()),
        has_release: true,
    }
}

/// Returns kinds and names in order.
fn names(documents: &[Document]) -> Vec<String> {
    let name = |one: &Document| {
        let text = |pointer| one.object.pointer(pointer).unwrap().as_str().unwrap();
        format!("{} {}", text("/kind"), text("/metadata/name"))
    };
    documents.iter().map(name).collect()
}

fn shown(files: &[File]) -> String {
    let file = |one: &File| format!("##### {}\n{}", one.path, one.text);
    files.iter().map(file).collect()
}

#[test]
fn each_mesh_has_its_objects() {
    for mesh in Mesh::ALL {
        let text = stream(&documents(&service(mesh)), to_yaml);
        insta::assert_snapshot!(mesh.as_str(), text);
    }
}

#[test]
fn the_release_has_no_mistakes_whatever_splits_its_traffic() {
    for mesh in Mesh::ALL {
        let text = stream(&documents(&service(mesh)), to_yaml);
        let read = manifest::parse(&text);
        assert_eq!(read.problems, [], "{mesh}");
        assert_eq!(read.releases.len(), 1, "{mesh}");
        let found = lint::check(&text, None).findings;
        let rules: Vec<_> = found.iter().map(|one| one.rule.id).collect();
        let mut expected = vec!["promotion-beside-git"];
        if mesh == Mesh::None {
            expected.insert(0, "share-by-replicas");
        }
        assert_eq!(rules, expected, "{mesh}: {found:#?}");
    }
}

#[test]
fn what_is_not_asked_for_is_not_there() {
    let bare = Service {
        namespace: None,
        has_namespace: false,
        replicas_max: 3,
        mesh: Mesh::None,
        host: None,
        gateway: None,
        callers: Vec::new(),
        deployer: None,
        has_release: false,
        ..service(Mesh::None)
    };
    let all = documents(&bare);
    insta::assert_snapshot!(names(&all).join("\n"));
    for one in &all {
        assert_eq!(one.object.pointer("/metadata/namespace"), None);
    }
    let stable = all.iter().find(|one| one.object["kind"] == "Deployment");
    assert_eq!(stable.unwrap().object["spec"]["replicas"], 3);
}

#[test]
fn both_templates_differ_by_the_version_alone() {
    for mesh in Mesh::ALL {
        let all = documents(&service(mesh));
        let templates: Vec<String> = all
            .iter()
            .filter(|one| one.object["kind"] == "Deployment")
            .map(|one| one.object["spec"]["template"].to_string())
            .collect();
        let [stable, canary] = templates.as_slice() else {
            panic!("{templates:?}");
        };
        assert_eq!(
            stable,
            &canary.replace("\"version\":\"canary\"", "\"version\":\"stable\"")
        );
        assert_ne!(stable, canary);
    }
}

#[test]
fn a_kustomize_base_has_overlays() {
    insta::assert_snapshot!(shown(&kustomize(&service(Mesh::Istio), to_yaml)));
}

#[test]
fn each_kustomization_finds_what_it_names() {
    for (mesh, replicas_max) in [(Mesh::Nginx, 6), (Mesh::None, 3)] {
        let service = Service {
            replicas_max,
            ..service(mesh)
        };
        let files = kustomize(&service, to_yaml);
        let text = |path: &str| {
            let found = files.iter().find(|file| file.path == path);
            found.unwrap_or_else(|| panic!("no {path}")).text.as_str()
        };
        let read = |path: &str| serde_norway::from_str::<Value>(text(path)).unwrap();
        let base = read("base/kustomization.yaml");
        for file in base["resources"].as_array().unwrap() {
            assert!(text(&format!("base/{}", file.as_str().unwrap())).contains("\nkind: "));
        }
        let workload = text("base/workload.yaml");
        assert!(!workload.contains("namespace: "), "{workload}");
        for stage in ["staging", "production"] {
            let overlay = read(&format!("overlays/{stage}/kustomization.yaml"));
            assert_eq!(overlay["resources"], json!(["../../base"]));
            assert_eq!(overlay["images"][0]["newTag"], "v1");
            for patch in overlay["patches"].as_array().into_iter().flatten() {
                let target = &patch["target"];
                let documents = serde_norway::Deserializer::from_str(workload);
                let mut objects = documents.map(|one| Value::deserialize(one).unwrap());
                let is_target = |one: &Value| {
                    one["kind"] == target["kind"] && one["metadata"]["name"] == target["name"]
                };
                let object = objects.find(is_target).unwrap();
                let file = patch["path"].as_str().unwrap();
                for change in read(&format!("overlays/{stage}/{file}"))
                    .as_array()
                    .unwrap()
                {
                    assert!(
                        object.pointer(change["path"].as_str().unwrap()).is_some(),
                        "{change}"
                    );
                }
            }
        }
    }
}

#[test]
fn a_chart_has_no_mark_left() {
    for mesh in Mesh::ALL {
        let files = helm(&service(mesh), to_yaml);
        let text = shown(&files);
        assert!(!text.contains("@@"), "{text}");
        assert!(
            text.contains("image: {{ .Values.image | quote }}"),
            "{text}"
        );
    }
    insta::assert_snapshot!(shown(&helm(&service(Mesh::Contour), to_yaml)));
}
