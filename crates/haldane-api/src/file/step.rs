//! Steps of the file: a bare share, or a map with exactly one of the things that a step can do.

use std::time::Duration;

use haldane_core::{
    Weight,
    plan::{
        Analysis, Arm, Ask, Experiment, ExperimentArm, Gate, HeaderMatch, HeaderRoute, Hold, Scale,
        Step, ValueMatch,
    },
};

use super::{guard::read_guards, read_name, service::read_token};
use crate::{
    keys,
    read::{At, Fields, Problems},
    tree::{Kind, shorten},
};

/// How long a person has to answer a gate, unless the file says otherwise: as long as everywhere else.
pub(crate) const APPROVAL_TIMEOUT: Duration = Duration::from_hours(7 * 24);

/// How long a web service or a command has to answer, unless the file says otherwise.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_mins(5);

/// The largest number of replicas that the core lets a canary have.
const CANARY_REPLICAS_MAX: u32 = 10_000;

/// The most arms of an experiment or conditions of a header route.
const PARTS_MAX: usize = 100;

/// Reads a step that is a map, and returns the place of what it does.
pub(super) fn read_step<'a>(at: &At<'a>, out: &mut Problems) -> Option<(Step, At<'a>)> {
    let fields = at.fields(&keys::STEP, out)?;
    let (key, at) = fields.exclusive(out)?;
    let step = match key {
        "weight" => Step::SetWeight(at.weight(out)?),
        "testTraffic" => at.yes(out).map(|()| Step::TestTraffic)?,
        "hold" => Step::Hold(read_hold(&at, out)?),
        "scaleCanary" => Step::ScaleCanary(read_scale(&at, out)?),
        "analysis" => Step::Analysis(read_analysis(&at, out)?),
        "experiment" => Step::Experiment(read_experiment(&at, out)?),
        "headerRoute" => Step::HeaderRoute(read_header_route(&at, out)?),
        "mirror" => Step::Mirror(at.weight(out)?),
        _ => Step::Gate(read_gate(&at, None, out)?),
    };
    Some((step, at))
}

/// Reads a hold: a time, `untilResumed`, or `min` and `max`.
pub(super) fn read_hold(at: &At<'_>, out: &mut Problems) -> Option<Hold> {
    if at.is_word("untilResumed") {
        return Some(Hold::UntilResumed);
    }
    if let Kind::Map(_) = &at.node.kind {
        let fields = at.fields(&keys::HOLD, out)?;
        let min = fields.need("min", out).and_then(|at| at.duration(out));
        let max = fields.need("max", out).and_then(|at| at.duration(out));
        return Some(Hold::UntilEvidence {
            min: min?,
            max: max?,
        });
    }
    at.duration(out).map(Hold::For)
}

/// Reads a size: `full`, `matchWeight`, a share of its full size, or a number.
pub(super) fn read_scale(at: &At<'_>, out: &mut Problems) -> Option<Scale> {
    let expected = "full, matchWeight, a share such as 50%, or a number such as 3";
    let text = at.text(expected, out)?;
    match text {
        "full" => Some(Scale::Full),
        "matchWeight" => Some(Scale::MatchWeight),
        share if share.contains('%') => at.weight(out).map(Scale::ShareOfFull),
        number if number.starts_with(|c: char| c.is_ascii_digit()) => {
            at.count(1, CANARY_REPLICAS_MAX, out).map(Scale::Replicas)
        }
        _ => {
            out.add(
                at,
                format!("cannot read {:?}; expected {expected}", shorten(text)),
            );
            None
        }
    }
}

fn read_analysis(at: &At<'_>, out: &mut Problems) -> Option<Analysis> {
    let fields = at.fields(&keys::ANALYSIS, out)?;
    let name = fields.or("name", "analysis".to_owned(), |at| read_name(at, out));
    let duration = fields.need("duration", out).and_then(|at| at.wait(out));
    let guards = fields.need("guards", out).and_then(|at| {
        let guards = read_guards(&at, out)?;
        if guards.is_empty() {
            out.add(
                &at,
                "nothing to judge by; expected at least one guard such as { errorRate: 5% }",
            );
            return None;
        }
        Some(guards)
    });
    Some(Analysis {
        name,
        duration: duration?,
        guards: guards?,
    })
}

fn read_experiment(at: &At<'_>, out: &mut Problems) -> Option<Experiment> {
    let fields = at.fields(&keys::EXPERIMENT, out)?;
    let arms = fields.need("arms", out).and_then(|at| {
        if matches!(&at.node.kind, Kind::List(items) if items.is_empty()) {
            out.add(&at, "no version to run; expected at least one");
            return None;
        }
        let arms: Vec<_> = read_parts(&at, out)?
            .iter()
            .map(|at| read_arm(at, out))
            .collect();
        arms.into_iter().collect::<Option<Vec<_>>>()
    });
    let analysis = fields
        .need("analysis", out)
        .and_then(|at| read_analysis(&at, out));
    Some(Experiment {
        arms: arms?,
        analysis: analysis?,
    })
}

fn read_arm(at: &At<'_>, out: &mut Problems) -> Option<ExperimentArm> {
    let fields = at.fields(&keys::ARM, out)?;
    let versions = [("stable", Arm::Stable), ("canary", Arm::Canary)];
    let name = fields.need("name", out).and_then(|at| read_name(&at, out));
    let of = fields
        .need("of", out)
        .and_then(|at| at.choice(&versions, out));
    let replicas = fields.or("replicas", 1, |at| at.count(0, u32::MAX, out));
    let weight = fields.or("weight", Weight::ZERO, |at| at.weight(out));
    Some(ExperimentArm {
        name: name?,
        of: of?,
        replicas,
        weight,
    })
}

fn read_header_route(at: &At<'_>, out: &mut Problems) -> Option<HeaderRoute> {
    let fields = at.fields(&keys::HEADER_ROUTE, out)?;
    let name = fields.need("name", out).and_then(|at| read_name(&at, out));
    let matches = fields.or("match", Vec::new(), |at| {
        let matches: Vec<_> = read_parts(at, out)?
            .iter()
            .map(|at| read_match(at, out))
            .collect();
        matches.into_iter().collect()
    });
    Some(HeaderRoute {
        name: name?,
        matches,
    })
}

fn read_match(at: &At<'_>, out: &mut Problems) -> Option<HeaderMatch> {
    let fields = at.fields(&keys::HEADER_MATCH, out)?;
    let header = fields
        .need("header", out)
        .and_then(|at| read_token(&at, out));
    let value = fields.exclusive(out).and_then(|(key, at)| match key {
        "present" => at.yes(out).map(|()| ValueMatch::Present),
        "prefix" => at
            .text("a text", out)
            .map(|text| ValueMatch::Prefix(text.to_owned())),
        "regex" => at
            .text("a regular expression", out)
            .map(|text| ValueMatch::Regex(text.to_owned())),
        _ => at
            .text("a text", out)
            .map(|text| ValueMatch::Exact(text.to_owned())),
    });
    Some(HeaderMatch {
        header: header?.to_ascii_lowercase(),
        value: value?,
    })
}

/// Reads a question; without a name it is called by its kind and, where one is given, the moment at which it is asked.
pub(super) fn read_gate(at: &At<'_>, moment: Option<&str>, out: &mut Problems) -> Option<Gate> {
    let fields = at.fields(&keys::GATE, out)?;
    let asked = read_ask(&fields, out);
    let name = fields.get("name").map(|at| read_name(&at, out));
    let timeout = fields.get("timeout").map(|at| at.wait(out));
    let (ask, kind, patience) = asked?;
    let usual = || moment.map_or_else(|| kind.to_owned(), |moment| format!("{kind} {moment}"));
    Some(Gate {
        name: name.unwrap_or_else(|| Some(usual()))?,
        ask,
        timeout: timeout.unwrap_or(Some(patience))?,
    })
}

/// Reads who is asked, what that is called, and how long it may take.
fn read_ask(fields: &Fields<'_>, out: &mut Problems) -> Option<(Ask, &'static str, Duration)> {
    let (key, at) = fields.exclusive(out)?;
    match key {
        "approval" => at.yes(out).map(|()| (Ask::Approval, key, APPROVAL_TIMEOUT)),
        "webhook" => at
            .web_url(out)
            .map(|url| (Ask::Webhook { url }, key, ANSWER_TIMEOUT)),
        "job" => {
            let name = at.text("the name of a CronJob", out)?;
            let cron_job = name.to_owned();
            Some((Ask::Job { cron_job }, key, ANSWER_TIMEOUT))
        }
        _ => at
            .command(out)
            .map(|argv| (Ask::Run { argv }, key, ANSWER_TIMEOUT)),
    }
}

fn read_parts<'a>(at: &At<'a>, out: &mut Problems) -> Option<Vec<At<'a>>> {
    let items = at.items("a list", out)?;
    if items.len() > PARTS_MAX {
        out.add(
            at,
            format!("{} entries; expected at most {PARTS_MAX}", items.len()),
        );
        return None;
    }
    Some(items)
}
