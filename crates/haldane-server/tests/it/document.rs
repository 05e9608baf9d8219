//! The OpenAPI document against the server that offers it.

use std::collections::BTreeSet;

use axum::http::StatusCode;
use serde_json::Value;

use crate::it::{client::Ask, world::World};

/// What the API promises.
const PROMISED: [(&str, &str); 16] = [
    ("GET", "/healthz"),
    ("GET", "/metrics"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/daemon"),
    ("GET", "/v1/events"),
    ("GET", "/v1/rollouts/{id}"),
    ("GET", "/v1/rollouts/{id}/recording"),
    ("GET", "/v1/rollouts/{id}/recomputation"),
    ("GET", "/v1/services"),
    ("GET", "/v1/services/{name}"),
    ("GET", "/v1/services/{name}/history"),
    ("GET", "/v1/services/{name}/logs"),
    ("POST", "/v1/apply"),
    ("POST", "/v1/down"),
    ("POST", "/v1/services/{name}/commands"),
    ("POST", "/v1/services/{name}/deploy"),
];

impl World {
    /// Returns methods and paths of the document.
    pub(crate) async fn documented(&self) -> BTreeSet<(String, String)> {
        let document: Value = Ask::get("/openapi.json").send(&self.socket()).await.json();
        let paths = document["paths"].as_object().unwrap();
        let methods = |(path, item): (&String, &Value)| {
            let methods: Vec<_> = item
                .as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase(), path.clone()))
                .collect();
            methods
        };
        paths.iter().flat_map(methods).collect()
    }
}

#[tokio::test]
async fn the_document_has_what_is_promised_and_the_server_what_is_documented() {
    let world = World::start().await;
    let documented = world.documented().await;
    let promised = PROMISED.map(|(method, path)| (method.to_owned(), path.to_owned()));
    assert_eq!(documented, BTreeSet::from(promised));
    for (method, path) in documented {
        let path = path.replace("{name}", "auth").replace("{id}", "auth-1");
        let status = Ask::get(&path)
            .method(&method)
            .open(&world.socket())
            .await
            .status;
        // A body is missing, and nothing else.
        let is_there = [StatusCode::OK, StatusCode::UNSUPPORTED_MEDIA_TYPE].contains(&status);
        assert!(is_there, "{method} {path}: {status}");
    }
}

#[tokio::test]
async fn the_document_can_be_had_without_a_daemon() {
    let world = World::start().await;
    let served: Value = Ask::get("/openapi.json").send(&world.socket()).await.json();
    let alone: Value = serde_json::from_str(&haldane_server::openapi_json().unwrap()).unwrap();
    assert_eq!(served, alone);
}
