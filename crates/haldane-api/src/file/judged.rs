//! The part of a `Release` that says how its versions are rolled out, and what they are judged by: the keys of a release file.
//!
//! Whoever may write a `Release` is not who runs the controller, so that it may not have commands run there, and may name no secret
//! but those that were put into the directory of its namespace.

use std::{collections::BTreeMap, time::Duration};

use haldane_core::plan::{
    Plan, PlanParts,
    metric::{Given, Provider, Unit},
};

use super::{
    metric::{
        Home, Known, Names, Sources, check_placeholders, find_source, read_sources, read_template,
        read_variables, read_workload, template_workload,
    },
    service::read_judged_plan,
};
use crate::{
    keys,
    read::{At, Fields, Problem, Problems},
    release::{CountedBy, JudgedPlan, Requests, SECRETS_DIR},
    tree::{self, Kind, shorten},
};

/// The time between two questions unless the release says otherwise.
const INTERVAL: Duration = Duration::from_secs(5);

/// Samples older than this are none, unless the release says otherwise: two scrapes of the usual length, and the questions after them.
const STALE_AFTER: Duration = Duration::from_mins(1);

/// The shortest and the longest time between two questions.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// The longest matchers, name of a series and name of a version.
const TEXT_BYTES_MAX: usize = 2_000;

/// Reads a plan with what it is judged by: the keys `rollout`, `metrics`, `requests` and `sources`, as YAML or JSON.
///
/// # Errors
/// Every mistake in it, in the order of the text.
pub(crate) fn parse_judged_plan(text: &str) -> Result<JudgedPlan, Vec<Problem>> {
    let mut out = Problems::default();
    let judged = tree::read(text, &mut out).and_then(|root| {
        let at = At {
            node: &root,
            path: String::new(),
        };
        read(&at, &mut out)
    });
    match (judged, out.into_list()) {
        (Some(judged), problems) if problems.is_empty() => Ok(judged),
        (_, problems) => Err(problems),
    }
}

/// Reads a map of these keys.
pub(crate) fn read(at: &At<'_>, out: &mut Problems) -> Option<JudgedPlan> {
    let fields = at.fields(&keys::JUDGED_PLAN, out)?;
    let sources = fields.or("sources", BTreeMap::new(), |at| {
        let sources = read_sources(at, out)?;
        check_sources(at, &sources, out);
        Some(sources)
    });
    let known = Known {
        sources: &sources,
        home: Home::Cluster,
    };
    let plan = read_judged_plan(&fields, known, out);
    if let Some(at) = fields.get("rollout") {
        refuse_commands(&at, out);
    }
    if let Some(plan) = &plan {
        refuse_counts_of_the_proxy(&fields, plan, out);
    }
    let requests = fields.get("requests");
    let requests = requests.map(|at| read_requests(&at, &sources, out));
    let requests = match requests {
        Some(requests) => Some(requests?),
        None => None,
    };
    let is_said = fields
        .get("rollout")
        .is_some_and(|at| at.has(&["sampling", "staleAfter"]));
    let plan = match &requests {
        Some(_) if !is_said => patient(plan?)?,
        Some(_) | None => plan?,
    };
    Some(JudgedPlan { plan, requests })
}

/// Returns the plan with the patience that scrapes need.
fn patient(plan: Plan) -> Option<Plan> {
    let mut parts = PlanParts::from(plan);
    parts.rules.sampling.stale_after = parts.rules.sampling.stale_after.max(STALE_AFTER);
    // What was valid is valid with more patience.
    Plan::try_new(parts).ok()
}

/// Checks that no source can be used to do something as the controller.
fn check_sources(at: &At<'_>, sources: &Sources, out: &mut Problems) {
    for source in sources.values().flatten() {
        let at = at.follow(&source.name);
        if source.provider == Provider::Command {
            out.add(
                &at,
                "the controller runs no commands; expected a source that is asked over HTTP",
            );
        }
        for given in source.auth.values().chain(source.headers.values()) {
            let is_fine = match given {
                Given::Text(_) => true,
                Given::Env(_) => false,
                Given::File(path) => is_secret_file(path),
            };
            if !is_fine {
                let message = format!(
                    "no secret of this release; expected {{ file: {SECRETS_DIR}/NAMESPACE/… }}, with the release's namespace"
                );
                out.add(&at, message);
            }
        }
    }
}

/// Whether a path lies in the directory of some namespace; in whose, only its reader knows.
fn is_secret_file(path: &str) -> bool {
    let rest = path.strip_prefix(SECRETS_DIR);
    let rest = rest.and_then(|rest| rest.strip_prefix('/'));
    let is_plain = |part: &str| !part.is_empty() && part != "." && part != "..";
    rest.is_some_and(|rest| rest.contains('/') && rest.split('/').all(is_plain))
}

/// Refuses gates that are commands, wherever they stand in the plan.
fn refuse_commands(at: &At<'_>, out: &mut Problems) {
    match &at.node.kind {
        Kind::Map(_) => {
            let entries = at.entries("", out).unwrap_or_default();
            for (entry, at) in entries {
                if entry.key != "gate" {
                    refuse_commands(&at, out);
                    continue;
                }
                let parts = at.entries("", out).unwrap_or_default();
                for (entry, at) in parts.iter().filter(|(entry, _)| entry.key == "run") {
                    let message = "the controller runs no commands; expected webhook or approval";
                    out.add_at(entry.mark, &at.path, message);
                }
            }
        }
        Kind::List(_) => {
            for at in at.items("", out).unwrap_or_default() {
                refuse_commands(&at, out);
            }
        }
        Kind::Null | Kind::Text(_) | Kind::Broken => {}
    }
}

/// Refuses metrics that only Haldane's own proxy could count.
fn refuse_counts_of_the_proxy(fields: &Fields<'_>, plan: &Plan, out: &mut Problems) {
    let Some(at) = fields.get("metrics") else {
        return;
    };
    let metrics = plan.rules().metrics.iter();
    for metric in metrics.filter(|metric| metric.source.provider == Provider::Proxy) {
        let entries = at.entries("", out).unwrap_or_default();
        for (entry, at) in entries.iter().filter(|(entry, _)| entry.key == metric.name) {
            let message = "only Haldane's own proxy counts hit and of; expected events and exposure of a source";
            out.add_at(entry.mark, &at.path, message);
        }
    }
}

fn read_requests(at: &At<'_>, sources: &Sources, out: &mut Problems) -> Option<Requests> {
    let fields = at.fields(&keys::REQUESTS, out)?;
    let source = fields.need("source", out);
    let source = source.and_then(|at| {
        let source = find_source(&at, sources, out)?;
        let is_fine = source.provider == Provider::Prometheus;
        if !is_fine {
            out.add(&at, "only Prometheus has the counters of both versions; expected a source with prometheus");
        }
        is_fine.then_some(source)
    });
    let variables = fields.or("variables", BTreeMap::new(), |at| {
        read_variables(at, Home::Cluster, out)
    });
    let names = Names {
        home: Home::Cluster,
        variables: &variables,
    };
    let interval = fields.or("interval", INTERVAL, |at| read_interval(at, out));
    let workload = fields.get("workload");
    let workload = workload.map(|at| read_workload(&at, names, out));
    let counted = read_counted(&fields, names, out);
    let (source, counted) = (source?, counted?);
    let workload = match workload {
        Some(workload) => workload?,
        None => match &counted {
            CountedBy::Template(name) => template_workload(name).to_owned(),
            CountedBy::Series { .. } => "{{deployment}}".to_owned(),
        },
    };
    Some(Requests {
        source,
        counted,
        variables,
        workload,
        interval,
    })
}

fn read_interval(at: &At<'_>, out: &mut Problems) -> Option<Duration> {
    let interval = at.wait(out)?;
    let is_fine = (INTERVALS.0..=INTERVALS.1).contains(&interval);
    if !is_fine {
        out.add(at, "expected 1s to 5m");
    }
    is_fine.then_some(interval)
}

fn read_counted(fields: &Fields<'_>, names: Names<'_>, out: &mut Problems) -> Option<CountedBy> {
    let exclusive = fields.exclusive(out);
    let own = ["select", "failed", "latency", "unit"].map(|key| fields.get(key));
    let (key, at) = exclusive?;
    if key == "template" {
        for at in own.iter().flatten() {
            out.add(at, "the template says this; expected it to be left out, or counter instead of the template");
        }
        let name = read_template(&at, names, out)?;
        return Some(CountedBy::Template(name.to_owned()));
    }
    let counter = read_series_name(&at, out);
    let [_, _, latency, unit] = own;
    let select = fields.need("select", out);
    let select = select.and_then(|at| read_select(&at, names, out));
    let failed = fields.need("failed", out);
    let failed = failed.and_then(|at| read_matcher(&at, out));
    let latency = latency.map(|at| read_series_name(&at, out));
    let units = [
        ("s", Unit::Seconds),
        ("ms", Unit::Milliseconds),
        ("us", Unit::Microseconds),
    ];
    let unit = unit.map_or(Some(Unit::Seconds), |at| at.choice(&units, out));
    Some(CountedBy::Series {
        counter: counter?,
        select: select?,
        failed: failed?,
        latency: match latency {
            Some(latency) => Some((latency?, unit?)),
            None => None,
        },
    })
}

fn read_series_name(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let name = at.filled("the name of a series such as http_requests_total", out)?;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    let is_name = name.chars().all(is_allowed) && !name.starts_with(|c: char| c.is_ascii_digit());
    if !is_name || name.len() > TEXT_BYTES_MAX {
        let message = format!(
            "{:?} is no name of a series; expected letters, digits and underscores, such as http_requests_total",
            shorten(&name)
        );
        out.add(at, message);
        return None;
    }
    Some(name)
}

fn read_select(at: &At<'_>, names: Names<'_>, out: &mut Problems) -> Option<String> {
    let text = at.filled("matchers such as pod=~\"{{replicaset}}-.+\"", out)?;
    if text.len() > TEXT_BYTES_MAX {
        out.add(at, "longer than 2000 bytes; expected shorter matchers");
        return None;
    }
    let outside = text.replace("{{", "").replace("}}", "");
    if outside.starts_with('{') || outside.ends_with('}') || text.trim_end().ends_with(',') {
        out.add(
            at,
            "more than matchers; expected them without braces and without a comma at the end",
        );
        return None;
    }
    if !check_placeholders(at, &text, names, out)? {
        let expected = names.home.telling_words();
        let message = format!(
            "the same for both versions, so nothing could be compared; expected {expected} in the matchers"
        );
        out.add(at, message);
    }
    Some(text)
}

/// Reads a matcher that is understood here, too: which series counts failures is told by its labels.
fn read_matcher(at: &At<'_>, out: &mut Problems) -> Option<String> {
    let expected = "one label such as code=~\"5..\", with letters, digits, `.` for any character and `|` between alternatives";
    let text = at.filled(expected, out)?;
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_matcher = || {
        let (label, pattern) = text.split_once('=')?;
        let is_regex = pattern.starts_with('~');
        let pattern = pattern.trim_start_matches('~');
        let pattern = pattern.strip_prefix('"')?.strip_suffix('"')?;
        let is_allowed =
            |c: char| is_word(c) || matches!(c, '-' | ' ') || (is_regex && matches!(c, '.' | '|'));
        let is_fine = !label.is_empty()
            && label.chars().all(is_word)
            && !pattern.is_empty()
            && pattern.chars().all(is_allowed);
        is_fine.then_some(())
    };
    if text.len() > TEXT_BYTES_MAX || is_matcher().is_none() {
        out.add(
            at,
            format!("cannot read {:?}; expected {expected}", shorten(&text)),
        );
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests;
