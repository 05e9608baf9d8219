//! `haldane logs`: what the processes of a version write.

use std::io::Write;

use haldane_core::{ServiceName, VersionName};

use super::{exit::Exit, globals::Globals};

/// Shows what the processes of a version write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    name: ServiceName,
    /// The version; by default the canary while there is one, else stable
    #[arg(long, value_name = "VERSION", env = "HALDANE_VERSION")]
    version: Option<VersionName>,
    /// Only this replica, counted from 0
    #[arg(long, value_name = "N", env = "HALDANE_REPLICA")]
    replica: Option<u32>,
    /// Go on showing what is written
    #[arg(short, long, env = "HALDANE_FOLLOW")]
    follow: bool,
    /// How many of the last lines are shown
    #[arg(
        short = 'n',
        long,
        value_name = "N",
        default_value_t = 100,
        env = "HALDANE_LINES"
    )]
    lines: u32,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let mut stream = globals.client().stream(&args.path()).await?;
    while let Some(piece) = stream.next().await? {
        out.write_all(&piece)?;
        out.flush()?;
    }
    Ok(Exit::Done)
}

impl Args {
    fn path(&self) -> String {
        let mut path = format!("/v1/services/{}/logs?lines={}", self.name, self.lines);
        if let Some(version) = &self.version {
            path.push_str(&format!("&version={version}"));
        }
        if let Some(replica) = self.replica {
            path.push_str(&format!("&replica={replica}"));
        }
        if self.follow {
            path.push_str("&follow=true");
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::{Daemon, Reply};

    #[tokio::test]
    async fn lines_are_passed_on_as_they_are() {
        let daemon =
            Daemon::start([("GET /v1/services/auth/logs", Reply::text(200, "one\ntwo\n"))]);
        let (exit, out) = daemon
            .run("logs auth --version v2 --replica 1 -f -n 2")
            .await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, "one\ntwo\n"));
        let call = "GET /v1/services/auth/logs?lines=2&version=v2&replica=1&follow=true";
        assert_eq!(daemon.asked()[0].0, call);
        daemon.run("logs auth").await.0.unwrap();
        assert_eq!(daemon.asked()[1].0, "GET /v1/services/auth/logs?lines=100");
    }
}
