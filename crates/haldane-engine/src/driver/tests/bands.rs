//! What is usual: learned from stable whether a rollout goes on or not, a reason to ask a person, and never more.

use haldane_analysis::band::history;
use haldane_api::http::{BandFinding, BandView};
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

use super::bench::{Bench, SHOP, START, shop, version};
use crate::{
    record::read_band,
    store::{BandRow, Write},
};

const HOUR: i64 = 3_600;
const WEEK: i64 = 168 * HOUR;

/// The shop, judged by its limits alone, with a person who is asked where something is not as usual.
fn hybrid() -> String {
    let rules = "judge: threshold\n      advance: hybrid\n      promote: hybrid\n      guards";
    SHOP.replacen("hold: 5s", "hold: 70s", 1).replacen(
        "guards: { errorRate: 5% }",
        &format!("{rules}: {{ errorRate: 50% }}"),
        1,
    )
}

fn with_payments(shop: &str) -> String {
    let metrics =
        "    metrics: { payments: { kind: ratio, source: prom, template: plain } }\n    rollout:";
    let sources = "sources: { prom: { prometheus: http://127.0.0.1:9090 } }\nservices:";
    shop.replacen("    rollout:", metrics, 1)
        .replacen("services:", sources, 1)
}

fn serving(file: &str) -> Bench {
    let mut bench = Bench::new();
    bench.apply(file).unwrap();
    bench.turns(3);
    bench
}

/// Lets so many times five minutes pass.
fn slots(bench: &mut Bench, count: u32) {
    for _ in 0..count {
        bench.world.pass(300);
        bench.turn_now();
    }
}

/// Lets the same hour of some weeks pass, and ends at the beginning of that hour.
fn weeks(bench: &mut Bench, count: u32) {
    for _ in 0..count {
        slots(bench, 12);
        bench.world.pass(WEEK - HOUR);
        bench.turn_now();
    }
}

fn rows(bench: &mut Bench, metric: &str) -> Vec<BandRow> {
    let store = &mut bench.driver().store;
    store.bands(&shop(), metric, 0..=history::HOURS).unwrap()
}

/// Returns how many values of a metric were learned.
fn learned(bench: &mut Bench, metric: &str) -> usize {
    let rows = rows(bench, metric);
    let bodies = rows.iter().map(|row| {
        read_band(row).unwrap();
        let slots = row.body.split(r#""slots":""#).skip(1);
        let values = slots.map(|rest| {
            let digits = rest.split('"').next().unwrap();
            let known = |index: &usize| &digits[index * 4..index * 4 + 4] != "ffff";
            (0..digits.len() / 4).filter(known).count()
        });
        values.sum::<usize>()
    });
    bodies.sum()
}

fn found(bench: &Bench, metric: &str) -> BandView {
    let judgement = bench.view().rollout.unwrap().judgement.unwrap();
    let mut bands = judgement.bands.into_iter();
    bands.find(|band| band.metric == metric).unwrap()
}

fn failing(bench: &Bench, permille: [u64; 2]) {
    let mut world = bench.world.lock();
    world.failing.insert(version("v1"), permille[0]);
    world.failing.insert(version("v2"), permille[1]);
}

#[test]
fn what_stable_does_is_learned_every_five_minutes_and_kept() {
    let mut bench = serving(SHOP);
    let commits = bench.faults.commits();
    slots(&mut bench, 3);
    assert_eq!(bench.faults.commits(), commits + 3, "one for each");
    bench.restart();
    slots(&mut bench, 2);
    for metric in ["errors", "latency", "request rate"] {
        assert_eq!(learned(&mut bench, metric), 5, "{metric}");
        let hours: Vec<u8> = rows(&mut bench, metric)
            .iter()
            .map(|row| row.hour)
            .collect();
        assert_eq!(hours, [4 * 24 + 12], "Friday noon");
    }
    // Seconds make no value.
    bench.turns(30);
    assert_eq!(learned(&mut bench, "errors"), 5);
}

#[test]
fn a_canary_that_leaves_the_band_alone_is_suspect_and_a_person_is_asked() {
    let mut bench = serving(&hybrid());
    weeks(&mut bench, 4);
    failing(&bench, [0, 100]);
    bench.deploy("v2").unwrap();
    bench.until("Paused");
    let rollout = bench.view().rollout.unwrap();
    assert!(rollout.message.contains("errors: 10% of the canary; usual at this hour of the week is 0% to 0.2% (4 weeks); stable is in its band with 0%"), "{}", rollout.message);
    assert!(rollout.waits_for_person && rollout.weight_bps.as_bps() == 1_000);
    assert!(
        rollout.recommendation.contains("not usual of the canary"),
        "{}",
        rollout.recommendation
    );
    let errors = found(&bench, "errors");
    assert_eq!(errors.finding, BandFinding::Suspect);
    assert_eq!(errors.usual.as_deref(), Some("0% to 0.2% (4 weeks)"));
    assert_eq!(found(&bench, "request rate").finding, BandFinding::Usual);
    // It is kept with the decision.
    let last = bench.entries(rollout.id.as_str()).pop().unwrap();
    let evidence = last.evidence.unwrap().bands;
    assert!(
        evidence.iter().any(|band| band.name == "errors"),
        "{evidence:?}"
    );
}

#[test]
fn what_both_versions_leave_is_the_environment() {
    let mut bench = serving(&hybrid());
    weeks(&mut bench, 4);
    failing(&bench, [100, 100]);
    bench.deploy("v2").unwrap();
    bench.until("Paused");
    assert_eq!(found(&bench, "errors").finding, BandFinding::Environment);
    let rollout = bench.view().rollout.unwrap();
    assert!(
        rollout.message.contains("10% of stable, 10% of the canary"),
        "{}",
        rollout.message
    );
    assert!(
        rollout.recommendation.contains("around the canary"),
        "{}",
        rollout.recommendation
    );
}

#[test]
fn where_nobody_is_to_be_asked_what_is_unusual_is_only_shown() {
    let automatic = hybrid().replace("hybrid", "auto");
    let mut bench = serving(&automatic);
    weeks(&mut bench, 4);
    failing(&bench, [0, 100]);
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.until("Completed");
    let id = bench.rollout_id();
    let entries = bench.entries(&id);
    let mut evidence = entries.iter().filter_map(|entry| entry.evidence.as_ref());
    let is_suspect = |band: &haldane_analysis::band::Evidence| {
        band.finding == haldane_analysis::band::Finding::Suspect
    };
    assert!(evidence.any(|evidence| evidence.bands.iter().any(is_suspect)));
}

#[test]
fn without_history_nothing_is_unusual() {
    let mut bench = serving(&hybrid());
    failing(&bench, [0, 100]);
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    let errors = found(&bench, "errors");
    assert_eq!((errors.finding, errors.usual), (BandFinding::Unknown, None));
    assert!(
        errors.reason.contains("not enough history yet"),
        "{}",
        errors.reason
    );
    bench.until("Completed");
}

#[test]
fn an_incident_in_the_past_is_not_what_is_usual() {
    let mut bench = serving(&hybrid());
    weeks(&mut bench, 2);
    failing(&bench, [200, 0]);
    weeks(&mut bench, 1);
    failing(&bench, [0, 0]);
    weeks(&mut bench, 2);
    failing(&bench, [0, 100]);
    bench.deploy("v2").unwrap();
    bench.until("Paused");
    let errors = found(&bench, "errors");
    assert_eq!(errors.usual.as_deref(), Some("0% to 0.2% (5 weeks)"));
}

#[test]
fn with_all_traffic_on_the_canary_only_the_number_of_requests_is_learned() {
    let mut bench = serving(&SHOP.replacen("hold: 5s", "hold: 1h", 1));
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.set_weight(100).unwrap();
    bench.turn();
    bench.turn();
    let known = |bench: &mut Bench| ["errors", "request rate"].map(|metric| learned(bench, metric));
    slots(&mut bench, 1);
    let before = known(&mut bench);
    slots(&mut bench, 4);
    assert_eq!(known(&mut bench), [before[0], before[1] + 4]);
}

#[test]
fn metric_systems_are_asked_about_stable_alone_between_rollouts() {
    let mut bench = serving(&with_payments(SHOP));
    bench.world.lock().payments.insert(version("v1"), 1);
    slots(&mut bench, 4);
    assert_eq!(bench.world.lock().asked_canary, None);
    assert_eq!(learned(&mut bench, "payments"), 4);
    bench.deploy("v2").unwrap();
    bench.turn();
    assert_eq!(bench.world.lock().asked_canary, Some(version("v2")));
}

#[test]
fn who_wants_no_bands_has_none() {
    let file = with_payments(SHOP).replacen("      guards", "      bands: none\n      guards", 1);
    let mut bench = serving(&file);
    bench.world.lock().payments.insert(version("v1"), 1);
    let commits = bench.faults.commits();
    slots(&mut bench, 4);
    assert_eq!(bench.faults.commits(), commits);
    assert_eq!(bench.world.lock().paid_until, None, "nobody is asked");
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.turns(2);
    assert_eq!(bench.view().rollout.unwrap().judgement.unwrap().bands, []);
}

#[test]
fn a_damaged_row_is_learned_anew() {
    let mut bench = serving(&hybrid());
    weeks(&mut bench, 4);
    let hour = rows(&mut bench, "errors")[0].hour;
    bench.restart_with(|store| {
        let row = |metric: &str, body: &str| {
            Write::PutBand(BandRow {
                service: shop(),
                metric: metric.to_owned(),
                hour,
                body: body.to_owned(),
            })
        };
        let broken = [
            row("errors", r#"{"form":1,"body":[{"week":1,"slots":"00"}]}"#),
            row("latency", "half of i"),
        ];
        store.commit(&broken).unwrap();
    });
    failing(&bench, [0, 100]);
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    assert_eq!(found(&bench, "errors").finding, BandFinding::Unknown);
    assert_eq!(found(&bench, "request rate").finding, BandFinding::Usual);
    bench.until("Completed");
    slots(&mut bench, 2);
    assert_eq!(learned(&mut bench, "errors"), 2);
}

#[test]
fn a_disk_that_refuses_costs_what_would_have_been_learned_and_nothing_else() {
    let mut bench = serving(SHOP);
    slots(&mut bench, 2);
    bench.broken_disk(true);
    slots(&mut bench, 2);
    bench.broken_disk(false);
    slots(&mut bench, 2);
    assert_eq!(learned(&mut bench, "errors"), 4);
}

#[test]
fn the_last_minutes_are_learned_when_the_daemon_stops() {
    let mut bench = serving(SHOP);
    slots(&mut bench, 1);
    for _ in 0..10 {
        bench.world.pass(20);
        bench.turn_now();
    }
    assert_eq!(learned(&mut bench, "errors"), 1);
    let stop = CancellationToken::new();
    stop.cancel();
    bench.take_driver().run(&stop).unwrap();
    bench.restart();
    assert_eq!(learned(&mut bench, "errors"), 2);
}

#[test]
fn a_clock_that_is_set_back_keeps_nothing_from_being_learned() {
    let mut bench = serving(SHOP);
    slots(&mut bench, 2);
    bench.world.jump(-30 * 24 * HOUR);
    bench.turn_now();
    slots(&mut bench, 2);
    assert_eq!(learned(&mut bench, "errors"), 4);
    let start: Timestamp = START.parse().unwrap();
    let hours = rows(&mut bench, "errors").len();
    // A month ago was another day of the week.
    let before = history::hour_of_week(start - SignedDuration::from_hours(30 * 24));
    assert_ne!(before, history::hour_of_week(start));
    assert_eq!(hours, 2);
}

#[test]
fn a_service_that_is_gone_is_asked_about_no_more_and_leaves_nothing_behind() {
    let mut bench = serving(&with_payments(SHOP));
    bench.world.lock().payments.insert(version("v1"), 1);
    slots(&mut bench, 2);
    assert!(bench.world.lock().paid_until.is_some());
    let other = SHOP.replacen("shop:", "books:", 1);
    bench
        .apply_with(&other, |request| request.prune = true)
        .unwrap();
    assert_eq!(bench.world.lock().paid_until, None);
    assert_eq!(rows(&mut bench, "errors"), []);
}
