//! What becomes of a wish for a version, given what runs.
//!
//! One service has at most one live rollout. A newer version takes the place of the one on trial: traffic goes back to stable,
//! verified, before the newer one begins; so no user ever meets three versions. Meanwhile the newer one is *queued*, and the last
//! wish counts. Who ends the rollout by hand wants stable and nothing after it, so that ends the wish as well.

use crate::{
    name::VersionName,
    rollout::{Action, Phase, Promotion, Stage, State},
};

/// What to do about a wish for a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Begin a rollout now.
    Begin,
    /// End the live rollout, then begin.
    Supersede,
    /// Wait for the live rollout, which is ending anyway, then begin.
    Queue,
    /// End the live rollout: what is wanted is what stable is.
    BackToStable,
    /// Nothing: this version is on trial already.
    OnTrial,
    /// Nothing: this version serves already.
    Serving,
}

/// Decides what to do about a wish for the version `wanted`.
#[must_use]
pub fn admit(stable: &VersionName, live: Option<&State>, wanted: &VersionName) -> Admission {
    let Some(live) = live.filter(|state| !state.phase.is_terminal()) else {
        return if wanted == stable {
            Admission::Serving
        } else {
            Admission::Begin
        };
    };
    let is_ending = matches!(
        live.phase,
        Phase::RollingBack(_)
            | Phase::Promoting(Promotion {
                stage: Stage::Draining,
                ..
            })
    );
    if is_ending {
        return Admission::Queue;
    }
    if wanted == &live.canary {
        Admission::OnTrial
    } else if wanted == stable {
        Admission::BackToStable
    } else {
        Admission::Supersede
    }
}

/// Whether this command also takes back the wish for the version that is queued behind the rollout.
#[must_use]
pub const fn cancels_queued(action: &Action) -> bool {
    match action {
        Action::Abort | Action::BackToStable => true,
        Action::Promote { .. }
        | Action::PromoteFull { .. }
        | Action::Pause
        | Action::Resume
        | Action::Restart
        | Action::SetWeight(_)
        | Action::Supersede(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::{
        plan::{Rules, preset},
        rollout::{self, Actor, Command, Input},
        weight::Weight,
    };

    fn version(text: &str) -> VersionName {
        text.parse().unwrap()
    }

    #[test]
    fn a_wish_is_met_by_what_runs() {
        let plan = preset::find("fast", Rules::default()).unwrap();
        let id = "auth-1".parse().unwrap();
        let now = Timestamp::UNIX_EPOCH;
        let live = rollout::begin(id, version("v1"), version("v2"), &plan, now);
        let abort = Input::Command(Command {
            action: Action::Abort,
            actor: Actor {
                name: "ann".to_owned(),
                reason: None,
            },
        });
        let ending = rollout::step(&plan, &live, &abort, now).state;
        for (live, wanted, expected) in [
            (None, "v1", Admission::Serving),
            (None, "v2", Admission::Begin),
            (Some(&live), "v1", Admission::BackToStable),
            (Some(&live), "v2", Admission::OnTrial),
            (Some(&live), "v3", Admission::Supersede),
            (Some(&ending), "v2", Admission::Queue),
            (Some(&ending), "v1", Admission::Queue),
        ] {
            assert_eq!(
                admit(&version("v1"), live, &version(wanted)),
                expected,
                "{wanted}"
            );
        }
    }

    #[test]
    fn only_who_wants_stable_takes_back_what_is_queued() {
        let all = [
            (Action::Promote { step: None }, false),
            (Action::PromoteFull { step: None }, false),
            (Action::Pause, false),
            (Action::Resume, false),
            (Action::Abort, true),
            (Action::Restart, false),
            (Action::SetWeight(Weight::ZERO), false),
            (Action::Supersede(version("v3")), false),
            (Action::BackToStable, true),
        ];
        for (action, expected) in all {
            assert_eq!(cancels_queued(&action), expected, "{}", action.name());
        }
    }
}
