//! Keys of guards.

use super::{Form, Table, default, optional, required};

/// Guards in any of their forms.
pub(super) const GUARDS_FORM: Form = Form::Any(&[
    Form::Choice(&["none"]),
    Form::Map(&GUARDS),
    Form::List(&Form::Map(&GUARD_ITEM)),
]);

const LIMIT_OR_GUARD: Form = Form::Any(&[Form::Limit, Form::Map(&GUARD)]);

/// Guards by metric.
pub(crate) static GUARDS: Table = Table {
    name: "Guards",
    doc: "Limits that the canary must keep: fixed, or against stable as in `2x`, `+50%`, and for shares `+5pp`. Against stable only works while stable has traffic: a hold at 100% or a bake needs fixed limits, or the last step written as `{ weight: 100% }`, which does not hold.",
    keys: &[
        optional(
            "errorRate",
            LIMIT_OR_GUARD,
            "Share of requests that failed, such as 5%.",
        ),
        optional(
            "successRate",
            LIMIT_OR_GUARD,
            "Share of requests that did not fail, such as 99%.",
        ),
        optional("mean", LIMIT_OR_GUARD, "Mean latency, such as 200ms."),
        optional("p50", LIMIT_OR_GUARD, "Median latency, such as 100ms."),
        optional(
            "p95",
            LIMIT_OR_GUARD,
            "95th percentile of latency, such as 500ms.",
        ),
        optional(
            "p99",
            LIMIT_OR_GUARD,
            "99th percentile of latency, such as 1s.",
        ),
        optional(
            "cpu",
            LIMIT_OR_GUARD,
            "Processor use per replica, such as 80% of one processor.",
        ),
        optional(
            "memory",
            LIMIT_OR_GUARD,
            "Resident memory per replica, such as 64MiB.",
        ),
        optional(
            "restarts",
            LIMIT_OR_GUARD,
            "Restarts since the rollout began, such as 2.",
        ),
        optional(
            "ready",
            LIMIT_OR_GUARD,
            "Share of wanted replicas that are ready, such as 90%.",
        ),
    ],
    exactly_one_of: &[],
};

const CONTINUE_DOC: &str = "Up to here the canary passes. Without it, the same as `rollback`.";
const ROLLBACK_DOC: &str = "Beyond here it fails; between the two the judge can't tell. Without it, the same as `continue`.";
const FAILURES_DOC: &str = "How many failed measurements are tolerated.";
const SEVERITY_DOC: &str = "Whether a broken guard is only told (warn) or is a failure (critical).";
const SEVERITY: Form = Form::Choice(&["warn", "critical"]);

/// A guard in full.
pub(crate) static GUARD: Table = Table {
    name: "Guard",
    doc: "A guard in full; at least one of `continue` and `rollback` must be given.",
    keys: &[
        optional("continue", Form::Limit, CONTINUE_DOC),
        optional("rollback", Form::Limit, ROLLBACK_DOC),
        default("failures", Form::Count(0), "0", FAILURES_DOC),
        default("severity", SEVERITY, "critical", SEVERITY_DOC),
    ],
    exactly_one_of: &[],
};

/// A guard in a list.
pub(crate) static GUARD_ITEM: Table = Table {
    name: "GuardItem",
    doc: "A guard in a list, which may have several for one metric; at least one of `continue` and `rollback` must be given.",
    keys: &[
        required(
            "metric",
            Form::Choice(&METRICS),
            "The metric, such as errorRate.",
        ),
        optional("continue", Form::Limit, CONTINUE_DOC),
        optional("rollback", Form::Limit, ROLLBACK_DOC),
        default("failures", Form::Count(0), "0", FAILURES_DOC),
        default("severity", SEVERITY, "critical", SEVERITY_DOC),
    ],
    exactly_one_of: &[],
};

/// The metrics' names, in the order of [`haldane_core::guard::Metric::ALL`].
const METRICS: [&str; 10] = [
    "errorRate",
    "successRate",
    "mean",
    "p50",
    "p95",
    "p99",
    "cpu",
    "memory",
    "restarts",
    "ready",
];

#[cfg(test)]
mod tests {
    use haldane_core::guard::Metric;

    use super::*;

    #[test]
    fn every_metric_has_its_key() {
        assert_eq!(METRICS, Metric::ALL.map(Metric::name));
        assert_eq!(GUARDS.names(), METRICS.join(", "));
    }
}
