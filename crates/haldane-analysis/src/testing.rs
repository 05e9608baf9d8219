//! Builders for tests.

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{Guard, Limit, Metric, Severity},
    plan::Sampling,
    verdict::Subject,
};
use jiff::Timestamp;

use crate::{
    sample::{Bucket, Sample},
    series::{Batch, Series},
    threshold::{Answer, Memory, Question, judge},
};

/// The time that many seconds after a fixed one.
pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

/// A batch of one second at weight 10 %.
pub(crate) fn batch(second: i64, stable: Sample, canary: Sample) -> Batch {
    Batch {
        from: at(second),
        to: at(second + 1),
        stable,
        canary,
        weight: Weight::from_percent(10),
    }
}

/// A series of one-second batches from second 0 on.
pub(crate) fn series(batches: impl IntoIterator<Item = (Sample, Sample)>) -> Series {
    let mut series = Series::new();
    for (second, (stable, canary)) in (0..).zip(batches) {
        series.push(batch(second, stable, canary)).unwrap();
    }
    series
}

/// A sample of requests that all took up to 10 ms.
pub(crate) fn requests(requests: u64, failures: u64) -> Sample {
    Sample {
        requests,
        failures,
        latency_sum_us: requests * 5_000,
        latency: Bucket::list([(10_000, requests)]),
        ..Sample::default()
    }
}

/// A critical guard that allows nothing.
pub(crate) fn guard(metric: Metric) -> Guard {
    let nothing = Limit::Absolute(0);
    Guard {
        metric,
        pass: nothing,
        fail: nothing,
        failures: 0,
        severity: Severity::Critical,
    }
}

/// A critical guard with one limit.
pub(crate) fn limited(metric: Metric, limit: Limit) -> Guard {
    Guard {
        pass: limit,
        fail: limit,
        ..guard(metric)
    }
}

/// A window of a minute, 100 requests, 15 seconds.
pub(crate) const SAMPLING: Sampling = Sampling {
    window: Duration::from_secs(60),
    requests_min: 100,
    stale_after: Duration::from_secs(15),
};

/// What the judge says at `second` to somebody who never asked before.
pub(crate) fn ask(guards: &[Guard], series: &Series, second: i64) -> Answer {
    let question = Question {
        subject: Subject::Background,
        guards,
        sampling: &SAMPLING,
        since: at(0),
        now: at(second),
    };
    judge(&question, series, &Memory::default())
}
