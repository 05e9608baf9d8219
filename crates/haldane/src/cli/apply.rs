//! `haldane apply`: makes the daemon run what a release file says.

use std::{io::Write, path::PathBuf};

use haldane_api::http::{Answer, ApplyRequest};

use super::{
    exit::{Exit, talk},
    globals::Globals,
    result,
    source::Source,
    words::count,
};

/// Makes the daemon run what a release file says.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The release file; - for standard input
    #[arg(short, long, value_name = "FILE", default_value = "haldane.yaml")]
    file: PathBuf,
    /// Stop and remove services that are no longer in the file
    #[arg(long)]
    prune: bool,
    /// Only tell what would change
    #[arg(long)]
    dry_run: bool,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let source = Source::read(&args.file)?;
    if let Err(problems) = source.parse() {
        for problem in &problems {
            talk(problem);
        }
        anyhow::bail!(
            "{} has {}; nothing was changed",
            source.name(),
            count(problems.len(), "mistake", "mistakes")
        );
    }
    let request = ApplyRequest {
        base_dir: source.base_dir()?.display().to_string(),
        text: source.text,
        prune: args.prune,
        dry_run: args.dry_run,
        by: globals.actor.clone(),
    };
    let answer: Answer = globals.client().post("/v1/apply", &request).await?;
    result::write_answer(globals, out, &answer)?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    const GOOD: &str = "services: { auth: { listen: 127.0.0.1:0, stable: { version: v1, url: http://127.0.0.1:1 } } }";

    #[tokio::test]
    async fn the_file_is_sent_with_its_directory() {
        let answer = json!({ "messages": ["auth is new"], "rollout": null, "isDurable": true });
        let daemon = Daemon::start([("POST /v1/apply", Reply::json(200, &answer))]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haldane.yaml");
        fs::write(&path, GOOD).unwrap();
        let (exit, out) = daemon
            .run(&format!("apply -f {} --prune --dry-run", path.display()))
            .await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, "auth is new\n"));
        let expected = json!({ "text": GOOD, "baseDir": dir.path(), "prune": true, "dryRun": true, "by": "ann@desk" });
        assert_eq!(daemon.asked()[0].1, expected);
    }

    #[tokio::test]
    async fn a_file_with_mistakes_is_not_sent() {
        let daemon = Daemon::start([]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("haldane.yaml");
        fs::write(&path, "services: { auth: { listen: x, stable: {} } }").unwrap();
        let (exit, _) = daemon.run(&format!("apply -f {}", path.display())).await;
        let error = exit.unwrap_err().to_string();
        assert!(
            error.ends_with(" has 3 mistakes; nothing was changed"),
            "{error}"
        );
        assert_eq!(daemon.asked(), []);
    }
}
