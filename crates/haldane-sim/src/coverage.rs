//! What a run has met, and what it has missed.

use std::collections::{BTreeMap, BTreeSet};

use haldane_core::rollout::{Effect, Input};

use crate::fault::Fault;

/// Every phase, by name.
const PHASES: [&str; 9] = [
    "Pending",
    "Preparing",
    "Progressing",
    "Paused",
    "Promoting",
    "Completed",
    "RollingBack",
    "RolledBack",
    "Failed",
];

/// Every kind of input, by name; each command is a kind of its own.
const INPUTS: [&str; 15] = [
    "tick",
    "workloads",
    "traffic",
    "judged",
    "gate",
    "calendar",
    "promote",
    "promote --full",
    "pause",
    "resume",
    "abort",
    "restart",
    "set-weight",
    "supersede",
    "back-to-stable",
];

/// Where a host may die: around a save, and after an effect of each kind.
const BOUNDARIES: [&str; 8] = [
    "before persist",
    "after persist",
    "after EnsureTraffic",
    "after EnsureWorkloads",
    "after EnsureJudged",
    "after EnsureAsked",
    "after EnsureStable",
    "after Notify",
];

/// Counts of what happened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage {
    /// Calls of the machine by phase and kind of input.
    pub pairs: BTreeMap<(&'static str, &'static str), u64>,
    /// Deaths of the host by where it was.
    pub crashes: BTreeMap<&'static str, u64>,
    /// Troubles that happened.
    pub faults: BTreeMap<Fault, u64>,
}

impl Coverage {
    pub(crate) fn call(&mut self, phase: &'static str, input: &Input) {
        add(&mut self.pairs, (phase, input_name(input)), 1);
    }

    pub(crate) fn crash(&mut self, boundary: &'static str) {
        add(&mut self.crashes, boundary, 1);
    }

    pub(crate) fn join(&mut self, other: &Self) {
        for (key, count) in &other.pairs {
            add(&mut self.pairs, *key, *count);
        }
        for (key, count) in &other.crashes {
            add(&mut self.crashes, *key, *count);
        }
        for (key, count) in &other.faults {
            add(&mut self.faults, *key, *count);
        }
    }

    /// Returns what was never met, for people.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        let pairs = PHASES
            .iter()
            .flat_map(|phase| INPUTS.iter().map(move |input| (*phase, *input)))
            .filter(|pair| !self.pairs.contains_key(pair))
            .map(|(phase, input)| format!("{input} while {phase}"));
        let crashes = BOUNDARIES
            .iter()
            .filter(|boundary| !self.crashes.contains_key(**boundary))
            .map(|boundary| format!("a crash {boundary}"));
        let known: BTreeSet<&Fault> = self.faults.keys().collect();
        let faults = Fault::ALL
            .iter()
            .filter(|fault| !known.contains(fault))
            .map(|fault| format!("{fault:?}"));
        pairs.chain(crashes).chain(faults).collect()
    }
}

pub(crate) fn add<K: Ord>(counts: &mut BTreeMap<K, u64>, key: K, more: u64) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(more);
}

pub(crate) const fn input_name(input: &Input) -> &'static str {
    match input {
        Input::Tick => "tick",
        Input::Workloads(_) => "workloads",
        Input::Traffic(_) => "traffic",
        Input::Judged(_) => "judged",
        Input::Gate(_) => "gate",
        Input::Calendar(_) => "calendar",
        Input::Command(command) => command.action.name(),
    }
}

pub(crate) const fn boundary_after(effect: &Effect) -> &'static str {
    match effect {
        Effect::EnsureTraffic(_) => "after EnsureTraffic",
        Effect::EnsureWorkloads(_) => "after EnsureWorkloads",
        Effect::EnsureJudged { .. } => "after EnsureJudged",
        Effect::EnsureAsked(_) => "after EnsureAsked",
        Effect::EnsureStable(_) => "after EnsureStable",
        Effect::Notify { .. } => "after Notify",
    }
}
