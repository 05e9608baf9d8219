//! A daemon whose store could not be opened: it serves what its file says, and decides nothing.

use haldane_api::http::CommandName;

use super::bench::{Bench, SHOP, shop, version};
use crate::{
    handle::{Event, RequestError},
    store::{Store as _, StoreError, absent::AbsentStore},
};

fn damaged() -> StoreError {
    StoreError::Damaged {
        path: "/data/haldane.db".to_owned(),
        detail: "file is not a database".to_owned(),
    }
}

fn bench() -> Bench {
    Bench::without_store(AbsentStore::try_new(damaged()).unwrap())
}

#[track_caller]
fn check_refused<T: std::fmt::Debug>(result: Result<T, RequestError>) {
    let Err(RequestError::Store(why)) = result else {
        panic!("{result:?}");
    };
    assert!(
        why.contains("without its store") && why.contains("not a database"),
        "{why}"
    );
}

#[test]
fn a_file_is_served_and_the_lack_of_a_store_is_shown() {
    let mut bench = bench();
    let answer = bench.apply(SHOP).unwrap();
    assert_eq!(answer.messages, ["shop: added, v1 serves"]);
    bench.turns(3);
    let world = bench.world.lock();
    assert_eq!(world.runs(&shop(), "v1"), 2);
    let route = &world.routes[&shop()].applied;
    assert_eq!(
        (&route.stable.version, &route.canary),
        (&version("v1"), &None)
    );
    drop(world);
    let view = bench.view();
    assert_eq!(view.rollout, None);
    assert!(view.notices[0].contains("without its store"), "{view:?}");
    let fault = bench.engine().daemon().store_fault.unwrap();
    assert!(fault.contains("file is not a database"), "{fault}");
    // The same file again, as SIGHUP gives it, changes nothing and is no error.
    assert_eq!(bench.apply(SHOP).unwrap().messages, ["shop: unchanged"]);
}

#[test]
fn whom_a_file_names_is_told_though_nothing_is_kept() {
    let mut bench = bench();
    let text = format!("notify: {{ webhook: http://127.0.0.1:9 }}\n{SHOP}");
    bench.apply(&text).unwrap();
    assert_eq!(bench.world.lock().targets.len(), 1);
}

#[test]
fn whatever_would_have_to_be_decided_is_refused() {
    let mut bench = bench();
    bench.apply(SHOP).unwrap();
    bench.turns(3);
    check_refused(bench.deploy("v2"));
    for command in [
        CommandName::Abort,
        CommandName::Promote,
        CommandName::Undo,
        CommandName::Retry,
        CommandName::Restart,
    ] {
        check_refused(bench.command(command));
    }
    check_refused(bench.apply(&SHOP.replace("version: v1", "version: v2")));
    check_refused(bench.apply(&SHOP.replace("replicas: 2", "replicas: 3")));
    check_refused(bench.ask(|reply| Event::History {
        service: shop(),
        limit: 1,
        has_entries: false,
        reply,
    }));
    bench.turns(3);
    let world = bench.world.lock();
    assert_eq!(
        (world.runs(&shop(), "v1"), world.runs(&shop(), "v2")),
        (2, 0)
    );
    assert_eq!(world.weight(&shop()).as_bps(), 0);
}

#[test]
fn only_a_store_that_is_damaged_or_out_of_reach_is_done_without() {
    let io = StoreError::Io {
        doing: "open",
        source: "permission denied".into(),
    };
    let absent = AbsentStore::try_new(io).unwrap();
    assert_eq!(
        absent.absence(),
        Some("could not open the store: permission denied")
    );
    let in_use = StoreError::InUse {
        directory: "/data".to_owned(),
        pid: "7".to_owned(),
    };
    AbsentStore::try_new(in_use).unwrap_err();
    let too_new = StoreError::TooNew {
        path: "/data/haldane.db".to_owned(),
        found: 9,
        known: 1,
    };
    AbsentStore::try_new(too_new).unwrap_err();
}
