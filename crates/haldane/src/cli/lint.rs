//! `haldane lint`: the mistakes of a release file or of the Releases in a manifest, and advice on what they may say but rarely mean.
//! Needs neither daemon nor cluster.

use std::{io::Write, path::PathBuf};

use haldane_api::{lint, manifest};
use serde::Serialize;

use super::{exit::Exit, globals::Globals, paint::Tone, result, source::Source, words::clean};

/// Checks a release file, or the Releases of a manifest.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release file, or a manifest with Releases; - for standard input
    #[arg(short, long, value_name = "FILE", default_value = "haldane.yaml")]
    file: PathBuf,
}

/// What was found.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Findings {
    /// Mistakes, each with file, line and column.
    problems: Vec<String>,
    /// Advice, each with file and key.
    advice: Vec<String>,
    /// Objects of a manifest that are no Releases, and were not looked at.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
}

/// Runs the command; mistakes are a failure, advice is not.
pub(crate) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let source = Source::read(&args.file)?;
    let findings = findings(&source);
    let name = source.name();
    result::write(globals, out, &findings, |out| {
        for problem in &findings.problems {
            writeln!(
                out,
                "{} {problem}",
                globals.paint.tone(Tone::Bad, "mistake:")
            )?;
        }
        for advice in &findings.advice {
            writeln!(
                out,
                "{} {advice}",
                globals.paint.tone(Tone::Warn, "advice:")
            )?;
        }
        if !findings.ignored.is_empty() {
            let ignored = findings.ignored.join(", ");
            writeln!(out, "{name}: not looked at, no Release: {ignored}")?;
        }
        if findings.problems.is_empty() && findings.advice.is_empty() {
            writeln!(out, "{name}: no mistakes, no advice")?;
        }
        Ok(())
    })?;
    Ok(if findings.problems.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn findings(source: &Source) -> Findings {
    if manifest::is_manifest(&source.text) {
        return of_manifest(source);
    }
    match source.parse() {
        Err(problems) => Findings {
            problems,
            ..Findings::default()
        },
        Ok(file) => {
            let name = source.name();
            let advice = lint::lint(&file).into_iter();
            let advice = advice
                .map(|one| format!("{name}: {}: {}", one.path, one.message))
                .collect();
            Findings {
                advice,
                ..Findings::default()
            }
        }
    }
}

fn of_manifest(source: &Source) -> Findings {
    let name = source.name();
    let manifest = manifest::parse(&source.text);
    let problems = manifest.problems.iter();
    let advice = manifest.advice.iter();
    Findings {
        problems: problems.map(|one| format!("{name}:{one}")).collect(),
        advice: advice
            .map(|one| format!("{name}: {}: {}", one.path, one.message))
            .collect(),
        ignored: manifest.others.iter().map(|one| clean(one)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::cli::testing::Daemon;

    async fn lint(text: &str) -> (Exit, String) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haldane.yaml");
        fs::write(&path, text).unwrap();
        let (exit, out) = Daemon::start([])
            .run(&format!("lint -f {}", path.display()))
            .await;
        (
            exit.unwrap(),
            out.replace(&dir.path().display().to_string(), ""),
        )
    }

    #[tokio::test]
    async fn mistakes_fail_and_advice_does_not() {
        let stable = "listen: 8080, stable: { version: v1, run: ./a }";
        let (exit, out) = lint(&format!(
            "services: {{ auth: {{ {stable}, health: {{ path: /h }} }} }}"
        ))
        .await;
        assert_eq!(
            (exit, out.as_str()),
            (Exit::Done, "/haldane.yaml: no mistakes, no advice\n")
        );
        let (exit, out) = lint(&format!("services: {{ auth: {{ {stable} }} }}")).await;
        assert_eq!(exit, Exit::Done);
        assert!(
            out.starts_with("advice: /haldane.yaml: services.auth.health: "),
            "{out}"
        );
        let (exit, out) = lint("services:\n  auth: { lisen: 8080 }").await;
        assert_eq!(exit, Exit::Failed);
        assert!(
            out.contains("mistake: /haldane.yaml:2:11: services.auth.lisen: unknown key"),
            "{out}"
        );
    }

    #[tokio::test]
    async fn a_manifests_releases_are_checked_and_the_rest_is_named() {
        let manifest = "\
kind: Service
apiVersion: v1
metadata: { name: shop }
---
apiVersion: haldane.dev/v1alpha1
kind: Release
metadata: { name: shop }
spec:
  workload: { deployment: { name: shop } }
  rollout: { steps: [10%, 50%], hold: 1m }
";
        let (exit, out) = lint(manifest).await;
        let expected = "\
/haldane.yaml: not looked at, no Release: Service shop
/haldane.yaml: no mistakes, no advice
";
        assert_eq!((exit, out.as_str()), (Exit::Done, expected));
        let (exit, out) = lint(&manifest.replace("50%", "500%")).await;
        assert_eq!(exit, Exit::Failed);
        let expected = "mistake: /haldane.yaml:10:27: spec.rollout.steps[1]: ";
        assert!(out.starts_with(expected), "{out}");
    }
}
