//! The way in and out: events, answers and views.

use haldane_core::rollout::{GateAnswer, GateKey};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, shop, version};
use crate::handle::{Event, REQUESTS_MAX, RequestError};

#[test]
fn the_queue_of_events_is_bounded() {
    let bench = Bench::with_shop();
    let engine = bench.engine().clone();
    let taken = (0..REQUESTS_MAX * 2)
        .filter(|_| engine.tell(Event::Changed))
        .count();
    assert_eq!(taken, REQUESTS_MAX);
}

#[test]
fn an_answer_for_nobody_or_a_gate_of_nobody_is_ignored() {
    let mut bench = Bench::with_shop();
    let (reply, answer) = tokio::sync::oneshot::channel();
    drop(answer);
    bench
        .driver()
        .take(Event::Rollout("shop-1".parse().unwrap(), reply));
    let key = GateKey {
        rollout: "shop-9".parse().unwrap(),
        step: 0,
        entered: super::bench::START.parse().unwrap(),
    };
    bench.driver().take(Event::Gate(GateAnswer {
        key,
        is_open: true,
        said: String::new(),
    }));
    bench.driver().take(Event::Changed);
    let missing = bench.ask(|reply| Event::Rollout("shop-9".parse().unwrap(), reply));
    assert_eq!(
        missing,
        Err(RequestError::NotFound(
            "there is no rollout shop-9".to_owned()
        ))
    );
}

#[test]
fn views_follow_each_event_without_a_turn() {
    let mut bench = Bench::with_shop();
    let mut views = bench.engine().watch();
    views.borrow_and_update();
    bench.deploy("v2").unwrap();
    assert!(views.has_changed().unwrap());
    assert_eq!(
        views.borrow_and_update()[&shop()]
            .canary
            .as_ref()
            .unwrap()
            .version,
        version("v2")
    );
}

#[test]
fn a_driver_on_its_own_thread_answers_and_stops() {
    let mut bench = Bench::with_shop();
    let engine = bench.engine().clone();
    let driver = bench.take_driver();
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let thread = std::thread::spawn(move || driver.run(&stopped));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let history = runtime.block_on(engine.history(shop(), 10, true));
    assert_eq!(history, Ok(Vec::new()));
    stop.cancel();
    // The wait for the next event is ended by the stop alone.
    thread.join().unwrap().unwrap();
    let late = runtime.block_on(engine.history(shop(), 10, true));
    assert_eq!(late, Err(RequestError::Unavailable));
    bench.restart();
}
