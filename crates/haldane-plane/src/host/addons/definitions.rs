//! Definitions of kinds: given to the API server as they are written, and waited for until it serves them.

use anyhow::Context as _;
use futures_util::future::try_join_all;
use http::Request;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{Api, Client, ResourceExt as _};
use tokio::time;

use crate::host::addons::POLL_INTERVAL;

/// Where the API server takes them.
const COLLECTION: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";

/// What marks a document as one of them; the same files hold other things, too.
const KIND: &str = "kind: CustomResourceDefinition";

/// Makes the API server serve all kinds that `text`, in YAML, defines.
pub(crate) async fn apply(client: &Client, text: &str) -> anyhow::Result<()> {
    let applied = documents(text).map(|document| create(client, document));
    let names = try_join_all(applied).await?;
    try_join_all(names.iter().map(|name| served(client, name))).await?;
    Ok(())
}

fn documents(text: &str) -> impl Iterator<Item = &str> {
    let is_wanted = |document: &&str| document.lines().any(|line| line == KIND);
    text.split("\n---").filter(is_wanted)
}

/// Returns the name. A definition that is there already stays as it is.
async fn create(client: &Client, document: &str) -> anyhow::Result<String> {
    let request = Request::post(COLLECTION)
        .header("content-type", "application/yaml")
        .body(document.as_bytes().to_vec())?;
    match client.request::<CustomResourceDefinition>(request).await {
        Ok(created) => Ok(created.name_any()),
        Err(kube::Error::Api(status)) if status.is_already_exists() => status
            .details
            .map(|details| details.name)
            .context("the API server did not tell which kind it knows already"),
        Err(error) => Err(error).context("defining a kind"),
    }
}

/// Waits until objects of all its versions can be listed.
async fn served(client: &Client, name: &str) -> anyhow::Result<()> {
    let definitions = Api::<CustomResourceDefinition>::all(client.clone());
    let definition = loop {
        let definition = definitions.get(name).await.context("looking at a kind")?;
        if is_established(&definition) {
            break definition;
        }
        time::sleep(POLL_INTERVAL).await;
    };
    let (group, plural) = (&definition.spec.group, &definition.spec.names.plural);
    let versions = definition.spec.versions.iter().filter(|it| it.served);
    for version in versions {
        let collection = format!("/apis/{group}/{}/{plural}?limit=1", version.name);
        loop {
            let request = Request::get(&collection).body(Vec::new())?;
            if client.request_text(request).await.is_ok() {
                break;
            }
            time::sleep(POLL_INTERVAL).await;
        }
    }
    Ok(())
}

fn is_established(definition: &CustomResourceDefinition) -> bool {
    let status = definition.status.iter();
    let mut conditions = status.flat_map(|status| status.conditions.iter().flatten());
    conditions.any(|it| it.type_ == "Established" && it.status == "True")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_definitions_of_kinds_are_taken() {
        let text = "# Copyright\n---\nkind: Kustomization\n\n---\n\nkind: CustomResourceDefinition\n\
                    metadata:\n  name: a\n---\nkind: CustomResourceDefinition\nmetadata:\n  name: b\n";
        let found: Vec<&str> = documents(text).collect();
        assert_eq!(found.len(), 2);
        assert!(found[0].contains("name: a") && found[1].contains("name: b"));
        assert_eq!(documents("").count(), 0);
    }
}
