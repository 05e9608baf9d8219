//! Tests of `haldane lint`.

use haldane_api::lint::RULES;
use serde_json::Value;

use super::*;
use crate::cli::{exit::exit_of, testing::Daemon};

const GOOD: &str = "\
notify: [{ webhook: 'https://hooks.example.com' }]
services: { auth: { listen: 8080, stable: { version: v1, run: ./a, replicas: 2 }, health: { path: /h } } }
";

const BAD: &str = "\
notify: [{ webhook: 'https://hooks.example.com' }]
services:
  auth:
    listen: 8080
    stable: { version: v1, run: ./a, replicas: 2 }
    rollout: { guards: none }
";

/// Runs lint with these options on a file with this text; what is written names the file `file.yaml`.
async fn lint(options: &str, text: &str) -> (anyhow::Result<Exit>, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.yaml");
    fs::write(&path, text).unwrap();
    let options = options.split(' ').filter(|word| !word.is_empty());
    let path = path.display().to_string();
    let words: Vec<&str> = ["lint"]
        .into_iter()
        .chain(options)
        .chain([path.as_str()])
        .collect();
    let (exit, out) = Daemon::start([]).run_words(&words).await;
    let out = out.replace(&format!("{}/", dir.path().display()), "");
    (exit, out)
}

#[tokio::test]
async fn errors_fail_and_the_rest_where_it_is_denied() {
    let (exit, out) = lint("", GOOD).await;
    let expected = (Exit::Done, "file.yaml: nothing found\n");
    assert_eq!((exit.unwrap(), out.as_str()), expected);
    let (exit, out) = lint("", BAD).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let expected = "\
file.yaml:3:3: warning[no-health-check]: services.auth.health: a replica counts as healthy as soon as it accepts connections
    give a path that answers 2xx when it works: health: { path: /health }
file.yaml:6:16: warning[blind-canary]: services.auth.rollout.guards: nothing is judged, so a bad version is promoted like a good one
    give guards such as { errorRate: 5% }, or a gate that a person answers
file.yaml: 2 warnings
";
    assert_eq!(out, expected);
    assert_eq!(lint("--deny warnings", BAD).await.0.unwrap(), Exit::Failed);
    let noted = GOOD.replace(", replicas: 2", "");
    assert_eq!(lint("--deny warnings", &noted).await.0.unwrap(), Exit::Done);
    assert_eq!(lint("--deny notes", &noted).await.0.unwrap(), Exit::Failed);
    let (exit, out) = lint("", "services:\n  auth: { lisen: 8080 }").await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    let expected = "file.yaml:2:11: error[invalid]: services.auth.lisen: unknown key";
    assert!(out.contains(expected), "{out}");
}

#[tokio::test]
async fn several_files_are_checked_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let [one, other] = ["one", "other"].map(|name| dir.path().join(name).display().to_string());
    fs::write(&one, GOOD).unwrap();
    fs::write(&other, BAD).unwrap();
    let words = ["lint", "-o", "json", &one, "-f", &other];
    let (exit, out) = Daemon::start([]).run_words(&words).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let told: Value = serde_json::from_str(&out).unwrap();
    let findings = told["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 2);
    assert_eq!(findings[1]["rule"], "blind-canary");
    assert_eq!(findings[1]["file"], other);
    assert_eq!(findings[1]["severity"], "warning");
    assert_eq!(
        (&findings[1]["line"], &findings[1]["column"]),
        (&6.into(), &16.into())
    );
    assert_eq!(findings[1]["isFixable"], false);
}

#[tokio::test]
async fn the_traffic_says_which_steps_are_too_short() {
    let text = GOOD.replace(
        "health:",
        "rollout: { steps: [5%, 25%, 50%, 100%], hold: 5m }, health:",
    );
    assert_eq!(
        lint("--rps 100", &text).await.1,
        "file.yaml: nothing found\n"
    );
    let out = lint("--rps 0.5", &text).await.1;
    let expected =
        "at 0.5 requests per second the canary gets 7 of them at 5% in 5m, and guards need 100";
    assert!(out.contains(expected), "{out}");
    let expected = "a canary that fails 1% of them, where stable fails 0.1%, is not found out in the 15m before";
    assert!(out.contains(expected), "{out}");
    // A canary that fails everything is found by anybody.
    let out = lint("--rps 0.5 --canary 90%", &text).await.1;
    assert!(!out.contains("too-fast"), "{out}");
    let words = ["haldane", "lint", "--rps", "no"];
    let error = <crate::cli::Cli as clap::Parser>::try_parse_from(words).unwrap_err();
    assert!(
        error.to_string().contains("expected a number from 0.001"),
        "{error}"
    );
}

#[tokio::test]
async fn what_can_be_mended_is_mended_in_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ingress.yaml");
    let text = "kind: Ingress # a canary\napiVersion: networking.k8s.io/v1\nmetadata:\n  annotations:\n    nginx.ingress.kubernetes.io/canary: true\n    nginx.ingress.kubernetes.io/canary-weight: \"0\"\n";
    fs::write(&path, text).unwrap();
    let name = path.display().to_string();
    let (exit, out) = Daemon::start([]).run(&format!("lint {name}")).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    assert!(out.contains("error[unquoted-annotation]"), "{out}");
    assert_eq!(
        fs::read_to_string(&path).unwrap(),
        text,
        "only --fix writes"
    );
    let (exit, out) = Daemon::start([]).run(&format!("lint --fix {name}")).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    assert_eq!(out, format!("{name}: 1 mended\n{name}: nothing found\n"));
    let expected = text.replace("canary: true", "canary: \"true\"");
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    let error = Daemon::start([]).run("lint --fix -").await.0.unwrap_err();
    assert!(error.to_string().contains("--fix changes files"), "{error}");
}

#[tokio::test]
async fn sarif_has_the_rules_and_where_they_are_broken() {
    let (exit, out) = lint("--format sarif", BAD).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    let sarif: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(sarif["version"], "2.1.0");
    let run = &sarif["runs"][0];
    assert_eq!(
        run["tool"]["driver"]["rules"].as_array().unwrap().len(),
        RULES.len()
    );
    let result = &run["results"][1];
    let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
    assert_eq!(run["tool"]["driver"]["rules"][index]["id"], "blind-canary");
    assert_eq!(
        (&result["ruleId"], &result["level"]),
        (&"blind-canary".into(), &"warning".into())
    );
    let place = &result["locations"][0]["physicalLocation"];
    assert!(
        place["artifactLocation"]["uri"]
            .as_str()
            .unwrap()
            .ends_with("file.yaml")
    );
    assert_eq!(place["region"]["startLine"], 6);
    assert_eq!(place["region"]["startColumn"], 16);
}

#[tokio::test]
async fn junit_has_a_case_for_each_finding_and_fails_what_is_denied() {
    let out = lint("--format junit --deny warnings", BAD).await.1;
    assert!(
        out.contains("<testsuite name=\"file.yaml\" tests=\"2\" failures=\"2\">"),
        "{out}"
    );
    let expected = "<testcase classname=\"file.yaml\" name=\"blind-canary services.auth.rollout.guards\" line=\"6\"><failure type=\"warning\" message=\"nothing is judged";
    assert!(out.contains(expected), "{out}");
    let out = lint("--format junit", BAD).await.1;
    assert!(
        out.contains("failures=\"0\"") && out.contains("<system-out>"),
        "{out}"
    );
    let out = lint("--format junit", GOOD).await.1;
    assert!(
        out.contains("<testcase classname=\"file.yaml\" name=\"lint\"/>"),
        "{out}"
    );
    let out = lint("--format junit", "services: { \"<&>\\\"\": 1 }")
        .await
        .1;
    assert!(
        out.contains("&lt;&amp;&gt;") && !out.contains("<&>"),
        "{out}"
    );
}

#[tokio::test]
async fn the_rules_are_a_list_and_a_page() {
    let daemon = Daemon::start([]);
    let list = daemon.run("lint --rules").await.1;
    let page = daemon.run("lint --rules --format markdown").await.1;
    for rule in RULES {
        assert!(list.contains(rule.id) && page.contains(&format!("\n## {}\n", rule.id)));
    }
    let error = daemon.run("lint --rules --format sarif").await.0;
    assert_eq!(exit_of(&error.unwrap_err()), Exit::Usage);
    let error = lint("--format markdown", GOOD).await.0;
    assert_eq!(exit_of(&error.unwrap_err()), Exit::Usage);
}

#[tokio::test]
async fn a_manifests_objects_are_checked_and_the_rest_is_named() {
    let manifest = "\
kind: ConfigMap
apiVersion: v1
metadata: { name: shop }
---
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: { name: shop }
spec:
  workload: { deployment: { name: shop } }
  routers: [{ gateway: { httpRoute: shop } }]
  sources: { prom: { prometheus: 'http://prometheus' } }
  requests: { source: prom, template: contour }
  rollout: { steps: [10%, 50%], hold: 5m }
";
    let (exit, out) = lint("", manifest).await;
    let expected = "\
file.yaml: no rule is about ConfigMap shop
file.yaml: nothing found
";
    assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, expected));
    let (exit, out) = lint("", &manifest.replace("50%", "500%")).await;
    assert_eq!(exit.unwrap(), Exit::Failed);
    let expected = "file.yaml:13:27: error[invalid]: spec.rollout.steps[1]: ";
    assert!(out.starts_with(expected), "{out}");
}

/// Returns the Markdown files below a directory.
fn pages(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| {
        if path.is_dir() {
            pages(&path)
        } else {
            vec![path]
        }
    });
    below
        .filter(|path| path.extension().is_some_and(|end| end == "md"))
        .collect()
}

#[test]
fn what_is_shipped_as_an_example_is_worth_no_word() {
    for text in [
        include_str!("../../../../../deploy/examples/shop.yaml"),
        include_str!("../../../../../deploy/manifests/install.yaml"),
    ] {
        assert_eq!(lint::check(text, None).findings, []);
    }
}

#[test]
fn the_pages_show_nothing_that_is_refused() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut shown = 0;
    for page in pages(&root.join("docs"))
        .into_iter()
        .chain([root.join("README.md")])
    {
        // The page about lint shows what is refused.
        if page.ends_with("docs/lint.md") {
            continue;
        }
        let text = fs::read_to_string(&page).unwrap();
        let blocks = text.split("\n```yaml\n").skip(1);
        for block in blocks.filter_map(|rest| rest.split("\n```").next()) {
            let has = |key: &str| block.lines().any(|line| line.starts_with(key));
            // Others are excerpts.
            if !(has("apiVersion:") || has("services:") && block.contains("listen:")) {
                continue;
            }
            shown += 1;
            let findings = lint::check(block, None).findings.into_iter();
            let errors = findings.filter(|one| one.rule.severity == Severity::Error);
            assert_eq!(
                errors.collect::<Vec<_>>(),
                [],
                "{}\n{block}",
                page.display()
            );
        }
    }
    assert!(shown > 5, "{shown} examples");
}
