//! A host as in production: gather, step, make durable, bring about, sleep; and all the places where it may die.
//!
//! The rules that production follows, too: everything that was seen is heard before anything is decided. A decision that could not
//! be made durable is discarded, except one that takes traffic away: that is carried out first and recorded when the disk can. A
//! start without a readable decision takes all traffic away. What cannot be read is unknown, not as it was; and what the router did
//! before it was told something else does not count, so it is read again after each order.

use haldane_core::{
    plan::Plan,
    rollout::{
        Action, Command, Effect, Facts, Input, Phase, Promotion, Stage, State, Traffic, Transition,
        Violation, begin, effect, effects, next_deadline,
    },
};
use jiff::Timestamp;

use crate::{
    chance::Chance,
    check,
    coverage::{Coverage, boundary_after},
    fault::Fault,
    log::Log,
    store::{SaveError, Store},
    world::World,
};

/// How often at most the machine is called again in one turn until its decision stays the same.
const CALLS_MAX: u32 = 64;

/// The most random deaths of one host, so that every rollout ends.
const CRASHES_MAX: u32 = 4;

/// How the host does its work. Production's way is [`Conduct::default`]; others show that the checker can fail.
#[derive(Clone, Copy, Debug)]
pub struct Conduct {
    /// The machine.
    pub step: fn(&Plan, &State, &Input, Timestamp) -> Transition,
    /// When decisions become durable.
    pub saving: Saving,
    /// What becomes of an abort when the disk refuses.
    pub unsaved: Unsaved,
}

/// When decisions become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// Before their effects.
    First,
    /// After their effects.
    Last,
}

/// What becomes of a decision that takes traffic away when the disk refuses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaved {
    /// It is carried out and recorded later.
    Applied,
    /// It is discarded.
    Discarded,
}

/// When the host dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Death {
    /// By chance, where the rollout's troubles say so.
    ByChance,
    /// At the boundary of this number.
    At(u64),
}

/// Why a turn ended early.
#[derive(Debug)]
pub(crate) enum Stop {
    /// The host died.
    Crashed,
    /// The checker found something.
    Broken(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Self::Broken(violation)
    }
}

/// One host with one rollout, and the world around it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) plan: Plan,
    pub(crate) world: World,
    pub(crate) store: Store,
    pub(crate) coverage: Coverage,
    pub(crate) log: Log,
    /// How many boundaries were passed.
    pub(crate) boundaries: u64,
    pub(crate) transitions: u64,
    conduct: Conduct,
    death: Death,
    crashes: u32,
    chance: Chance,
    mind: Mind,
    drained_by: Option<Timestamp>,
}

/// What the host has in memory.
#[derive(Clone, Debug)]
enum Mind {
    /// It is not running.
    Down { until: i64 },
    /// It runs, and could not read its last decision yet.
    Blank,
    /// It runs.
    Aware(Box<Aware>),
}

#[derive(Clone, Debug)]
struct Aware {
    state: State,
    /// How many decisions it knows to be recorded.
    count: u64,
    /// Whether `state` is carried out but not recorded.
    is_ahead: bool,
    /// Whether a save failed, so that what is recorded must be read again.
    is_doubtful: bool,
    /// Whether an effect of this turn was lost.
    has_lost: bool,
}

impl Host {
    pub(crate) fn new(
        seed: u64,
        plan: Plan,
        world: World,
        conduct: Conduct,
        death: Death,
    ) -> Option<Self> {
        let state = begin(
            "shop-1".parse().ok()?,
            "v1".parse().ok()?,
            "v2".parse().ok()?,
            &plan,
            world.clock(),
        );
        Some(Self {
            store: Store::new(seed, &state),
            coverage: Coverage::default(),
            log: Log::default(),
            boundaries: 0,
            transitions: 0,
            conduct,
            death,
            crashes: 0,
            chance: Chance::new(seed, 8),
            mind: Mind::Aware(Box::new(Aware {
                state,
                count: 0,
                is_ahead: false,
                is_doubtful: false,
                has_lost: false,
            })),
            drained_by: None,
            plan,
            world,
        })
    }

    /// Returns the state in memory, or the recorded one while there is none.
    pub(crate) fn state(&self) -> &State {
        match &self.mind {
            Mind::Aware(aware) => &aware.state,
            Mind::Down { .. } | Mind::Blank => self.store.last(),
        }
    }

    /// Whether the rollout is over and the host knows it.
    pub(crate) fn is_over(&self) -> bool {
        matches!(&self.mind, Mind::Aware(aware) if aware.state.phase.is_terminal() && !aware.is_ahead && !aware.is_doubtful)
    }

    pub(crate) const fn has_not_died(&self) -> bool {
        self.crashes == 0
    }

    /// Returns how long to wait until something is due, at most `poll`.
    pub(crate) fn wait(&self, poll: i64) -> i64 {
        match &self.mind {
            Mind::Down { until } => until.saturating_sub(self.world.now),
            Mind::Blank => poll,
            Mind::Aware(aware) => next_deadline(&aware.state)
                .map(|at| at.duration_since(self.world.clock()).as_millis())
                .and_then(|millis| i64::try_from(millis).ok())
                .filter(|millis| (1..poll).contains(millis))
                .unwrap_or(poll),
        }
    }

    /// Does one turn: everything between two sleeps.
    pub(crate) fn turn(&mut self) -> Result<(), Violation> {
        match self.try_turn() {
            Ok(()) => Ok(()),
            Err(Stop::Broken(violation)) => Err(violation),
            Err(Stop::Crashed) => {
                let down = self.chance.seconds(0, 15);
                self.mind = Mind::Down {
                    until: self.world.now.saturating_add(down),
                };
                self.world.forget_asked();
                Ok(())
            }
        }
    }

    fn try_turn(&mut self) -> Result<(), Stop> {
        if !self.is_awake()? {
            return Ok(());
        }
        let Some(mut aware) = self.take_mind() else {
            return Ok(());
        };
        aware.has_lost = false;
        let result = self.work(&mut aware);
        let has_lost = aware.has_lost;
        let state = aware.state.clone();
        self.mind = Mind::Aware(aware);
        result?;
        if !has_lost {
            check::turn(&self.plan, &state, &self.world)?;
        }
        Ok(())
    }

    /// Takes what is in memory out, so that a death leaves nothing behind.
    fn take_mind(&mut self) -> Option<Box<Aware>> {
        match std::mem::replace(&mut self.mind, Mind::Blank) {
            Mind::Aware(aware) => Some(aware),
            Mind::Down { .. } | Mind::Blank => None,
        }
    }

    /// Starts when it is time, and reads the last decision; until it can be read, there is no traffic for the canary.
    fn is_awake(&mut self) -> Result<bool, Stop> {
        match &self.mind {
            Mind::Aware(_) => return Ok(true),
            Mind::Down { until } if *until > self.world.now => return Ok(false),
            Mind::Down { .. } | Mind::Blank => {}
        }
        let Some((state, count)) = self
            .store
            .load_at_start(self.world.now, &mut self.world.faults)
        else {
            self.mind = Mind::Blank;
            // What drains now does so without a deadline of the rollout; ending it is left to the home of the versions.
            self.drained_by = Some(Timestamp::MIN);
            self.log.note(self.world.now, "blank", || {
                "no readable decision".to_owned()
            });
            self.route(&Traffic::STABLE_ONLY)?;
            return Ok(false);
        };
        haldane_core::rollout::invariants(&self.plan, &state)?;
        check::ensure(
            &state == self.store.last(),
            "what is stored is read back",
            || format!("{state:?}"),
        )?;
        self.log
            .note(self.world.now, "start", || state.phase.name().to_owned());
        self.mind = Mind::Aware(Box::new(Aware {
            state,
            count,
            is_ahead: false,
            is_doubtful: false,
            has_lost: false,
        }));
        Ok(true)
    }

    fn work(&mut self, aware: &mut Aware) -> Result<(), Stop> {
        let seen = self.world.observe();
        aware.state.facts = hear(&aware.state.facts, &seen);
        let commands = self.world.commands(&aware.state);
        if !self.is_settled(aware) {
            return self.work_ahead(aware, commands);
        }
        let (aborts, others): (Vec<Command>, Vec<Command>) = commands
            .into_iter()
            .partition(|command| command.action == Action::Abort);
        let commands = aborts.into_iter().chain(others).map(Input::Command);
        for input in commands.chain(seen) {
            let Some(input) = still_true(&aware.state.facts, input) else {
                continue;
            };
            self.tell(aware, &input)?;
            // What the disk refused must not keep the rest from being heard: it may take traffic away.
            if aware.is_doubtful && !self.is_settled(aware) {
                return Ok(());
            }
        }
        for _ in 0..CALLS_MAX {
            let count = self.transitions;
            self.tell(aware, &Input::Tick)?;
            let was_refused = aware.is_doubtful;
            if was_refused && !self.is_settled(aware) {
                return Ok(());
            }
            if was_refused || self.transitions == count {
                let state = aware.state.clone();
                return self.bring_about(aware, &state);
            }
        }
        Err(Stop::Broken(Violation {
            rule: "a turn ends",
            detail: format!("{:?}", aware.state.phase),
        }))
    }

    /// While a decision is carried out and not recorded, nothing is heard but an abort.
    fn work_ahead(&mut self, aware: &mut Aware, commands: Vec<Command>) -> Result<(), Stop> {
        for command in commands {
            if command.action == Action::Abort {
                self.tell(aware, &Input::Command(command))?;
            }
        }
        if aware.is_ahead {
            let traffic = effect::traffic(&self.plan, &aware.state);
            return self.route(&traffic);
        }
        Ok(())
    }

    /// Finds out what is recorded after a failed save, and records what is carried out already; whether all is recorded then.
    fn is_settled(&mut self, aware: &mut Aware) -> bool {
        if aware.is_doubtful {
            let (state, count) = self.store.load();
            let is_written = count != aware.count;
            aware.count = count;
            aware.is_doubtful = false;
            if is_written && state.is_same_decision(&aware.state) {
                aware.is_ahead = false;
            } else if !aware.is_ahead {
                let facts = std::mem::take(&mut aware.state.facts);
                aware.state = State { facts, ..state };
            }
        }
        if !aware.is_ahead {
            return true;
        }
        let is_saved = self.save(aware, &aware.state.clone()).is_ok();
        aware.is_ahead = !is_saved;
        aware.is_doubtful = !is_saved;
        is_saved
    }

    fn save(&mut self, aware: &mut Aware, state: &State) -> Result<(), SaveError> {
        let (world, store) = (&mut self.world, &mut self.store);
        store.save(aware.count, state, world.now, &mut world.faults)?;
        aware.count = aware.count.saturating_add(1);
        Ok(())
    }

    /// Tells the machine one thing; makes what it decides durable, and brings it about.
    fn tell(&mut self, aware: &mut Aware, input: &Input) -> Result<(), Stop> {
        let before = aware.state.clone();
        self.coverage.call(before.phase.name(), input);
        let transition = (self.conduct.step)(&self.plan, &before, input, self.world.clock());
        check::call(&self.plan, &before, input, &transition)?;
        let after = transition.state;
        if before.is_same_decision(&after) {
            aware.state = after;
            return Ok(());
        }
        self.transitions = self.transitions.saturating_add(1);
        self.note_drain(&after);
        self.log.note(self.world.now, after.phase.name(), || {
            format!(
                "{} by {input:?} -> {:?} lost {:?}",
                before.phase.name(),
                after.phase,
                after.lost
            )
        });
        if self.conduct.saving == Saving::Last {
            self.bring_about(aware, &after)?;
        }
        self.pass_boundary("before persist")?;
        match self.save(aware, &after) {
            Ok(()) => {
                aware.state = after;
                aware.is_ahead = false;
                self.pass_boundary("after persist")?;
                let state = aware.state.clone();
                self.bring_about(aware, &state)
            }
            Err(SaveError::Refused) => self.go_ahead(aware, after),
            Err(SaveError::Conflict) => Err(Stop::Broken(Violation {
                rule: "P5: each decision follows the recorded one",
                detail: after.phase.name().to_owned(),
            })),
        }
    }

    /// Takes traffic away although the disk refused; anything else is discarded, and only what was heard stays.
    fn go_ahead(&mut self, aware: &mut Aware, after: State) -> Result<(), Stop> {
        aware.is_doubtful = true;
        let is_ending = matches!(after.phase, Phase::RollingBack(_));
        let wanted = effect::traffic(&self.plan, &after);
        let is_less = wanted.weight < effect::traffic(&self.plan, &aware.state).weight;
        let may_go_ahead = self.conduct.unsaved == Unsaved::Applied && (is_ending || is_less);
        self.log.note(self.world.now, "unsaved", || {
            format!("applied: {may_go_ahead}")
        });
        if !may_go_ahead {
            aware.state.facts = after.facts;
            return Ok(());
        }
        aware.state = after;
        aware.is_ahead = true;
        self.route(&wanted)
    }

    fn note_drain(&mut self, after: &State) {
        match &after.phase {
            Phase::RollingBack(rollback) => self.drained_by = Some(rollback.drained_by),
            Phase::Promoting(Promotion {
                stage: Stage::Draining,
                deadline,
                ..
            }) => self.drained_by = Some(*deadline),
            Phase::Pending(_)
            | Phase::Preparing(_)
            | Phase::Progressing(_)
            | Phase::Paused(_)
            | Phase::Promoting(_)
            | Phase::Completed(_)
            | Phase::RolledBack(_)
            | Phase::Failed(_) => {}
        }
    }

    /// Begins every effect of a state, and looks again at the router that it told something.
    fn bring_about(&mut self, aware: &mut Aware, state: &State) -> Result<(), Stop> {
        self.world.judge.clear();
        for effect in effects(&self.plan, state) {
            let world = &mut self.world;
            if world
                .faults
                .strikes_at_times(Fault::LostEffect, 150, &mut self.chance)
            {
                aware.has_lost = true;
            } else {
                self.perform(&effect)?;
                let world = &mut self.world;
                if world
                    .faults
                    .strikes_at_times(Fault::RepeatedEffect, 300, &mut self.chance)
                {
                    self.perform(&effect)?;
                }
            }
            self.pass_boundary(boundary_after(&effect))?;
        }
        aware.state.facts.traffic = self.world.traffic();
        Ok(())
    }

    fn perform(&mut self, effect: &Effect) -> Result<(), Stop> {
        match effect {
            Effect::EnsureTraffic(traffic) => self.route(traffic)?,
            Effect::EnsureWorkloads(wish) => {
                check::size(*wish, &self.world, self.drained_by)?;
                self.world.size(*wish);
            }
            Effect::EnsureJudged { subject, since } => self.world.judge.ensure(*subject, *since),
            Effect::EnsureAsked(key) => self.world.ask(key),
            Effect::EnsureStable(version) => check::ensure(
                matches!(self.store.last().phase, Phase::Completed(_)),
                "a version becomes stable when that is durable",
                || version.to_string(),
            )?,
            Effect::Notify { key, text } => check::ensure(
                !key.is_empty() && !text.is_empty(),
                "news have a key and a text",
                || key.clone(),
            )?,
        }
        Ok(())
    }

    fn route(&mut self, traffic: &Traffic) -> Result<(), Stop> {
        check::order(&self.plan, self.store.last(), &self.world, traffic)?;
        let world = &mut self.world;
        if world.router.target() != traffic {
            self.log.note(world.now, "route", || format!("{traffic:?}"));
        }
        world.router.ensure(traffic, world.now, &mut world.faults);
        Ok(())
    }

    /// Counts a place where the host may die, and lets it die there if it is to.
    fn pass_boundary(&mut self, boundary: &'static str) -> Result<(), Stop> {
        let number = self.boundaries;
        self.boundaries = number.saturating_add(1);
        let faults = &mut self.world.faults;
        let dies = match self.death {
            Death::At(at) => at == number,
            Death::ByChance => {
                self.crashes < CRASHES_MAX
                    && (faults.is_drawn(Fault::Crash) || faults.is_drawn(Fault::Unreadable))
                    && self.chance.happens(15)
            }
        };
        if !dies {
            return Ok(());
        }
        faults.strikes(Fault::Crash);
        self.crashes = self.crashes.saturating_add(1);
        self.coverage.crash(boundary);
        self.log
            .note(self.world.now, "crash", || boundary.to_owned());
        Err(Stop::Crashed)
    }
}

/// Takes in all that was seen; a router that could not be read is not known.
fn hear(known: &Facts, seen: &[Input]) -> Facts {
    let unknown = Facts {
        traffic: None,
        ..known.clone()
    };
    seen.iter().fold(unknown, |facts, input| facts.with(input))
}

/// What the router did before it was told something since does not count; it was read again.
fn still_true(known: &Facts, input: Input) -> Option<Input> {
    match input {
        Input::Traffic(_) => known.traffic.clone().map(Input::Traffic),
        Input::Tick
        | Input::Workloads(_)
        | Input::Judged(_)
        | Input::Gate(_)
        | Input::Calendar(_)
        | Input::Command(_) => Some(input),
    }
}

impl Default for Conduct {
    fn default() -> Self {
        Self {
            step: haldane_core::rollout::step,
            saving: Saving::First,
            unsaved: Unsaved::Applied,
        }
    }
}
