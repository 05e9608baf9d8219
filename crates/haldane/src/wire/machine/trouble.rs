//! Why a version's replicas are not ready, in words and by kind: pure, out of what the supervisor saw.

use haldane_api::file::Health;
use haldane_core::rollout::{Trouble, TroubleKind};
use haldane_supervisor::{Failure, ReplicaSeen, ReplicaState};

/// Returns the gravest trouble of these replicas.
pub(super) fn gravest<'a>(
    replicas: impl Iterator<Item = &'a ReplicaSeen>,
    health: &Health,
) -> Option<Trouble> {
    replicas
        .filter_map(|replica| of(replica, health))
        .max_by_key(|trouble| match trouble.kind {
            TroubleKind::CannotStart => (2, 0),
            TroubleKind::StartsFail(times) => (1, times),
            TroubleKind::NotReady => (0, 0),
        })
}

/// Returns what is asked of something that is to be ready.
pub(super) fn question(health: &Health) -> String {
    match &health.path {
        Some(path) => format!("answer GET {path} with success"),
        None => "accept a connection".to_owned(),
    }
}

fn of(replica: &ReplicaSeen, health: &Health) -> Option<Trouble> {
    if replica.is_healthy {
        return None;
    }
    let Some(failure) = &replica.last_failure else {
        return not_ready(replica, health);
    };
    let is_waiting = matches!(replica.state, ReplicaState::BackingOff { .. });
    let (kind, said) = match failure {
        // While it is tried once more, it may well succeed.
        Failure::NotStarted { why, is_lasting } if *is_lasting && is_waiting => {
            return Some(Trouble {
                kind: TroubleKind::CannotStart,
                said: why.clone(),
            });
        }
        Failure::NotStarted { why, .. } => (starts_fail(replica), why.clone()),
        Failure::Ended(exit) => (
            starts_fail(replica),
            format!("its process ended by itself ({exit})"),
        ),
        Failure::NeverHealthy(time) => (
            starts_fail(replica),
            format!("it did not {} within {time:?}", question(health)),
        ),
    };
    let said = match replica.failures {
        0 | 1 => said,
        times => format!("{said}; {times} starts in a row failed"),
    };
    Some(Trouble { kind, said })
}

fn starts_fail(replica: &ReplicaSeen) -> TroubleKind {
    TroubleKind::StartsFail(replica.failures.max(1))
}

fn not_ready(replica: &ReplicaSeen, health: &Health) -> Option<Trouble> {
    match replica.state {
        ReplicaState::Starting | ReplicaState::Running => Some(Trouble {
            kind: TroubleKind::NotReady,
            said: format!("it runs, and does not {} yet", question(health)),
        }),
        ReplicaState::BackingOff { .. } | ReplicaState::Draining | ReplicaState::Stopping => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use haldane_supervisor::{Exit, ReplicaId};
    use jiff::Timestamp;

    use super::*;

    const WAITING: ReplicaState = ReplicaState::BackingOff {
        until: Timestamp::UNIX_EPOCH,
    };

    fn replica(state: ReplicaState, failures: u32, last_failure: Option<Failure>) -> ReplicaSeen {
        ReplicaSeen {
            id: ReplicaId {
                service: "shop".parse().unwrap(),
                version: "v2".parse().unwrap(),
                index: 0,
                run: 1,
            },
            state,
            is_healthy: false,
            pid: None,
            port: 0,
            restarts: 0,
            started_at: None,
            last_exit: None,
            failures,
            last_failure,
        }
    }

    fn missing(is_lasting: bool) -> Option<Failure> {
        Some(Failure::NotStarted {
            why: "the program /x is missing".to_owned(),
            is_lasting,
        })
    }

    fn health(path: Option<&str>) -> Health {
        Health {
            path: path.map(str::to_owned),
            ..Health::default()
        }
    }

    #[track_caller]
    fn check(replicas: &[ReplicaSeen], expected: Option<(TroubleKind, &str)>) {
        let found = gravest(replicas.iter(), &health(Some("/health")));
        let expected = expected.map(|(kind, said)| Trouble {
            kind,
            said: said.to_owned(),
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn each_failure_has_its_kind_and_its_words() {
        use TroubleKind::{CannotStart, NotReady, StartsFail};
        let program = "the program /x is missing";
        check(&[replica(WAITING, 0, None)], None);
        check(
            &[replica(WAITING, 3, missing(true))],
            Some((CannotStart, program)),
        );
        check(
            &[replica(ReplicaState::Starting, 1, missing(true))],
            Some((StartsFail(1), program)),
        );
        check(
            &[replica(WAITING, 1, missing(false))],
            Some((StartsFail(1), program)),
        );
        check(
            &[replica(WAITING, 5, Some(Failure::Ended(Exit::Code(3))))],
            Some((
                StartsFail(5),
                "its process ended by itself (exit code 3); 5 starts in a row failed",
            )),
        );
        // The leader has ended, and its failure is not counted yet.
        check(
            &[replica(
                ReplicaState::Stopping,
                0,
                Some(Failure::Ended(Exit::Signal(9))),
            )],
            Some((StartsFail(1), "its process ended by itself (signal 9)")),
        );
        check(
            &[replica(
                WAITING,
                1,
                Some(Failure::NeverHealthy(Duration::from_secs(30))),
            )],
            Some((
                StartsFail(1),
                "it did not answer GET /health with success within 30s",
            )),
        );
        check(
            &[replica(ReplicaState::Starting, 0, None)],
            Some((
                NotReady,
                "it runs, and does not answer GET /health with success yet",
            )),
        );
        check(&[replica(ReplicaState::Draining, 0, None)], None);
        let mut well = replica(ReplicaState::Running, 0, None);
        well.is_healthy = true;
        check(&[well], None);
    }

    #[test]
    fn of_several_replicas_the_gravest_is_told() {
        let starting = replica(ReplicaState::Starting, 0, None);
        let failing = |times| replica(WAITING, times, Some(Failure::Ended(Exit::Code(1))));
        let kind = |replicas: &[ReplicaSeen]| {
            gravest(replicas.iter(), &health(None)).map(|trouble| trouble.kind)
        };
        let all = [failing(4), replica(WAITING, 1, missing(true)), failing(2)];
        assert_eq!(kind(&all), Some(TroubleKind::CannotStart));
        assert_eq!(
            kind(&[starting.clone(), failing(2), failing(4), failing(1)]),
            Some(TroubleKind::StartsFail(4))
        );
        assert_eq!(kind(&[starting]), Some(TroubleKind::NotReady));
    }

    #[test]
    fn without_a_path_a_connection_is_enough() {
        assert_eq!(question(&health(None)), "accept a connection");
    }
}
