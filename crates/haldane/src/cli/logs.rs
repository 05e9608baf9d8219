//! `haldane logs`: what the processes of a version write.

use std::{collections::BTreeSet, io::Write};

use haldane_api::http::{RolloutHistory, ServiceView};
use haldane_core::{ServiceName, VersionName};

use super::{
    client::Client,
    exit::{Exit, talk},
    globals::Globals,
    history::HISTORY_MAX,
    words::count,
};

/// Shows what the processes of a version write.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service
    name: ServiceName,
    /// The version; by default the canary while there is one, else stable
    #[arg(long, value_name = "VERSION")]
    version: Option<VersionName>,
    /// Only this replica, counted from 0
    #[arg(long, value_name = "N")]
    replica: Option<u32>,
    /// Go on showing what is written
    #[arg(short, long)]
    follow: bool,
    /// How many of the last lines of each replica are shown, up to 10000
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(0..=10_000)
    )]
    lines: u32,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let client = globals.client();
    let service: ServiceView = client.get(&format!("/v1/services/{}", args.name)).await?;
    if let Some(version) = &args.version {
        check_known(version, &service, &client).await?;
    }
    let mut stream = client.stream(&args.path()).await?;
    let mut is_empty = true;
    while let Some(piece) = stream.next().await? {
        is_empty = is_empty && piece.is_empty();
        out.write_all(&piece)?;
        out.flush()?;
    }
    if is_empty {
        let why = args.why_empty(&service)?;
        // A script that finds nothing needs no explanation.
        if globals.is_terminal {
            talk(&why);
        }
    }
    Ok(Exit::Done)
}

/// Refuses a version that the service neither has nor had in any rollout that the daemon remembers.
async fn check_known(
    version: &VersionName,
    service: &ServiceView,
    client: &Client,
) -> anyhow::Result<()> {
    let now = [&service.stable].into_iter().chain(&service.canary);
    let mut known: BTreeSet<VersionName> = now.map(|one| one.version.clone()).collect();
    if known.contains(version) {
        return Ok(());
    }
    let path = format!("/v1/services/{}/history?limit={HISTORY_MAX}", service.name);
    let Ok(past) = client.get::<Vec<RolloutHistory>>(&path).await else {
        // Logs may be there where the history can't be read.
        return Ok(());
    };
    known.extend(past.into_iter().flat_map(|one| [one.stable, one.canary]));
    if known.contains(version) {
        return Ok(());
    }
    let known: Vec<&str> = known.iter().map(VersionName::as_str).collect();
    anyhow::bail!(
        "{} has no version {version}; known: {}",
        service.name,
        known.join(", ")
    )
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

    /// Says why there is no output.
    ///
    /// # Errors
    /// When a replica was asked for that does not exist.
    fn why_empty(&self, service: &ServiceView) -> anyhow::Result<String> {
        let default = service.canary.as_ref().unwrap_or(&service.stable);
        let mut now = [&service.stable].into_iter().chain(&service.canary);
        let version = self.version.as_ref().unwrap_or(&default.version);
        let Some(view) = now.find(|one| one.version == *version) else {
            return Ok(format!("there is no output of {version} any more"));
        };
        if view.source.starts_with("http") {
            return Ok(format!(
                "{version} is not run by the daemon; its output is where it runs"
            ));
        }
        let replicas = view.replicas_existing.max(view.replicas_wanted);
        if let Some(replica) = self.replica.filter(|replica| *replica >= replicas) {
            let count = count(replicas, "replica", "replicas");
            anyhow::bail!("{version} has no replica {replica}; it has {count}, counted from 0");
        }
        Ok(format!("{version} has written nothing so far"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::testing::{Daemon, Reply, service_json};

    fn daemon(logs: &str) -> Daemon {
        let past = json!([{
            "id": "auth-6", "kind": "deploy", "by": "ann", "reason": null, "stable": "v0", "canary": "v1", "phase": "Completed",
            "message": "m", "startedAt": "2026-11-20T11:00:00Z", "endedAt": "2026-11-20T11:30:00Z", "entries": [],
        }]);
        Daemon::start([
            (
                "GET /v1/services/auth",
                Reply::json(200, &service_json("Progressing")),
            ),
            ("GET /v1/services/auth/history", Reply::json(200, &past)),
            ("GET /v1/services/auth/logs", Reply::text(200, logs)),
        ])
    }

    #[tokio::test]
    async fn lines_are_passed_on_as_they_are() {
        let daemon = daemon("one\ntwo\n");
        let (exit, out) = daemon
            .run("logs auth --version v2 --replica 1 -f --lines 2")
            .await;
        assert_eq!((exit.unwrap(), out.as_str()), (Exit::Done, "one\ntwo\n"));
        let call = "GET /v1/services/auth/logs?lines=2&version=v2&replica=1&follow=true";
        assert_eq!(daemon.asked().pop().unwrap().0, call);
        daemon.run("logs auth").await.0.unwrap();
        assert_eq!(
            daemon.asked().pop().unwrap().0,
            "GET /v1/services/auth/logs?lines=100"
        );
    }

    #[tokio::test]
    async fn an_unknown_version_or_replica_is_an_error_that_names_the_known() {
        let daemon = daemon("");
        for (line, expected) in [
            (
                "logs auth --version v9",
                "auth has no version v9; known: v0, v1, v2",
            ),
            (
                "logs auth --version v1 --replica 2",
                "v1 has no replica 2; it has 2 replicas, counted from 0",
            ),
            (
                "logs auth --replica 1",
                "v2 has no replica 1; it has 1 replica, counted from 0",
            ),
        ] {
            let error = daemon.run(line).await.0.unwrap_err();
            assert_eq!(error.to_string(), expected, "{line}");
        }
        // These wrote nothing, which is no mistake: v0 was there once.
        for line in [
            "logs auth --version v0",
            "logs auth --version v1 --replica 1",
        ] {
            assert_eq!(daemon.run(line).await.0.unwrap(), Exit::Done, "{line}");
        }
    }

    #[test]
    fn no_output_is_told_with_its_reason() {
        let args = |version: &str| Args {
            name: "auth".parse().unwrap(),
            version: Some(version.parse().unwrap()),
            replica: None,
            follow: false,
            lines: 100,
        };
        let mut auth = crate::cli::testing::service("Progressing");
        auth.canary.as_mut().unwrap().source = "http://10.0.0.7:8080".to_owned();
        for (version, expected) in [
            ("v0", "there is no output of v0 any more"),
            ("v1", "v1 has written nothing so far"),
            (
                "v2",
                "v2 is not run by the daemon; its output is where it runs",
            ),
        ] {
            assert_eq!(args(version).why_empty(&auth).unwrap(), expected);
        }
    }
}
