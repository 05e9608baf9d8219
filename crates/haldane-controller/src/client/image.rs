//! A new image for a workload that a Release looks after: its controller rolls it out.

use haldane_api::release::{Image, Spec};
use haldane_core::ServiceName;
use haldane_router::ObjectRef;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::{
    Cluster, ClusterError, TerminalError,
    steer::FIELD_MANAGER,
    terminal::{Wanted, carrier_of, repository},
};
use crate::{
    carrier::{containers, has_image},
    kinds::DEPLOYMENT,
};

/// By which annotation people tell why a workload was changed; `kubectl rollout history` shows it.
const CAUSE: &str = "kubernetes.io/change-cause";

/// What became of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Given {
    /// This workload has it now, and its Release begins a rollout.
    Set(ObjectRef),
    /// This workload had it already.
    Same(ObjectRef),
}

impl Cluster {
    /// Gives the workload of a Release an image: the Deployment or StatefulSet, or the canary of the pair that has such an image.
    ///
    /// # Errors
    /// When there is no such Release or workload, or it is not clear which container is meant.
    pub async fn give_image(
        &self,
        namespace: &str,
        wanted: &Wanted,
    ) -> Result<Given, TerminalError> {
        let usage = |text: &str| TerminalError::Usage(text.to_owned());
        let release = self.release(namespace, &wanted.name).await?;
        if release.spec.suspend {
            return Err(usage(
                "spec.suspend is set, so nothing would be rolled out; take it out of the Release first",
            ));
        }
        let image = wanted.image.as_deref();
        let image = image.ok_or_else(|| {
            usage("IMAGE is missing; expected the image that is to be tried, such as shop:v2")
        })?;
        let pairs = &release.spec.workload.pairs;
        let mut targets = Vec::new();
        for pair in pairs {
            let target = DEPLOYMENT.named(namespace, &pair.canary);
            let object = self.need(&target).await?;
            if pairs.len() == 1 || has_image_of(&object, image) {
                targets.push((target, object));
            }
        }
        if pairs.is_empty() {
            let target = carrier_of(&release.spec, namespace)?;
            let object = self.need(&target).await?;
            targets.push((target, object));
        }
        let [(target, object)] = targets.as_slice() else {
            let canaries: Vec<&str> = pairs.iter().map(|pair| pair.canary.as_str()).collect();
            let text = format!(
                "which of the canaries {} gets {image}? set it there, as by `kubectl set image`",
                canaries.join(", ")
            );
            return Err(TerminalError::Usage(text));
        };
        let image = wanted.trial(image, object)?;
        if has_image(object, &image) {
            return Ok(Given::Same(target.clone()));
        }
        self.set_image(target, &image, wanted).await?;
        Ok(Given::Set(target.clone()))
    }

    /// Returns how a Release is rolled out.
    ///
    /// # Errors
    /// When it can't be read.
    pub async fn spec(&self, namespace: &str, name: &ServiceName) -> Result<Spec, ClusterError> {
        Ok(self.release(namespace, name).await?.spec)
    }

    async fn set_image(
        &self,
        target: &ObjectRef,
        image: &Image,
        wanted: &Wanted,
    ) -> Result<(), TerminalError> {
        let container = json!({"name": image.container, "image": image.image});
        let mut patch = json!({"spec": {"template": {"spec": {"containers": [container]}}}});
        if let (Some(reason), Some(patch)) = (&wanted.reason, patch.as_object_mut()) {
            let cause = format!("{reason} ({})", wanted.by);
            patch.insert(
                "metadata".to_owned(),
                json!({"annotations": {CAUSE: cause}}),
            );
        }
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(target.kind, Some(&target.namespace));
        // By the containers' names, so that what others change at the same time stays.
        let patch = Patch::Strategic(patch);
        self.call(api.patch(&target.name, &params, &patch)).await?;
        Ok(())
    }
}

/// Whether a workload has an image of the same repository.
fn has_image_of(object: &Value, image: &str) -> bool {
    containers(object)
        .iter()
        .filter_map(|one| one.get("image")?.as_str())
        .any(|one| repository(one) == repository(image))
}
