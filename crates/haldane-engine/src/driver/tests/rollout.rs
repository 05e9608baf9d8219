//! A rollout from its beginning to its end.

use haldane_api::http::CommandName;
use haldane_core::{
    rollout::{Approval, GateAnswer, Input, Phase, Promotion, Stage},
    verdict::Verdict,
};

use super::bench::{Bench, SHOP, shop, version};
use crate::{
    handle::{Event, RequestError},
    port::Size,
};

#[test]
fn a_good_version_is_promoted() {
    let mut bench = Bench::with_shop();
    let answer = bench.deploy("v2").unwrap();
    assert_eq!(answer.rollout.unwrap().as_str(), "shop-1");
    bench.until("Completed");
    let story = bench.story("shop-1");
    assert_eq!(
        story,
        [
            "Pending 0",
            "Preparing 0",
            "Progressing 0",
            "Progressing 10",
            "Progressing 10",
            "Progressing 10",
            "Progressing 50",
            "Progressing 50",
            "Progressing 50",
            "Progressing 100",
            "Progressing 100",
            "Promoting 100",
            "Promoting 100",
            "Completed 100",
        ]
    );
    bench.turns(2);
    let view = bench.view();
    assert_eq!(view.stable.version, version("v2"));
    assert_eq!(
        view.differences,
        ["runs v2, the file that was last applied says v1"]
    );
    let world = bench.world.lock();
    assert_eq!(
        (world.runs(&shop(), "v1"), world.runs(&shop(), "v2")),
        (0, 2)
    );
    let route = &world.routes[&shop()].applied;
    assert_eq!(
        (&route.stable.version, &route.canary),
        (&version("v2"), &None)
    );
    assert_eq!(world.forgotten, [version("v1")]);
    assert_eq!(world.gates_forgotten, ["shop-1".parse().unwrap()]);
    assert_eq!(world.news.last().unwrap().phase, "Completed");
}

#[test]
fn a_bad_version_is_rolled_back_with_its_evidence() {
    let mut bench = Bench::with_shop();
    bench.world.lock().failing.insert(version("v2"), 300);
    bench.deploy("v2").unwrap();
    bench.until("RolledBack");
    let entries = bench.entries("shop-1");
    let judged = entries.iter().find(|entry| {
        matches!(&entry.input, Some(Input::Judged(judgement)) if judgement.verdict == Verdict::Fail)
    });
    let judged = judged.expect("the cause is the judge");
    assert_eq!(judged.state.phase.name(), "RollingBack");
    let guard = &judged.evidence.as_ref().unwrap().guards[0];
    assert_eq!(
        (guard.canary, guard.verdict),
        (Some(300_000), Verdict::Fail)
    );
    assert!(
        entries
            .iter()
            .all(|entry| entry.state.weight().as_bps() <= 1_000)
    );
    bench.turns(2);
    assert_eq!(bench.view().stable.version, version("v1"));
    let world = bench.world.lock();
    assert_eq!(
        (world.runs(&shop(), "v1"), world.runs(&shop(), "v2")),
        (2, 0)
    );
    assert_eq!(world.forgotten, [version("v2")]);
}

#[test]
fn what_was_counted_before_is_not_judged_on_a_retry() {
    let mut bench = Bench::with_shop();
    bench.world.lock().failing.insert(version("v2"), 1_000);
    bench.deploy("v2").unwrap();
    bench.until("RolledBack");
    bench.turn();
    bench.world.lock().failing.clear();
    bench.command(CommandName::Retry).unwrap();
    assert_eq!(bench.rollout_id(), "shop-2");
    bench.until("Completed");
}

#[test]
fn a_slow_start_and_a_late_router_only_take_time() {
    let mut bench = Bench::with_shop();
    {
        let mut world = bench.world.lock();
        world.start_turns = 4;
        world.router_turns = Some(3);
    }
    bench.deploy("v2").unwrap();
    bench.turns(3);
    assert_eq!((bench.phase().as_str(), bench.routed()), ("Preparing", 0));
    bench.until("Completed");
}

#[test]
fn a_version_that_never_gets_ready_is_rolled_back_without_a_request() {
    let mut bench = Bench::with_shop();
    bench.world.lock().deaf.insert(version("v2"));
    bench.deploy("v2").unwrap();
    bench.until("RolledBack");
    assert_eq!(
        bench.view().rollout.unwrap().message,
        "the canary did not become ready in time"
    );
    assert_eq!(
        bench
            .world
            .lock()
            .counted
            .get(&(shop(), version("v2")))
            .map_or(0, |it| it.0),
        0
    );
}

#[test]
fn a_router_that_never_applies_keeps_the_canary_running_and_fails() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.turn();
    bench.world.lock().router_turns = None;
    bench.command(CommandName::Abort).unwrap();
    bench.until("Failed");
    bench.turns(5);
    // Traffic may still go to the canary, so it is not stopped: not by the failure, not by the next rollout.
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 2);
    bench.restart();
    assert_eq!(bench.phase(), "Failed");
    bench.deploy("v3").unwrap();
    bench.turns(3);
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 2);
    bench.world.lock().router_turns = Some(0);
    bench.until("Completed");
    assert_eq!(bench.world.lock().runs(&shop(), "v2"), 0);
}

#[test]
fn a_canary_that_dies_gets_no_traffic_until_it_is_back() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.world.lock().deaf.insert(version("v2"));
    bench.turn();
    assert_eq!(bench.routed(), 0);
    bench.world.lock().deaf.clear();
    bench.turn();
    assert_eq!(bench.routed(), 10);
    bench.until("Completed");
}

#[test]
fn the_old_version_is_kept_while_it_has_requests_in_flight() {
    let mut bench = Bench::with_shop();
    bench.world.lock().in_flight.insert(version("v1"), 3);
    bench.deploy("v2").unwrap();
    bench.until_view("draining", |view| {
        view.rollout
            .as_ref()
            .is_some_and(|it| it.phase == "Promoting")
    });
    bench.turns(3);
    assert_eq!(bench.phase(), "Promoting");
    assert_eq!(bench.world.lock().runs(&shop(), "v1"), 2);
    bench.world.lock().in_flight.clear();
    bench.turn();
    assert_eq!(bench.phase(), "Completed");
}

const GATED: &str = "
services:
  shop:
    listen: 127.0.0.1:8080
    stable: { version: v1, run: ./shop --port $PORT, replicas: 2 }
    rollout:
      steps:
        - testTraffic: true
        - gate: { name: smoke, run: [./smoke, $CANARY_URL], timeout: 30s }
        - 100%
      hold: 2s
      guards: none
";

#[test]
fn a_gate_is_asked_once_with_addresses_and_its_answer_counts() {
    for (is_open, end) in [(true, "Completed"), (false, "RolledBack")] {
        let mut bench = Bench::new();
        bench.apply(GATED).unwrap();
        bench.turns(2);
        bench.deploy("v2").unwrap();
        bench.turns(6);
        let asked = bench.world.lock().asked.clone();
        let [(key, subject)] = asked.as_slice() else {
            panic!("asked {} times", asked.len());
        };
        assert_eq!(subject.stable_url.as_deref(), Some("http://127.0.0.1:9001"));
        assert_eq!(subject.canary_url.as_deref(), Some("http://127.0.0.1:9002"));
        let answer = GateAnswer {
            key: key.clone(),
            is_open,
            said: "smoke".to_owned(),
        };
        bench.driver().take(Event::Gate(answer.clone()));
        bench.until(end);
        // Late and repeated answers change nothing.
        bench.driver().take(Event::Gate(answer));
        bench.turn();
        assert_eq!(bench.phase(), end);
    }
}

#[test]
fn an_answer_of_a_gate_that_the_disk_could_not_take_is_not_lost() {
    let mut bench = Bench::new();
    bench.apply(GATED).unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    bench.turns(4);
    let key = bench.world.lock().asked[0].0.clone();
    bench.broken_disk(true);
    let answer = GateAnswer {
        key,
        is_open: true,
        said: "ok".to_owned(),
    };
    bench.driver().take(Event::Gate(answer));
    bench.turns(2);
    bench.broken_disk(false);
    bench.until("Completed");
}

const TELLING: &str =
    "hooks: { afterRollback: [{ webhook: 'http://told/' }, { name: clean, run: [./clean] }] }";

/// Lets who was asked last answer.
fn answer_last(bench: &mut Bench, said: &str) -> String {
    let (key, subject) = bench.world.lock().asked.last().unwrap().clone();
    let answer = GateAnswer {
        key,
        is_open: false,
        said: said.to_owned(),
    };
    bench.driver().take(Event::Gate(answer));
    bench.turn();
    subject.why.unwrap()
}

fn told(bench: &mut Bench, rollout: &str) -> Vec<String> {
    let entries = bench.entries(rollout).into_iter();
    entries
        .filter(|entry| entry.state.phase.is_terminal())
        .map(|entry| entry.text)
        .collect()
}

#[test]
fn who_is_to_be_told_of_a_rollback_is_told_over_restarts_and_new_rollouts() {
    let mut bench = Bench::new();
    bench
        .apply(&GATED.replace("guards: none", &format!("guards: none\n      {TELLING}")))
        .unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    bench.turns(6);
    bench.command(CommandName::Abort).unwrap();
    bench.until("RolledBack");
    bench.turns(2);
    let why = answer_last(&mut bench, "noted");
    assert!(why.starts_with("aborted by"), "{why}");
    // The second one is told also where the daemon ends and something else is tried.
    bench.restart();
    bench.deploy("v3").unwrap();
    bench.turns(2);
    assert_eq!(bench.rollout_id(), "shop-2");
    let asked = bench.world.lock().asked.clone();
    let (key, _) = asked
        .iter()
        .rfind(|(key, _)| key.rollout.as_str() == "shop-1")
        .unwrap();
    let answer = |said: &str| GateAnswer {
        key: key.clone(),
        is_open: true,
        said: said.to_owned(),
    };
    bench.broken_disk(true);
    bench.driver().take(Event::Gate(answer("lost")));
    bench.broken_disk(false);
    bench.turn();
    bench.driver().take(Event::Gate(answer("cleaned")));
    bench.driver().take(Event::Gate(answer("cleaned twice")));
    bench.turns(2);
    let told = told(&mut bench, "shop-1");
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(told[0].starts_with("rolled back"), "{told:#?}");
    assert_eq!(
        told[1..],
        ["webhook after a rollback: noted", "clean: cleaned"]
    );
    assert!(!bench.phase().is_empty());
    bench.restart();
    bench.turns(2);
    let again = bench.world.lock().asked.len();
    bench.turns(20);
    assert_eq!(
        bench.world.lock().asked[again..]
            .iter()
            .filter(|(key, _)| key.rollout.as_str() == "shop-1")
            .count(),
        0
    );
}

#[test]
fn a_judged_rollback_that_was_told_is_decided_again_the_same() {
    let mut bench = Bench::new();
    let file = SHOP.replace("rollout:\n", &format!("rollout:\n      {TELLING}\n"));
    bench.apply(&file).unwrap();
    bench.turns(2);
    bench.world.lock().failing.insert(version("v2"), 300);
    bench.deploy("v2").unwrap();
    bench.until("RolledBack");
    bench.turns(2);
    let why = answer_last(&mut bench, "noted");
    assert!(why.contains("error"), "{why}");
    answer_last(&mut bench, "cleaned");
    assert_eq!(told(&mut bench, "shop-1").len(), 3);
}

#[test]
fn nobody_is_told_of_a_promotion() {
    let mut bench = Bench::new();
    bench
        .apply(&GATED.replace("guards: none", &format!("guards: none\n      {TELLING}")))
        .unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    bench.turns(6);
    let key = bench.world.lock().asked[0].0.clone();
    bench.driver().take(Event::Gate(GateAnswer {
        key,
        is_open: true,
        said: "fine".to_owned(),
    }));
    bench.until("Completed");
    bench.turns(10);
    assert_eq!(bench.world.lock().asked.len(), 1);
}

#[test]
fn jobs_are_refused_where_there_are_none() {
    let mut bench = Bench::new();
    let file = GATED.replace("run: [./smoke, $CANARY_URL]", "job: smoke");
    let applied = bench.apply(&file);
    let result = applied.and_then(|_| bench.deploy("v2"));
    let Err(RequestError::Invalid { problems, .. }) = result else {
        panic!("{result:?}");
    };
    let expected =
        "steps[1].job: there are no Jobs but on Kubernetes; expected a webhook or a command (run)";
    assert_eq!(problems, [expected]);
}

#[test]
fn a_plan_of_many_steps_makes_a_bounded_number_of_moves_in_a_turn() {
    let mut bench = Bench::new();
    let shares: Vec<String> = (1..=50)
        .map(|share| format!("{{ weight: {}% }}", share * 2))
        .collect();
    let text = SHOP
        .replace("[10%, 50%, 100%]", &format!("[{}]", shares.join(", ")))
        .replace("      hold: 5s\n", "");
    bench.apply(&text).unwrap();
    bench.turns(2);
    bench.deploy("v2").unwrap();
    let mut before = bench.faults.commits();
    while bench.phase() != "Completed" {
        bench.turn();
        let now = bench.faults.commits();
        assert!(now - before <= 20, "{}", now - before);
        before = now;
    }
    assert!(bench.story("shop-1").len() > 50);
}

#[test]
fn a_decision_that_would_break_a_rule_is_not_taken_and_is_told() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    let home = bench.driver().homes.get_mut(&shop()).unwrap();
    let state = &mut home.rollout.as_mut().unwrap().record.state;
    let Phase::Progressing(progress) = state.phase else {
        panic!("not at a step");
    };
    state.phase = Phase::Promoting(Promotion {
        stage: Stage::Shifting,
        weight: progress.weight,
        by: Approval::Unjudged,
        entered: progress.entered,
        due: progress.entered,
        deadline: progress.deadline,
    });
    bench.is_damaged = true;
    bench.turns(10);
    assert_eq!(bench.routed(), 10);
    assert!(bench.view().notices[0].contains("nothing is promoted unjudged"));
    bench.command(CommandName::Abort).unwrap();
    assert!(bench.view().notices.is_empty());
    bench.until("RolledBack");
}

#[test]
fn news_are_told_once_each() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until("Completed");
    bench.turns(5);
    let before = bench.world.lock().news.len();
    bench.restart();
    bench.turns(3);
    let world = bench.world.lock();
    let mut keys: Vec<&str> = world.news.iter().map(|news| news.key.as_str()).collect();
    assert_eq!(keys.len(), before, "a restart tells no end again");
    keys.dedup();
    assert_eq!(keys.len(), before);
}

#[test]
fn the_canary_has_the_size_of_stable() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    let world = bench.world.lock();
    let sizes: Vec<Size> = world.wishes[&shop()].iter().map(|wish| wish.size).collect();
    assert_eq!(sizes, [Size::Replicas(2), Size::Replicas(2)]);
}
