//! A daemon with services that are judged by a Prometheus, and clients of each.

use std::{
    net::SocketAddr,
    thread::sleep,
    time::{Duration, Instant},
};

use haldane_api::http::{RolloutView, ServiceView};
use haldane_core::verdict::Verdict;

use super::{SOON, server::Prometheus, version::Version};
use crate::it::{
    load::Load,
    rig::{Daemon, Rig, deploy_url, free_addr},
};

/// How sure the judge must be of what the proxy counts, in tests on a busy machine that are about something else: hardly.
pub(crate) const LAX: &str = "{ harm: 50x, accept: 60x, acceptPlus: +50pp, beta: 20% }";

/// A rollout that stays at the half until a person goes on; few requests show that it is fine.
pub(crate) const HALF: &str = "{ steps: [50%, 100%], hold: untilResumed, guards: none, judge: { harm: 50x, accept: 60x, acceptPlus: +50pp, beta: 20% } }";

/// The same, which goes on by itself.
pub(crate) const BRISK: &str = "{ steps: [50%, 100%], hold: 2s, guards: none, judge: { harm: 50x, accept: 60x, acceptPlus: +50pp, beta: 20% } }";

/// A service in the release file.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    pub(crate) listen: SocketAddr,
    /// What stable is, as in the file.
    pub(crate) stable: String,
    /// The address of its metric system.
    pub(crate) source: String,
    /// Its metrics, as in the file.
    pub(crate) metrics: String,
    pub(crate) rollout: String,
}

/// A daemon and what belongs to it.
pub(crate) struct Stand {
    pub(crate) daemon: Daemon,
    pub(crate) prometheus: Prometheus,
    pub(crate) load: Vec<Load>,
    /// Where the daemon tells its metrics.
    pub(crate) metrics: SocketAddr,
}

impl Service {
    pub(crate) fn new(name: &str, stable: SocketAddr, source: SocketAddr) -> Self {
        Self {
            name: name.to_owned(),
            listen: free_addr(),
            stable: format!("{{ version: v1, url: 'http://{stable}' }}"),
            source: format!("http://{source}"),
            metrics: String::new(),
            rollout: HALF.to_owned(),
        }
    }

    /// Judges by this metric of its source.
    pub(crate) fn metric(mut self, name: &str, keys: &str) -> Self {
        let source = format!("p-{}", self.name);
        let more =
            format!("{name}: {{ source: {source}, interval: 1s, staleAfter: 4s, {keys} }}, ");
        self.metrics.push_str(&more);
        self
    }

    pub(crate) fn rollout(self, rollout: &str) -> Self {
        let rollout = rollout.to_owned();
        Self { rollout, ..self }
    }

    fn yaml(&self) -> String {
        let Self {
            name,
            listen,
            stable,
            metrics,
            rollout,
            ..
        } = self;
        let health = "{ path: /health, interval: 100ms, timeout: 1s }";
        format!(
            "  {name}: {{ listen: '{listen}', stable: {stable}, health: {health}, metrics: {{ {metrics} }}, rollout: {rollout} }}\n"
        )
    }
}

/// Returns the release file of these services.
pub(crate) fn file(services: &[Service]) -> String {
    let mut text = "sources:\n".to_owned();
    for Service { name, source, .. } in services {
        text += &format!("  p-{name}: {{ prometheus: '{source}' }}\n");
    }
    text += "services:\n";
    for service in services {
        text += &service.yaml();
    }
    text
}

impl Stand {
    /// Starts the daemon, and a client for each service that waits so long between two requests.
    pub(crate) fn start(
        rig: &Rig,
        prometheus: Prometheus,
        services: &[Service],
        pause: Duration,
    ) -> Self {
        rig.write_file(&file(services));
        let metrics = free_addr();
        let daemon = up(rig, metrics);
        for service in services {
            daemon.api.wait_ready(&service.name);
        }
        let load = services.iter();
        let load = load.map(|service| Load::start(service.listen, 1, pause));
        Self {
            daemon,
            prometheus,
            load: load.collect(),
            metrics,
        }
    }

    /// Rolls a version out that runs already.
    pub(crate) fn deploy(&self, service: &str, canary: &Version) {
        let wish = deploy_url("v2", canary.addr);
        self.daemon.api.deploy(service, &wish).unwrap();
    }

    pub(crate) fn rollouts(&self) -> Vec<(String, RolloutView)> {
        let services: Vec<ServiceView> = self.daemon.api.get("/v1/services").unwrap();
        let rollouts = services
            .into_iter()
            .filter_map(|service| Some((service.name.to_string(), service.rollout?)));
        rollouts.collect()
    }

    /// Waits until all rollouts of these services are so.
    #[track_caller]
    pub(crate) fn until(
        &self,
        what: &str,
        services: &[String],
        is_so: impl Fn(&RolloutView) -> bool,
    ) {
        let deadline = Instant::now() + SOON;
        loop {
            let rollouts = self.rollouts();
            let find = |name: &&String| rollouts.iter().find(|(of, _)| of == *name);
            let left: Vec<_> = services
                .iter()
                .filter(|name| find(name).is_none_or(|(_, rollout)| !is_so(rollout)))
                .collect();
            if left.is_empty() {
                return;
            }
            let seen: Vec<_> = left
                .iter()
                .map(|name| (name, find(name).map(|(_, one)| told(one))))
                .collect();
            assert!(Instant::now() < deadline, "not {what}: {seen:#?}");
            sleep(Duration::from_millis(50));
        }
    }

    /// Checks for so long that it stays so with all rollouts of these services.
    #[track_caller]
    pub(crate) fn stays(
        &self,
        what: &str,
        services: &[String],
        time: Duration,
        is_so: impl Fn(&RolloutView) -> bool,
    ) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            for (name, rollout) in self.rollouts() {
                let is_meant = services.contains(&name);
                assert!(
                    !is_meant || is_so(&rollout),
                    "{name} did not stay {what}: {}",
                    told(&rollout)
                );
            }
            sleep(Duration::from_millis(100));
        }
    }

    pub(crate) fn stop(self, rig: &Rig) {
        for load in self.load {
            load.stop();
        }
        drop(self.prometheus);
        self.daemon.stop(rig);
    }
}

/// Starts the daemon with the release file that was written.
pub(crate) fn up(rig: &Rig, metrics: SocketAddr) -> Daemon {
    let file = rig.path("haldane.yaml");
    let mut command = rig.haldane(&["up", "-f", file.to_str().unwrap()]);
    command.arg(format!("--metrics-listen={metrics}"));
    // With what was counted.
    command.env("HALDANE_LOG", "info,haldane::wire::observe=debug");
    rig.start(command)
}

/// Returns the judge's verdict, if it looked already.
pub(crate) fn verdict(rollout: &RolloutView) -> Option<Verdict> {
    rollout.judgement.as_ref().map(|one| one.verdict)
}

/// Says where a rollout is and why.
pub(crate) fn told(rollout: &RolloutView) -> String {
    let judgement = rollout.judgement.as_ref();
    let metrics = judgement.and_then(|one| one.comparison.as_ref());
    let metrics = metrics.map(|one| {
        let metrics = one.metrics.iter();
        let metrics = metrics.map(|one| format!("{} {:?} {}", one.name, one.verdict, one.reason));
        metrics.collect::<Vec<_>>()
    });
    let reason = judgement.map(|one| (one.verdict, &one.reason));
    format!(
        "{} at {} {reason:?} {metrics:?}",
        rollout.phase,
        rollout.weight_bps.as_bps()
    )
}
