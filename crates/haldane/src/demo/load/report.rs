//! What the load saw, kept small: counters, one histogram per version and the last ten minutes by second.

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::{Duration, SystemTime},
};

use super::latency::LatencyHistogram;

/// How many seconds are kept one by one: longer than any demo, and a bench reads shares as it goes.
const SECONDS_MAX: usize = 600;

/// How many versions are told apart: a rollout has three; a server that invents names must not fill the memory.
const VERSIONS_MAX: usize = 16;

/// The name under which further versions are counted.
pub(crate) const OTHER_VERSIONS: &str = "(other)";

/// How all requests of one run ended. Times are counted from the start of the run.
#[derive(Clone, Debug)]
pub(crate) struct LoadReport {
    /// The wall-clock time of the start.
    pub(crate) started_at: SystemTime,
    /// How long requests have been scheduled.
    pub(crate) elapsed: Duration,
    /// Requests that were started.
    pub(crate) sent: u64,
    /// Requests that were due but not started, because too many were in flight.
    pub(crate) not_sent: u64,
    /// Requests with a complete answer that the proxy did not make up as a 5xx.
    pub(crate) completed: u64,
    /// Requests without a complete answer, or with a 5xx made by the proxy.
    pub(crate) dropped: u64,
    /// Requests still in flight when the run's drain deadline passed; neither completed nor dropped.
    pub(crate) abandoned: u64,
    /// Requests sent once more because their reused connection turned out to be closed; each ends in one of the above.
    pub(crate) retried: u64,
    /// Completed requests that the shop answered with a 5xx.
    pub(crate) upstream_errors: u64,
    /// Completed requests by class.
    pub(crate) answers: BTreeMap<AnswerClass, u64>,
    /// Dropped requests by cause.
    pub(crate) drops: BTreeMap<DropCause, u64>,
    /// Latencies of all completed requests.
    pub(crate) latency: LatencyHistogram,
    /// What is known of each version that named itself.
    pub(crate) versions: BTreeMap<String, VersionReport>,
    /// When the first bad answer was complete: a 5xx, a slow one, or a dropped request.
    pub(crate) first_bad: Option<Duration>,
    /// The last seconds in which requests started that a version answered, oldest first.
    pub(crate) seconds: VecDeque<SecondReport>,
    /// An answer slower than this is a bad one.
    slow: Duration,
}

/// What is known of one version.
#[derive(Clone, Debug)]
pub(crate) struct VersionReport {
    /// Requests that this version answered, at least with a head.
    pub(crate) requests: u64,
    /// Those with a complete 5xx.
    pub(crate) upstream_errors: u64,
    /// Those whose answer broke off or timed out after its head.
    pub(crate) dropped: u64,
    /// Latencies of the complete ones.
    pub(crate) latency: LatencyHistogram,
    /// When its first answer was complete.
    pub(crate) first_answer: Option<Duration>,
    /// When its first bad answer ended: a 5xx, a slow one, one that broke off.
    pub(crate) first_bad: Option<Duration>,
    /// When the last request that it answered started.
    pub(crate) last_started: Duration,
}

/// The requests that started within one second, by the version that answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SecondReport {
    /// The second, counted from the start of the run.
    pub(crate) second: u64,
    /// Requests by version.
    pub(crate) versions: BTreeMap<String, u64>,
}

/// How many requests of a time range one version answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Observed {
    /// Requests that the version answered.
    pub(crate) hits: u64,
    /// Requests that any version answered.
    pub(crate) requests: u64,
}

/// What kind of complete answer a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AnswerClass {
    /// 2xx.
    Success,
    /// 3xx.
    Redirect,
    /// 4xx.
    ClientError,
    /// 5xx made by the shop.
    UpstreamError,
}

/// Why a request was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum DropCause {
    /// No connection.
    Connect,
    /// The connection ended, or spoke no HTTP, before a complete head.
    NoAnswer,
    /// The answer broke off within its body.
    PartialAnswer,
    /// No complete answer in time.
    Timeout,
    /// A 5xx that the proxy made itself.
    ProxyError,
    /// The client itself broke.
    Client,
}

/// How one request ended.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) started: Duration,
    pub(super) finished: Duration,
    /// From the scheduled start.
    pub(super) latency: Duration,
    pub(super) version: Option<String>,
    pub(super) is_retried: bool,
    pub(super) end: End,
}

/// Whether one request has its answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum End {
    Answered(AnswerClass),
    Dropped(DropCause),
}

impl LoadReport {
    pub(super) fn new(started_at: SystemTime, slow: Duration) -> Self {
        Self {
            started_at,
            elapsed: Duration::ZERO,
            sent: 0,
            not_sent: 0,
            completed: 0,
            dropped: 0,
            abandoned: 0,
            retried: 0,
            upstream_errors: 0,
            answers: BTreeMap::new(),
            drops: BTreeMap::new(),
            latency: LatencyHistogram::new(),
            versions: BTreeMap::new(),
            first_bad: None,
            seconds: VecDeque::new(),
            slow,
        }
    }

    /// Returns how many requests wait for their answer.
    pub(crate) fn in_flight(&self) -> u64 {
        let ended = self
            .completed
            .saturating_add(self.dropped)
            .saturating_add(self.abandoned);
        self.sent.saturating_sub(ended)
    }

    /// Returns how many requests that started in the whole seconds within `range` `version` answered, of how many.
    ///
    /// A request counts once it is answered. So a slow version looks rarer than it is until the range is older than its latency.
    pub(crate) fn observed(&self, version: &str, range: Range<Duration>) -> Observed {
        let first = range
            .start
            .as_secs()
            .saturating_add(u64::from(range.start.subsec_nanos() > 0));
        let seconds = first..range.end.as_secs();
        let within = self
            .seconds
            .iter()
            .filter(|entry| seconds.contains(&entry.second));
        let mut observed = Observed {
            hits: 0,
            requests: 0,
        };
        for entry in within {
            let requests = entry.versions.values().sum();
            let hits = entry.versions.get(version).copied().unwrap_or(0);
            observed.requests = observed.requests.saturating_add(requests);
            observed.hits = observed.hits.saturating_add(hits);
        }
        observed
    }

    pub(super) fn count_start(&mut self, is_sent: bool) {
        let counter = if is_sent {
            &mut self.sent
        } else {
            &mut self.not_sent
        };
        increment(counter);
    }

    pub(super) fn count_end(&mut self, outcome: &Outcome) {
        if outcome.is_retried {
            increment(&mut self.retried);
        }
        match outcome.end {
            End::Answered(class) => {
                increment(&mut self.completed);
                increment(self.answers.entry(class).or_default());
                self.latency.record(outcome.latency);
                if class == AnswerClass::UpstreamError {
                    increment(&mut self.upstream_errors);
                }
            }
            End::Dropped(cause) => self.count_drop(cause),
        }
        if outcome.is_bad(self.slow) {
            earliest(&mut self.first_bad, outcome.finished);
        }
        if let Some(version) = &outcome.version {
            let version = self.known_name(version);
            self.count_second(outcome.started.as_secs(), &version);
            let slow = self.slow;
            self.versions
                .entry(version)
                .or_insert_with(VersionReport::new)
                .count(outcome, slow);
        }
    }

    /// Counts a request whose task panicked: its user has no answer.
    pub(super) fn count_broken_task(&mut self) {
        self.count_drop(DropCause::Client);
    }

    /// Gives up what is in flight.
    pub(super) fn abandon_in_flight(&mut self) {
        self.abandoned = self.abandoned.saturating_add(self.in_flight());
    }

    fn count_drop(&mut self, cause: DropCause) {
        increment(&mut self.dropped);
        increment(self.drops.entry(cause).or_default());
    }

    fn known_name(&self, version: &str) -> String {
        let is_known = self.versions.contains_key(version) || self.versions.len() < VERSIONS_MAX;
        if is_known {
            version.to_owned()
        } else {
            OTHER_VERSIONS.to_owned()
        }
    }

    /// Counts an answer for the second in which its request started, which is not always the newest.
    fn count_second(&mut self, second: u64, version: &str) {
        let after = self
            .seconds
            .iter()
            .rposition(|entry| entry.second <= second);
        let position = match after {
            Some(at)
                if self
                    .seconds
                    .get(at)
                    .is_some_and(|entry| entry.second == second) =>
            {
                at
            }
            Some(_) | None => {
                let at = after.map_or(0, |at| at.saturating_add(1));
                self.seconds.insert(
                    at,
                    SecondReport {
                        second,
                        versions: BTreeMap::new(),
                    },
                );
                at
            }
        };
        if let Some(entry) = self.seconds.get_mut(position) {
            increment(entry.versions.entry(version.to_owned()).or_default());
        }
        while self.seconds.len() > SECONDS_MAX {
            self.seconds.pop_front();
        }
    }
}

impl VersionReport {
    fn new() -> Self {
        Self {
            requests: 0,
            upstream_errors: 0,
            dropped: 0,
            latency: LatencyHistogram::new(),
            first_answer: None,
            first_bad: None,
            last_started: Duration::ZERO,
        }
    }

    fn count(&mut self, outcome: &Outcome, slow: Duration) {
        increment(&mut self.requests);
        self.last_started = self.last_started.max(outcome.started);
        match outcome.end {
            End::Answered(class) => {
                self.latency.record(outcome.latency);
                earliest(&mut self.first_answer, outcome.finished);
                if class == AnswerClass::UpstreamError {
                    increment(&mut self.upstream_errors);
                }
            }
            End::Dropped(_) => increment(&mut self.dropped),
        }
        if outcome.is_bad(slow) {
            earliest(&mut self.first_bad, outcome.finished);
        }
    }
}

impl Observed {
    /// Returns the version's share of the answered requests; `None` of none.
    pub(crate) fn share(self) -> Option<f64> {
        // Exact below 2⁵³ requests.
        (self.requests > 0).then(|| self.hits as f64 / self.requests as f64)
    }
}

impl Outcome {
    fn is_bad(&self, slow: Duration) -> bool {
        match self.end {
            End::Answered(AnswerClass::UpstreamError) | End::Dropped(_) => true,
            End::Answered(
                AnswerClass::Success | AnswerClass::Redirect | AnswerClass::ClientError,
            ) => self.latency > slow,
        }
    }
}

fn increment(counter: &mut u64) {
    *counter = counter.saturating_add(1);
}

/// Keeps the earlier of two times: answers are counted in the order in which they end, but by tasks that may be late.
fn earliest(kept: &mut Option<Duration>, found: Duration) {
    *kept = Some(kept.map_or(found, |kept| kept.min(found)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> LoadReport {
        LoadReport::new(SystemTime::UNIX_EPOCH, Duration::from_millis(500))
    }

    fn answer(second: u64, version: &str, class: AnswerClass) -> Outcome {
        let started = Duration::from_secs(second);
        Outcome {
            started,
            finished: started + Duration::from_millis(10),
            latency: Duration::from_millis(10),
            version: Some(version.to_owned()),
            is_retried: false,
            end: End::Answered(class),
        }
    }

    #[test]
    fn a_share_is_read_from_the_whole_seconds_of_a_range() {
        let mut report = report();
        // A late answer belongs to the second in which its request started.
        for (second, version) in [
            (1, "v1"),
            (2, "v2"),
            (1, "v2"),
            (2, "v1"),
            (2, "v1"),
            (3, "v1"),
        ] {
            report.count_end(&answer(second, version, AnswerClass::Success));
        }
        let observed = |from, to| {
            let found =
                report.observed("v2", Duration::from_millis(from)..Duration::from_millis(to));
            (found.hits, found.requests)
        };
        assert_eq!(observed(1_000, 3_000), (2, 5));
        assert_eq!(observed(2_000, 3_000), (1, 3));
        assert_eq!(observed(1_001, 3_999), (1, 3));
        assert_eq!(observed(5_000, 9_000), (0, 0));
        let share = |range| report.observed("v2", range).share();
        assert_eq!(
            share(Duration::from_secs(2)..Duration::from_secs(4)),
            Some(0.25)
        );
        assert_eq!(share(Duration::from_secs(5)..Duration::from_secs(9)), None);
    }

    #[test]
    fn seconds_and_versions_are_bounded_and_the_oldest_go_first() {
        let mut report = report();
        for second in 0..700 {
            report.count_end(&answer(second, &format!("v{second}"), AnswerClass::Success));
        }
        report.count_end(&answer(3, "v0", AnswerClass::Success));
        assert_eq!(report.seconds.len(), SECONDS_MAX);
        assert_eq!(report.seconds.front().map(|entry| entry.second), Some(100));
        assert_eq!(report.versions.len(), VERSIONS_MAX + 1);
        assert_eq!(report.versions[OTHER_VERSIONS].requests, 700 - 16);
        assert_eq!(
            report
                .versions
                .values()
                .map(|version| version.requests)
                .sum::<u64>(),
            701
        );
    }

    #[test]
    fn a_bad_answer_is_a_5xx_a_slow_one_or_a_broken_one() {
        let check = |change: fn(&mut Outcome), expected: Option<u64>| {
            let mut report = report();
            report.count_end(&answer(1, "v2", AnswerClass::Success));
            let mut outcome = answer(2, "v2", AnswerClass::Success);
            change(&mut outcome);
            report.count_end(&outcome);
            let expected = expected.map(Duration::from_millis);
            assert_eq!(
                (report.first_bad, report.versions["v2"].first_bad),
                (expected, expected)
            );
            assert_eq!(
                report.versions["v2"].first_answer,
                Some(Duration::from_millis(1_010))
            );
        };
        check(|_| {}, None);
        check(|it| it.end = End::Answered(AnswerClass::ClientError), None);
        check(
            |it| it.end = End::Answered(AnswerClass::UpstreamError),
            Some(2_010),
        );
        check(|it| it.latency = Duration::from_millis(501), Some(2_010));
        check(
            |it| it.end = End::Dropped(DropCause::PartialAnswer),
            Some(2_010),
        );
    }
}
