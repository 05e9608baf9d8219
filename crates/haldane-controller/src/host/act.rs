//! One turn of one release.

use std::collections::BTreeSet;

use haldane_api::release::Spec;
use haldane_core::{
    Weight,
    plan::Plan,
    rollout::{
        self, Action, Actor, CanaryWish, Command, Facts, Input, Phase, Refusal, State, Traffic,
        TrafficSeen, Workloads, effect, invariants,
    },
};
use haldane_router::ObjectRef;
use jiff::{SignedDuration, Timestamp};
use tracing::error;

use super::{
    Ports, bench, membership,
    memory::{Memory, Save},
    record::{Live, Record},
    release::{self, Release},
    routes::{Looked, Routes},
    share,
    site::{Blocked, CanaryReplicas, Rest, Scene, Site, View},
    status,
};

use crate::{
    kinds::RELEASE_GROUP,
    turn::{Event, Key, Sight, Then, Turn, Write},
};

/// How many moves a rollout may make in one turn.
const MOVES_MAX: u32 = 64;

/// How long routers are given to hear of the canary before it gets a share, that it has none any more before they are to forget it, and
/// that nothing leads to it before it is stopped.
pub(super) const SPREAD: SignedDuration = SignedDuration::from_secs(2);

/// How often a canary that is not ready is asked why.
const UNREADY_LOOK: SignedDuration = SignedDuration::from_secs(5);

/// One turn.
pub(super) struct Act<'a> {
    pub(super) release: &'a Release,
    pub(super) ports: &'a Ports,
    pub(super) memory: Memory,
    pub(super) view: View<'a>,
    /// What was in the record when the turn began.
    before: Record,
    pub(super) record: Record,
    pub(super) events: Vec<Event>,
    pub(super) reads: BTreeSet<ObjectRef>,
    /// What is there to do while no rollout goes on.
    pub(super) rest: Option<Rest>,
    /// Whether where stable runs must be kept before anything else is done.
    pub(super) is_to_be_kept: bool,
    /// Whether the objects of a new release must be held before it is taken over.
    pub(super) is_taking_over: bool,
    /// Whether the routers must hear of the canary before it can get its share.
    is_unknown: bool,
    /// Whether the canary was seen to have no replicas.
    pub(super) is_canary_gone: bool,
    /// The canary's share of pods, where that is what splits the traffic.
    pub(super) share: Option<Weight>,
    /// Why what is decided is not in force.
    pub(super) not_applied: Option<String>,
    /// Whether that is so for longer than routers usually take.
    pub(super) is_late: bool,
    /// What a question that is open waits for.
    pub(super) waits: Option<String>,
    /// When to look again at the questions that are open.
    pub(super) asked_at: Option<Timestamp>,
    /// While no rollout goes on: the canary's weight that somebody set by hand, and who.
    pub(super) left: Option<(Weight, String)>,
}

/// What a release has, apart from where it stands.
pub(super) struct Setting<'a> {
    pub(super) spec: &'a Spec,
    pub(super) site: Site,
    pub(super) routes: Routes<'a>,
}

impl<'a> Act<'a> {
    pub(super) fn new(
        (key, release): (&'a Key, &'a Release),
        memory: Memory,
        ports: &'a Ports,
        sight: &'a dyn Sight,
        now: Timestamp,
    ) -> Self {
        Self {
            release,
            ports,
            memory,
            view: View {
                key,
                uid: release.uid(),
                home: &release.home,
                is_routed: release
                    .spec
                    .as_ref()
                    .is_ok_and(|spec| !spec.routers.is_empty()),
                is_ending: release.is_deleted(),
                sight,
                now,
            },
            before: Record::new(),
            record: Record::new(),
            events: Vec::new(),
            reads: BTreeSet::new(),
            rest: None,
            is_to_be_kept: false,
            is_taking_over: false,
            is_unknown: false,
            is_canary_gone: false,
            share: None,
            not_applied: None,
            is_late: false,
            waits: None,
            asked_at: None,
            left: None,
        }
    }

    /// Returns what to write, and what is known from now on.
    pub(super) fn run(mut self) -> (Turn, Memory) {
        if let Err(message) = self.memory.take_in(&self.release.status) {
            return (self.unreadable(message), Memory::default());
        }
        self.record = self.memory.record();
        self.before = self.record.clone();
        let setting = match self.setting() {
            Ok(setting) => setting,
            Err(blocked) => return self.end(None, Some(&blocked)),
        };
        self.reads = setting.site.reads(self.view.key, &self.record);
        self.reads.extend(setting.routes.reads());
        let group = setting.spec.group.as_deref();
        self.reads
            .extend(group.map(|name| self.view.name(&RELEASE_GROUP, name)));
        if setting.spec.suspend && !self.release.is_deleted() {
            let blocked = Blocked {
                reason: "Suspended",
                message: "spec.suspend is set; everything stays as it is".to_owned(),
            };
            return self.end(None, Some(&blocked));
        }
        self.memory.hear(self.ports.asker.answers(self.view.key));
        let blocked = self.play(&setting).err();
        self.hear_aftermath();
        self.note_questions();
        self.keep(&setting);
        self.end(Some(&setting), blocked.as_ref())
    }

    /// Leaves a release as it is whose record can't be read, but for its traffic: stable has all of it, since nobody knows what was
    /// decided. The record stays for whoever can read it.
    fn unreadable(&mut self, message: String) -> Turn {
        let blocked = Blocked {
            reason: "Unreadable",
            message,
        };
        let mut turn = Turn::default();
        if let Ok(setting) = self.setting() {
            turn.reads = setting.routes.reads();
            let withdrawn = setting.routes.toward(&self.view, &Traffic::STABLE_ONLY);
            turn.writes = withdrawn.unwrap_or_default();
            if self.release.is_deleted() && turn.writes.is_empty() {
                turn.writes = self.leave_unread(&setting);
            }
        }
        turn.writes.extend(status::write_blocked(self, &blocked));
        if !turn.writes.is_empty() {
            turn.then = Then::Again;
        }
        turn
    }

    fn setting(&self) -> Result<Setting<'a>, Blocked> {
        let spec = self.release.spec.as_ref().map_err(Blocked::clone)?;
        let (site, routes) = release::parts(spec, self.view.key)?;
        Ok(Setting { spec, site, routes })
    }

    /// Decides everything that is to be decided now.
    fn play(&mut self, setting: &Setting<'_>) -> Result<(), Blocked> {
        if self.record.stable.is_none() {
            return self.take_over(setting);
        }
        let looked = setting.site.look(&self.view, &self.record);
        // A rollout whose objects can't be looked at still hears commands, and ends by its deadlines.
        let (scene, blocked) = match (looked, self.record.live()) {
            (Ok(scene), _) => (scene, None),
            (Err(blocked), Some(live)) if !blocked.is_passing() => {
                (Scene::blind(live, &blocked), Some(blocked))
            }
            (Err(blocked), _) => return Err(blocked),
        };
        self.gather(setting, &scene)?;
        self.give_up();
        self.obey(&scene);
        self.heed_group(setting, &scene);
        if blocked.is_none() {
            self.notice_hands(setting)?;
        }
        if let Some(fault) = self.frozen() {
            return Err(fault);
        }
        if blocked.is_none() && self.release.fault.is_none() {
            self.judge(setting)?;
            self.follow(&scene);
        }
        self.settle(setting, &scene)?;
        if let Some(blocked) = blocked.filter(|_| self.record.live().is_some()) {
            return Err(blocked);
        }
        self.finish(setting)?;
        if self.record.live.is_none() {
            self.view.is_ending = self.release.is_deleted();
            self.rest(setting, &scene)?;
        }
        Ok(())
    }

    /// Tells the rollout what is seen of the world.
    pub(super) fn gather(&mut self, setting: &Setting<'_>, scene: &Scene) -> Result<(), Blocked> {
        let (Some(live), Some(plan)) = (&mut self.record.live, self.memory.plan.clone()) else {
            return Ok(());
        };
        let is_back = matches!(live.state.phase, Phase::RollingBack(_) | Phase::Failed(_));
        self.view.is_ending = is_back || self.release.is_deleted();
        let calendar = membership::calendar(&self.view, setting.spec, live, &plan)?;
        let mut canary = scene.canary.unwrap_or_default();
        live.grow(scene.full, &scene.sizes);
        live.is_started |= canary.wanted > 0 && !matches!(live.state.phase, Phase::Pending(_));
        self.is_canary_gone = canary.wanted == 0;
        let wanted = effect::traffic(&plan, &live.state);
        let mut looked = match setting.routes.look(&self.view, &wanted) {
            Err(blocked) if !blocked.is_passing() => Looked::still(&wanted, &blocked.message),
            looked => looked?,
        };
        if !self.view.is_routed {
            let size = share::Size {
                stable: scene.stable.wanted,
                full: scene.full,
            };
            let known = knowing_traffic(&live.state, &wanted);
            let size = share::wanted(&known, &plan, setting.site.room(), &size);
            // What we took away ourselves nobody else took.
            live.is_started &= size != Some(0);
            if size == Some(0) && canary.existing > 0 {
                looked = Looked::still(&wanted, "pods of the canary still run");
            }
            self.share = Some(share::reached(canary.ready, scene.stable.ready));
            canary = share::counted(canary, size, scene.full);
        }
        if looked.applied == wanted {
            live.routed = wanted.weight.as_bps();
        }
        self.not_applied.clone_from(&looked.why_not);
        if matches!(live.state.phase, Phase::Preparing(_)) {
            let is_named = match setting.routes.introduced(&self.view) {
                Err(blocked) if !blocked.is_passing() => false,
                introduced => introduced?.is_empty(),
            };
            let refused = setting.routes.refused(&self.view).unwrap_or_default();
            let is_known = is_named && refused.is_none();
            if !self.memory.introduce(is_known, &self.view) {
                canary.ready = 0;
                let said = "the routers do not know the canary yet".to_owned();
                self.not_applied
                    .get_or_insert_with(|| refused.unwrap_or(said));
            }
        } else if !wanted.is_stable_only() {
            // Somebody may have written a route without the canary.
            let is_known = self.memory.introduce(looked.is_named, &self.view);
            self.is_unknown = !is_known && looked.applied.weight.is_zero();
        }
        let inputs = [
            Input::Workloads(Workloads {
                stable: scene.stable,
                canary,
                canary_full: scene.full,
                canary_trouble: scene.trouble.clone(),
            }),
            Input::Calendar(calendar),
            Input::Traffic(TrafficSeen {
                applied: looked.applied,
                stable_in_flight: 0,
                // Nobody here counts them: who leaves the canary waits for as long as the plan says.
                canary_in_flight: u64::MAX,
            }),
        ];
        if let Some(cause) = hear(&plan, &mut live.state, &inputs, self.view.now) {
            self.note(cause, None);
        }
        Ok(())
    }

    /// Gives the rollout that goes on a command.
    pub(super) fn command(&mut self, action: Action, actor: Actor) -> Result<(), Refusal> {
        let (Some(live), Some(plan)) = (&mut self.record.live, self.memory.plan.clone()) else {
            return Err(Refusal::Over("there is none".to_owned()));
        };
        let by = actor.clone();
        let input = Input::Command(Command { action, actor });
        match feed(&plan, &mut live.state, &input, self.view.now) {
            Some(refusal) => Err(refusal),
            None => {
                self.note(input.cause(), Some(&by));
                Ok(())
            }
        }
    }

    /// Lets the rollout move as far as it can.
    pub(super) fn settle(&mut self, setting: &Setting<'_>, scene: &Scene) -> Result<(), Blocked> {
        for _ in 0..MOVES_MAX {
            let Some(plan) = self.memory.plan.clone() else {
                return Ok(());
            };
            let Some(live) = &mut self.record.live else {
                return Ok(());
            };
            let before = live.state.clone();
            feed(&plan, &mut live.state, &Input::Tick, self.view.now);
            if live.state.is_same_decision(&before) {
                break;
            }
            self.note(Input::Tick.cause(), None);
            // What is wanted is another thing now, and so is whether it is in force.
            self.gather(setting, scene)?;
        }
        Ok(())
    }

    /// Ends the turn: with the write that makes the decision durable, or with those that follow from it.
    fn end(mut self, setting: Option<&Setting<'_>>, blocked: Option<&Blocked>) -> (Turn, Memory) {
        self.memory.put(self.record.clone());
        self.is_late = self
            .memory
            .is_late(self.not_applied.is_none(), self.view.now);
        let is_untold = self.not_applied.is_none() && !status::is_applied(&self.release.status);
        let save = self.memory.save(is_untold, self.view.now);
        let save = if self.is_to_be_kept { Save::Now } else { save };
        let follows = match setting {
            Some(setting) if self.is_leaving(blocked) => self.leave(setting, blocked),
            Some(setting) if blocked.is_none() => self.follow_up(setting),
            // Whose spec can't be read can't be put back, and must not stay for ever.
            None if self.release.is_deleted() => Ok(self.released()),
            Some(_) | None => Ok(Vec::new()),
        };
        let stuck = follows.as_ref().err();
        let told = blocked.or(stuck).or(self.release.fault.as_ref());
        let status = status::write(&self, told, save == Save::Now);
        // What is not seen yet is not told: each start of a controller would write it, and take it back.
        let is_blind = blocked.is_some_and(|blocked| blocked.reason == "Watching");
        let is_early = self.is_taking_over || (is_blind && save != Save::Now);
        let status = status.filter(|_| !is_early);
        let mut turn = Turn {
            reads: std::mem::take(&mut self.reads),
            ..Turn::default()
        };
        if let Some(status) = status {
            self.log_decision();
            if let Some(setting) = setting {
                turn.writes = self.withdrawal(setting);
            }
            turn.writes.push(status);
            turn.events = std::mem::take(&mut self.events);
            turn.then = Then::Again;
            return (turn, self.memory);
        }
        turn.writes = follows.unwrap_or_default();
        turn.then = if turn.writes.is_empty() {
            self.wait(save)
        } else {
            Then::Again
        };
        (turn, self.memory)
    }

    /// Whether only what is left over of the release is still to be done: a rollout without its workload can't be ended otherwise.
    fn is_leaving(&self, blocked: Option<&Blocked>) -> bool {
        self.release.is_deleted() && (self.record.live.is_none() || is_gone(blocked))
    }

    /// Returns when to look again.
    fn wait(&self, save: Save) -> Then {
        let live = self.record.live();
        let deadline = live.and_then(|live| rollout::next_deadline(&live.state));
        // What is overdue waits for a change of what keeps it from being decided.
        let deadline = deadline.filter(|at| *at > self.view.now);
        let flush = match save {
            Save::By(at) => Some(at),
            Save::Done | Save::Now => None,
        };
        let rest = self.rest.as_ref().and_then(|rest| rest.at);
        let look = self.memory.bench.as_ref().filter(|_| live.is_some());
        let look = look.and_then(|_| self.view.now.checked_add(bench::LOOK).ok());
        let known = self
            .memory
            .introduced
            .and_then(|at| at.checked_add(SPREAD).ok());
        let known = known.filter(|at| live.is_some() && *at > self.view.now);
        let slow = self.memory.slow().filter(|at| *at > self.view.now);
        // Why pods are not ready they tell without anything else changing.
        let unready = live.is_some_and(|live| {
            let seen = live.state.facts.workloads.as_ref();
            seen.is_some_and(|seen| seen.canary.ready < seen.canary.wanted)
        });
        let unready = unready.then(|| self.view.now.checked_add(UNREADY_LOOK).ok());
        let asked = self.asked_at.filter(|at| *at > self.view.now);
        let times = [
            deadline,
            flush,
            rest,
            look,
            known,
            slow,
            unready.flatten(),
            asked,
        ];
        let next = times.into_iter().flatten().min();
        next.map_or(Then::OnChange, Then::At)
    }

    /// Returns the writes that take traffic away, where that is what was decided: they may come before the decision is durable.
    fn withdrawal(&self, setting: &Setting<'_>) -> Vec<Write> {
        let (Some(old), Some(new), Some(plan)) =
            (&self.before.live, &self.record.live, &self.memory.plan)
        else {
            return Vec::new();
        };
        let was = effect::traffic(plan, &old.state);
        let is = effect::traffic(plan, &new.state);
        let is_less = is.weight < was.weight || (is.is_stable_only() && !was.is_stable_only());
        if !is_less {
            return Vec::new();
        }
        let mut writes = setting.routes.toward(&self.view, &is).unwrap_or_default();
        if !self.view.is_routed {
            let size = self.canary_size(setting, new, plan);
            let size = size.filter(|size| size.count == 0);
            let shrunk = size.map(|size| setting.site.canary(&self.view, &self.record, new, &size));
            writes.extend(shrunk.into_iter().flatten().flatten());
        }
        writes
    }

    /// Returns the writes that follow from what is decided and durable.
    fn follow_up(&mut self, setting: &Setting<'_>) -> Result<Vec<Write>, Blocked> {
        if let (Some(live), Some(plan)) = (&self.record.live, &self.memory.plan) {
            let wanted = effect::traffic(plan, &live.state);
            let can_name = setting.routes.can_name(&self.view);
            let mut writes = if !can_name {
                setting.routes.cleared(&self.view)?
            } else if self.is_unknown {
                setting.routes.introduced(&self.view)?
            } else {
                setting.routes.toward(&self.view, &wanted)?
            };
            // Where that can't be told, the rest goes on.
            let pinned = setting.site.pinned(&self.view, &self.record);
            writes.extend(pinned.unwrap_or_default());
            if matches!(live.state.phase, Phase::RollingBack(_)) {
                let grown = setting.site.grown(&self.view, &self.record, live);
                writes.extend(grown.unwrap_or_default());
            }
            let is_preparing = matches!(live.state.phase, Phase::Preparing(_));
            if is_preparing && live.is_started && can_name {
                writes.extend(setting.routes.introduced(&self.view)?);
            }
            if let Some(size) = self.canary_size(setting, live, plan) {
                writes.extend(setting.site.canary(&self.view, &self.record, live, &size)?);
            }
            writes.extend(self.ask(setting));
            return Ok(writes);
        }
        let mut writes = Vec::new();
        if self.record.stable.is_some() || self.is_taking_over {
            writes.extend(self.finalizer());
            writes.extend(self.put_back(setting)?);
        }
        if let Some(rest) = &mut self.rest {
            writes.append(&mut rest.writes);
        }
        writes.extend(self.ask(setting));
        Ok(writes)
    }

    /// Returns how large the canary is to be; `None` where it keeps its size.
    pub(super) fn canary_size(
        &self,
        setting: &Setting<'_>,
        live: &Live,
        plan: &Plan,
    ) -> Option<CanaryReplicas> {
        let wish = effect::workloads(plan, &live.state).canary;
        let seen = live.state.facts.workloads.as_ref()?;
        let full = seen.canary_full;
        let restart_since = live.state.restart_since;
        let count = match wish {
            _ if !self.view.is_routed => {
                let size = share::Size {
                    stable: seen.stable.wanted,
                    full,
                };
                share::wanted(&live.state, plan, setting.site.room(), &size)?
            }
            CanaryWish::Running(size) => size.replicas(full),
            CanaryWish::Stopped | CanaryWish::Kept => return None,
        };
        let is_taken = live.is_started && self.is_canary_gone && count > 0;
        // What somebody took away is not put back: that is told to the rollout, which ends by it.
        (!is_taken).then_some(CanaryReplicas {
            count,
            restart_since,
        })
    }

    /// Returns what still goes on while no rollout does.
    pub(super) fn goes_on(&self) -> Option<&str> {
        self.rest.as_ref()?.goes_on.as_deref()
    }

    /// Returns the commands by which what Git says follows what was promoted, where it must.
    pub(super) fn git_must_follow(&self) -> Option<&str> {
        self.rest.as_ref()?.follow.as_deref()
    }

    /// Tells people something by an event.
    pub(super) fn tell(&mut self, is_warning: bool, reason: &'static str, message: String) {
        self.events.push(Event {
            is_warning,
            reason,
            message,
        });
    }
}

/// Whether something that a rollout needs does not exist.
pub(super) fn is_gone(blocked: Option<&Blocked>) -> bool {
    blocked.is_some_and(|blocked| blocked.reason == "Missing")
}

/// Returns the state of a host that starts again as if it had looked already: where no router is, what is wanted is in force.
fn knowing_traffic(state: &State, wanted: &Traffic) -> State {
    let mut known = state.clone();
    known.facts.traffic.get_or_insert_with(|| TrafficSeen {
        applied: wanted.clone(),
        stable_in_flight: 0,
        canary_in_flight: u64::MAX,
    });
    known
}

/// Tells a rollout what was seen, all facts first, so that none is judged beside something older than itself; returns what a decision
/// followed from, if one did.
fn hear(plan: &Plan, state: &mut State, seen: &[Input], now: Timestamp) -> Option<&'static str> {
    let known = state.facts.clone();
    let heard = seen
        .iter()
        .fold(known.clone(), |facts: Facts, input| facts.with(input));
    state.facts = heard;
    let mut cause = None;
    for input in seen.iter().filter(|input| known.with(input) != known) {
        let before = state.clone();
        feed(plan, state, input, now);
        if !state.is_same_decision(&before) {
            cause = Some(input.cause());
        }
    }
    cause
}

/// Tells a rollout one thing; what breaks an invariant is not taken.
pub(super) fn feed(
    plan: &Plan,
    state: &mut State,
    input: &Input,
    now: Timestamp,
) -> Option<Refusal> {
    let next = rollout::step(plan, state, input, now);
    if next.refusal.is_some() || next.state.is_same_decision(state) {
        *state = next.state;
        return next.refusal;
    }
    match invariants(plan, &next.state) {
        Ok(()) => *state = next.state,
        Err(violation) => {
            error!(rollout = %state.id, %violation, "Decision breaks an invariant; it is not taken");
            state.facts = next.state.facts;
        }
    }
    None
}
