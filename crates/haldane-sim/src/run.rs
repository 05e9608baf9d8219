//! Playing rollouts: one, one with its trace, or many with a summary.

use std::collections::BTreeMap;

use haldane_core::rollout::{Approval, Ended, Phase, Reason, State, Violation};

use crate::{
    chance::{Chance, mix},
    check,
    coverage::{Coverage, add},
    draw,
    fault::Faults,
    host::{Conduct, Death, Host},
    log::Log,
    world::World,
};

/// More turns than any rollout takes: the longest waits are minutes, a clock that went back an hour, and few restarts.
const TURNS_MAX: u32 = 6_000;

/// How many turns an ended rollout gets, at least, so that its host meets inputs after the end.
const TURNS_AFTER: u32 = 8;

/// How many turns the world may take to become as the rollout ended.
const TURNS_SETTLING: u32 = 60;

/// One of so many rollouts is played twice, to compare the traces.
const REPLAYED_EACH: u64 = 50;

/// One of so many rollouts is played without trouble, and then once more for each place where the host may die.
const SIEVED_EACH: u64 = 200;

/// How one rollout went.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The seed it follows from.
    pub seed: u64,
    /// The name of the phase it ended in.
    pub end: &'static str,
    /// How many decisions were made.
    pub transitions: u64,
    /// A hash of all that happened.
    pub hash: u64,
    /// What it met.
    pub coverage: Coverage,
    /// The rule that was broken, if one was.
    pub violation: Option<Violation>,
    boundaries: u64,
    was_ever_bad: bool,
}

/// A rollout in which a rule was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The seed of the rollout.
    pub seed: u64,
    /// The place where the host died, in a run that goes through all of them.
    pub death: Option<u64>,
    /// The rule.
    pub violation: Violation,
}

/// How many rollouts went.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    /// How many were drawn.
    pub rollouts: u64,
    /// How many more were played to die at each place in turn.
    pub deaths: u64,
    /// How many of those ended as without a death; in the others a race between the judge and a person ended differently.
    pub deaths_without_effect: u64,
    /// How many decisions were made.
    pub transitions: u64,
    /// How many ended in each phase.
    pub ends: BTreeMap<&'static str, u64>,
    /// What was met.
    pub coverage: Coverage,
    /// The first rollout in which a rule was broken; nothing is played after it.
    pub failure: Option<Failure>,
}

impl Summary {
    /// Whether no rule was broken and nothing was missed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failure.is_none() && self.coverage.missing().is_empty()
    }
}

/// Plays the rollout of this seed.
#[must_use]
pub fn play(seed: u64, conduct: Conduct) -> Outcome {
    let faults = Faults::draw(&mut Chance::new(seed, 9));
    let part = Part {
        seed,
        faults,
        death: Death::ByChance,
        log: Log::default(),
    };
    part.play(conduct).0
}

/// Plays the rollout of this seed, and the place where the host dies if one is given, and returns what happened, line by line.
#[must_use]
pub fn trace(seed: u64, death: Option<u64>) -> (Outcome, Vec<String>) {
    let (faults, death) = match death {
        Some(at) => (Faults::default(), Death::At(at)),
        None => (Faults::draw(&mut Chance::new(seed, 9)), Death::ByChance),
    };
    let part = Part {
        seed,
        faults,
        death,
        log: Log::with_lines(),
    };
    let (outcome, log) = part.play(Conduct::default());
    (outcome, log.into_lines())
}

/// Plays many rollouts; `tell` is called with the number played so far.
pub fn run(rollouts: u64, seed: u64, mut tell: impl FnMut(u64)) -> Summary {
    let mut summary = Summary::default();
    for index in 0..rollouts {
        tell(index);
        let seed = mix(seed ^ mix(index));
        if let Err(failure) = summary.add(index, seed) {
            summary.failure = Some(failure);
            break;
        }
    }
    summary
}

impl Summary {
    fn add(&mut self, index: u64, seed: u64) -> Result<(), Failure> {
        let outcome = play(seed, Conduct::default());
        self.rollouts = self.rollouts.saturating_add(1);
        self.take(&outcome, None)?;
        add(&mut self.ends, outcome.end, 1);
        if index.is_multiple_of(REPLAYED_EACH) {
            let again = play(seed, Conduct::default());
            let holds = again.hash == outcome.hash && again.coverage == outcome.coverage;
            check::ensure(
                holds,
                "P10: the same seed gives the same trace",
                String::new,
            )
            .map_err(|violation| failure(seed, None, violation))?;
        }
        if index.is_multiple_of(SIEVED_EACH) {
            self.sieve(seed)?;
        }
        Ok(())
    }

    /// Lets the host die at each place in turn, in a world without other trouble.
    fn sieve(&mut self, seed: u64) -> Result<(), Failure> {
        let undisturbed = play_dying(seed, u64::MAX);
        self.take(&undisturbed, None)?;
        for at in 0..undisturbed.boundaries {
            let disturbed = play_dying(seed, at);
            self.take(&disturbed, Some(at))?;
            let is_same = disturbed.end == undisturbed.end;
            check::ensure(
                // With a bad canary it is a race between the judge and a person who goes on, which the death may decide.
                is_same || undisturbed.was_ever_bad,
                "K5: a death changes nothing",
                || format!("{} instead of {}", disturbed.end, undisturbed.end),
            )
            .map_err(|violation| failure(seed, Some(at), violation))?;
            self.deaths = self.deaths.saturating_add(1);
            self.deaths_without_effect = self
                .deaths_without_effect
                .saturating_add(u64::from(is_same));
        }
        Ok(())
    }

    fn take(&mut self, outcome: &Outcome, death: Option<u64>) -> Result<(), Failure> {
        self.transitions = self.transitions.saturating_add(outcome.transitions);
        self.coverage.join(&outcome.coverage);
        match &outcome.violation {
            None => Ok(()),
            Some(violation) => Err(failure(outcome.seed, death, violation.clone())),
        }
    }
}

fn play_dying(seed: u64, at: u64) -> Outcome {
    let part = Part {
        seed,
        faults: Faults::default(),
        death: Death::At(at),
        log: Log::default(),
    };
    part.play(Conduct::default()).0
}

const fn failure(seed: u64, death: Option<u64>, violation: Violation) -> Failure {
    Failure {
        seed,
        death,
        violation,
    }
}

/// What one rollout is drawn from.
#[derive(Debug)]
struct Part {
    seed: u64,
    faults: Faults,
    death: Death,
    log: Log,
}

impl Part {
    fn play(self, conduct: Conduct) -> (Outcome, Log) {
        let mut chance = Chance::new(self.seed, 1);
        let poll = chance.seconds(1, 10);
        let mut outcome = Outcome {
            seed: self.seed,
            end: "not begun",
            transitions: 0,
            hash: 0,
            coverage: Coverage::default(),
            violation: None,
            boundaries: 0,
            was_ever_bad: false,
        };
        let plan = match draw::plan(&mut chance) {
            Ok(plan) => plan,
            Err(problems) => {
                outcome.violation = Some(Violation {
                    rule: "drawn plans are valid",
                    detail: format!("{problems:?}"),
                });
                return (outcome, self.log);
            }
        };
        let world = World::new(self.seed, &plan, self.faults);
        let Some(mut host) = Host::new(self.seed, plan, world, conduct, self.death) else {
            return (outcome, self.log);
        };
        host.log = self.log;
        host.log.note(0, "plan", || format!("{:#?}", host.plan));
        host.log.note(0, "faults", || {
            format!("{:?}, poll {poll} ms", host.world.faults.drawn())
        });
        outcome.violation = go(&mut host, poll).err();
        if let Some(violation) = &outcome.violation {
            host.log
                .note(host.world.now, "broken", || violation.to_string());
        }
        outcome.end = host.state().phase.name();
        outcome.transitions = host.transitions;
        outcome.hash = host.log.hash();
        outcome.boundaries = host.boundaries;
        outcome.was_ever_bad = host.world.was_ever_bad();
        outcome.coverage = host.coverage;
        outcome
            .coverage
            .faults
            .clone_from(host.world.faults.happened());
        (outcome, host.log)
    }
}

/// Plays until the rollout has ended and the world is as it ended.
fn go(host: &mut Host, poll: i64) -> Result<(), Violation> {
    let mut turns = 0_u32;
    while !host.is_over() {
        turns = turns.saturating_add(1);
        check::ensure(turns < TURNS_MAX, "P7: every rollout ends", || {
            host.state().phase.name().to_owned()
        })?;
        host.turn()?;
        let wait = host.wait(poll);
        host.world.pass(wait);
    }
    let ended = host.state().clone();
    check_end(host, &ended)?;
    for turn in 0..TURNS_SETTLING {
        host.turn()?;
        host.world.pass(poll);
        if turn > TURNS_AFTER && check::end(&host.plan, host.state(), &host.world).is_ok() {
            break;
        }
    }
    check::ensure(
        host.store.last().is_same_decision(&ended),
        "a terminal phase never changes",
        || host.store.last().phase.name().to_owned(),
    )?;
    check::ensure(
        host.store.count() <= host.transitions,
        "P5: one record for each decision",
        || {
            format!(
                "{} records, {} decisions",
                host.store.count(),
                host.transitions
            )
        },
    )?;
    check::end(&host.plan, host.state(), &host.world)
}

/// P6, and that nothing is lost without trouble: a good canary is promoted, a bad one never by a verdict.
fn check_end(host: &Host, ended: &State) -> Result<(), Violation> {
    let by_verdict = matches!(
        ended.phase,
        Phase::Completed(Ended {
            why: Reason::Promoted(Approval::Verdict),
            ..
        })
    );
    check::ensure(
        !by_verdict || !host.world.was_always_bad(),
        "P6: a canary that was bad from the beginning never passes",
        String::new,
    )?;
    let is_good = host.world.faults.is_none() && !host.world.was_ever_bad() && host.has_not_died();
    check::ensure(
        !is_good || matches!(ended.phase, Phase::Completed(_)),
        "a good canary without trouble is promoted",
        || format!("{:?}", ended.phase),
    )
}

#[cfg(test)]
mod tests;
