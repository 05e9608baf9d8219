//! `haldane lint`: the mistakes of a release file, and advice on what it may say but rarely means. Needs no daemon.

use std::{io::Write, path::PathBuf};

use haldane_api::lint;
use serde::Serialize;

use super::{exit::Exit, globals::Globals, paint::Tone, result, source::Source};

/// Checks a release file.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release file; - for standard input
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
        if findings == Findings::default() {
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
    match source.parse() {
        Err(problems) => Findings {
            problems,
            advice: Vec::new(),
        },
        Ok(file) => {
            let name = source.name();
            let advice = lint::lint(&file).into_iter();
            let advice = advice
                .map(|one| format!("{name}: {}: {}", one.path, one.message))
                .collect();
            Findings {
                problems: Vec::new(),
                advice,
            }
        }
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
}
