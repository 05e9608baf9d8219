//! `haldane lint --rules`: the rules, as a list and as a page.

use std::io::Write;

use haldane_api::lint::{RULES, Severity};

use super::Form;
use crate::cli::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint::Tone,
    result,
    table::{Cell, Table},
};

/// What stands before the rules on their page.
const INTRODUCTION: &str = "\
# Lint

Written by `haldane lint --rules --format markdown`; `cargo xtask codegen` brings it up to date.

`haldane lint FILE…` reads release files (`haldane.yaml`) and manifests of Kubernetes, and says what is wrong or unwise in them: in
services and their plans, in Releases and ReleaseGroups, and, as far as their YAML tells, in Rollouts and AnalysisTemplates of Argo,
Canaries of Flagger, Ingresses, routes, Services and what runs pods. It needs neither a daemon nor a cluster.

```
haldane.yaml:9:7: warning[blind-canary]: services.auth.rollout.guards: nothing is judged, so a bad version is promoted like a good one
    give guards such as { errorRate: 5% }, or a gate that a person answers
```

An *error* is refused, or does not work. A *warning* works, and is likely to hurt. A *note* may be as it should be. Errors alone make the
exit code 1; `--deny warnings` and `--deny notes` make it stricter, for pipelines. `-o json`, `--format sarif` (code scanning) and
`--format junit` (test reports) write the findings for other programs.

With the traffic of the service, `--rps 20`, the steps are held against it: whether guards get requests enough, whether chance alone
breaks a limit, and whether the judge could find a canary that fails `--canary` of its requests, where stable fails `--base`, before
it has all of the traffic. The time is that of the best test there is (see [judging](judging.md)); `haldane simulate` plays the plan itself.

`--fix` mends what is plain and safe: it puts annotations in quotes, adds `affinity-canary-behavior` below an affinity by cookie, and a
pause below a `setWeight` without one. Nothing else is changed, and comments stay. What depends on the service, such as probes, limits and
guards, is yours to write.

What can't be told from a file (whether a dashboard exists, whether a rollback was ever tried) is asked by `haldane checklist NAME`.

";

/// Runs the command.
pub(super) fn run(
    format: Option<Form>,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    match format {
        Some(Form::Markdown) => out.write_all(page().as_bytes())?,
        Some(Form::Sarif | Form::Junit) => {
            let error = "sarif and junit are forms of findings; expected them without --rules";
            return Err(UsageError(error.to_owned()).into());
        }
        None => result::write(globals, out, RULES.as_slice(), |out| {
            let mut table = Table::new(["RULE", "SEVERITY", "WHAT"]);
            for rule in RULES {
                let tone = match rule.severity {
                    Severity::Error => Tone::Bad,
                    Severity::Warning => Tone::Warn,
                    Severity::Note => Tone::Dim,
                };
                let severity = Cell::new(tone, rule.severity.name());
                table.push([rule.id.into(), severity, rule.title.into()]);
            }
            Ok(table.write(out, globals.width, globals.paint)?)
        })?,
    }
    Ok(Exit::Done)
}

fn page() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| rule | severity | what |\n|---|---|---|\n");
    for rule in RULES {
        let id = rule.id;
        let (severity, title) = (rule.severity.name(), rule.title);
        text.push_str(&format!("| [`{id}`](#{id}) | {severity} | {title} |\n"));
    }
    for rule in RULES {
        let (severity, title) = (rule.severity.name(), rule.title);
        text.push_str(&format!(
            "\n## {}\n\n*{severity}*: {title}. {}\n\n",
            rule.id, rule.why
        ));
        text.push_str(&format!("Instead of\n\n```yaml\n{}```\n\n", rule.bad));
        text.push_str(&format!("{}:\n\n```yaml\n{}```\n", rule.fix, rule.good));
    }
    text
}
