//! Asks endpoints whether they are well, on the host's runtime, away from the traffic.
//!
//! One task for each target: `GET path` with a 2xx or 3xx answer, or, without a path, an accepted connection. A verdict changes only
//! after several answers in a row, so that one slow moment moves no traffic.
//!
//! A question that could not be asked, because this process has no file descriptor or port left, is no answer: our own shortage
//! must not take healthy endpoints out of service.
//!
//! **Invariant:** whoever watches is woken by changes only.

use std::{collections::BTreeMap, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{CONNECTION, HOST, HeaderValue, USER_AGENT},
};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::pool::ConnectError;

/// Bytes of an answer that are read. The status says it all; the rest is for diagnosis elsewhere.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What is known of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Not enough answers yet.
    Unknown,
    /// It answers well.
    Healthy,
    /// It doesn't.
    Unhealthy,
}

/// One endpoint to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Which one it is: a new id at the same address is another process, of which nothing is known yet.
    pub id: u64,
    /// Where it listens.
    pub addr: SocketAddr,
    /// The path to ask for; `None` to only open a connection.
    pub path: Option<String>,
    /// What to send as `Host`; `None` for the address.
    pub host: Option<String>,
    /// From one question to the next.
    pub interval: Duration,
    /// For the whole answer.
    pub timeout: Duration,
    /// Good answers in a row to become healthy.
    pub healthy_after: u32,
    /// Bad answers in a row to become unhealthy.
    pub unhealthy_after: u32,
}

/// Asks a set of endpoints for their health until it is dropped.
#[derive(Debug)]
pub struct HealthChecker {
    report: Arc<watch::Sender<BTreeMap<SocketAddr, Health>>>,
    checks: BTreeMap<u64, (Target, JoinSet<()>)>,
}

/// The answers so far, as a verdict and a run of answers against it.
#[derive(Clone, Copy, Debug)]
struct Verdict {
    health: Health,
    run: u32,
    was_well: bool,
}

/// What came of one question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Well,
    Unwell,
    /// It could not be asked, for want of something on our side.
    Unasked,
}

impl HealthChecker {
    /// Returns a checker without targets.
    #[must_use]
    pub fn new() -> Self {
        Self {
            report: Arc::new(watch::Sender::new(BTreeMap::new())),
            checks: BTreeMap::new(),
        }
    }

    /// Returns where changes are seen: the health of each target by its address.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<BTreeMap<SocketAddr, Health>> {
        self.report.subscribe()
    }

    /// Makes `targets` exactly those that are asked. Targets that were there before keep their verdict.
    ///
    /// Must be called within a tokio runtime.
    pub fn set_targets(&mut self, targets: Vec<Target>) {
        let mut old = std::mem::take(&mut self.checks);
        let mut fresh = Vec::new();
        for target in targets {
            match old.remove(&target.id) {
                Some((same, task)) if same == target => {
                    self.checks.insert(target.id, (same, task));
                }
                Some(_) | None => fresh.push(target),
            }
        }
        // Those that are gone must not report over their successors.
        drop(old);
        let known: Vec<SocketAddr> = self
            .checks
            .values()
            .map(|(target, _)| target.addr)
            .collect();
        self.report.send_if_modified(|report| {
            let before = report.clone();
            report.retain(|addr, _| known.contains(addr));
            report.extend(fresh.iter().map(|target| (target.addr, Health::Unknown)));
            *report != before
        });
        for target in fresh {
            let mut task = JoinSet::new();
            task.spawn(check(target.clone(), Arc::clone(&self.report)));
            self.checks.insert(target.id, (target, task));
        }
    }
}

impl Default for HealthChecker {
    fn default() -> Self {
        Self::new()
    }
}

impl Verdict {
    const fn new() -> Self {
        Self {
            health: Health::Unknown,
            run: 0,
            was_well: false,
        }
    }

    /// Returns the verdict after one more answer.
    const fn after(self, is_well: bool, target: &Target) -> Self {
        let run = if is_well == self.was_well {
            self.run.saturating_add(1)
        } else {
            1
        };
        let (needed, turned) = if is_well {
            (target.healthy_after, Health::Healthy)
        } else {
            (target.unhealthy_after, Health::Unhealthy)
        };
        let health = if run >= needed { turned } else { self.health };
        Self {
            health,
            run,
            was_well: is_well,
        }
    }
}

async fn check(target: Target, report: Arc<watch::Sender<BTreeMap<SocketAddr, Health>>>) {
    // An interval of nothing would ask without pause.
    let mut ticks = interval(target.interval.max(Duration::from_millis(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut verdict = Verdict::new();
    loop {
        ticks.tick().await;
        let is_well = match timeout(target.timeout, ask(&target)).await {
            Ok(Answer::Well) => true,
            Ok(Answer::Unwell) | Err(_) => false,
            Ok(Answer::Unasked) => continue,
        };
        verdict = verdict.after(is_well, &target);
        report.send_if_modified(|report| {
            report.insert(target.addr, verdict.health) != Some(verdict.health)
        });
    }
}

/// Asks once.
async fn ask(target: &Target) -> Answer {
    let stream = match TcpStream::connect(target.addr).await {
        Ok(stream) => stream,
        Err(error) if ConnectError::of(&error) == ConnectError::OutOfResources => {
            return Answer::Unasked;
        }
        Err(_) => return Answer::Unwell,
    };
    match ask_over(stream, target).await {
        Some(()) => Answer::Well,
        None => Answer::Unwell,
    }
}

/// Asks over this connection; nothing means not well, whatever the reason.
async fn ask_over(stream: TcpStream, target: &Target) -> Option<()> {
    let Some(path) = &target.path else {
        return Some(());
    };
    let host = target
        .host
        .clone()
        .unwrap_or_else(|| target.addr.to_string());
    let request = Request::get(path.as_str())
        .header(HOST, host)
        .header(USER_AGENT, HeaderValue::from_static("haldane-health"))
        .header(CONNECTION, HeaderValue::from_static("close"))
        .body(Empty::<Bytes>::new())
        .ok()?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.ok()?;
    let answer = async move {
        let response = sender.send_request(request).await.ok()?;
        let status: StatusCode = response.status();
        let is_well = status.is_success() || status.is_redirection();
        // A health page that never ends is cut off, not unhealthy.
        drop(
            Limited::new(response.into_body(), ANSWER_BYTES_MAX)
                .collect()
                .await,
        );
        is_well.then_some(())
    };
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // The connection may be done first: what it brought is still to be read.
        _ = connection => answer.await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target() -> Target {
        Target {
            id: 1,
            addr: ([127, 0, 0, 1], 1).into(),
            path: None,
            host: None,
            interval: Duration::from_secs(1),
            timeout: Duration::from_secs(1),
            healthy_after: 2,
            unhealthy_after: 3,
        }
    }

    #[test]
    fn a_verdict_turns_only_after_answers_in_a_row() {
        let (good, bad) = (true, false);
        let (u, h, x) = (Health::Unknown, Health::Healthy, Health::Unhealthy);
        let answers = [
            good, bad, good, good, bad, bad, good, bad, bad, bad, good, good,
        ];
        let expected = [u, u, u, h, h, h, h, h, h, x, x, h];
        let mut verdict = Verdict::new();
        for (at, (answer, health)) in answers.into_iter().zip(expected).enumerate() {
            verdict = verdict.after(answer, &target());
            assert_eq!(verdict.health, health, "after answer {at}");
        }
    }
}
