//! A service as it stands, with what `status`, `explain` and `get` say of it in the same words.

use std::io::Write;

use haldane_api::http::{JudgementView, RolloutView, ServiceView};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

use super::{
    globals::Globals,
    home::{Home, HomeError},
    subject::Subject,
    words::{clean, date_and_time, span, time_of_day},
};

/// How old a judgement may be that is told without its time: on Kubernetes it is as old as the status.
const FRESH: SignedDuration = SignedDuration::from_secs(10);

/// The phase of a rollout that waits.
const PAUSED: &str = "Paused";

/// A service, and since when its rollout is paused.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The service.
    pub service: ServiceView,
    /// Since when its rollout is paused; `None` when it isn't, or when that can't be told.
    pub paused_since: Option<Timestamp>,
}

impl Snapshot {
    /// Asks where the service lives.
    ///
    /// # Errors
    /// When it is not told of.
    pub(crate) async fn ask(home: &dyn Home, subject: &Subject) -> Result<Self, HomeError> {
        let service = home.service(subject).await?;
        let paused_since = match &service.rollout {
            Some(rollout) if rollout.phase == PAUSED => paused_since(home, subject, rollout).await,
            Some(_) | None => None,
        };
        Ok(Self {
            service,
            paused_since,
        })
    }

    /// Returns the phase of the rollout with its sign and, in a pause, its time: `‖ Paused since 12:03:04 (5m)`.
    pub(crate) fn phase(&self, rollout: &RolloutView, globals: &Globals) -> String {
        let phase = globals.paint.phase(&rollout.phase);
        let Some(since) = self.paused_since else {
            return phase;
        };
        let (now, zone) = (self.service.at, &globals.zone);
        let is_today = since.to_zoned(zone.clone()).date() == now.to_zoned(zone.clone()).date();
        let at = if is_today {
            time_of_day(since, zone)
        } else {
            date_and_time(since, zone)
        };
        format!("{phase} since {at} ({})", span(since, now))
    }

    /// Writes in which phase the rollout of `subject` is, and why.
    pub(crate) fn write_phase(
        &self,
        subject: &str,
        rollout: &RolloutView,
        globals: &Globals,
        out: &mut impl Write,
    ) -> anyhow::Result<()> {
        let phase = self.phase(rollout, globals);
        Ok(writeln!(
            out,
            "{subject}: {phase}: {}",
            clean(&rollout.message)
        )?)
    }
}

/// Writes what the judge says.
pub(crate) fn write_verdict(
    service: &ServiceView,
    judgement: &JudgementView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let verdict = globals.paint.verdict(judgement.verdict);
    Ok(writeln!(
        out,
        "Verdict: {verdict}: {}{}",
        clean(&judgement.reason),
        as_of(service, judgement, &globals.zone)
    )?)
}

/// Returns the time of a judgement that is not of this moment, while the rollout goes on: ` (as of 12:00:05)`.
pub(crate) fn as_of(service: &ServiceView, judgement: &JudgementView, zone: &TimeZone) -> String {
    let is_live = service.rollout.as_ref().is_some_and(|one| !one.is_over);
    let old = judgement
        .to
        .filter(|to| is_live && service.at.duration_since(*to) > FRESH);
    old.map_or_else(String::new, |to| {
        format!(" (as of {})", time_of_day(to, zone))
    })
}

/// Finds the decision that the pause began with. That it can't be told is no reason to tell nothing else.
async fn paused_since(
    home: &dyn Home,
    subject: &Subject,
    rollout: &RolloutView,
) -> Option<Timestamp> {
    let history = home.rollout(subject, &rollout.id).await.ok()?;
    let newest_first = history.entries.iter().rev();
    newest_first
        .take_while(|entry| entry.phase == PAUSED)
        .last()
        .map(|entry| entry.at)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::cli::testing::{Daemon, Reply, service_json};

    /// A daemon with a rollout that was paused at this time, for one reason and then for another.
    fn daemon(paused_at: &str) -> Daemon {
        let entry = |number: u64, at: &str, phase: &str| {
            json!({
                "number": number, "at": at, "phase": phase, "step": 4, "weightBps": 2_500,
                "text": "t", "cause": "pause", "by": null, "judgement": null,
            })
        };
        let history = json!({
            "id": "auth-7", "kind": "deploy", "by": "ann", "reason": null, "stable": "v1", "canary": "v2", "phase": "Paused",
            "message": "m", "startedAt": "2026-11-20T11:00:00Z", "endedAt": null,
            "entries": [
                entry(0, "2026-11-20T11:00:00Z", "Paused"),
                entry(1, "2026-11-20T11:30:00Z", "Progressing"),
                entry(2, paused_at, "Paused"),
                entry(3, "2026-11-21T11:59:00Z", "Paused"),
            ],
        });
        Daemon::start([
            (
                "GET /v1/services/auth",
                Reply::json(200, &service_json("Paused")),
            ),
            ("GET /v1/rollouts/auth-7", Reply::json(200, &history)),
        ])
    }

    #[tokio::test]
    async fn a_pause_is_told_with_its_time() {
        for (paused_at, expected) in [
            ("2026-11-21T11:55:30Z", "Paused since 11:55:30 (4m30s)"),
            (
                "2026-11-20T22:00:00Z",
                "Paused since 2026-11-20 22:00:00 (14h)",
            ),
        ] {
            let daemon = daemon(paused_at);
            for line in ["status auth", "explain auth", "get auth"] {
                let out = daemon.run(line).await.1;
                assert!(out.contains(expected), "{line}: {out}");
            }
        }
    }

    #[tokio::test]
    async fn a_daemon_without_history_tells_the_rest() {
        let daemon = Daemon::start([(
            "GET /v1/services/auth",
            Reply::json(200, &service_json("Paused")),
        )]);
        let (exit, out) = daemon.run("status auth").await;
        exit.unwrap();
        assert!(
            out.starts_with("auth: ‖ Paused: holding at 25% for 5m\n"),
            "{out}"
        );
        let json: Value = serde_json::from_str(&daemon.run("status auth -o json").await.1).unwrap();
        assert_eq!(json, service_json("Paused"));
    }
}
