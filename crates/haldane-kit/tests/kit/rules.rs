//! Each alert fires and stays silent, for each mesh, as Prometheus' own tool evaluates it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    thread,
};

use haldane_kit::{
    alerts::{Conversion, RUNBOOKS, Request, Rule, Thresholds, rules},
    watched::{Mesh, Workload},
};
use serde_json::{Value, json};

use super::{
    cases::{Case, cases},
    promtool::promtool,
    world::{Sample, World, watched},
};

/// The mesh for which cases are tried that are the same for all.
const ANY: Mesh = Mesh::Istio;

pub(super) fn request(mesh: Mesh, workload: Workload) -> Request {
    Request {
        watched: watched(mesh, workload),
        thresholds: Thresholds {
            // A day of samples would take promtool long.
            running_minutes: 60,
            stalled_minutes: 30,
            ..Thresholds::default()
        },
        runbooks: RUNBOOKS.to_owned(),
        labels: BTreeMap::new(),
        conversion: Some(Conversion {
            conversions: r#"orders_total{version="canary"}"#.to_owned(),
            visitors: r#"visitors_total{version="canary"}"#.to_owned(),
        }),
        has_flagger: true,
    }
}

#[test]
fn each_alert_fires_when_it_should_and_no_other_does() {
    // Where a mesh counts by Deployment, its queries differ by workload.
    let of_deployment = [Mesh::Istio, Mesh::Linkerd].map(|mesh| (mesh, Workload::Deployment));
    let pairs = Mesh::ALL.map(|mesh| (mesh, Workload::Pair));
    thread::scope(|scope| {
        for (mesh, workload) in pairs.into_iter().chain(of_deployment) {
            scope.spawn(move || {
                let request = request(mesh, workload);
                let cases = cases().into_iter();
                let cases = cases.filter(|case| case.is_of_mesh || mesh == ANY);
                let tests: Vec<Value> = cases.map(|case| test(&case, mesh, workload)).collect();
                run(&rules(&request).plain(&request), &tests);
            });
        }
    });
}

#[test]
fn every_alert_has_a_case_that_fires_and_one_that_is_silent() {
    let (mut firing, mut silent) = (BTreeSet::new(), BTreeSet::new());
    for case in cases() {
        firing.extend(case.firing.iter().copied());
        silent.extend(case.silent.iter().copied());
        assert!(
            case.silent.iter().all(|name| !case.firing.contains(name)),
            "{}",
            case.name
        );
    }
    let rules = rules(&request(ANY, Workload::Pair));
    let all: BTreeSet<&str> = rules.alerts().map(|alert| alert.name).collect();
    assert_eq!(firing, all);
    assert_eq!(silent, all);
}

#[test]
fn names_are_those_of_the_scripts_and_each_alert_has_a_page() {
    let mut request = request(ANY, Workload::Pair);
    (request.conversion, request.has_flagger) = (None, false);
    let rules = rules(&request);
    let recorded = rules.groups.iter().flat_map(|group| &group.rules);
    let recorded = recorded.filter(|rule| matches!(rule, Rule::Record { .. }));
    assert_eq!(recorded.count(), 10);
    // Eight groups of the script's, the recorded figures, and the users'.
    assert_eq!(rules.groups.len(), 10);
    assert_eq!(rules.alerts().count(), 20);
    let pages = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/runbooks");
    let all = haldane_kit::alerts::rules(&self::request(ANY, Workload::Pair));
    for alert in all.alerts() {
        let page = pages.join(format!("{}.md", alert.name));
        let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{page:?}: {error}"));
        assert!(text.starts_with(&format!("# {}\n", alert.name)), "{page:?}");
        for part in ["## What it means", "## How to look", "## What to do"] {
            assert!(text.contains(part), "{page:?}: {part}");
        }
    }
}

#[test]
fn what_a_pager_shows_is_filled_in() {
    let mut world = World::default();
    world.canary.failed = 0.1;
    let case = Case {
        name: "a tenth fails",
        worlds: vec![(40, world)],
        firing: &[],
        silent: &[],
        is_of_mesh: true,
    };
    let mut test = test(&case, Mesh::Linkerd, Workload::Pair);
    test["promql_expr_test"] = json!([]);
    test["alert_rule_test"] = json!([{
        "eval_time": "39m",
        "alertname": "CanaryHighErrorRate",
        "exp_alerts": [{
            "exp_labels": { "namespace": "orion", "service": "auth-service", "severity": "critical" },
            "exp_annotations": {
                "summary": "More than 5% of the requests to the canary of orion/auth-service fail",
                "description": "10% of the canary's requests failed in the last 5 minutes; the limit is 5%.",
                "runbook_url": format!("{RUNBOOKS}/CanaryHighErrorRate.md"),
            },
        }],
    }]);
    let request = request(Mesh::Linkerd, Workload::Pair);
    run(&rules(&request).plain(&request), &[test]);
}

/// What teams copy for Flagger: its status 0 means that a canary runs, and its duration is a histogram of single checks.
#[test]
fn the_usual_rules_for_flagger_misfire() {
    let rule = |name: &str, expr: &str, hold: &str| json!({ "alert": name, "expr": expr, "for": hold, "labels": { "severity": "warning" } });
    let rules = json!({ "groups": [{
        "name": "flagger.rules",
        "rules": [
            rule("CanaryFailed", "flagger_canary_status == 0", "1m"),
            rule("CanaryStuck", "flagger_canary_duration_seconds > 1800", "5m"),
        ],
    }] });
    let course = |status: f64, firing: &'static [&'static str]| {
        let mut world = World {
            flagger: Some(status),
            ..World::default()
        };
        world.canary.requests = None;
        let case = Case {
            name: "Flagger",
            worlds: vec![(120, world)],
            firing,
            silent: &[],
            is_of_mesh: true,
        };
        let mut test = test(&case, ANY, Workload::Pair);
        let labels = r#"name="auth-service",namespace="orion""#;
        // Two hours of analysis, as Flagger exposes them: a check each minute, of half a second.
        let histogram = [
            (
                format!("flagger_canary_duration_seconds_bucket{{{labels},le=\"1\"}}"),
                "0+1x119",
            ),
            (
                format!("flagger_canary_duration_seconds_bucket{{{labels},le=\"+Inf\"}}"),
                "0+1x119",
            ),
            (
                format!("flagger_canary_duration_seconds_sum{{{labels}}}"),
                "0+0.5x119",
            ),
            (
                format!("flagger_canary_duration_seconds_count{{{labels}}}"),
                "0+1x119",
            ),
        ];
        let series = test["input_series"].as_array_mut().unwrap();
        series.extend(
            histogram.map(|(series, values)| json!({ "series": series, "values": values })),
        );
        test
    };
    run(
        &rules,
        &[
            // It runs, is well, and is far too long: the first one fires, the second one never does.
            course(0.0, &["CanaryFailed"]),
            // It failed: nobody is told.
            course(2.0, &[]),
        ],
    );
}

/// Checks rules and runs tests of them.
#[track_caller]
fn run(rules: &Value, tests: &[Value]) {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, value: &Value| {
        let path = dir.path().join(name);
        fs::write(&path, value.to_string()).unwrap();
        path.display().to_string()
    };
    let file = write("rules.yaml", rules);
    promtool(&["check", "rules", "--lint-fatal", &file]);
    let tests =
        json!({ "rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": tests });
    promtool(&["test", "rules", &write("tests.yaml", &tests)]);
}

fn test(case: &Case, mesh: Mesh, workload: Workload) -> Value {
    let firing: Vec<Value> = case
        .firing
        .iter()
        .map(|name| json!({ "labels": format!("{{alertname=\"{name}\"}}"), "value": 1 }))
        .collect();
    let minutes: usize = case.worlds.iter().map(|(minutes, _)| minutes).sum();
    json!({
        "name": format!("{mesh}, {workload:?}: {}", case.name),
        "interval": "1m",
        "input_series": series(case, mesh, workload),
        "promql_expr_test": [{
            "expr": "max by (alertname) (ALERTS{alertstate=\"firing\"})",
            "eval_time": format!("{}m", minutes - 1),
            "exp_samples": firing,
        }],
    })
}

/// Returns the series with their values minute by minute, in promtool's short form.
fn series(case: &Case, mesh: Mesh, workload: Workload) -> Vec<Value> {
    let worlds = case.worlds.iter();
    let worlds: Vec<(usize, Vec<(String, Sample)>)> = worlds
        .map(|(minutes, world)| (*minutes, world.series(mesh, workload)))
        .collect();
    let names = worlds[0].1.iter().map(|(name, _)| name);
    names
        .map(|name| {
            let mut from = 0.0;
            let stretches = worlds.iter().map(|(minutes, samples)| {
                let sample = samples.iter().find(|(other, _)| other == name).unwrap().1;
                let (start, step) = match sample {
                    Sample::Rate(rate) => (from, rate),
                    Sample::Value(value) => (value, 0.0),
                };
                from += step * f64::from(u16::try_from(*minutes).unwrap());
                format!("{start}+{step}x{}", minutes - 1)
            });
            let values: Vec<String> = stretches.collect();
            json!({ "series": name, "values": values.join(" ") })
        })
        .collect()
}
