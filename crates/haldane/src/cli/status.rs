//! `haldane status`: where a service stands, ending with the one sentence that says what comes next.

use std::io::Write;

use super::{
    exit::Exit,
    globals::Globals,
    result,
    snapshot::{Snapshot, write_verdict},
    subject::Subject,
    words::{bps, clean},
};

/// Says where a service stands and what comes next.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let home = globals.home().await?;
    let snapshot = Snapshot::ask(&*home, &args.name).await?;
    result::write(globals, out, &snapshot.service, |out| {
        write(&snapshot, globals, out)
    })?;
    Ok(Exit::Done)
}

fn write(snapshot: &Snapshot, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    let service = &snapshot.service;
    for notice in &service.notices {
        writeln!(out, "Notice: {}", clean(notice))?;
    }
    let Some(rollout) = &service.rollout else {
        writeln!(
            out,
            "{}: {} serves all traffic.",
            service.name, service.stable.version
        )?;
        if service.namespace.is_some() {
            writeln!(
                out,
                "Nothing is planned; a change of its workload begins a rollout."
            )?;
        } else {
            writeln!(
                out,
                "Nothing is planned; `haldane deploy {} …` begins a rollout.",
                service.name
            )?;
        }
        return Ok(());
    };
    snapshot.write_phase(service.name.as_str(), rollout, globals, out)?;
    let observed = rollout
        .observed_bps
        .map(|observed| format!(", {} observed", bps(observed)));
    writeln!(
        out,
        "{} → {} at {}{}",
        rollout.stable,
        rollout.canary,
        rollout.weight_bps,
        observed.unwrap_or_default()
    )?;
    if let Some(judgement) = &rollout.judgement {
        write_verdict(service, judgement, globals, out)?;
    }
    writeln!(out, "{}", clean(&rollout.next))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    #[tokio::test]
    async fn the_last_line_says_what_comes_next() {
        let daemon = Daemon::start([(
            "GET /v1/services/auth",
            Reply::json(200, &service_json("Progressing")),
        )]);
        let (exit, out) = daemon.run("status auth").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        let expected = "\
auth: ◐ Progressing: holding at 25% for 5m
v1 → v2 at 25%, 24.83% observed
Verdict: fail: errorRate 6.2% is beyond 5%
send 100% at 12:04:00, unless a guard breaks
";
        assert_eq!(out, expected);
    }

    #[tokio::test]
    async fn a_share_that_nobody_counted_is_not_told() {
        let mut service = service_json("Completed");
        service["rollout"]["observedBps"] = serde_json::Value::Null;
        let daemon = Daemon::start([("GET /v1/services/auth", Reply::json(200, &service))]);
        let out = daemon.run("status auth").await.1;
        assert_eq!(out.lines().nth(1), Some("v1 → v2 at 25%"), "{out}");
    }
}
