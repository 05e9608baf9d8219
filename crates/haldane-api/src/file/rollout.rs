//! The rollout of a service: steps and rules of the file, made a plan.
//!
//! The core checks the plan as a whole; its mistakes are led back to the lines that they come from.

use std::time::Duration;

use haldane_core::{
    Weight,
    guard::{Limit, Metric},
    plan::{
        Bands, Deadlines, Hold, Mode, OnDoubt, OnFailure, Plan, PlanParts, Rules, Sampling,
        Sequential, Step,
        preset::{self, DEFAULT_SHARES},
    },
};

use super::{
    calendar::{read_freeze, read_window},
    guard::{default_guards, read_guards},
    hooks::Hooks,
    step::{read_hold, read_scale, read_step},
};
use crate::{
    keys,
    read::{At, Fields, Problems},
    text::parse_limit,
    tree::{Kind, shorten},
};

/// How long a bare share holds, unless the file says otherwise.
const HOLD: Duration = Duration::from_mins(5);

/// Returns the plan of a service that has none of its own: 5 %, 25 %, 50 % and 100 %, five minutes each, with
/// [`default_guards`] and the sequential judge.
#[must_use]
pub fn default_plan() -> Plan {
    let plan = Plan::try_new(preset::shares(&DEFAULT_SHARES, HOLD, default_rules()));
    #[expect(clippy::expect_used, reason = "constant input; a test reads it")]
    plan.expect("the default plan is valid")
}

/// Returns the rules of a rollout that names none: [`default_guards`] and the sequential judge.
#[must_use]
pub fn default_rules() -> Rules {
    Rules {
        guards: default_guards(),
        judge: Some(Sequential::default()),
        ..Rules::default()
    }
}

/// The steps of a plan, and the place in the file of each.
#[derive(Default)]
pub(super) struct Steps<'a> {
    pub(super) steps: Vec<Step>,
    pub(super) places: Vec<At<'a>>,
    /// For each entry of the file's list, the first step made of it.
    pub(super) firsts: Vec<u32>,
}

/// Reads a rollout. What cannot be read is replaced by something harmless, so that the rest is checked as well.
pub(super) fn read_plan(at: &At<'_>, out: &mut Problems) -> Option<Plan> {
    let fields = at.fields(&keys::ROLLOUT, out)?;
    let hooks = Hooks::read(&fields, out);
    let rules = Rules {
        after_rollback: hooks.after_rollback.clone(),
        ..read_rules(&fields, out)
    };
    let own_hold = fields.get("hold");
    let hold = own_hold
        .as_ref()
        .and_then(|at| read_hold(at, out))
        .unwrap_or(Hold::For(HOLD));
    let listed = fields.get("steps");
    if let Some(name) = fields.get("preset") {
        for at in [listed, own_hold].into_iter().flatten() {
            out.add(
                &at,
                "a preset has steps and holds of its own; expected either the preset or these",
            );
        }
        let judge_from_step = fields.or("judgeFromStep", 0, |at| at.count(0, u32::MAX, out));
        let rules = &Rules {
            judge_from_step,
            ..rules
        };
        return read_preset(&fields, &name, (rules, &hooks), out);
    }
    let hold = (hold, own_hold.as_ref());
    let steps = match &listed {
        Some(list) => read_steps(list, hold, out),
        None => Some(default_steps(at, hold)),
    };
    let steps = steps.map(|steps| hooks.woven(steps));
    let firsts = steps.as_ref().map_or(&[][..], |steps| &steps.firsts);
    let judge_from_step = fields.or("judgeFromStep", 0, |at| read_judge_from(at, firsts, out));
    let steps = steps.unwrap_or_else(|| default_steps(at, hold));
    let parts = PlanParts {
        steps: steps.steps,
        rules: Rules {
            judge_from_step,
            ..rules
        },
    };
    check(parts, at, &steps.places, out)
}

/// Makes the plan; mistakes are led back to their places.
fn check(parts: PlanParts, at: &At<'_>, places: &[At<'_>], out: &mut Problems) -> Option<Plan> {
    let found = match Plan::try_new(parts) {
        Ok(plan) => {
            if !places.is_empty() {
                let written = places.iter().map(|place| place.path.clone());
                out.steps.insert(at.path.clone(), written.collect());
            }
            return Some(plan);
        }
        Err(found) => found,
    };
    for problem in found {
        let of_step = problem
            .path
            .strip_prefix("steps[")
            .and_then(|rest| rest.split_once(']'));
        let place = of_step.and_then(|(index, rest)| {
            let place = places.get(index.parse::<usize>().ok()?)?;
            Some(place.follow(rest))
        });
        out.add(
            &place.unwrap_or_else(|| at.follow(&problem.path)),
            problem.message,
        );
    }
    None
}

fn read_preset(
    fields: &Fields<'_>,
    name: &At<'_>,
    (rules, hooks): (&Rules, &Hooks<'_>),
    out: &mut Problems,
) -> Option<Plan> {
    let names = || {
        preset::PRESETS
            .iter()
            .map(|preset| preset.name)
            .collect::<Vec<_>>()
            .join(", ")
    };
    let text = name.text("the name of a preset", out)?;
    let known = preset::find(text, Rules::default());
    if known.is_none() {
        let message = format!(
            "{:?} is no preset; expected one of {}",
            shorten(text),
            names()
        );
        out.add(name, message);
    }
    // The rules are checked by themselves, so that a mistake in them is not taken for an unknown name, nor hidden by one.
    let judge_from_step = if known.is_some() {
        rules.judge_from_step
    } else {
        0
    };
    let rules = &Rules {
        judge_from_step,
        ..rules.clone()
    };
    let steps = PlanParts::from(known.unwrap_or_else(default_plan)).steps;
    check(
        PlanParts {
            steps,
            rules: rules.clone(),
        },
        &fields.at,
        &[],
        out,
    )?;
    let plan = preset::find(text, rules.clone())?;
    for (key, is_kept) in [
        ("bake", plan.rules().bake == rules.bake),
        (
            "canaryScale",
            plan.rules().canary_scale == rules.canary_scale,
        ),
    ] {
        if let (Some(at), false) = (fields.get(key), is_kept) {
            out.add(&at, format!("the preset {text} sets {key} itself; expected it to be left out, or steps instead of the preset"));
        }
    }
    hooked(plan, name, hooks, out)
}

/// Returns the plan of a preset with hooks between its steps.
fn hooked(plan: Plan, name: &At<'_>, hooks: &Hooks<'_>, out: &mut Problems) -> Option<Plan> {
    let PlanParts { steps, rules } = PlanParts::from(plan);
    let woven = hooks.woven(Steps {
        places: vec![name.clone(); steps.len()],
        firsts: (0..).zip(&steps).map(|(index, _)| index).collect(),
        steps,
    });
    let from = usize::try_from(rules.judge_from_step).ok();
    let from = from.and_then(|index| woven.firsts.get(index));
    let parts = PlanParts {
        steps: woven.steps,
        rules: Rules {
            judge_from_step: from.copied().unwrap_or_default(),
            ..rules
        },
    };
    check(parts, name, &woven.places, out)
}

/// A hold and its place in the file, where it has one.
type HoldAt<'a, 'h> = (Hold, Option<&'h At<'a>>);

fn default_steps<'a>(at: &At<'a>, (hold, hold_at): HoldAt<'a, '_>) -> Steps<'a> {
    let mut steps = Steps::default();
    for share in DEFAULT_SHARES.map(Weight::from_percent) {
        steps.begin();
        steps.push(Step::SetWeight(share), at);
        steps.push(Step::Hold(hold), hold_at.unwrap_or(at));
    }
    steps
}

/// Reads the list of steps; each bare share is followed by the hold, unless a hold of its own comes next.
fn read_steps<'a>(
    at: &At<'a>,
    (hold, hold_at): HoldAt<'a, '_>,
    out: &mut Problems,
) -> Option<Steps<'a>> {
    let items = at.items("a list of steps such as [5%, 50%, 100%]", out)?;
    let mut steps = Steps::default();
    let mut rest = items.iter().peekable();
    while let Some(item) = rest.next() {
        steps.begin();
        if let Kind::Map(_) = &item.node.kind {
            let (step, place) = read_step(item, out).unwrap_or_else(|| (UNREADABLE, item.clone()));
            steps.push(step, &place);
            continue;
        }
        steps.push(item.weight(out).map_or(UNREADABLE, Step::SetWeight), item);
        if !rest.peek().is_some_and(|next| is_hold(next)) {
            steps.push(Step::Hold(hold), hold_at.unwrap_or(item));
        }
    }
    Some(steps)
}

/// Stands for a step that was reported already: nothing about it is wrong, and weights may begin anew after it.
const UNREADABLE: Step = Step::TestTraffic;

fn is_hold(at: &At<'_>) -> bool {
    match &at.node.kind {
        Kind::Map(entries) => entries.iter().any(|entry| entry.key == "hold"),
        Kind::Null | Kind::Text(_) | Kind::List(_) | Kind::Broken => false,
    }
}

/// Reads from which entry of the list the guards are judged, as the index of its first step.
fn read_judge_from(at: &At<'_>, firsts: &[u32], out: &mut Problems) -> Option<u32> {
    let entry = at.count(0, u32::MAX, out)?;
    let first = usize::try_from(entry)
        .ok()
        .and_then(|entry| firsts.get(entry))
        .copied();
    if first.is_none() && !firsts.is_empty() {
        out.add(
            at,
            format!(
                "{entry} is not a step; expected 0 to {}",
                firsts.len().saturating_sub(1)
            ),
        );
    }
    first
}

/// Reads everything but the steps; which step the judge begins at depends on them.
fn read_rules(fields: &Fields<'_>, out: &mut Problems) -> Rules {
    let default = Rules::default();
    let on_failure = [
        ("rollback", OnFailure::Rollback),
        ("hold", OnFailure::Hold),
        ("pauseAtZero", OnFailure::PauseAtZero),
    ];
    let on_doubt = [
        ("advance", OnDoubt::Advance),
        ("hold", OnDoubt::Hold),
        ("rollback", OnDoubt::Rollback),
    ];
    let bands = [("learned", Bands::Learned), ("none", Bands::None)];
    let mode = [
        ("auto", Mode::Auto),
        ("manual", Mode::Manual),
        ("hybrid", Mode::Hybrid),
    ];
    let guards = fields.or("guards", default_guards(), |at| read_guards(at, out));
    // Who wants no guards and says no more wants no judge.
    let judge = (!guards.is_empty()).then(Sequential::default);
    Rules {
        guards,
        judge: fields.or("judge", judge, |at| read_judge(at, out)),
        // They belong to the service.
        metrics: Vec::new(),
        bands: fields.or("bands", default.bands, |at| at.choice(&bands, out)),
        sampling: fields.or("sampling", default.sampling, |at| read_sampling(at, out)),
        judge_from_step: default.judge_from_step,
        canary_scale: fields.or("canaryScale", default.canary_scale, |at| {
            read_scale(at, out)
        }),
        on_failure: fields.or("onFailure", default.on_failure, |at| {
            at.choice(&on_failure, out)
        }),
        on_inconclusive: fields.or("onInconclusive", default.on_inconclusive, |at| {
            at.choice(&on_doubt, out)
        }),
        on_no_data: fields.or("onNoData", default.on_no_data, |at| {
            at.choice(&on_doubt, out)
        }),
        advance: fields.or("advance", default.advance, |at| at.choice(&mode, out)),
        promote: fields.or("promote", default.promote, |at| at.choice(&mode, out)),
        bake: fields.or("bake", default.bake, |at| at.duration(out)),
        deadlines: fields.or("deadlines", default.deadlines, |at| read_deadlines(at, out)),
        windows: fields.or("windows", Vec::new(), |at| read_list(at, out, read_window)),
        freezes: fields.or("freezes", Vec::new(), |at| read_list(at, out, read_freeze)),
        after_rollback: default.after_rollback,
    }
}

fn read_list<T>(
    at: &At<'_>,
    out: &mut Problems,
    read: impl Fn(&At<'_>, &mut Problems) -> Option<T>,
) -> Option<Vec<T>> {
    let items: Vec<_> = at
        .items("a list", out)?
        .iter()
        .map(|at| read(at, out))
        .collect();
    items.into_iter().collect()
}

/// Reads how the sequential judge judges; the inner `None` leaves it out.
fn read_judge(at: &At<'_>, out: &mut Problems) -> Option<Option<Sequential>> {
    if !matches!(at.node.kind, Kind::Map(_)) {
        let words = [
            ("sequential", Some(Sequential::default())),
            ("threshold", None),
        ];
        return at.choice(&words, out);
    }
    let fields = at.fields(&keys::JUDGE, out)?;
    let default = Sequential::default();
    let read =
        |key, default: u32, kind: fn(Limit) -> Option<u32>, expected: &str, out: &mut Problems| {
            fields.or(key, default, |at| {
                let limit =
                    at.parsed(expected, |text| parse_limit(Metric::ErrorRate, text), out)?;
                let value = kind(limit);
                if value.is_none() {
                    out.add(at, format!("expected {expected}"));
                }
                value
            })
        };
    Some(Some(Sequential {
        alpha_ppm: read("alpha", default.alpha_ppm, share, "a share such as 1%", out),
        beta_ppm: read("beta", default.beta_ppm, share, "a share such as 5%", out),
        harm_permille: read(
            "harm",
            default.harm_permille,
            multiple,
            "a multiple such as 1.1x",
            out,
        ),
        accept_permille: read(
            "accept",
            default.accept_permille,
            multiple,
            "a multiple such as 1.5x",
            out,
        ),
        accept_ppm: read(
            "acceptPlus",
            default.accept_ppm,
            points,
            "points such as +0.2pp",
            out,
        ),
        leeway_ppm: read(
            "leeway",
            default.leeway_ppm,
            share,
            "a share such as 10%",
            out,
        ),
        leeway_min: fields.or("leewayMin", default.leeway_min, |at| at.duration(out)),
        warm_up: fields.or("warmUp", default.warm_up, |at| at.duration(out)),
    }))
}

fn share(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Absolute(ppm) => u32::try_from(ppm).ok(),
        Limit::Times(_) | Limit::Points(_) => None,
    }
}

pub(super) const fn multiple(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Times(permille) => Some(permille),
        Limit::Absolute(_) | Limit::Points(_) => None,
    }
}

pub(super) const fn points(limit: Limit) -> Option<u32> {
    match limit {
        Limit::Points(ppm) => Some(ppm),
        Limit::Absolute(_) | Limit::Times(_) => None,
    }
}

fn read_sampling(at: &At<'_>, out: &mut Problems) -> Option<Sampling> {
    let fields = at.fields(&keys::SAMPLING, out)?;
    let default = Sampling::default();
    Some(Sampling {
        window: fields.or("window", default.window, |at| at.wait(out)),
        requests_min: fields.or("requestsMin", default.requests_min, |at| {
            at.count(1, u32::MAX, out)
        }),
        stale_after: fields.or("staleAfter", default.stale_after, |at| at.wait(out)),
    })
}

fn read_deadlines(at: &At<'_>, out: &mut Problems) -> Option<Deadlines> {
    let fields = at.fields(&keys::DEADLINES, out)?;
    let default = Deadlines::default();
    let mut wait = |key, default| fields.or(key, default, |at| at.wait(out));
    Some(Deadlines {
        window: wait("window", default.window),
        ready: wait("ready", default.ready),
        lost: wait("lost", default.lost),
        traffic: wait("traffic", default.traffic),
        evidence: wait("evidence", default.evidence),
        confirm: wait("confirm", default.confirm),
        person: wait("person", default.person),
        drain: wait("drain", default.drain),
    })
}

impl<'a> Steps<'a> {
    /// Begins the next entry of the file's list.
    pub(super) fn begin(&mut self) {
        self.firsts
            .push(u32::try_from(self.steps.len()).unwrap_or(u32::MAX));
    }

    pub(super) fn push(&mut self, step: Step, place: &At<'a>) {
        self.steps.push(step);
        self.places.push(place.clone());
    }
}
