//! The kinds of all routers can be added, and an object of each is taken, with the weights where a rollout writes them.

use haldane_plane::{Addon, Plane};
use http::Request;
use kube::Client;
use serde::Deserialize;
use serde_json::{Value, json};

/// One object for each kind.
const SAMPLES: &str = include_str!("kinds.json");

#[derive(Debug, Deserialize)]
struct Sample {
    plural: String,
    /// Where in the object the canary's weight stands, if it has one.
    weight: Option<String>,
    object: Value,
}

#[tokio::test]
async fn every_kind_takes_what_a_rollout_writes() {
    let plane = Plane::start().await.unwrap();
    let client = plane.client().await.unwrap();
    for addon in Addon::all().filter(|addon| !addon.has_address()) {
        plane.install(addon).await.unwrap();
        // Once more changes nothing.
        plane.install(addon).await.unwrap();
    }
    let samples: Vec<Sample> = serde_json::from_str(SAMPLES).unwrap();
    for (number, sample) in samples.iter().enumerate() {
        let kind = &sample.object["kind"];
        let created = create(&client, sample, &format!("shop-{number}"), &sample.object).await;
        let created = created.unwrap_or_else(|error| panic!("{kind}: {error}"));
        let Some(weight) = &sample.weight else {
            continue;
        };
        let (written, read) = (sample.object.pointer(weight), created.pointer(weight));
        assert!(written.is_some() && written == read, "{kind}: {read:?}");
        // A weight that is none is refused.
        let mut wrong = sample.object.clone();
        *wrong.pointer_mut(weight).unwrap() = json!("much");
        let refused = create(&client, sample, "wrong", &wrong).await;
        let error = refused.expect_err("a refusal").to_string();
        assert!(error.contains("Invalid value"), "{kind}: {error}");
    }
    plane.stop().await.unwrap();
}

async fn create(
    client: &Client,
    sample: &Sample,
    name: &str,
    object: &Value,
) -> kube::Result<Value> {
    let mut object = object.clone();
    object["metadata"] = json!({"name": name});
    let (version, plural) = (object["apiVersion"].as_str().unwrap(), &sample.plural);
    let collection = format!("/apis/{version}/namespaces/default/{plural}");
    let request = Request::post(collection)
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&object).unwrap())
        .unwrap();
    client.request(request).await
}
