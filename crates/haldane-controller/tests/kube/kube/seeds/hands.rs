//! What people do by hand to a rollout, while the controller runs and while it does not.

use serde_json::Value;
use tokio::time;

use super::{
    cluster::Cluster,
    promotion::{header, istio, nginx, smi},
};
use crate::kube::rig::QUIET;

#[tokio::test]
async fn a_virtual_service_that_is_patched_by_hand_is_never_fought() {
    let cluster = Cluster::new("hand-istio", istio()).await;
    weights(cluster, &[true, false], &[true, false]).await;
}

#[tokio::test]
async fn a_traffic_split_that_is_patched_by_hand_is_never_fought() {
    let cluster = Cluster::new("hand-smi", smi()).await;
    weights(cluster, &[true], &[false]).await;
}

#[tokio::test]
async fn a_canary_ingress_that_is_annotated_by_hand_is_never_fought() {
    let cluster = Cluster::new("hand-nginx", nginx()).await;
    weights(cluster, &[true, false], &[true, false]).await;
}

/// Sets weight zero, and then another one; each while the controller is up, or while it is down.
async fn weights(mut cluster: Cluster, zero: &[bool], other: &[bool]) {
    let hand = cluster.shape.hand;
    let first = cluster.shape.apps[0];
    let stable = format!("{first}-stable");
    for (number, is_up) in zero.iter().enumerate() {
        cluster.set_version(&format!("a{number}")).await;
        cluster.weighs(25).await;
        by_hand(&mut cluster, *is_up, 0).await;
        cluster.phase("RolledBack").await;
        cluster.stopped().await;
        assert_eq!(cluster.weight().await, 0);
        assert!(cluster.image(&stable).await.ends_with(":v1"));
        let said = format!("the canary's weight was set to 0% by {hand}");
        let message = cluster.message().await;
        assert!(message.contains(&said), "{message}");
        cluster.told(&said).await;
    }
    for (number, is_up) in other.iter().enumerate() {
        let served = cluster.image(&stable).await;
        cluster.set_version(&format!("b{number}")).await;
        cluster.weighs(25).await;
        by_hand(&mut cluster, *is_up, 30).await;
        cluster.phase("Paused").await;
        // It stays there, and nobody writes over it.
        let seen = cluster.object().await;
        time::sleep(QUIET).await;
        let now = cluster.object().await;
        let version_of = |object: &Value| object["metadata"]["resourceVersion"].clone();
        assert_eq!(version_of(&seen), version_of(&now));
        assert_eq!(cluster.weight().await, 30);
        assert_eq!(cluster.image(&stable).await, served);
        let message = cluster.message().await;
        assert!(message.contains(hand), "{message}");
        cluster.command(&format!("go-on-{number}"), "resume").await;
        cluster.phase("Completed").await;
        cluster.rest().await;
        assert_eq!(cluster.weight().await, 0);
    }
}

async fn by_hand(cluster: &mut Cluster, is_up: bool, weight: u64) {
    if is_up {
        cluster.set_weight(weight).await;
    } else {
        cluster.stop();
        cluster.set_weight(weight).await;
        cluster.start();
    }
}

#[tokio::test]
async fn a_canary_that_is_scaled_to_zero_or_deleted_by_hand_ends_its_rollout() {
    let mut cluster = Cluster::new("hand-scale", header()).await;
    for (version, is_up, is_deleted) in [
        ("v2", true, false),
        ("v3", false, false),
        ("v4", true, true),
        ("v5", false, true),
    ] {
        cluster.apply_canaries(version).await;
        cluster.weighs(25).await;
        if !is_up {
            cluster.stop();
        }
        let said = if is_deleted {
            cluster.delete("auth-canary").await;
            "Deployment auth-canary was deleted"
        } else {
            cluster.scale("auth-canary", 0).await;
            "Deployment auth-canary was scaled to 0 by kubectl"
        };
        if !is_up {
            cluster.start();
        }
        cluster.phase("RolledBack").await;
        cluster.rest().await;
        assert_eq!(cluster.weight().await, 0);
        assert_eq!(cluster.image("auth-stable").await, "auth:v1");
        let message = cluster.message().await;
        assert!(message.contains(said), "{message}");
        cluster.told(said).await;
    }
}
