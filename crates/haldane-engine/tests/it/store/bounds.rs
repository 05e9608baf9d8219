//! History that goes on for ever, in a store that doesn't grow for ever.

use std::fs;

use haldane_core::{RolloutId, ServiceName};
use haldane_engine::store::{
    BandRow, CommandRow, EntryRow, RecordingRow, RolloutRow, ServiceRow, Store as _, VersionRow,
    Write,
    sqlite::{
        BANDS_MAX, BODY_BYTES_MAX, COMMANDS_MAX, ENDED_ROLLOUTS_MAX, ENTRIES_MAX,
        FIRST_ENTRIES_KEPT, RECORDINGS_MAX, SqliteStore, VERSIONS_MAX,
    },
};
use jiff::Timestamp;

use crate::it::rig::open;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn auth() -> ServiceName {
    "auth".parse().unwrap()
}

fn store(dir: &tempfile::TempDir) -> SqliteStore {
    let mut store = open(dir.path()).unwrap();
    let name = auth();
    let body = String::new();
    store
        .commit(&[Write::PutService(ServiceRow { name, body })])
        .unwrap();
    store
}

fn rollout(number: u64, ended_at: Option<Timestamp>) -> Write {
    Write::PutRollout(RolloutRow {
        id: RolloutId::new(&auth(), number),
        service: auth(),
        number,
        started_at: NOW,
        ended_at,
        body: String::new(),
    })
}

fn entry(rollout: u64, number: u64) -> Write {
    Write::AddEntry(EntryRow {
        rollout: RolloutId::new(&auth(), rollout),
        number,
        at: NOW,
        body: "x".repeat(500),
    })
}

#[test]
fn ended_rollouts_are_bounded_and_live_ones_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let max = u64::from(ENDED_ROLLOUTS_MAX);
    // The first two stay live, the rest ends.
    store.commit(&[rollout(1, None), rollout(2, None)]).unwrap();
    for number in 3..=max + 7 {
        let writes = [
            rollout(number, None),
            entry(number, 0),
            rollout(number, Some(NOW)),
        ];
        store.commit(&writes).unwrap();
        let ended = number - 2;
        let kept = store.rollouts(&auth(), u32::MAX).unwrap().len();
        assert_eq!(u64::try_from(kept).unwrap(), 2 + ended.min(max));
    }
    let numbers: Vec<u64> = store
        .rollouts(&auth(), u32::MAX)
        .unwrap()
        .iter()
        .map(|rollout| rollout.number)
        .collect();
    let expected: Vec<u64> = (8..=max + 7).rev().chain([2, 1]).collect();
    assert_eq!(numbers, expected);
    let entries = |store: &mut SqliteStore, number| {
        let id = RolloutId::new(&auth(), number);
        store.entries(&id, 9).unwrap().len()
    };
    assert_eq!(entries(&mut store, 7), 0);
    assert_eq!(entries(&mut store, 8), 1);
}

#[test]
fn recordings_are_kept_of_the_last_rollouts_and_of_live_ones() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let max = u64::from(RECORDINGS_MAX);
    let row = |rollout, number| {
        Write::PutRecording(RecordingRow {
            rollout: RolloutId::new(&auth(), rollout),
            number,
            body: format!("{rollout} {number}"),
        })
    };
    store.commit(&[rollout(1, None), row(1, 0)]).unwrap();
    for number in 2..=max + 4 {
        store
            .commit(&[rollout(number, None), row(number, 0), row(number, 1)])
            .unwrap();
        store.commit(&[rollout(number, Some(NOW))]).unwrap();
    }
    let bodies = |store: &mut SqliteStore, rollout: u64, from: u64, limit: u32| {
        let id = RolloutId::new(&auth(), rollout);
        let rows = store.recording(&id, from, limit).unwrap();
        rows.into_iter().map(|row| row.body).collect::<Vec<_>>()
    };
    assert_eq!(bodies(&mut store, 1, 0, 9), ["1 0"]);
    assert_eq!(bodies(&mut store, 4, 0, 9), [""; 0]);
    assert_eq!(bodies(&mut store, 5, 0, 9), ["5 0", "5 1"]);
    assert_eq!(bodies(&mut store, 5, 1, 9), ["5 1"]);
    assert_eq!(bodies(&mut store, 5, 0, 1), ["5 0"]);
    assert_eq!(bodies(&mut store, max + 4, 0, 9).len(), 2);
    // A row that is written again replaces the first.
    store.commit(&[row(5, 1)]).unwrap();
    store.commit(&[Write::RemoveService(auth())]).unwrap();
    assert_eq!(bodies(&mut store, 5, 0, 9), [""; 0]);
}

#[test]
fn entries_are_bounded_and_the_first_and_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    store.commit(&[rollout(1, None), rollout(2, None)]).unwrap();
    let max = u64::from(ENTRIES_MAX);
    let first: Vec<Write> = (0..max).map(|number| entry(1, number)).collect();
    store.commit(&first).unwrap();
    let kept = |store: &mut SqliteStore| -> Vec<u64> {
        let id = RolloutId::new(&auth(), 1);
        let entries = store.entries(&id, u32::MAX).unwrap();
        entries.iter().map(|entry| entry.number).collect()
    };
    assert_eq!(kept(&mut store), (0..max).collect::<Vec<_>>());
    let beginning = u64::from(FIRST_ENTRIES_KEPT);
    for number in max..max + 5 {
        store.commit(&[entry(1, number), entry(2, number)]).unwrap();
        let dropped = number - max + 1;
        let expected: Vec<u64> = (0..beginning).chain(beginning + dropped..=number).collect();
        assert_eq!(kept(&mut store), expected);
    }
}

#[test]
fn commands_are_bounded_and_the_newest_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let command = |number: u32| {
        Write::AddCommand(CommandRow {
            service: auth(),
            at: NOW,
            body: number.to_string(),
        })
    };
    let first: Vec<Write> = (0..COMMANDS_MAX).map(command).collect();
    store.commit(&first).unwrap();
    store.commit(&[command(COMMANDS_MAX)]).unwrap();
    store.commit(&[command(COMMANDS_MAX + 1)]).unwrap();
    let commands = store.commands(&auth(), u32::MAX).unwrap();
    let numbers: Vec<u32> = commands
        .iter()
        .map(|command| command.body.parse().unwrap())
        .collect();
    assert_eq!(numbers, (2..COMMANDS_MAX + 2).rev().collect::<Vec<_>>());
}

#[test]
fn versions_are_bounded_and_the_last_used_stay() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let put = |store: &mut SqliteStore, number: u32| {
        let row = VersionRow {
            service: auth(),
            version: format!("v{number}").parse().unwrap(),
            used_at: NOW,
            body: String::new(),
        };
        store.commit(&[Write::PutVersion(row)]).unwrap();
    };
    for number in 0..VERSIONS_MAX {
        put(&mut store, number);
    }
    // Used again, the first outlives the second.
    put(&mut store, 0);
    put(&mut store, VERSIONS_MAX);
    let versions = store.versions(&auth()).unwrap();
    let names: Vec<&str> = versions.iter().map(|row| row.version.as_str()).collect();
    assert_eq!(names.len(), usize::try_from(VERSIONS_MAX).unwrap());
    assert_eq!(names[..2], [format!("v{VERSIONS_MAX}"), "v0".to_owned()]);
    assert!(!names.contains(&"v1") && names.contains(&"v2"));
}

#[test]
fn bands_are_bounded_and_what_was_learned_last_stays() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let put = |store: &mut SqliteStore, metrics: std::ops::Range<u32>| {
        let hours = metrics.flat_map(|metric| (0..168).map(move |hour| (metric, hour)));
        let writes = hours.map(|(metric, hour)| {
            Write::PutBand(BandRow {
                service: auth(),
                metric: format!("m{metric}"),
                hour,
                body: String::new(),
            })
        });
        store.commit(&writes.collect::<Vec<_>>()).unwrap();
    };
    let kept = BANDS_MAX / 168;
    put(&mut store, 0..kept);
    // Learned again, the first outlives the second.
    put(&mut store, 0..1);
    put(&mut store, kept..kept + 1);
    let count = |store: &mut SqliteStore, metric: u32| {
        let metric = format!("m{metric}");
        store.bands(&auth(), &metric, 0..=167).unwrap().len()
    };
    let counts = [0, 1, 2, kept].map(|metric| count(&mut store, metric));
    assert_eq!(counts, [168, 0, 168, 168]);
}

#[test]
fn neither_file_nor_log_grows_once_the_bounds_are_reached() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    store.commit(&[rollout(1, None)]).unwrap();
    let mut next = 0;
    let mut add = |store: &mut SqliteStore, count: u64| {
        let writes: Vec<Write> = (next..next + count)
            .map(|number| entry(1, number))
            .collect();
        next += count;
        store.commit(&writes).unwrap();
        let health = store.integrity().unwrap();
        (health.database_bytes, health.log_bytes)
    };
    let (mut full, _) = (0..12).map(|_| add(&mut store, 1_000)).last().unwrap();
    full += full / 10;
    for _ in 0..60 {
        let (database_bytes, log_bytes) = add(&mut store, 500);
        assert!(database_bytes < full, "{database_bytes} of {full}");
        assert!(log_bytes <= 24 * 1024 * 1024, "{log_bytes}");
    }
    drop(store);
    assert!(fs::metadata(dir.path().join("haldane.db")).unwrap().len() < full);
    assert!(!dir.path().join("haldane.db-wal").exists());
}

#[test]
fn a_log_that_one_large_commit_made_long_is_cut_when_it_begins_anew() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let body = "x".repeat(BODY_BYTES_MAX);
    let command = |body: &str| {
        Write::AddCommand(CommandRow {
            service: auth(),
            at: NOW,
            body: body.to_owned(),
        })
    };
    let large: Vec<Write> = (0..24).map(|_| command(&body)).collect();
    store.commit(&large).unwrap();
    assert!(store.integrity().unwrap().log_bytes > 20 * 1024 * 1024);
    store.commit(&[command("small")]).unwrap();
    assert!(store.integrity().unwrap().log_bytes <= 16 * 1024 * 1024);
}
