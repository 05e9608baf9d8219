//! Tests of `observe`.

use haldane_analysis::sequential::{Counts, Reading};
use haldane_core::plan::metric::Metric;
use haldane_proxy::ConversionReading;

use super::*;
use crate::wire::web::server::{Server, say, until};

/// What Prometheus says about requests that were counted until a second of this minute.
fn answer(second: i64, count: u32) -> String {
    let at = Timestamp::now().as_second() - 30 + second;
    format!(
        r#"{{"status":"success","data":{{"resultType":"matrix","result":[{{"metric":{{"code":"200","instance":"a"}},"values":[[{at},"{count}"]]}}]}}}}"#
    )
}

fn metrics(server: &Server) -> Vec<Metric> {
    let text = format!(
        "sources: {{ p: {{ prometheus: http://{} }} }}\nservices: {{ shop: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ kind: ratio, source: p, template: plain, interval: 1s }} }} }} }}",
        server.address
    );
    let file = haldane_api::file::parse(&text).unwrap();
    let service = file.services.into_values().next().unwrap();
    service.plan.rules().metrics.clone()
}

/// A rollout that is watched.
struct Case {
    observer: Observer,
    service: ServiceName,
    rollout: RolloutId,
    stable: VersionName,
    canary: Option<VersionName>,
    metrics: Vec<Metric>,
}

impl Case {
    fn new(server: &Server) -> Self {
        Self {
            observer: Observer::new(&Handle::current(), Jobs::alone()),
            service: "shop".parse().unwrap(),
            rollout: "shop-1".parse().unwrap(),
            stable: "v1".parse().unwrap(),
            canary: Some("v2".parse().unwrap()),
            metrics: metrics(server),
        }
    }

    fn look(&mut self) -> Vec<Observed> {
        let watch = Watch {
            trial: self.canary.as_ref().map(|canary| Trial {
                rollout: &self.rollout,
                canary,
            }),
            stable: &self.stable,
            weight: Weight::from_percent(10),
            metrics: &self.metrics,
            dir: None,
            now: Timestamp::now(),
        };
        self.observer
            .observed(&self.service, Some(&watch), &Proxied::default())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_told_is_taken_once_and_nobody_is_asked_after_the_end() {
    let acts = [(0, 10), (0, 10), (10, 20), (10, 20)];
    let acts = acts.map(|(second, count)| say(200, "", &answer(second, count)));
    let server = Server::start(acts).await;
    let mut case = Case::new(&server);
    let told = until(|| Some(case.look()).filter(|told| !told.is_empty())).await;
    let [one] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert_eq!(
        (one.metric.as_str(), one.weight),
        ("m", Weight::from_percent(10))
    );
    assert_eq!(one.to.duration_since(one.from).as_secs(), 10);
    assert_eq!(case.look(), []);
    assert!(
        case.observer
            .observed(&case.service, None, &Proxied::default())
            .is_empty()
    );
    case.observer.tasks.close();
    // The task ends: nobody is left who could ask.
    tokio::time::timeout(Duration::from_secs(20), case.observer.tasks.wait())
        .await
        .unwrap();
}

#[tokio::test]
async fn what_the_proxy_counted_before_the_rollout_is_not_its_own() {
    let text = "services: { shop: { listen: 0, stable: { version: v1, run: a }, metrics: { bought: { kind: conversion, hit: POST /buy 2xx, of: GET /cart, within: 1s } } } }";
    let file = haldane_api::file::parse(text).unwrap();
    let service = file.services.into_values().next().unwrap();
    let metrics = service.plan.rules().metrics.clone();
    let mut observer = Observer::new(&Handle::current(), Jobs::alone());
    let names: (ServiceName, VersionName, VersionName) = (
        "shop".parse().unwrap(),
        "v1".parse().unwrap(),
        "v2".parse().unwrap(),
    );
    let mut look = |rollout: &str, second: i64, exposures: u64| {
        let rollout = rollout.parse().unwrap();
        let counted = |exposures| {
            let reading = ConversionReading {
                hits: exposures / 2,
                exposures,
                generation: 1,
            };
            Converted::from([("bought".to_owned(), reading)])
        };
        let proxied = Proxied {
            routing: Some(Routing {
                weight: Weight::from_percent(50),
                is_by_chance: true,
                change: 0,
            }),
            counts: [counted(exposures), counted(exposures)],
        };
        let watch = Watch {
            trial: Some(Trial {
                rollout: &rollout,
                canary: &names.2,
            }),
            stable: &names.1,
            weight: Weight::from_percent(50),
            metrics: &metrics,
            dir: None,
            now: Timestamp::from_second(second).unwrap(),
        };
        observer.observed(&names.0, Some(&watch), &proxied)
    };
    assert_eq!(look("shop-1", 0, 1_000), []);
    let told: Vec<_> = (1..10)
        .flat_map(|second| look("shop-1", second, 10))
        .collect();
    let [one] = told.as_slice() else {
        panic!("{told:?}")
    };
    let counts = Counts {
        exposure: 50,
        events: 25,
    };
    assert_eq!(one.stable, Some(Reading::Counts(counts)));
    assert_eq!(one.canary, Some(Reading::Counts(counts)));
    // Another rollout begins with nothing, and waits again.
    let told: Vec<_> = (10..17)
        .flat_map(|second| look("shop-2", second, 10))
        .collect();
    assert_eq!(told, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_counters_without_history_rise_by_is_counted() {
    // Both queries of both versions are asked in each turn: twice the same, then more.
    let acts = [(2, 10), (2, 10), (2, 10), (2, 10), (5, 30)];
    let acts = acts.map(|(sold, seen)| {
        let body = format!(r#"{{"sold":{sold},"seen":{seen}}}"#);
        say(200, "", &body)
    });
    let server = Server::start(acts).await;
    let mut case = Case::new(&server);
    let text = format!(
        "sources: {{ s: {{ web: http://{} }} }}\nservices: {{ shop: {{ listen: 0, stable: {{ version: v1, run: a }}, metrics: {{ m: {{ kind: conversion, source: s, events: '?v={{{{version}}}} $.sold', exposure: '?v={{{{version}}}} $.seen', interval: 1s }} }} }} }}",
        server.address
    );
    let file = haldane_api::file::parse(&text).unwrap_or_else(|problems| panic!("{problems:#?}"));
    let service = file.services.into_values().next().unwrap();
    case.metrics = service.plan.rules().metrics.clone();
    let told = until(|| Some(case.look()).filter(|told| !told.is_empty())).await;
    let rise = Counts {
        exposure: 20,
        events: 3,
    };
    assert_eq!(told[0].stable, Some(Reading::Counts(rise)));
    assert_eq!(told[0].canary, Some(Reading::Counts(rise)));
    assert_eq!(told[0].weight, Weight::from_percent(10));
    let asked = server.requests(4).await;
    let asked = |version: &str| {
        let asked = asked.iter().take(4).filter_map(|one| one.as_str());
        asked.filter(|one| one.contains(version)).count()
    };
    assert_eq!((asked("GET /?v=v1 "), asked("GET /?v=v2 ")), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_rollout_stable_is_asked_about_alone_and_calmly() {
    let server = Server::start([say(200, "", &answer(0, 10))]).await;
    let mut case = Case::new(&server);
    case.canary = None;
    assert_eq!(case.look(), []);
    let question = Question::try_new(&case.metrics[0], &case.service, &case.stable, None);
    assert_eq!(question.unwrap().canary, None);
    let calm = |canary: Option<&VersionName>| {
        let watch = Watch {
            trial: canary.map(|canary| Trial {
                rollout: &case.rollout,
                canary,
            }),
            stable: &case.stable,
            weight: Weight::ZERO,
            metrics: &case.metrics,
            dir: None,
            now: Timestamp::now(),
        };
        interval(&case.metrics[0], &watch)
    };
    assert_eq!(calm(None), CALM_INTERVAL);
    assert_eq!(calm(Some(&case.stable)), Duration::from_secs(1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_rollout_begins_anew() {
    let server = Server::start([say(200, "", &answer(0, 10))]).await;
    let mut case = Case::new(&server);
    assert_eq!(case.look(), []);
    case.observer.watched[&case.service].shared.tell(Observed {
        metric: "m".to_owned(),
        from: Timestamp::UNIX_EPOCH,
        to: Timestamp::now(),
        skew: Duration::ZERO,
        weight: Weight::ZERO,
        stable: None,
        canary: None,
    });
    case.rollout = "shop-2".parse().unwrap();
    assert_eq!(case.look(), [], "what was told about another rollout");
}

#[test]
fn the_weight_is_the_one_at_that_time_and_all_that_is_kept_is_bounded() {
    let shared = Shared::default();
    let at = |second| Timestamp::from_second(second).unwrap();
    assert_eq!(shared.weight_at(at(5)), Weight::ZERO);
    for (second, percent) in [(10, 5), (20, 5), (30, 50)] {
        let weight = Weight::from_percent(percent);
        shared.lock().note_weight(at(second), weight);
    }
    for (second, percent) in [(0, 5), (10, 5), (29, 5), (30, 50), (99, 50)] {
        let weight = Weight::from_percent(percent);
        assert_eq!(shared.weight_at(at(second)), weight, "{second}");
    }
    for second in 100..400 {
        let percent = u8::try_from(second % 2).unwrap();
        let weight = Weight::from_percent(percent);
        shared.lock().note_weight(at(second), weight);
        shared.tell(Observed {
            metric: "m".to_owned(),
            from: at(second),
            to: at(second + 1),
            skew: Duration::ZERO,
            weight,
            stable: None,
            canary: None,
        });
    }
    let inside = shared.lock();
    assert_eq!(
        (inside.weights.len(), inside.told.len()),
        (WEIGHTS_MAX, TOLD_MAX)
    );
    assert_eq!(inside.told.back().unwrap().from, at(399));
}
