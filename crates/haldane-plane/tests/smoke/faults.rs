//! What goes wrong between a client and the API server when a rule says so, and nothing else.

use std::pin::pin;

use futures_util::{StreamExt as _, TryStreamExt as _};
use haldane_plane::{Fault, Matcher, Plane, Refusal, Rule, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Error,
    api::{DeleteParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::json;
use tokio::time::{self, Duration, Instant};

use crate::smoke::rig::{create, eventually, object};

/// How long something that must not happen is waited for.
const QUIET: Duration = Duration::from_millis(300);

/// How long an event or an answer may take.
const SOON: Duration = Duration::from_secs(10);

fn map(name: &str) -> ConfigMap {
    object(json!({"metadata": {"name": name}, "data": {"key": "old"}}))
}

fn writes() -> Matcher {
    Matcher::new(&[Verb::Patch], "configmaps")
}

async fn write(api: &Api<ConfigMap>, value: &str) -> Result<(), Error> {
    let patch = Patch::Merge(json!({"data": {"key": value}}));
    let params = PatchParams::default();
    let patched = api.patch("a", &params, &patch);
    time::timeout(SOON, patched).await.unwrap().map(drop)
}

async fn read(api: &Api<ConfigMap>) -> String {
    let map = api.get("a").await.unwrap();
    map.data.unwrap()["key"].clone()
}

/// Waits until the newest rule was followed once.
async fn followed(plane: &Plane) {
    eventually("the rule followed", async || {
        let rules = plane.rules().await.unwrap();
        (rules.last()?.hits == 1).then_some(())
    })
    .await;
}

fn code(result: Result<(), Error>) -> u16 {
    match result {
        Err(Error::Api(status)) => status.code,
        other => panic!("expected an answer that says no, not {other:?}"),
    }
}

#[tokio::test]
async fn requests_go_wrong_as_the_rules_say() {
    let plane = Plane::start().await.unwrap();
    let direct = Api::<ConfigMap>::default_namespaced(plane.client().await.unwrap());
    let api = Api::<ConfigMap>::default_namespaced(plane.faults_client().await.unwrap());
    create(&api, &map("a")).await;

    // Without rules everything passes, also by kubectl's way of using a kubeconfig: the certificate is the server's.
    assert_eq!(read(&api).await, "old");

    // Refused: these requests only, and the server never sees them.
    for (refusal, expected) in [
        (Refusal::Unauthorized, 401),
        (Refusal::Forbidden, 403),
        (Refusal::Conflict, 409),
        (Refusal::Expired, 410),
        (Refusal::InternalError, 500),
    ] {
        let id = plane
            .add_rule(Rule::always(Fault::Refuse(refusal), writes()))
            .await
            .unwrap();
        assert_eq!(code(write(&api, "never").await), expected);
        assert_eq!(read(&api).await, "old");
        assert_eq!(plane.remove_rule(id).await.unwrap().unwrap().hits, 1);
    }
    // What passes by itself the client tries again, after the time that it is told.
    for refusal in [
        Refusal::Unavailable,
        Refusal::Timeout,
        Refusal::TooManyRequests,
    ] {
        let rule = Rule::once(Fault::Refuse(refusal), writes());
        let id = plane.add_rule(rule).await.unwrap();
        write(&api, "again").await.unwrap();
        assert_eq!(plane.remove_rule(id).await.unwrap().unwrap().hits, 1);
    }
    // As often as it says.
    plane
        .add_rule(Rule::once(Fault::Refuse(Refusal::Conflict), writes()))
        .await
        .unwrap();
    assert_eq!(code(write(&api, "never").await), 409);
    write(&api, "first").await.unwrap();
    assert_eq!(read(&direct).await, "first");

    answers_go_wrong(&plane, &direct, &api).await;
    reads_are_stale(&plane, &direct, &api).await;
    plane.stop().await.unwrap();
}

async fn answers_go_wrong(plane: &Plane, direct: &Api<ConfigMap>, api: &Api<ConfigMap>) {
    // Done, but told otherwise; and done, but never told.
    plane
        .add_rule(Rule::once(Fault::DoneBut(Refusal::InternalError), writes()))
        .await
        .unwrap();
    assert_eq!(code(write(api, "second").await), 500);
    assert_eq!(read(direct).await, "second");
    plane
        .add_rule(Rule::once(Fault::Lost, writes()))
        .await
        .unwrap();
    let lost = write(api, "third").await;
    assert!(
        matches!(lost, Err(Error::HyperError(_) | Error::Service(_))),
        "{lost:?}"
    );
    assert_eq!(read(direct).await, "third");

    // Slow, and silent until the rule is gone.
    plane
        .add_rule(Rule::once(Fault::Slow { delay_ms: 400 }, writes()))
        .await
        .unwrap();
    let start = Instant::now();
    write(api, "fourth").await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(400));
    let id = plane
        .add_rule(Rule::always(Fault::Silence, writes()))
        .await
        .unwrap();
    let (silent, ()) = tokio::join!(write(api, "never"), async {
        followed(plane).await;
        plane.remove_rule(id).await.unwrap();
    });
    assert!(silent.is_err());
    assert_eq!(read(direct).await, "fourth");
}

async fn reads_are_stale(plane: &Plane, direct: &Api<ConfigMap>, api: &Api<ConfigMap>) {
    // Stale: as it was at the first read under the rule.
    let reads = Matcher::new(&[Verb::Get], "configmaps");
    let id = plane
        .add_rule(Rule::always(Fault::Stale, reads))
        .await
        .unwrap();
    assert_eq!(read(api).await, "fourth");
    write(api, "fifth").await.unwrap();
    assert_eq!(
        (read(api).await.as_str(), read(direct).await.as_str()),
        ("fourth", "fifth")
    );
    plane.remove_rule(id).await.unwrap();
    assert_eq!(read(api).await, "fifth");
}

#[tokio::test]
async fn watches_go_wrong_while_they_are_open() {
    let plane = Plane::start().await.unwrap();
    let direct = Api::<ConfigMap>::default_namespaced(plane.client().await.unwrap());
    let api = Api::<ConfigMap>::default_namespaced(plane.faults_client().await.unwrap());
    create(&direct, &map("a")).await;
    let params = WatchParams::default()
        .fields("metadata.name=a")
        .disable_bookmarks();
    let watches = || Matcher::new(&[Verb::Watch], "configmaps");
    let open = async || {
        let mut watch = api.watch(&params, "0").await.unwrap().boxed();
        let first = time::timeout(SOON, watch.try_next())
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        assert!(matches!(first, WatchEvent::Added(_)), "{first:?}");
        watch
    };

    let mut watch = open().await;
    plane
        .add_rule(Rule::once(Fault::ExpireWatch, watches()))
        .await
        .unwrap();
    let event = time::timeout(SOON, watch.try_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        matches!(&event, WatchEvent::Error(status) if status.code == 410),
        "{event:?}"
    );
    assert!(
        time::timeout(SOON, watch.try_next())
            .await
            .unwrap()
            .unwrap()
            .is_none()
    );

    let mut watch = open().await;
    plane
        .add_rule(Rule::once(Fault::CutWatch, watches()))
        .await
        .unwrap();
    let cut = time::timeout(SOON, watch.try_next()).await.unwrap();
    assert!(!matches!(cut, Ok(Some(_))), "{cut:?}");

    let mut watch = pin!(open().await);
    let id = plane
        .add_rule(Rule::always(Fault::HoldWatch, watches()))
        .await
        .unwrap();
    followed(&plane).await;
    write(&direct, "new").await.unwrap();
    assert!(time::timeout(QUIET, watch.try_next()).await.is_err());
    plane.remove_rule(id).await.unwrap();
    let event = time::timeout(SOON, watch.try_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(matches!(event, WatchEvent::Modified(_)), "{event:?}");
    plane.stop().await.unwrap();
}

#[tokio::test]
async fn two_planes_side_by_side_know_nothing_of_each_other() {
    let (one, two) = tokio::join!(Plane::start(), Plane::start());
    let (one, two) = (one.unwrap(), two.unwrap());
    let first = Api::<ConfigMap>::default_namespaced(one.client().await.unwrap());
    let second = Api::<ConfigMap>::default_namespaced(two.client().await.unwrap());
    first
        .create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    assert!(second.get_opt("a").await.unwrap().is_none());
    second
        .create(&PostParams::default(), &map("a"))
        .await
        .unwrap();
    second.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(first.get_opt("a").await.unwrap().is_some());
    one.stop().await.unwrap();
    // The other lives on.
    assert!(second.get_opt("a").await.unwrap().is_none());
    two.stop().await.unwrap();
}
