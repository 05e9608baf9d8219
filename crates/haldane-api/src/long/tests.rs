//! Tests of `long`.

use proptest::prelude::*;

use super::*;
use crate::{
    file::{self, default_plan},
    keys::{self, Need, Table},
    strategy,
    yaml::to_yaml,
};

const MINIMAL: &str = "services: { a: { listen: 8080, stable: { version: v1, run: ./a } } }";

/// Reads a plan in long form again, from YAML and from JSON.
fn read_again(plan: &Plan, write: impl Fn(&Value) -> String) -> Result<Plan, String> {
    let service = json!({ "listen": 8080, "stable": { "version": "v1", "run": "./a" }, "rollout": plan_long(plan) });
    let text = write(&json!({ "services": { "a": service } }));
    let file = file::parse(&text).map_err(|problems| format!("{problems:#?}\n{text}"))?;
    Ok(file.services.into_values().next().unwrap().plan)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_plan_survives_its_long_form(plan in strategy::plan()) {
        prop_assert_eq!(read_again(&plan, to_yaml), Ok(plan.clone()));
        prop_assert_eq!(read_again(&plan, ToString::to_string), Ok(plan));
    }
}

#[test]
fn a_file_survives_its_long_form() {
    let file = file::parse(include_str!("../file/full.yaml")).unwrap();
    let text = to_yaml(&file_long(&file));
    assert_eq!(file::parse(&text), Ok(file), "{text}");
}

#[test]
fn every_rule_of_the_default_plan_is_shown() {
    let expected = "\
steps:
  - weight: 5%
  - hold: 5m
  - weight: 25%
  - hold: 5m
  - weight: 50%
  - hold: 5m
  - weight: 100%
  - hold: 5m
guards:
  - metric: errorRate
    continue: 5%
    rollback: 5%
    failures: 0
    severity: critical
  - metric: p99
    continue: 1s
    rollback: 1s
    failures: 0
    severity: critical
  - metric: p95
    continue: 500ms
    rollback: 500ms
    failures: 0
    severity: warn
judge:
  alpha: 1%
  beta: 5%
  harm: 1.1x
  accept: 1.5x
  acceptPlus: +0.2pp
  leeway: 10%
  leewayMin: 2ms
  warmUp: 4s
bands: learned
sampling:
  window: 1m
  requestsMin: 100
  staleAfter: 15s
judgeFromStep: 0
canaryScale: full
onFailure: rollback
onInconclusive: hold
onNoData: hold
advance: auto
promote: auto
bake: 0s
deadlines:
  window: 168h
  ready: 10m
  lost: 30s
  traffic: 5m
  evidence: 1h
  confirm: 5m
  person: 168h
  drain: 30s
windows: []
freezes: []
hooks:
  afterRollback: []
";
    assert_eq!(to_yaml(&plan_long(&default_plan())), expected);
}

/// Writes a map with each default of the table given as the table says it.
fn defaults(table: &Table) -> String {
    let given = table.keys.iter().filter_map(|key| match key.need {
        Need::Default(value) => Some(format!(
            "{}: {}",
            key.name,
            if value.is_empty() { "''" } else { value }
        )),
        Need::Required | Need::Optional => None,
    });
    format!("{{ {} }}", given.collect::<Vec<_>>().join(", "))
}

#[test]
fn the_documented_defaults_are_those_of_the_reader() {
    let plain = file::parse(MINIMAL).unwrap();
    let guards = "guards: { errorRate: 5%, p99: 1s, p95: { rollback: 500ms, severity: warn } }";
    let rollout = defaults(&keys::ROLLOUT)
        .replace("guards: errorRate: 5%, p99: 1s, p95: 500ms (warn)", guards);
    let rollout = rollout
        .replace(
            "sampling: {}",
            &format!("sampling: {}", defaults(&keys::SAMPLING)),
        )
        .replace(
            "deadlines: {}",
            &format!("deadlines: {}", defaults(&keys::DEADLINES)),
        );
    let service = defaults(&keys::SERVICE)
        .replace(
            "health: {}",
            &format!("health: {}", defaults(&keys::HEALTH)),
        )
        .replace(
            "override: {}",
            &format!("override: {}", defaults(&keys::OVERRIDE)),
        )
        .replace(
            "timeouts: {}",
            &format!("timeouts: {}", defaults(&keys::TIMEOUTS)),
        )
        .replace(
            "limits: {}",
            &format!("limits: {}", defaults(&keys::LIMITS)),
        )
        .replace("rollout: {}", &format!("rollout: {rollout}"));
    let stable = defaults(&keys::STABLE).replacen('{', "{ version: v1, run: ./a,", 1);
    let service = service.replacen('{', &format!("{{ listen: 8080, stable: {stable},"), 1);
    let text = defaults(&keys::FILE).replacen('{', &format!("{{ services: {{ a: {service} }},"), 1);
    for part in [
        "windows",
        "stopGrace: 10s",
        "unhealthyAfter: 3",
        "bodyBytes: 10MiB",
        "requestsMin: 100",
        "severity",
        "dir: .",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert_eq!(file::parse(&text), Ok(plain), "{text}");
}
