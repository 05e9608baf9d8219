//! Guards of the file: a map by metric, a list, or `none`.

use haldane_core::guard::{Guard, Limit, Metric, Severity, Worse};

use crate::{
    keys,
    read::{At, Fields, Problems},
    text::{parse_limit, show_limit},
    tree::Kind,
};

/// The most failed measurements that a guard may tolerate.
const FAILURES_MAX: u32 = u32::MAX;

/// Returns the guards of a rollout that names none: the thresholds at which people act anyway.
#[must_use]
pub fn default_guards() -> Vec<Guard> {
    let guard = |metric, value, severity| {
        let limit = Limit::Absolute(value);
        Guard {
            metric,
            pass: limit,
            fail: limit,
            failures: 0,
            severity,
        }
    };
    vec![
        guard(Metric::ErrorRate, 50_000, Severity::Critical),
        guard(Metric::P99, 1_000_000, Severity::Critical),
        guard(Metric::P95, 500_000, Severity::Warn),
    ]
}

/// Reads guards in any of their forms.
pub(super) fn read_guards(at: &At<'_>, out: &mut Problems) -> Option<Vec<Guard>> {
    match &at.node.kind {
        Kind::Map(_) => read_map(at, out),
        Kind::List(_) => {
            let items = at.items("a list of guards", out)?;
            let guards: Vec<_> = items.iter().map(|at| read_item(at, out)).collect();
            guards.into_iter().collect()
        }
        Kind::Text(_) if at.is_word("none") => Some(Vec::new()),
        Kind::Text(_) | Kind::Null | Kind::Broken => {
            at.entries("guards such as { errorRate: 5% }, or none", out)?;
            None
        }
    }
}

/// Reads a map by metric; the order of the text is kept.
fn read_map(at: &At<'_>, out: &mut Problems) -> Option<Vec<Guard>> {
    let fields = at.fields(&keys::GUARDS, out)?;
    let mut given: Vec<(Metric, At<'_>)> = Metric::ALL
        .into_iter()
        .filter_map(|metric| fields.get(metric.name()).map(|at| (metric, at)))
        .collect();
    given.sort_by_key(|(_, at)| at.node.mark);
    let guards: Vec<_> = given
        .iter()
        .map(|(metric, at)| read_one(*metric, at, out))
        .collect();
    guards.into_iter().collect()
}

fn read_one(metric: Metric, at: &At<'_>, out: &mut Problems) -> Option<Guard> {
    if let Kind::Map(_) = &at.node.kind {
        return read_full(Some(metric), &at.fields(&keys::GUARD, out)?, out);
    }
    let limit = read_limit(metric, at, out)?;
    Some(Guard {
        metric,
        pass: limit,
        fail: limit,
        failures: 0,
        severity: Severity::Critical,
    })
}

fn read_item(at: &At<'_>, out: &mut Problems) -> Option<Guard> {
    let fields = at.fields(&keys::GUARD_ITEM, out)?;
    let words = Metric::ALL.map(|metric| (metric.name(), metric));
    let metric = fields
        .need("metric", out)
        .and_then(|at| at.choice(&words, out));
    read_full(metric, &fields, out)
}

/// Reads the keys of a full guard; without a known metric only those that don't depend on it.
fn read_full(metric: Option<Metric>, fields: &Fields<'_>, out: &mut Problems) -> Option<Guard> {
    let severities = [("warn", Severity::Warn), ("critical", Severity::Critical)];
    let failures = fields.or("failures", 0, |at| at.count(0, FAILURES_MAX, out));
    let severity = fields.or("severity", Severity::Critical, |at| {
        at.choice(&severities, out)
    });
    let (pass, fail) = (fields.get("continue"), fields.get("rollback"));
    let last = fail.clone();
    let metric = metric?;
    let pass = pass.map(|at| read_limit(metric, &at, out));
    let fail = fail.map(|at| read_limit(metric, &at, out));
    let (pass, fail) = match (pass, fail) {
        (Some(pass), Some(fail)) => (pass?, fail?),
        (Some(limit), None) | (None, Some(limit)) => (limit?, limit?),
        (None, None) => {
            out.add(&fields.at, "no limit; expected continue, rollback or both");
            return None;
        }
    };
    if is_crossed(metric, pass, fail) {
        let show = |limit| show_limit(metric, limit);
        let message = format!(
            "{} is better than continue ({}); expected it to be worse or the same",
            show(fail),
            show(pass)
        );
        out.add(&last.unwrap_or_else(|| fields.at.clone()), message);
    }
    Some(Guard {
        metric,
        pass,
        fail,
        failures,
        severity,
    })
}

fn read_limit(metric: Metric, at: &At<'_>, out: &mut Problems) -> Option<Limit> {
    at.parsed(
        "a limit such as 5%, 500ms or 2x",
        |text| parse_limit(metric, text),
        out,
    )
}

/// Whether `fail` lies on the good side of `pass`, where the two can be compared without stable's value.
fn is_crossed(metric: Metric, pass: Limit, fail: Limit) -> bool {
    let order = match (pass, fail) {
        (Limit::Absolute(pass), Limit::Absolute(fail)) => pass.cmp(&fail),
        (Limit::Times(pass), Limit::Times(fail)) | (Limit::Points(pass), Limit::Points(fail)) => {
            pass.cmp(&fail)
        }
        (Limit::Absolute(_) | Limit::Times(_) | Limit::Points(_), _) => return false,
    };
    match metric.worse() {
        Worse::Higher => order.is_gt(),
        Worse::Lower => order.is_lt(),
    }
}
