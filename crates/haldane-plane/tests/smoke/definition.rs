//! What a real API server makes of the definitions of `Release` and `ReleaseGroup`.

use haldane_plane::Plane;
use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::smoke::rig::{define_releases, eventually, objects};

/// A release that is refused.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Bad {
    #[serde(default = "bad")]
    name: String,
    spec: Value,
    expected: String,
}

fn bad() -> String {
    "bad".to_owned()
}

/// Asks the API server to create a release or a group, as strictly as `kubectl` does; returns why not.
async fn refusal(client: &Client, release: &Value) -> Option<String> {
    let kind = release["kind"].as_str().unwrap().to_lowercase();
    let path = format!(
        "/apis/haldane.dev/v1alpha1/namespaces/default/{kind}s?fieldValidation=Strict&dryRun=All"
    );
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(release.to_string().into_bytes());
    match client.request::<Value>(request.unwrap()).await {
        Ok(_) => None,
        Err(kube::Error::Api(status)) => Some(status.message.clone()),
        Err(error) => panic!("{error}"),
    }
}

fn release(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "haldane.dev/v1alpha1", "kind": "Release", "metadata": {"name": name}, "spec": spec,
    })
}

#[tokio::test]
async fn releases_are_taken_and_refused_as_the_tables_say() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    let definition = define_releases(&client).await;
    let conditions = definition.status.unwrap().conditions.unwrap();
    let is_faulty = |kind: &str, status: &str| {
        (kind, status) == ("NonStructuralSchema", "True")
            || (kind, status) == ("NamesAccepted", "False")
    };
    let mut conditions = conditions.iter();
    assert!(!conditions.any(|it| is_faulty(&it.type_, &it.status)));

    // The first request may still find a server that does not know the kind.
    let good = objects(include_str!("definition/good.yaml"));
    eventually("a release that is taken", async || {
        refusal(&client, &good[0]).await.is_none().then_some(())
    })
    .await;
    for release in &good {
        assert_eq!(refusal(&client, release).await, None, "{release}");
    }
    let table: Vec<Bad> = serde_norway::from_str(include_str!("definition/bad.yaml")).unwrap();
    for bad in table {
        let refusal = refusal(&client, &release(&bad.name, &bad.spec)).await;
        let refusal = refusal.unwrap_or_else(|| panic!("taken: {bad:?}"));
        assert!(
            refusal.contains(&bad.expected),
            "expected {:?}: {refusal}",
            bad.expected
        );
    }
    groups_are_taken_and_refused(&client).await;
    status_is_its_own_and_shown(&client, &good[0]).await;
    plane.stop().await.unwrap();
}

async fn groups_are_taken_and_refused(client: &Client) {
    let group = |spec: Value| {
        json!({
            "apiVersion": "haldane.dev/v1alpha1", "kind": "ReleaseGroup",
            "metadata": {"name": "store"}, "spec": spec,
        })
    };
    let full = group(json!({
        "members": [{"release": "web", "after": ["api"]}, {"release": "api"}],
        "barriers": [{"at": "2.5%"}, {"at": "promotion"}],
        "onFailure": "stop",
        "suspend": true,
    }));
    eventually("a group that is taken", async || {
        refusal(client, &full).await.is_none().then_some(())
    })
    .await;
    for (spec, expected) in [
        (json!({}), "spec.members: Required value"),
        (
            json!({"members": []}),
            "spec.members in body should have at least 1 items",
        ),
        (
            json!({"members": [{"release": "api"}, {"release": "api"}]}),
            "spec.members[1]: Duplicate value",
        ),
        (
            json!({"members": [{"release": "api", "after": ["db"]}]}),
            "after names members of the group",
        ),
        (
            json!({"members": [{"release": "api", "after": ["api"]}]}),
            "a member can't come after itself",
        ),
        (
            json!({"members": [{"release": "api"}], "barriers": [{"at": "half"}]}),
            "spec.barriers[0].at",
        ),
        (
            json!({"members": [{"release": "api"}], "onFailure": "explode"}),
            "spec.onFailure: Unsupported value",
        ),
    ] {
        let refusal = refusal(client, &group(spec.clone())).await;
        let refusal = refusal.unwrap_or_else(|| panic!("taken: {spec}"));
        assert!(
            refusal.contains(expected),
            "expected {expected:?}: {refusal}"
        );
    }
}

/// The status is written apart from the spec, and what `kubectl get` shows comes out of it.
async fn status_is_its_own_and_shown(client: &Client, release: &Value) {
    let base = "/apis/haldane.dev/v1alpha1/namespaces/default/releases";
    let send = async |request: http::request::Builder, body: &Value| -> Value {
        let request = request.body(body.to_string().into_bytes()).unwrap();
        client.request::<Value>(request).await.unwrap()
    };
    let status = json!({
        "phase": "Progressing", "message": "holding", "step": "1/3", "weight": "5%", "stable": "v1", "canary": "v2",
        "record": "{}", "history": [],
        "conditions": [{
            "type": "Ready", "status": "False", "reason": "Progressing", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }],
    });
    let mut with_status = release.clone();
    with_status["status"] = status.clone();
    let json_body = "application/json";
    let created = send(
        Request::post(base).header("content-type", json_body),
        &with_status,
    )
    .await;
    assert_eq!(
        created.get("status"),
        None,
        "a status comes by its own way only"
    );
    let path = format!("{base}/smallest/status");
    let patch = Request::patch(path).header("content-type", "application/merge-patch+json");
    let patched = send(patch, &json!({"status": status, "spec": {"suspend": true}})).await;
    assert_eq!(patched["status"], status);
    assert_eq!(patched["spec"], release["spec"], "the spec stays");

    let table = Request::get(base).header("accept", "application/json;as=Table;v=v1;g=meta.k8s.io");
    let table = send(table, &Value::Null).await;
    let columns = table["columnDefinitions"].as_array().unwrap().iter();
    let columns: Vec<&str> = columns.map(|it| it["name"].as_str().unwrap()).collect();
    let expected = [
        "Name", "Phase", "Step", "Weight", "Stable", "Canary", "Age", "Message",
    ];
    assert_eq!(columns, expected);
    let cells = &table["rows"][0]["cells"];
    assert_eq!(
        cells.as_array().unwrap()[..6],
        json!(["smallest", "Progressing", "1/3", "5%", "v1", "v2"])
            .as_array()
            .unwrap()[..]
    );
}
