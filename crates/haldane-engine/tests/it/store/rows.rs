//! What is written is read back, in order, all of it or nothing.

use haldane_core::{RolloutId, ServiceName};
use haldane_engine::store::{
    CommandRow, EntryRow, RolloutRow, ServiceRow, Store as _, StoreError, VersionRow, Write,
    sqlite::{BODY_BYTES_MAX, SqliteStore},
};
use jiff::Timestamp;

use crate::it::rig::open;

fn name(text: &str) -> ServiceName {
    text.parse().unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(second, 123_456_789).unwrap()
}

fn service(service: &str) -> Write {
    Write::PutService(ServiceRow {
        name: name(service),
        body: "{}".to_owned(),
    })
}

fn rollout(service: &str, number: u64, ended_at: Option<Timestamp>) -> RolloutRow {
    RolloutRow {
        id: RolloutId::new(&name(service), number),
        service: name(service),
        number,
        // The clock goes back by an hour with each rollout.
        started_at: at(1_000_000 - 3600 * i64::try_from(number).unwrap()),
        ended_at,
        body: format!(r#"{{"number":{number}}}"#),
    }
}

fn entry(service: &str, rollout: u64, number: u64) -> EntryRow {
    EntryRow {
        rollout: RolloutId::new(&name(service), rollout),
        number,
        at: at(-i64::try_from(number).unwrap()),
        body: "'; DROP TABLE entry; --\u{0}\u{1f980}".to_owned(),
    }
}

fn command(service: &str, text: &str, second: i64) -> CommandRow {
    CommandRow {
        service: name(service),
        at: at(second),
        body: text.to_owned(),
    }
}

fn version(service: &str, version: &str, second: i64) -> VersionRow {
    VersionRow {
        service: name(service),
        version: version.parse().unwrap(),
        used_at: at(second),
        body: second.to_string(),
    }
}

/// Opens a new store with the services `auth` and `shop`.
fn store(dir: &tempfile::TempDir) -> SqliteStore {
    let mut store = open(dir.path()).unwrap();
    store.commit(&[service("shop"), service("auth")]).unwrap();
    store
}

#[test]
fn rows_are_read_back_as_written_after_a_restart_and_in_order_although_the_clock_went_back() {
    let dir = tempfile::tempdir().unwrap();
    let rollouts = [
        rollout("shop", 1, None),
        rollout("auth", 1, Some(Timestamp::MIN)),
        rollout("auth", 2, None),
        rollout("auth", 10, None),
    ];
    let entries = [
        entry("auth", 2, 0),
        entry("auth", 2, 1),
        entry("auth", 2, 2),
    ];
    let commands = [command("auth", "pause", 20), command("auth", "abort", 10)];
    let versions = [
        version("auth", "v1", 30),
        version("auth", "v2", 20),
        version("auth", "v1", 10),
    ];
    let mut writes = Vec::new();
    writes.extend(rollouts.clone().map(Write::PutRollout));
    writes.extend(entries.clone().map(Write::AddEntry));
    writes.extend(commands.clone().map(Write::AddCommand));
    writes.extend(versions.clone().map(Write::PutVersion));
    store(&dir).commit(&writes).unwrap();

    let mut store = open(dir.path()).unwrap();
    let names = |rows: Vec<ServiceRow>| rows.into_iter().map(|row| row.name).collect::<Vec<_>>();
    assert_eq!(
        names(store.services().unwrap()),
        [name("auth"), name("shop")]
    );
    let [shop_1, auth_1, auth_2, auth_10] = rollouts;
    assert_eq!(
        store.live_rollouts().unwrap(),
        [shop_1, auth_2.clone(), auth_10.clone()]
    );
    let auth = name("auth");
    assert_eq!(
        store.rollouts(&auth, 9).unwrap(),
        [auth_10.clone(), auth_2.clone(), auth_1]
    );
    assert_eq!(store.rollouts(&auth, 2).unwrap(), [auth_10, auth_2.clone()]);
    assert_eq!(store.entries(&auth_2.id, 9).unwrap(), entries);
    assert_eq!(store.entries(&auth_2.id, 2).unwrap(), entries[1..]);
    let [pause, abort] = commands;
    assert_eq!(store.commands(&auth, 9).unwrap(), [abort.clone(), pause]);
    assert_eq!(store.commands(&auth, 1).unwrap(), [abort]);
    let [_, v2, v1] = versions;
    assert_eq!(store.versions(&auth).unwrap(), [v1, v2]);
}

#[test]
fn times_at_both_ends_of_the_calendar_are_kept_to_the_nanosecond() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let row = RolloutRow {
        started_at: Timestamp::MIN,
        ended_at: Some(Timestamp::MAX),
        ..rollout("auth", 1, None)
    };
    store.commit(&[Write::PutRollout(row.clone())]).unwrap();
    assert_eq!(store.rollouts(&name("auth"), 1).unwrap(), [row]);
}

#[test]
fn putting_again_replaces_the_row_and_keeps_what_belongs_to_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    store
        .commit(&[
            Write::PutRollout(rollout("auth", 1, None)),
            Write::PutRollout(rollout("auth", 2, None)),
            Write::AddEntry(entry("auth", 1, 0)),
        ])
        .unwrap();
    let ended = rollout("auth", 1, Some(at(9)));
    store
        .commit(&[service("auth"), Write::PutRollout(ended.clone())])
        .unwrap();
    assert_eq!(store.live_rollouts().unwrap(), [rollout("auth", 2, None)]);
    assert_eq!(store.rollouts(&name("auth"), 9).unwrap()[1], ended);
    assert_eq!(store.entries(&ended.id, 9).unwrap().len(), 1);
}

#[test]
fn removing_a_service_removes_what_belongs_to_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let auth = name("auth");
    for service in ["auth", "shop"] {
        store
            .commit(&[
                Write::PutRollout(rollout(service, 1, None)),
                Write::AddEntry(entry(service, 1, 0)),
                Write::AddCommand(command(service, "pause", 1)),
                Write::PutVersion(version(service, "v1", 1)),
            ])
            .unwrap();
    }
    store.commit(&[Write::RemoveService(auth.clone())]).unwrap();
    let count = |store: &mut SqliteStore, service: &ServiceName| {
        let rollout = RolloutId::new(service, 1);
        (
            store.rollouts(service, 9).unwrap().len(),
            store.entries(&rollout, 9).unwrap().len(),
            store.commands(service, 9).unwrap().len(),
            store.versions(service).unwrap().len(),
        )
    };
    assert_eq!(count(&mut store, &auth), (0, 0, 0, 0));
    assert_eq!(count(&mut store, &name("shop")), (1, 1, 1, 1));
    assert_eq!(store.services().unwrap().len(), 1);
}

/// Checks that these writes fail, and that nothing of them, nor of what went before them in the commit, was written.
fn check_refused(writes: Vec<Write>) {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    store
        .commit(&[
            Write::PutRollout(rollout("auth", 1, None)),
            Write::AddEntry(entry("auth", 1, 0)),
        ])
        .unwrap();
    let good = [
        Write::PutRollout(rollout("auth", 1, Some(at(5)))),
        Write::AddEntry(entry("auth", 1, 1)),
    ];
    let all: Vec<_> = good.iter().cloned().chain(writes).collect();
    let error = store.commit(&all).unwrap_err();
    assert!(
        matches!(error, StoreError::Io { doing: "write", .. }),
        "{error:?}"
    );
    assert_eq!(store.live_rollouts().unwrap(), [rollout("auth", 1, None)]);
    assert_eq!(
        store
            .entries(&RolloutId::new(&name("auth"), 1), 9)
            .unwrap()
            .len(),
        1
    );
    store.commit(&good).unwrap();
    assert_eq!(store.live_rollouts().unwrap(), []);
}

#[test]
fn a_commit_with_a_row_that_cannot_be_is_refused_as_a_whole() {
    let long = CommandRow {
        body: "x".repeat(BODY_BYTES_MAX + 1),
        ..command("auth", "", 0)
    };
    let huge = EntryRow {
        number: u64::MAX,
        ..entry("auth", 1, 0)
    };
    let double = RolloutRow {
        number: 1,
        ..rollout("auth", 2, None)
    };
    check_refused(vec![Write::AddEntry(entry("auth", 1, 0))]);
    check_refused(vec![Write::AddEntry(entry("auth", 7, 0))]);
    check_refused(vec![Write::AddEntry(huge)]);
    check_refused(vec![Write::PutRollout(rollout("nobody", 1, None))]);
    check_refused(vec![Write::PutRollout(double)]);
    check_refused(vec![Write::AddCommand(command("nobody", "pause", 0))]);
    check_refused(vec![Write::AddCommand(long)]);
    check_refused(vec![Write::PutVersion(version("nobody", "v1", 0))]);
}

#[test]
fn the_largest_body_and_number_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let row = EntryRow {
        number: i64::MAX.try_into().unwrap(),
        body: "x".repeat(BODY_BYTES_MAX),
        ..entry("auth", 1, 0)
    };
    store
        .commit(&[
            Write::PutRollout(rollout("auth", 1, None)),
            Write::AddEntry(row.clone()),
        ])
        .unwrap();
    assert_eq!(store.entries(&row.rollout, 1).unwrap(), [row]);
}

#[test]
fn the_health_of_a_store_is_told_with_its_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = store(&dir);
    let health = store.integrity().unwrap();
    assert_eq!(health.problems, Vec::<String>::new());
    assert_eq!(health.path, dir.path().join("haldane.db"));
    assert!(health.schema >= 2);
    assert!(health.database_bytes > 0 && health.log_bytes > 0);
    assert!(health.free_bytes < health.database_bytes);
    std::fs::remove_file(&health.path).unwrap();
    assert_eq!(store.integrity().unwrap().problems.len(), 1);
}
