//! Tests of `hooks`.

use haldane_core::{
    plan::{Ask, Hold, Plan},
    rollout::effect::describe,
};

use crate::file::parse_rollout;

const HOOKS: &str = "hooks: { beforeRollout: [{ webhook: 'http://a/' }], eachStep: [{ job: smoke }], beforePromotion: [{ name: last, run: ./last }], \
     afterRollback: [{ webhook: 'http://b/' }] }";

/// Returns the steps of a rollout in a few words.
fn steps(text: &str) -> Vec<String> {
    let plan = plan(text);
    (0..plan.step_count())
        .map(|index| describe(&plan, index))
        .collect()
}

fn plan(text: &str) -> Plan {
    parse_rollout(text).unwrap_or_else(|problems| panic!("{problems:#?}"))
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse_rollout(text).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn hooks_are_gates_between_the_steps() {
    assert_eq!(
        steps(&format!("{{ steps: [5%, 100%], hold: 1m, {HOOKS} }}")),
        [
            "gate webhook before the rollout",
            "send 5% to the canary",
            "hold for 1m",
            "gate job at each step",
            "send 100% to the canary",
            "hold for 1m",
            "gate job at each step",
            "gate last",
        ]
    );
    let told = &plan(&format!("{{ steps: [5%], {HOOKS} }}"))
        .rules()
        .after_rollback
        .clone();
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].name, "webhook after a rollback");
}

#[test]
fn a_step_ends_where_the_weight_changes() {
    let text = "{ steps: [{ scaleCanary: 2 }, { testTraffic: true }, { hold: 1m }, { weight: 5% }, { scaleCanary: full }, { weight: 0% }, { hold: 2m }], \
        hooks: { beforeRollout: [{ name: first, approval: true }], eachStep: [{ name: each, approval: true }] } }";
    assert_eq!(
        steps(text),
        [
            "resize the canary",
            "gate first",
            "open the canary to test requests",
            "hold for 1m",
            "gate each",
            "send 5% to the canary",
            "resize the canary",
            "gate each",
            "send 0% to the canary",
            "hold for 2m",
        ]
    );
}

#[test]
fn the_judge_begins_at_the_same_step_with_hooks() {
    let from = |text: &str| {
        let plan = plan(text);
        let from = plan.rules().judge_from_step;
        describe(&plan, from)
    };
    let text = format!("{{ steps: [5%, 50%, 100%], judgeFromStep: 1, {HOOKS} }}");
    assert_eq!(from(&text), "send 50% to the canary");
    assert_eq!(
        from(&format!("{{ preset: fast, judgeFromStep: 2, {HOOKS} }}")),
        from("{ preset: fast, judgeFromStep: 2 }"),
    );
}

#[test]
fn a_preset_keeps_its_own_steps() {
    let plain = steps("{ preset: fast }");
    let hooked = steps(&format!("{{ preset: fast, {HOOKS} }}"));
    let rest: Vec<&String> = hooked
        .iter()
        .filter(|step| !step.starts_with("gate"))
        .collect();
    assert_eq!(rest, plain.iter().collect::<Vec<_>>());
    assert!(hooked.len() > plain.len() + 2, "{hooked:?}");
    assert_eq!(
        plan(&format!("{{ preset: fast, {HOOKS} }}")).rules().bake,
        plan("{ preset: fast }").rules().bake
    );
}

#[test]
fn a_hook_without_a_plan_stands_in_the_default_one() {
    let plan = plan("{ hooks: { beforePromotion: [{ job: smoke, timeout: 20m }] } }");
    assert_eq!(plan.step_count(), 9);
    let Some(haldane_core::plan::Step::Gate(gate)) = plan.step(8) else {
        panic!("{plan:#?}");
    };
    let cron_job = "smoke".to_owned();
    assert_eq!(gate.ask, Ask::Job { cron_job });
    assert_eq!(gate.timeout.as_secs(), 1_200);
    assert!(matches!(
        plan.step(7),
        Some(haldane_core::plan::Step::Hold(Hold::For(_)))
    ));
}

#[test]
fn mistakes_in_hooks_are_told_with_their_places() {
    let text = "\
steps: [5%]
hooks:
  beforeRollout: [{ webhook: ftp://a }]
  eachStep: { webhook: http://a }
  afterRollbak: []
  afterRollback:
    - approval: true
    - job: Smoke_Test
";
    assert_eq!(
        problems(text),
        [
            "3:30: rollout.hooks.beforeRollout[0].webhook: cannot read \"ftp://a\"; expected a URL such as https://example.com/hook",
            "4:13: rollout.hooks.eachStep: a map; expected a list of gates such as [{ webhook: https://… }]",
            "5:3: rollout.hooks.afterRollbak: unknown key \"afterRollbak\"; did you mean \"afterRollback\"?",
            "7:17: rollout.hooks.afterRollback[0].approval: nothing is left to approve after a rollback; expected a webhook, a command or a job",
            "8:12: rollout.hooks.afterRollback[1].job: expected the name of a CronJob, at most 52 characters",
        ]
    );
    assert_eq!(
        problems("{ steps: [], hooks: { eachStep: [{ approval: true }] } }"),
        ["1:10: rollout.steps: expected at least one step"]
    );
    let many = "{ approval: true }, ".repeat(11);
    assert_eq!(
        problems(&format!("{{ hooks: {{ eachStep: [{many}] }} }}")),
        ["1:22: rollout.hooks.eachStep: 11 hooks; expected at most 10"]
    );
}
