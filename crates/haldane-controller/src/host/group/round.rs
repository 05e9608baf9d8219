//! The rounds of a group: who belongs to the one that goes on, how far each may go, and how it ends.
//!
//! A round begins with the first member's rollout, and is over when all of its members are at rest.

use std::collections::{BTreeMap, BTreeSet};

use haldane_api::{
    release::group::{MemberStatus, OnFailure, PROMOTION, PastRound, Round, Spec, Status},
    text::parse_weight,
};
use haldane_core::Weight;
use jiff::{SignedDuration, Timestamp};

use super::member::{Member, Rollout, Standing};
use crate::host::membership::order_id;

pub(super) const COMPLETED: &str = "Completed";
pub(super) const ROLLED_BACK: &str = "RolledBack";
pub(super) const FAILED: &str = "Failed";

/// How long a round waits before anybody begins, so that those are in it whose new versions are applied a moment later.
const GATHER: SignedDuration = SignedDuration::from_secs(5);

/// Longest reason for which a round fails: each member keeps it as the reason of its end.
const FAILURE_CHARS_MAX: usize = 500;

/// What a group's spec asks for.
pub(super) struct Rules {
    /// Each member with those that must be promoted before it.
    members: Vec<(String, Vec<String>)>,
    /// The barriers, lowest first.
    barriers: Vec<Barrier>,
    on_failure: OnFailure,
    is_suspended: bool,
}

/// What a group decides.
pub(super) struct Next {
    /// The round that goes on.
    pub round: Option<Round>,
    /// Whether it stays where it is until a person decides.
    pub stopped: Option<String>,
    /// Whether a member waits for a person.
    pub is_paused: bool,
    pub members: Vec<MemberStatus>,
    /// The round that has just ended.
    pub past: Option<PastRound>,
    /// When something follows even if nothing changes.
    pub at: Option<Timestamp>,
}

/// A weight at which members wait for each other.
struct Barrier {
    at: Weight,
    /// The weight that none goes past before all have reached it.
    limit: Weight,
    /// What the others are waited for, in words.
    until: String,
}

/// The members of a round.
struct Scene<'a> {
    members: &'a [Member],
    enrolled: BTreeMap<String, String>,
    standings: BTreeMap<String, Standing>,
    now: Timestamp,
}

/// How a member is limited.
#[derive(Default)]
struct Limit {
    waits_for: Option<String>,
    up_to: Option<Weight>,
}

impl Rules {
    /// Reads a spec, or says what is wrong with it.
    pub(super) fn new(spec: Spec) -> Result<Self, String> {
        let mut barriers = Vec::new();
        for (index, barrier) in spec.barriers.iter().enumerate() {
            let read = Barrier::new(&barrier.at);
            barriers.push(read.map_err(|why| format!("spec.barriers[{index}].at: {why}"))?);
        }
        barriers.sort_by_key(|barrier| (barrier.at, barrier.limit));
        let members = spec.members.into_iter();
        let members: Vec<(String, Vec<String>)> = members
            .map(|member| (member.release, member.after))
            .collect();
        check_order(&members)?;
        Ok(Self {
            members,
            barriers,
            on_failure: spec.on_failure,
            is_suspended: spec.suspend,
        })
    }

    /// Returns the names of the members' Releases.
    pub(super) fn members(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|(release, _)| release.as_str())
    }

    pub(super) const fn is_suspended(&self) -> bool {
        self.is_suspended
    }

    /// Returns what follows from what is seen of the members; `before` is the status that they have read.
    pub(super) fn next(
        &self,
        group: &str,
        before: &Status,
        members: &[Member],
        now: Timestamp,
    ) -> Next {
        let (round, enrolled) = enrolled(before, members, now);
        let Some(mut round) = round else {
            return Next {
                round: None,
                stopped: None,
                is_paused: false,
                members: members.iter().map(told).collect(),
                past: None,
                at: None,
            };
        };
        let scene = Scene::new(members, enrolled, &order_id(group, &round, "undo"), now);
        let trouble = scene.trouble();
        if self.on_failure == OnFailure::RollBack && round.failure.is_none() {
            round.failure = trouble.as_deref().map(shortened);
        }
        let goes_back = round.failure.is_some();
        if scene.standings.values().all(|one| one.is_over(goes_back)) {
            return Next {
                past: Some(scene.end(&round, trouble)),
                round: None,
                stopped: None,
                is_paused: false,
                members: members.iter().map(told).collect(),
                at: None,
            };
        }
        let stopped = trouble.filter(|_| !goes_back);
        let gathered = scene.gathered(&round);
        let at = gathered.into_iter().chain(scene.successors()).min();
        let limit = |member: &Member| match (goes_back, &stopped) {
            (true, _) => Limit::default(),
            (false, Some(why)) => Limit::closed(format!("a person: {why}")),
            (false, None) => self.limit(&scene, member, gathered),
        };
        Next {
            members: members
                .iter()
                .map(|member| scene.told(member, limit(member)))
                .collect(),
            is_paused: scene.rollouts().any(|(_, rollout)| rollout.is_paused),
            round: Some(round),
            stopped,
            past: None,
            at,
        }
    }

    /// Returns how far a member of a round may go that goes forward.
    fn limit(&self, scene: &Scene<'_>, member: &Member, gathered: Option<Timestamp>) -> Limit {
        if !matches!(scene.standing(&member.release), Some(Standing::Under(_))) {
            return Limit::default();
        }
        if let Some(why) = self.holds(scene, member, gathered) {
            return Limit::closed(why);
        }
        for barrier in &self.barriers {
            let behind: Vec<&str> = scene
                .under()
                .filter(|other| self.holds(scene, other, gathered).is_none())
                .filter(|other| !barrier.is_reached(other.forward()))
                .map(|other| other.release.as_str())
                .collect();
            if !behind.is_empty() {
                return Limit {
                    waits_for: Some(format!("{} {}", behind.join(", "), barrier.until)),
                    up_to: Some(barrier.limit),
                };
            }
        }
        Limit::default()
    }

    /// Returns what a member waits for that may neither begin nor go on.
    fn holds(
        &self,
        scene: &Scene<'_>,
        member: &Member,
        gathered: Option<Timestamp>,
    ) -> Option<String> {
        let mut all = self.members.iter();
        let before = all.find(|(release, _)| *release == member.release)?;
        let mut missing = before.1.iter().filter(|release| {
            let standing = scene.standing(release);
            matches!(standing, Some(Standing::Under(_) | Standing::GoingBack))
        });
        if let Some(release) = missing.next() {
            return Some(format!("{release} to be promoted"));
        }
        let is_pending = member.forward().is_some_and(|rollout| rollout.is_pending);
        let until = gathered.filter(|_| is_pending)?;
        Some(format!("new versions of the others until {until:.0}"))
    }
}

impl Barrier {
    fn new(at: &str) -> Result<Self, String> {
        let below_full = Weight::FULL.as_bps().saturating_sub(1);
        if at == PROMOTION {
            return Ok(Self {
                at: Weight::FULL,
                limit: Weight::try_from_bps(below_full).map_err(|error| error.to_string())?,
                until: "to be ready for promotion".to_owned(),
            });
        }
        let weight = parse_weight(at).map_err(|error| error.to_string())?;
        if weight.is_zero() || weight.is_full() {
            return Err(format!(
                "{at}; expected a share between 0% and 100%, or {PROMOTION}"
            ));
        }
        Ok(Self {
            at: weight,
            limit: weight,
            until: format!("to reach {weight}"),
        })
    }

    /// Whether a rollout is there: by its weight, or because only the barrier keeps it from going on.
    fn is_reached(&self, rollout: Option<&Rollout>) -> bool {
        rollout.is_some_and(|rollout| {
            rollout.weight >= self.at || rollout.wants.is_some_and(|wants| wants > self.limit)
        })
    }
}

impl Limit {
    const fn closed(why: String) -> Self {
        Self {
            waits_for: Some(why),
            up_to: None,
        }
    }
}

impl<'a> Scene<'a> {
    fn new(
        members: &'a [Member],
        enrolled: BTreeMap<String, String>,
        order: &str,
        now: Timestamp,
    ) -> Self {
        let standings = members.iter().filter_map(|member| {
            let rollout = enrolled.get(&member.release)?;
            Some((member.release.clone(), member.standing(rollout, order, now)))
        });
        Self {
            standings: standings.collect(),
            members,
            enrolled,
            now,
        }
    }

    fn standing(&self, release: &str) -> Option<&Standing> {
        self.standings.get(release)
    }

    /// Returns the members whose rollouts go on.
    fn under(&self) -> impl Iterator<Item = &'a Member> {
        self.members.iter().filter(|member| {
            matches!(
                self.standings.get(&member.release),
                Some(Standing::Under(_))
            )
        })
    }

    fn rollouts(&self) -> impl Iterator<Item = (&'a Member, &'a Rollout)> {
        self.under()
            .filter_map(|member| Some((member, member.forward()?)))
    }

    /// Returns why the round can't go forward any more, in one sentence.
    fn trouble(&self) -> Option<String> {
        self.standings
            .iter()
            .find_map(|(release, standing)| match standing {
                Standing::Failed(said) => Some(said.clone()),
                Standing::GoingBack | Standing::Back | Standing::Stuck(_) => {
                    Some(format!("{release} was undone"))
                }
                Standing::Under(_) | Standing::Promoted | Standing::Left => None,
            })
    }

    /// Returns until when nobody begins, if there are members that may still come.
    fn gathered(&self, round: &Round) -> Option<Timestamp> {
        let mut found = self.members.iter().filter(|member| member.found.is_ok());
        let is_whole = found.all(|member| self.enrolled.contains_key(&member.release));
        let until = round.started_at.checked_add(GATHER).ok()?;
        (!is_whole && self.now < until).then_some(until)
    }

    /// Returns until when versions are waited for that take the place of others.
    fn successors(&self) -> impl Iterator<Item = Timestamp> {
        self.standings
            .values()
            .filter_map(|standing| match standing {
                Standing::Under(until) => *until,
                Standing::Promoted
                | Standing::GoingBack
                | Standing::Back
                | Standing::Stuck(_)
                | Standing::Failed(_)
                | Standing::Left => None,
            })
    }

    fn told(&self, member: &Member, limit: Limit) -> MemberStatus {
        MemberStatus {
            rollout: self.enrolled.get(&member.release).cloned(),
            waits_for: limit.waits_for,
            up_to: limit.up_to.map(|weight| weight.to_string()),
            ..told(member)
        }
    }

    /// Returns how a round ended.
    fn end(&self, round: &Round, trouble: Option<String>) -> PastRound {
        let mut promoted = Vec::new();
        let mut stuck = Vec::new();
        for (release, standing) in &self.standings {
            match standing {
                Standing::Promoted => promoted.push(release.as_str()),
                Standing::Stuck(why) => stuck.push(format!("{release} was not taken back: {why}")),
                Standing::Under(_)
                | Standing::GoingBack
                | Standing::Back
                | Standing::Failed(_)
                | Standing::Left => {}
            }
        }
        let names = promoted.join(", ");
        let (phase, message) = match round.failure.clone().or(trouble) {
            Some(why) if stuck.is_empty() && promoted.is_empty() => (ROLLED_BACK, why),
            Some(why) if stuck.is_empty() => (FAILED, format!("{why}; {names} stayed promoted")),
            Some(why) => (FAILED, format!("{why}; {}", stuck.join("; "))),
            None if promoted.is_empty() => (ROLLED_BACK, "no new version was left".to_owned()),
            None => (COMPLETED, format!("promoted: {names}")),
        };
        PastRound {
            number: round.number,
            phase: phase.to_owned(),
            message,
            started_at: round.started_at,
            ended_at: self.now,
        }
    }
}

/// Returns the round that goes on, and which rollouts belong to it; a new one begins with the first rollout that goes forward.
fn enrolled(
    before: &Status,
    members: &[Member],
    now: Timestamp,
) -> (Option<Round>, BTreeMap<String, String>) {
    let mut round = before.round.clone();
    let known = before.members.iter().filter(|_| round.is_some());
    let known = known.filter(|one| members.iter().any(|member| member.release == one.release));
    let mut enrolled: BTreeMap<String, String> = known
        .filter_map(|one| Some((one.release.clone(), one.rollout.clone()?)))
        .collect();
    if round.as_ref().is_some_and(|round| round.failure.is_some()) {
        return (round, enrolled);
    }
    for member in members {
        if let Some(rollout) = member.forward() {
            enrolled.insert(member.release.clone(), rollout.id.clone());
            let last = before.history.first().map_or(0, |past| past.number);
            round.get_or_insert_with(|| Round {
                number: last.saturating_add(1),
                started_at: now,
                failure: None,
            });
        }
    }
    (round, enrolled)
}

/// Returns why a round failed, not longer than it may be.
pub(super) fn shortened(why: &str) -> String {
    why.chars().take(FAILURE_CHARS_MAX).collect()
}

/// Returns what is told of a member that belongs to no round.
fn told(member: &Member) -> MemberStatus {
    let (phase, weight) = match &member.found {
        Ok(seen) => (seen.phase.clone(), seen.weight.clone()),
        Err(_) => ("Missing".to_owned(), None),
    };
    MemberStatus {
        release: member.release.clone(),
        phase,
        weight,
        rollout: None,
        waits_for: None,
        up_to: None,
    }
}

/// Checks that each member is there once, comes after members only, and that none waits for itself.
fn check_order(members: &[(String, Vec<String>)]) -> Result<(), String> {
    let mut names = BTreeSet::new();
    for (release, _) in members {
        if !names.insert(release) {
            return Err(format!("spec.members: {release} is there twice"));
        }
    }
    for (release, after) in members {
        if let Some(unknown) = after.iter().find(|one| !names.contains(one)) {
            return Err(format!(
                "spec.members: {release} comes after {unknown}, which is no member"
            ));
        }
    }
    // Whoever waits for nobody that is left is taken out, until nobody is left or those that are left wait for each other.
    let mut left: Vec<&(String, Vec<String>)> = members.iter().collect();
    loop {
        let names: BTreeSet<&String> = left.iter().map(|(release, _)| release).collect();
        let waits = |after: &[String]| after.iter().any(|one| names.contains(one));
        let still: Vec<_> = left
            .iter()
            .copied()
            .filter(|(_, after)| waits(after))
            .collect();
        if still.is_empty() {
            return Ok(());
        }
        if still.len() == left.len() {
            let names: Vec<&str> = still.iter().map(|(release, _)| release.as_str()).collect();
            return Err(format!(
                "spec.members: none of {} can begin: they come after each other",
                names.join(", ")
            ));
        }
        left = still;
    }
}
