//! What is recorded of rollouts, and what becomes of it; that decisions follow again from it is checked after every scenario.

use haldane_api::http::{RecomputationView, Recomputed};
use haldane_core::plan::metric::Given;

use super::{
    bench::{Bench, SHOP, shop, stored, version},
    observed::with_payments,
};
use crate::{
    driver::recorder::Recorder,
    record::RolloutRecord,
    recording::Recording,
    store::{RecordingRow, RolloutRow, Store, Write},
};

fn rollout(store: &mut dyn Store) -> RolloutRow {
    store.rollouts(&shop(), 1).unwrap().remove(0)
}

fn recompute(bench: &mut Bench) -> RecomputationView {
    let store = bench.driver().store.as_mut();
    let row = rollout(store);
    stored(store, &row).recompute(&|| false)
}

/// Rolls a bad canary back.
fn rolled_back() -> Bench {
    let mut bench = Bench::with_shop();
    bench.world.lock().failing.insert(version("v2"), 500);
    bench.deploy("v2").unwrap();
    bench.until("RolledBack");
    bench
}

/// Changes a rollout's rows while the driver is away.
fn change_rows(bench: &mut Bench, change: impl Fn(RecordingRow) -> RecordingRow) {
    bench.restart_with(|store| {
        let id = rollout(store).id;
        let rows = store.recording(&id, 0, 1_000).unwrap();
        let rows = rows.into_iter().map(|row| Write::PutRecording(change(row)));
        store.commit(&rows.collect::<Vec<_>>()).unwrap();
    });
}

#[test]
fn each_decision_of_a_rollback_is_made_again() {
    let view = recompute(&mut rolled_back());
    assert!(view.is_same, "{view:#?}");
    assert!(view.looks >= 1 && view.notes.is_empty(), "{view:#?}");
    let judged = "the state, the judgement and its evidence";
    assert!(view.decisions.iter().any(|one| one.text == judged));
    let text = format!(
        "recomputed from {} look{}: {} decisions: same to the bit",
        view.looks,
        if view.looks == 1 { "" } else { "s" },
        view.decisions.len()
    );
    assert_eq!(view.text, text);
}

#[test]
fn restarts_at_any_second_leave_what_can_be_made_again() {
    for seed in 0_u32..12 {
        let mut bench = Bench::new();
        bench.apply(&with_payments()).unwrap();
        bench.turns(3);
        bench.world.lock().payments.insert(version("v1"), 1);
        bench.world.lock().payments.insert(version("v2"), 1);
        bench.deploy("v2").unwrap();
        // Three restarts within forty seconds, elsewhere for each seed.
        let restarts = [7, 11, 13].map(|step| 1 + seed * step % 40);
        for second in 0..40 {
            if restarts.contains(&second) {
                bench.restart();
            }
            bench.turn();
        }
        let view = recompute(&mut bench);
        assert!(view.is_same && view.looks > 5, "{seed}: {view:#?}");
    }
}

#[test]
fn a_recording_that_was_tampered_with_is_told() {
    let mut bench = rolled_back();
    // One failure of the canary less.
    change_rows(&mut bench, |row| {
        let failing = |line: &str| {
            let mut moment: serde_json::Value = serde_json::from_str(line).unwrap();
            let failures = &mut moment["second"]["batch"][4][1];
            if let Some(count) = failures.as_u64().filter(|count| *count > 0) {
                *failures = (count - 1).into();
            }
            moment.to_string()
        };
        let is_second = |line: &str| line.starts_with("{\"second\"");
        let lines = row.body.lines().map(|line| {
            if is_second(line) {
                failing(line)
            } else {
                line.to_owned()
            }
        });
        let body = lines.collect::<Vec<_>>().join("\n");
        RecordingRow { body, ..row }
    });
    let view = recompute(&mut bench);
    assert!(!view.is_same, "{view:#?}");
    let other = view
        .decisions
        .iter()
        .find(|one| one.result == Recomputed::Different);
    let text = &other.unwrap().text;
    assert!(
        text.starts_with("the judgement differs: recomputed …"),
        "{text}"
    );
}

#[test]
fn a_row_that_is_no_recording_is_told_with_its_place() {
    let mut bench = rolled_back();
    change_rows(&mut bench, |row| RecordingRow {
        body: "{\"second\":7}".to_owned(),
        ..row
    });
    let view = recompute(&mut bench);
    assert!(!view.is_same, "{view:#?}");
    let begin = "row 0 of the recording can't be read: line 1: ";
    assert!(view.notes[0].starts_with(begin), "{:?}", view.notes);
}

#[test]
fn a_history_that_was_tampered_with_is_told() {
    let mut bench = rolled_back();
    bench.restart_with(|store| {
        let row = rollout(store);
        let mut entries = store.entries(&row.id, 100).unwrap();
        let last = entries.last_mut().unwrap();
        last.body = last.body.replace("50", "51");
        let (name, rows) = (shop(), store.recording(&row.id, 0, 1_000).unwrap());
        let service = store.services().unwrap().remove(0);
        let writes = [
            Write::RemoveService(name),
            Write::PutService(service),
            Write::PutRollout(row),
        ];
        let entries = entries.into_iter().map(Write::AddEntry);
        let rows = rows.into_iter().map(Write::PutRecording);
        let writes: Vec<Write> = writes.into_iter().chain(entries).chain(rows).collect();
        store.commit(&writes).unwrap();
    });
    let view = recompute(&mut bench);
    assert_eq!(view.decisions.last().unwrap().result, Recomputed::Different);
    assert!(!view.is_same, "{view:#?}");
}

#[test]
fn a_rollout_of_an_older_release_says_that_nothing_is_recorded() {
    let mut bench = rolled_back();
    bench.restart_with(|store| {
        let row = rollout(store);
        let mut body: serde_json::Value = serde_json::from_str(&row.body).unwrap();
        body["body"]
            .as_object_mut()
            .unwrap()
            .remove("recorded")
            .unwrap();
        let entries = store.entries(&row.id, 100).unwrap();
        let service = store.services().unwrap().remove(0);
        let writes = [
            Write::RemoveService(shop()),
            Write::PutService(service),
            Write::PutRollout(RolloutRow {
                body: body.to_string(),
                ..row
            }),
        ];
        let entries = entries.into_iter().map(Write::AddEntry);
        store
            .commit(&writes.into_iter().chain(entries).collect::<Vec<_>>())
            .unwrap();
    });
    let view = recompute(&mut bench);
    assert_eq!((view.is_same, view.looks), (true, 0), "{view:#?}");
    let judged = view
        .decisions
        .iter()
        .find(|one| one.result == Recomputed::NotRecorded);
    let text = "the state; what the judges saw is not recorded; an older release does not record";
    assert_eq!(judged.unwrap().text, text);
}

#[test]
fn recording_stops_where_there_is_too_much_and_says_so() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.restart_with(|store| {
        let row = rollout(store);
        let mut record = RolloutRecord::read(&row).unwrap();
        record.recorded.bytes = 16 * 1024 * 1024 - 100;
        store.commit(&[record.write().unwrap()]).unwrap();
    });
    let rows = |bench: &mut Bench| {
        let id = "shop-1".parse().unwrap();
        bench.driver().store.recording(&id, 0, 1_000).unwrap().len()
    };
    let before = rows(&mut bench);
    bench.until("Completed");
    assert_eq!(rows(&mut bench), before + 1);
    let view = recompute(&mut bench);
    assert!(view.is_same, "{view:#?}");
    assert!(
        view.notes[0].starts_with("recording stopped at 2026-11-20T12:00:"),
        "{:?}",
        view.notes
    );
    let last = view.decisions.last().unwrap();
    assert_eq!(last.result, Recomputed::NotRecorded);
    assert_eq!(
        last.text,
        "the state; recording had stopped, because there was too much"
    );
}

#[test]
fn a_disk_that_fails_loses_seconds_and_nothing_else() {
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(50);
    bench.broken_disk(true);
    bench.turns(4);
    bench.broken_disk(false);
    // What waited is stored when the disk works again.
    bench.until("Completed");
    let view = recompute(&mut bench);
    assert!(view.is_same && view.notes.is_empty(), "{view:#?}");
    // What did not wait long enough for it is a gap.
    let mut bench = Bench::with_shop();
    bench.deploy("v2").unwrap();
    bench.until_weight(10);
    bench.turns(2);
    let home = bench.driver().homes.get_mut(&shop()).unwrap();
    let live = home.rollout.as_mut().unwrap();
    live.recorder = Recorder::new(&live.record.recorded);
    bench.until("Completed");
    bench.is_damaged = true;
    let view = recompute(&mut bench);
    assert!(view.notes[0].contains("are not recorded"), "{view:#?}");
    assert!(
        view.decisions
            .iter()
            .all(|one| one.result != Recomputed::Different),
        "{view:#?}"
    );
}

#[test]
fn a_service_takes_its_recordings_with_it() {
    let mut bench = rolled_back();
    let id = "shop-1".parse().unwrap();
    assert!(
        !bench
            .driver()
            .store
            .recording(&id, 0, 9)
            .unwrap()
            .is_empty()
    );
    let other = SHOP.replace("  shop:", "  other:").replace("8080", "8081");
    bench
        .apply_with(&other, |request| request.prune = true)
        .unwrap();
    bench.turns(3);
    assert_eq!(bench.driver().store.recording(&id, 0, 9).unwrap(), []);
}

#[test]
fn a_file_is_read_as_it_was_written_and_has_no_secrets() {
    let mut bench = rolled_back();
    let store = bench.driver().store.as_mut();
    let mut row = rollout(store);
    let mut record = RolloutRecord::read(&row).unwrap();
    let metrics = {
        let mut other = Bench::new();
        other.apply(&with_payments()).unwrap();
        let record = other.driver().homes[&shop()].record.clone();
        record.file.plan.rules().metrics.clone()
    };
    let mut parts = haldane_core::plan::PlanParts::from(record.wish.plan.clone());
    parts.rules.metrics = metrics;
    for metric in &mut parts.rules.metrics {
        let secret = Given::Text("hunter2".to_owned());
        metric
            .source
            .auth
            .insert("token".to_owned(), secret.clone());
        metric.source.headers.insert("x-key".to_owned(), secret);
    }
    record.wish.plan = parts.try_into().unwrap();
    let Write::PutRollout(changed) = record.write().unwrap() else {
        panic!("a rollout");
    };
    row.body = changed.body;
    assert!(row.body.contains("hunter2"));
    let text = stored(store, &row).to_text().unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    let read = Recording::read(&text).unwrap();
    assert_eq!(read.head.rollout, row.id);
    assert_eq!(read.decisions.last().unwrap().phase, "RolledBack");
    assert!(read.moments.len() > 3);
}
