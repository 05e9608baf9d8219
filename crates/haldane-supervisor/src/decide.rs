//! What to do with the replicas of one version, as a pure function of what is wished and what is there.
//!
//! Nothing here remembers: each turn looks at the phases and answers with the next steps, so a step that is lost or repeated does
//! no harm.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Duration, Instant},
};

use crate::spec::Config;

/// Longer than any daemon runs.
const FAR: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Where one replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It has no process, and may get one at that time.
    Idle { retry_at: Instant },
    /// We started it and it was never reported healthy.
    Starting { deadline: Instant },
    /// An earlier daemon started it, and nobody has reported yet whether it is healthy. It may well be serving.
    Adopted { deadline: Instant },
    /// It was reported healthy at least once.
    Running { is_healthy: bool },
    /// It must go and still answers the requests that it has.
    Draining { until: Instant },
    /// It got SIGTERM.
    Terminating { until: Instant, cause: Cause },
    /// It got SIGKILL, or ended by itself and left processes behind that got it.
    Killing { cause: Cause },
}

/// Why a replica's process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The wish asks for it.
    Asked,
    /// It ended by itself or never became healthy: the next start backs off.
    Failed,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Asked => "asked",
            Self::Failed => "failed",
        })
    }
}

/// One replica of the version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) phase: Phase,
    /// Whether its last start was of another spec or generation than the wished one.
    pub(crate) is_stale: bool,
}

/// What is to be done with one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Start,
    Drain,
    Terminate(Cause),
    Kill(Cause),
    Remove,
}

/// Returns the next step of each replica that has one, highest index first.
pub(crate) fn decide(
    replicas: &BTreeMap<u32, View>,
    wished: u32,
    now: Instant,
) -> Vec<(u32, Action)> {
    let rolling = next_to_roll(replicas, wished);
    let step = |(&index, view): (&u32, &View)| {
        let action = if index < wished {
            keep(view, rolling == Some(index), now)
        } else {
            leave(view.phase, now)
        };
        action.map(|action| (index, action))
    };
    replicas.iter().rev().filter_map(step).collect()
}

/// When the replica needs a look even if nothing happens.
pub(crate) fn deadline(phase: Phase) -> Option<Instant> {
    match phase {
        Phase::Idle { retry_at: at }
        | Phase::Starting { deadline: at }
        | Phase::Adopted { deadline: at }
        | Phase::Draining { until: at }
        | Phase::Terminating { until: at, .. } => Some(at),
        Phase::Running { .. } | Phase::Killing { .. } => None,
    }
}

/// Returns the moment `wait` from `now`; what is too far to be told is as far as matters.
pub(crate) fn after(now: Instant, wait: Duration) -> Instant {
    now.checked_add(wait.min(FAR)).unwrap_or(now)
}

/// Returns the wait after so many failures in a row: none, first, twice the first, and so on.
pub(crate) fn backoff(failures: u32, config: &Config) -> Duration {
    let Some(doublings) = failures.checked_sub(2) else {
        return Duration::ZERO;
    };
    let factor = 1_u32.checked_shl(doublings).unwrap_or(u32::MAX);
    config
        .backoff_first
        .saturating_mul(factor)
        .min(config.backoff_max)
}

/// The next step of a replica that shall run.
fn keep(view: &View, is_next_to_roll: bool, now: Instant) -> Option<Action> {
    match view.phase {
        // What failed with the old spec says nothing about the new one.
        Phase::Idle { retry_at } => (retry_at <= now || view.is_stale).then_some(Action::Start),
        Phase::Starting { .. } if view.is_stale => Some(Action::Terminate(Cause::Asked)),
        Phase::Starting { deadline } | Phase::Adopted { deadline } => {
            (deadline <= now).then_some(Action::Terminate(Cause::Failed))
        }
        Phase::Running { .. } => is_next_to_roll.then_some(Action::Drain),
        Phase::Draining { .. } | Phase::Terminating { .. } | Phase::Killing { .. } => {
            stop(view.phase, now)
        }
    }
}

/// The next step of a replica that shall not run.
fn leave(phase: Phase, now: Instant) -> Option<Action> {
    match phase {
        Phase::Idle { .. } => Some(Action::Remove),
        Phase::Starting { .. } => Some(Action::Terminate(Cause::Asked)),
        Phase::Adopted { .. } | Phase::Running { .. } => Some(Action::Drain),
        Phase::Draining { .. } | Phase::Terminating { .. } | Phase::Killing { .. } => {
            stop(phase, now)
        }
    }
}

/// The next step of a replica on its way out.
fn stop(phase: Phase, now: Instant) -> Option<Action> {
    match phase {
        Phase::Draining { until } => (until <= now).then_some(Action::Terminate(Cause::Asked)),
        Phase::Terminating { until, cause } => (until <= now).then_some(Action::Kill(cause)),
        Phase::Idle { .. }
        | Phase::Starting { .. }
        | Phase::Adopted { .. }
        | Phase::Running { .. }
        | Phase::Killing { .. } => None,
    }
}

/// Returns the stale replica that may be restarted now: one at a time, and only while nothing else is missing.
///
/// An unhealthy one goes first, for it is missing already. Adopted ones are waited for: until they are reported healthy, nobody
/// knows how many serve.
fn next_to_roll(replicas: &BTreeMap<u32, View>, wished: u32) -> Option<u32> {
    let kept = || replicas.range(..wished);
    let is_missing = |view: &View| match view.phase {
        Phase::Running { is_healthy } => !is_healthy && !view.is_stale,
        Phase::Idle { .. }
        | Phase::Starting { .. }
        | Phase::Adopted { .. }
        | Phase::Draining { .. }
        | Phase::Terminating { .. }
        | Phase::Killing { .. } => true,
    };
    if kept().any(|(_, view)| is_missing(view)) {
        return None;
    }
    let stale = || kept().filter(|(_, view)| view.is_stale);
    let unhealthy = stale().find(|(_, view)| view.phase == Phase::Running { is_healthy: false });
    unhealthy
        .or_else(|| stale().next())
        .map(|(&index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEALTHY: Phase = Phase::Running { is_healthy: true };
    const SICK: Phase = Phase::Running { is_healthy: false };

    fn fresh(phase: Phase) -> View {
        View {
            phase,
            is_stale: false,
        }
    }

    fn stale(phase: Phase) -> View {
        View {
            phase,
            is_stale: true,
        }
    }

    #[track_caller]
    fn check(wished: u32, now: Instant, views: &[View], expected: &[(u32, Action)]) {
        let replicas = (0..).zip(views.iter().copied()).collect();
        assert_eq!(decide(&replicas, wished, now), expected);
    }

    #[test]
    fn too_many_replicas_leave_from_the_highest_index() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let views = [
            HEALTHY,
            Phase::Idle { retry_at: later },
            Phase::Adopted { deadline: now },
            Phase::Starting { deadline: later },
            HEALTHY,
        ];
        let expected = [
            (4, Action::Drain),
            (3, Action::Terminate(Cause::Asked)),
            (2, Action::Drain),
            (1, Action::Remove),
        ];
        check(1, now, &views.map(fresh), &expected);
    }

    #[test]
    fn each_deadline_has_its_step() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let due = |phase: Phase, expected| check(1, now, &[fresh(phase)], expected);
        due(Phase::Idle { retry_at: now }, &[(0, Action::Start)]);
        due(Phase::Idle { retry_at: later }, &[]);
        due(
            Phase::Starting { deadline: now },
            &[(0, Action::Terminate(Cause::Failed))],
        );
        due(Phase::Starting { deadline: later }, &[]);
        due(
            Phase::Adopted { deadline: now },
            &[(0, Action::Terminate(Cause::Failed))],
        );
        due(Phase::Adopted { deadline: later }, &[]);
        due(
            Phase::Draining { until: now },
            &[(0, Action::Terminate(Cause::Asked))],
        );
        due(Phase::Draining { until: later }, &[]);
        due(
            Phase::Terminating {
                until: now,
                cause: Cause::Failed,
            },
            &[(0, Action::Kill(Cause::Failed))],
        );
        due(
            Phase::Terminating {
                until: later,
                cause: Cause::Failed,
            },
            &[],
        );
        due(
            Phase::Killing {
                cause: Cause::Asked,
            },
            &[],
        );
        due(HEALTHY, &[]);
        due(SICK, &[]);
    }

    #[test]
    fn a_healthy_replica_rolls_only_when_nothing_else_is_missing() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let roll = |views: &[View], expected| check(3, now, views, expected);
        roll(
            &[stale(HEALTHY), stale(HEALTHY), stale(HEALTHY)],
            &[(0, Action::Drain)],
        );
        roll(
            &[fresh(HEALTHY), stale(HEALTHY), stale(HEALTHY)],
            &[(1, Action::Drain)],
        );
        roll(
            &[fresh(HEALTHY), stale(HEALTHY), stale(SICK)],
            &[(2, Action::Drain)],
        );
        roll(&[fresh(SICK), stale(HEALTHY), stale(HEALTHY)], &[]);
        for busy in [
            Phase::Starting { deadline: later },
            Phase::Draining { until: later },
            Phase::Terminating {
                until: later,
                cause: Cause::Asked,
            },
            Phase::Killing {
                cause: Cause::Asked,
            },
            Phase::Idle { retry_at: later },
        ] {
            roll(&[fresh(busy), stale(HEALTHY), stale(SICK)], &[]);
        }
        roll(
            &[
                stale(Phase::Adopted { deadline: later }),
                stale(HEALTHY),
                stale(HEALTHY),
            ],
            &[],
        );
    }

    #[test]
    fn a_new_spec_ends_the_backoff_and_the_wait_of_the_old_one() {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        check(
            1,
            now,
            &[stale(Phase::Idle { retry_at: later })],
            &[(0, Action::Start)],
        );
        let starting = stale(Phase::Starting { deadline: later });
        check(1, now, &[starting], &[(0, Action::Terminate(Cause::Asked))]);
    }

    #[test]
    fn backoff_doubles_up_to_its_maximum() {
        let seconds = |failures| backoff(failures, &Config::default()).as_secs();
        assert_eq!(
            [0, 1, 2, 3, 4, 5, 6, 7, 8].map(seconds),
            [0, 0, 1, 2, 4, 8, 16, 30, 30]
        );
        assert_eq!(seconds(u32::MAX), 30);
    }
}
