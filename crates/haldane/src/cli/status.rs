//! `haldane status`: where a service stands, ending with the one sentence that says what comes next.

use std::io::Write;

use haldane_api::http::ServiceView;
use haldane_core::ServiceName;

use super::{
    exit::Exit,
    globals::Globals,
    result,
    words::{bps_or_nothing, clean},
};

/// Says where a service stands and what comes next.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    name: ServiceName,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let service: ServiceView = globals
        .client()
        .get(&format!("/v1/services/{}", args.name))
        .await?;
    result::write(globals, out, &service, |out| write(&service, globals, out))?;
    Ok(Exit::Done)
}

fn write(service: &ServiceView, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
    for notice in &service.notices {
        writeln!(out, "Notice: {}", clean(notice))?;
    }
    let Some(rollout) = &service.rollout else {
        writeln!(
            out,
            "{}: {} serves all traffic.",
            service.name, service.stable.version
        )?;
        writeln!(
            out,
            "Nothing is planned; `haldane deploy {} …` begins a rollout.",
            service.name
        )?;
        return Ok(());
    };
    let phase = globals.paint.phase(&rollout.phase);
    writeln!(
        out,
        "{}: {phase}: {}",
        service.name,
        clean(&rollout.message)
    )?;
    let observed = bps_or_nothing(rollout.observed_bps);
    writeln!(
        out,
        "{} → {} at {}, {observed} observed",
        rollout.stable, rollout.canary, rollout.weight_bps
    )?;
    if let Some(judgement) = &rollout.judgement {
        let verdict = globals.paint.verdict(judgement.verdict);
        writeln!(out, "Verdict: {verdict}: {}", clean(&judgement.reason))?;
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
}
