//! Tests of `pace`.

use std::slice;

use haldane_api::http::{FiguresView, VersionView};

use super::*;

fn name(name: &str) -> ServiceName {
    name.parse().unwrap()
}

fn views(notices: &[(&str, &str)]) -> Views {
    let view = |(service, notice): &(&str, &str)| ServiceView {
        name: name(service),
        namespace: None,
        listen: Vec::new(),
        stable: VersionView {
            version: "v1".parse().unwrap(),
            source: String::new(),
            replicas_wanted: 1,
            replicas_ready: 1,
            replicas_existing: 1,
            figures: FiguresView::default(),
        },
        canary: None,
        rollout: None,
        queued: None,
        differences: Vec::new(),
        notices: vec![(*notice).to_owned()],
        objects: Vec::new(),
        at: "2026-11-21T10:00:00Z".parse().unwrap(),
    };
    notices
        .iter()
        .map(|notice| (name(notice.0), view(notice)))
        .collect()
}

/// Returns what is sent until there is nothing more, and how long to wait then.
fn drain(pace: &mut Pace, views: &Views, now: Instant) -> (Vec<String>, Option<Duration>) {
    let mut sent = Vec::new();
    loop {
        match pace.next(views, now) {
            Next::Send(view) => sent.push(format!("{} {}", view.name, view.notices.join(" "))),
            Next::Wait(until) => return (sent, until.map(|until| until - now)),
        }
    }
}

#[test]
fn everything_is_sent_once_and_then_only_changes() {
    let (mut pace, now) = (Pace::new(None), Instant::now());
    let first = views(&[("a", "1"), ("b", "1")]);
    assert_eq!(
        drain(&mut pace, &first, now),
        (vec!["a 1".to_owned(), "b 1".to_owned()], None)
    );
    assert_eq!(drain(&mut pace, &first, now + INTERVAL), (vec![], None));
    let second = views(&[("a", "1"), ("b", "2")]);
    assert_eq!(
        drain(&mut pace, &second, now + INTERVAL),
        (vec!["b 2".to_owned()], None)
    );
}

#[test]
fn a_change_waits_for_its_services_interval_and_goes_with_the_newest() {
    let (mut pace, now) = (Pace::new(None), Instant::now());
    drain(&mut pace, &views(&[("a", "1"), ("b", "1")]), now);
    let at = |ms| now + Duration::from_millis(ms);
    let second = views(&[("a", "2"), ("b", "1")]);
    assert_eq!(
        drain(&mut pace, &second, at(100)),
        (vec![], Some(Duration::from_millis(150)))
    );
    let third = views(&[("a", "3"), ("b", "1")]);
    assert_eq!(
        drain(&mut pace, &third, at(249)),
        (vec![], Some(Duration::from_millis(1)))
    );
    assert_eq!(
        drain(&mut pace, &third, at(250)),
        (vec!["a 3".to_owned()], None)
    );
    // The interval runs from what was sent last.
    assert_eq!(
        drain(&mut pace, &second, at(300)),
        (vec![], Some(Duration::from_millis(200)))
    );
}

#[test]
fn a_change_that_is_taken_back_in_time_is_not_sent() {
    let (mut pace, now) = (Pace::new(None), Instant::now());
    drain(&mut pace, &views(&[("a", "1")]), now);
    drain(&mut pace, &views(&[("a", "2")]), now);
    assert_eq!(
        drain(&mut pace, &views(&[("a", "1")]), now + INTERVAL),
        (vec![], None)
    );
}

#[test]
fn a_service_that_changes_always_does_not_hold_up_another() {
    let (mut pace, mut now) = (Pace::new(None), Instant::now());
    drain(&mut pace, &views(&[("a", "0"), ("b", "0")]), now);
    // A client so slow that the first service has changed again whenever it takes an event.
    let mut sent = Vec::new();
    for round in 1..=3 {
        now += INTERVAL;
        let views = views(&[("a", &round.to_string()), ("b", "1")]);
        if let Next::Send(view) = pace.next(&views, now) {
            sent.push(view.name.clone());
        }
    }
    assert_eq!(sent, [name("a"), name("b"), name("a")]);
}

#[test]
fn a_service_that_comes_back_is_sent_again() {
    let (mut pace, now) = (Pace::new(None), Instant::now());
    let views = views(&[("a", "1")]);
    drain(&mut pace, &views, now);
    drain(&mut pace, &Views::new(), now);
    assert_eq!(
        drain(&mut pace, &views, now),
        (vec!["a 1".to_owned()], None)
    );
}

#[test]
fn only_the_service_that_is_wanted_is_sent() {
    let (mut pace, now) = (Pace::new(Some(name("b"))), Instant::now());
    let sent = drain(&mut pace, &views(&[("a", "1"), ("b", "1")]), now).0;
    assert_eq!(sent, slice::from_ref(&"b 1".to_owned()));
}

#[test]
fn the_same_at_a_later_time_is_not_sent() {
    let (mut pace, now) = (Pace::new(None), Instant::now());
    let mut views = views(&[("a", "1")]);
    drain(&mut pace, &views, now);
    views.get_mut(&name("a")).unwrap().at = "2026-11-21T11:00:00Z".parse().unwrap();
    assert_eq!(drain(&mut pace, &views, now + INTERVAL), (vec![], None));
    views.get_mut(&name("a")).unwrap().notices = vec!["2".to_owned()];
    assert_eq!(
        drain(&mut pace, &views, now + INTERVAL),
        (vec!["a 2".to_owned()], None)
    );
}
