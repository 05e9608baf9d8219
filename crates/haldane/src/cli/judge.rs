//! `haldane judge`: Kayenta's judgement of two sets of points, alone. Needs no daemon.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use haldane_analysis::score::{self, Answer, Arm, Config, Thresholds};
use haldane_core::verdict::Verdict;

use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint::Tone,
    result,
    table::{Cell, Table},
    words::{NOTHING, count},
};

/// Judges two sets of points.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Kayenta's canary configuration, as JSON
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The new version's points: a JSON map from metric to list, null for a missing point
    #[arg(long, value_name = "FILE")]
    experiment: PathBuf,
    /// The points that they are compared with, in the same form
    #[arg(long, value_name = "FILE")]
    control: PathBuf,
    /// The score that passes, 0 to 100; instead of the configuration's, or 95
    #[arg(long, value_name = "SCORE", value_parser = score)]
    pass: Option<f64>,
    /// The score below which the version fails; instead of the configuration's, or 75
    #[arg(long, value_name = "SCORE", value_parser = score)]
    marginal: Option<f64>,
}

/// Runs the command; the exit code tells the verdict.
pub(crate) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let config = read(&args.config, Config::from_json)?;
    let experiment = read(&args.experiment, Arm::from_json)?;
    let control = read(&args.control, Arm::from_json)?;
    let given = config.thresholds.unwrap_or_default();
    let thresholds = Thresholds {
        pass: args.pass.unwrap_or(given.pass),
        marginal: args.marginal.unwrap_or(given.marginal),
    };
    if thresholds.marginal > thresholds.pass {
        return Err(UsageError(format!(
            "the marginal score {} is above the one that passes, {}; expected at most that",
            thresholds.marginal, thresholds.pass
        ))
        .into());
    }
    for warning in &config.warnings {
        super::exit::talk(&format!(
            "haldane: {}: {}: {}",
            args.config.display(),
            warning.path,
            warning.message
        ));
    }
    let answer = score::judge(&config, thresholds, &experiment, &control);
    result::write(globals, out, &answer, |out| write(&answer, globals, out))?;
    Ok(match answer.verdict {
        Verdict::Pass => Exit::Done,
        Verdict::Fail => Exit::Aborted,
        Verdict::Inconclusive => Exit::Waiting,
        Verdict::NoData => Exit::Failed,
    })
}

fn read<T, E: std::error::Error + Send + Sync + 'static>(
    path: &Path,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> anyhow::Result<T> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", name()))?;
    parse(&text).with_context(name)
}

fn score(text: &str) -> Result<f64, String> {
    super::quantity::number(text, 0.0..=100.0)
}

fn write(answer: &Answer, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let tone = match answer.verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Fail => Tone::Bad,
        Verdict::Inconclusive | Verdict::NoData => Tone::Warn,
    };
    let verdict = globals.paint.tone(tone, &answer.verdict.to_string());
    writeln!(
        out,
        "{verdict}: score {}; {}\n",
        answer.score, answer.reason
    )?;
    let mut table = Table::new(["METRIC", "CLASS", "EXPERIMENT", "CONTROL", "SHIFT", "WHY"]);
    for metric in &answer.metrics {
        let shift = metric.shift.as_ref().map_or_else(
            || NOTHING.to_owned(),
            |shift| {
                format!(
                    "{:.4} ({:.4} to {:.4})",
                    shift.estimate, shift.lower, shift.upper
                )
            },
        );
        let mean = |arm: &score::Summary| {
            let mean = arm
                .mean
                .map_or_else(|| NOTHING.to_owned(), |mean| format!("{mean:.4}"));
            format!("{mean} of {}", count(arm.count, "point", "points"))
        };
        let name = if metric.critical {
            format!("{} (critical)", metric.name)
        } else {
            metric.name.clone()
        };
        table.push([
            Cell::from(name),
            format!("{:?}", metric.classification).into(),
            mean(&metric.experiment).into(),
            mean(&metric.control).into(),
            shift.into(),
            metric.reason.as_str().into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    for group in &answer.groups {
        writeln!(
            out,
            "group {}: score {}, weight {}, {} of {} passed",
            group.name, group.score, group.weight, group.passed, group.counted
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::Daemon;

    const CONFIG: &str = r#"{
        "name": "shop",
        "metrics": [{
            "name": "errors",
            "query": {"type": "prometheus"},
            "groups": ["errors"],
            "analysisConfigurations": {"canary": {"direction": "increase", "critical": true}},
            "scopeName": "default"
        }],
        "classifier": {"groupWeights": {"errors": 100}}
    }"#;

    async fn judge(config: &str, experiment: &str, more: &str) -> (anyhow::Result<Exit>, String) {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let control = r#"{"errors": [1.0, 1.1, 0.9, 1.2, null, 0.8, 1.05]}"#;
        let line = format!(
            "judge --config {} --experiment {} --control {} {more}",
            write("canary.json", config),
            write("e.json", experiment),
            write("c.json", control),
        );
        let (exit, out) = Daemon::start([]).run(line.trim_end()).await;
        (exit, out)
    }

    #[tokio::test]
    async fn the_exit_code_tells_the_verdict() {
        for (experiment, expected, begins) in [
            (
                r#"{"errors": [1.1, 0.9, 1.0, 1.2, 0.8, 1.05]}"#,
                Exit::Done,
                "Pass: score 100",
            ),
            (
                r#"{"errors": [5.0, 6.1, 5.5, 5.2, 5.9, 6.0]}"#,
                Exit::Aborted,
                "Fail: score 0",
            ),
            (
                r#"{"errors": [null, null]}"#,
                Exit::Aborted,
                "Fail: score 0",
            ),
        ] {
            let (exit, out) = judge(CONFIG, experiment, "").await;
            assert_eq!(exit.unwrap(), expected, "{out}");
            let words = out.to_lowercase();
            assert!(words.starts_with(&begins.to_lowercase()), "{out}");
        }
    }

    #[tokio::test]
    async fn programs_get_score_groups_and_metrics() {
        let (_, out) = judge(
            CONFIG,
            r#"{"errors": [5.0, 6.1, 5.5, 5.2, 5.9]}"#,
            "-o json",
        )
        .await;
        let answer: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(answer["score"], 0.0);
        assert_eq!(answer["verdict"], "Fail");
        assert_eq!(answer["groups"][0]["name"], "errors");
        assert_eq!(answer["metrics"][0]["classification"], "High");
        assert_eq!(answer["metrics"][0]["critical"], true);
    }

    #[tokio::test]
    async fn mistakes_name_the_file_and_the_place() {
        let wrong = CONFIG.replace("\"direction\"", "\"directoin\"");
        let (exit, _) = judge(&wrong, "{}", "").await;
        let text = format!("{:#}", exit.unwrap_err());
        assert!(
            text.contains("canary.json") && text.contains("directoin"),
            "{text}"
        );
        let (exit, _) = judge(CONFIG, "{", "").await;
        let text = format!("{:#}", exit.unwrap_err());
        assert!(text.contains("e.json") && text.contains("line 1"), "{text}");
        let (exit, _) = judge(CONFIG, "{}", "--pass 50 --marginal 60").await;
        let text = format!("{:#}", exit.unwrap_err());
        assert!(text.contains("marginal score 60"), "{text}");
    }
}
