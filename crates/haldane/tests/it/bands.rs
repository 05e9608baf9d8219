//! What weeks have taught, on real processes: a canary that is not as usual makes a hybrid rollout ask a person.

use std::time::Duration;

use haldane_analysis::band::{History, history};
use haldane_api::http::{BandFinding, CommandName};
use haldane_engine::store::{BandRow, Store as _, Write, lock::DirectoryLock, sqlite::SqliteStore};
use jiff::{SignedDuration, Timestamp};

use crate::it::{
    load::Load,
    rig::{Rig, deploy_shop, free_addr, shop_file, within},
};

/// How long the rollout may take to ask.
const ASKED_BY: Duration = Duration::from_secs(60);

/// Fills the store with three weeks in which two of a thousand requests failed, at this hour and the next.
fn teach(rig: &Rig) {
    let lock = DirectoryLock::take(&rig.data_dir()).unwrap();
    let mut store = SqliteStore::open(&rig.data_dir(), &lock).unwrap();
    let now = Timestamp::now();
    for hour in [now, now + SignedDuration::from_hours(1)] {
        let mut learned = History::default();
        let begin = hour - SignedDuration::from_secs(hour.as_second().rem_euclid(3_600));
        for week in (1..=3).rev() {
            for slot in 0..12 {
                let at = begin - SignedDuration::from_hours(168) * week + history::SLOT * slot;
                learned.learn(at, 2_000);
            }
        }
        let hour = history::hour_of_week(hour);
        let cell = serde_json::to_string(learned.cell(hour).unwrap()).unwrap();
        let row = BandRow {
            service: "shop".parse().unwrap(),
            metric: "errors".to_owned(),
            hour,
            body: format!(r#"{{"form":1,"body":{cell}}}"#),
        };
        store.commit(&[Write::PutBand(row)]).unwrap();
    }
}

#[test]
fn a_canary_that_fails_more_than_weeks_have_taught_is_shown_to_a_person() {
    let rig = Rig::new();
    let addr = free_addr();
    let plan = "{ steps: [50%, 100%], hold: 8s, judge: threshold, advance: hybrid, \
        guards: { errorRate: 90% }, sampling: { window: 5s, requestsMin: 20 } }";
    rig.write_file(&shop_file(addr, plan));
    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    daemon.stop(&rig);
    teach(&rig);

    let daemon = rig.up();
    daemon.api.wait_ready("shop");
    let load = Load::start(addr, 4, Duration::from_millis(10));
    let request = deploy_shop("v2", "errors=30%");
    daemon.api.deploy("shop", &request).unwrap();
    let view = within(ASKED_BY, "a person is asked", || {
        let view = daemon.api.service("shop");
        let rollout = view.rollout.filter(|rollout| rollout.waits_for_person)?;
        Some(rollout)
    });
    assert!(view.message.contains("(3 weeks)"), "{}", view.message);
    let bands = view.judgement.unwrap().bands;
    let finding = |metric: &str| {
        let band = bands.iter().find(|band| band.metric == metric);
        band.unwrap().finding
    };
    assert_eq!(finding("errors"), BandFinding::Suspect);
    assert_eq!(finding("latency"), BandFinding::Unknown);
    let explained = rig.haldane(&["explain", "shop"]).output().unwrap();
    let explained = String::from_utf8(explained.stdout).unwrap();
    assert!(explained.contains("suspect"), "{explained}");
    assert!(explained.contains("0% to 0.4% (3 weeks)"), "{explained}");

    // The person decides.
    daemon.api.command("shop", CommandName::Abort).unwrap();
    assert_eq!(daemon.api.wait_over("shop-1").phase, "RolledBack");
    load.stop();
    daemon.stop(&rig);
}
