//! Plans by name: the timings that teams already know, in one language.
//!
//! AWS CodeDeploy's names follow its general grammar, `Canary<P>Percent<N>Minutes` and `Linear<P>PercentEvery<N>Minutes`, bare or
//! with the prefixes that AWS writes before them. Its text says both that a linear deployment takes its first increment at once and
//! that ten increments of ten minutes take a hundred minutes; here the first increment is at once and the last interval is a bake,
//! so that both hold.

use std::time::Duration;

use crate::{
    plan::{Hold, Plan, PlanParts, Rules, Scale, Step},
    weight::Weight,
};

/// The shares of the plain presets, in percent.
pub const DEFAULT_SHARES: [u8; 4] = [5, 25, 50, 100];

/// How long blue-green keeps the old version after the switch (Argo Rollouts' `scaleDownDelaySeconds`).
const SCALE_DOWN_DELAY: Duration = Duration::from_secs(30);

/// A preset that is always there, for listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preset {
    /// The name.
    pub name: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
}

/// The presets by name; CodeDeploy's grammar accepts more.
pub const PRESETS: &[Preset] = &[
    Preset {
        name: "fast",
        summary: "5%, 25%, 50%, 100%, ten minutes each",
    },
    Preset {
        name: "slow",
        summary: "5%, 25%, 50%, 100%, an hour each",
    },
    Preset {
        name: "soak",
        summary: "5%, 25%, 50%, 100%, half an hour each",
    },
    Preset {
        name: "blue-green",
        summary: "full-size green for tests only, a person switches, blue kept 30 seconds",
    },
    Preset {
        name: "blue-green-canary",
        summary: "full-size green, gradual shift, blue kept warm for ten minutes",
    },
    Preset {
        name: "AllAtOnce",
        summary: "everything at once (CodeDeploy)",
    },
    Preset {
        name: "Canary10Percent5Minutes",
        summary: "10%, the rest after 5 minutes (CodeDeploy)",
    },
    Preset {
        name: "Canary10Percent10Minutes",
        summary: "10%, the rest after 10 minutes (CodeDeploy)",
    },
    Preset {
        name: "Canary10Percent15Minutes",
        summary: "10%, the rest after 15 minutes (CodeDeploy)",
    },
    Preset {
        name: "Canary10Percent30Minutes",
        summary: "10%, the rest after 30 minutes (CodeDeploy)",
    },
    Preset {
        name: "Linear10PercentEvery1Minute",
        summary: "10% more each minute (CodeDeploy)",
    },
    Preset {
        name: "Linear10PercentEvery2Minutes",
        summary: "10% more every 2 minutes (CodeDeploy)",
    },
    Preset {
        name: "Linear10PercentEvery3Minutes",
        summary: "10% more every 3 minutes (CodeDeploy)",
    },
    Preset {
        name: "Linear10PercentEvery10Minutes",
        summary: "10% more every 10 minutes (CodeDeploy)",
    },
];

/// Returns the plan of this name, with the given rules where the preset leaves them open.
///
/// ```
/// # use haldane_core::plan::{preset, Rules};
/// let plan = preset::find("CodeDeployDefault.LambdaLinear10PercentEvery3Minutes", Rules::default()).unwrap();
/// assert_eq!(plan.step_count(), 19);
/// assert!(preset::find("linear10percentevery3minutes", Rules::default()).is_none());
/// ```
#[must_use]
pub fn find(name: &str, rules: Rules) -> Option<Plan> {
    let minutes = Duration::from_mins;
    let parts = match name {
        "fast" => shares(&DEFAULT_SHARES, minutes(10), rules),
        "slow" => shares(&DEFAULT_SHARES, minutes(60), rules),
        "soak" => shares(&DEFAULT_SHARES, minutes(30), rules),
        "blue-green" => PlanParts {
            steps: vec![
                Step::TestTraffic,
                Step::Hold(Hold::UntilResumed),
                Step::SetWeight(Weight::FULL),
            ],
            rules: Rules {
                canary_scale: Scale::Full,
                bake: SCALE_DOWN_DELAY,
                ..rules
            },
        },
        "blue-green-canary" => {
            let parts = shares(&DEFAULT_SHARES, minutes(10), rules);
            PlanParts {
                rules: Rules {
                    canary_scale: Scale::Full,
                    bake: minutes(10),
                    ..parts.rules
                },
                ..parts
            }
        }
        _ => code_deploy(name, rules)?,
    };
    Plan::try_new(parts).ok()
}

/// Returns steps that send each share for the same time.
#[must_use]
pub fn shares(percents: &[u8], hold: Duration, rules: Rules) -> PlanParts {
    let steps = percents
        .iter()
        .flat_map(|percent| {
            [
                Step::SetWeight(Weight::from_percent(*percent)),
                Step::Hold(Hold::For(hold)),
            ]
        })
        .collect();
    PlanParts { steps, rules }
}

fn code_deploy(name: &str, rules: Rules) -> Option<PlanParts> {
    let name = name.strip_prefix("CodeDeployDefault.").unwrap_or(name);
    let name = name
        .strip_prefix("Lambda")
        .or_else(|| name.strip_prefix("ECS"))
        .unwrap_or(name);
    if name == "AllAtOnce" {
        return Some(PlanParts {
            steps: vec![Step::SetWeight(Weight::FULL)],
            rules,
        });
    }
    if let Some(rest) = name.strip_prefix("Canary") {
        let (percent, minutes) = percent_and_minutes(rest, "Percent")?;
        let steps = vec![
            Step::SetWeight(Weight::from_percent(percent)),
            Step::Hold(Hold::For(minutes)),
            Step::SetWeight(Weight::FULL),
        ];
        return Some(PlanParts { steps, rules });
    }
    let (percent, interval) = percent_and_minutes(name.strip_prefix("Linear")?, "PercentEvery")?;
    let mut steps = Vec::new();
    for share in (percent..100).step_by(usize::from(percent)) {
        steps.push(Step::SetWeight(Weight::from_percent(share)));
        steps.push(Step::Hold(Hold::For(interval)));
    }
    steps.push(Step::SetWeight(Weight::FULL));
    let bake = if rules.bake.is_zero() {
        interval
    } else {
        rules.bake
    };
    Some(PlanParts {
        steps,
        rules: Rules { bake, ..rules },
    })
}

/// Reads `10Percent30Minutes` with the given words between; the percentage is 1 to 99, the minutes at most CodeDeploy's two days.
fn percent_and_minutes(text: &str, between: &str) -> Option<(u8, Duration)> {
    let (percent, rest) = text.split_once(between)?;
    let minutes = rest
        .strip_suffix("Minutes")
        .or_else(|| rest.strip_suffix("Minute"))?;
    let percent: u8 = digits(percent)?;
    let minutes: u16 = digits(minutes)?;
    let is_valid = (1..=99).contains(&percent) && (1..=2_880).contains(&minutes);
    is_valid.then(|| (percent, Duration::from_mins(u64::from(minutes))))
}

fn digits<T: std::str::FromStr>(text: &str) -> Option<T> {
    // No number here may be zero, so nothing that begins with one is a number.
    if text.starts_with(['+', '0']) {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outline(name: &str) -> Option<String> {
        let plan = find(name, Rules::default())?;
        let steps: Vec<String> = plan
            .steps()
            .iter()
            .map(|step| match step {
                Step::SetWeight(weight) => weight.to_string(),
                Step::Hold(Hold::For(time)) => format!("{}m", time.as_secs() / 60),
                Step::Hold(Hold::UntilResumed) => "wait".to_owned(),
                Step::TestTraffic => "test".to_owned(),
                Step::Hold(Hold::UntilEvidence { .. })
                | Step::ScaleCanary(_)
                | Step::Analysis(_)
                | Step::Experiment(_)
                | Step::HeaderRoute(_)
                | Step::Mirror(_)
                | Step::Gate(_) => panic!("no preset has {step:?}"),
            })
            .collect();
        Some(format!(
            "{} bake {}s",
            steps.join(" "),
            plan.rules().bake.as_secs()
        ))
    }

    #[test]
    fn every_listed_preset_exists() {
        for preset in PRESETS {
            assert!(
                find(preset.name, Rules::default()).is_some(),
                "{}",
                preset.name
            );
        }
    }

    #[test]
    fn names_are_expanded() {
        let ten = "10% 3m 20% 3m 30% 3m 40% 3m 50% 3m 60% 3m 70% 3m 80% 3m 90% 3m 100% bake 180s";
        for (name, expected) in [
            ("fast", "5% 10m 25% 10m 50% 10m 100% 10m bake 0s"),
            ("slow", "5% 60m 25% 60m 50% 60m 100% 60m bake 0s"),
            ("soak", "5% 30m 25% 30m 50% 30m 100% 30m bake 0s"),
            ("blue-green", "test wait 100% bake 30s"),
            (
                "blue-green-canary",
                "5% 10m 25% 10m 50% 10m 100% 10m bake 600s",
            ),
            (
                "CodeDeployDefault.Canary10Percent30Minutes",
                "10% 30m 100% bake 0s",
            ),
            (
                "CodeDeployDefault.ECSCanary10Percent5Minutes",
                "10% 5m 100% bake 0s",
            ),
            ("LambdaLinear10PercentEvery3Minutes", ten),
            ("ECSLinear10PercentEvery3Minutes", ten),
            ("Linear50PercentEvery1Minute", "50% 1m 100% bake 60s"),
            (
                "Linear40PercentEvery1Minutes",
                "40% 1m 80% 1m 100% bake 60s",
            ),
            ("CodeDeployDefault.LambdaAllAtOnce", "100% bake 0s"),
        ] {
            assert_eq!(outline(name).as_deref(), Some(expected), "{name}");
        }
    }

    #[test]
    fn a_preset_sets_what_it_is_named_for_and_keeps_the_rest() {
        let asked = Rules {
            canary_scale: Scale::Replicas(2),
            bake: Duration::from_secs(7),
            judge_from_step: 1,
            ..Rules::default()
        };
        for (name, canary_scale, bake) in [
            ("fast", Scale::Replicas(2), 7),
            ("blue-green", Scale::Full, 30),
            ("blue-green-canary", Scale::Full, 600),
            ("Canary10Percent5Minutes", Scale::Replicas(2), 7),
            ("Linear10PercentEvery1Minute", Scale::Replicas(2), 7),
        ] {
            let plan = find(name, asked.clone()).unwrap();
            let expected = Rules {
                canary_scale,
                bake: Duration::from_secs(bake),
                ..asked.clone()
            };
            assert_eq!(plan.rules(), &expected, "{name}");
        }
    }

    #[test]
    fn names_outside_the_grammar_are_not_guessed() {
        for name in [
            "",
            "Canary0Percent5Minutes",
            "Canary100Percent5Minutes",
            "Canary+5Percent5Minutes",
            "Canary05Percent5Minutes",
            "Canary5Percent05Minutes",
            "Canary5Percent0Minutes",
            "CanaryPercent5Minutes",
            "Canary10Percent2881Minutes",
            "Canary10Percent5Hours",
            "allatonce",
            "HalfAtATime",
        ] {
            assert_eq!(outline(name), None, "{name}");
        }
    }
}
