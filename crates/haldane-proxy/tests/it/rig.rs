//! A proxy with one service, and ways to ask it.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use haldane_core::Weight;
use haldane_proxy::{
    Arm, Config, Endpoint, Limits, Override, PathPrefix, Proxy, Route, ServiceRoute, ServiceSpec,
    Table, Timeouts, VersionReading,
};
use tokio::runtime::Runtime;

use crate::{
    endpoint::TestEndpoint,
    wire::{PATIENCE, Wire},
};

/// The service that tests use.
pub(crate) const SERVICE: &str = "shop";

/// A running proxy, and the host's runtime.
pub(crate) struct Rig {
    pub(crate) proxy: Proxy,
    pub(crate) host: Runtime,
    pub(crate) addr: SocketAddr,
}

impl Rig {
    pub(crate) fn start(config: Config) -> Self {
        let mut host = tokio::runtime::Builder::new_multi_thread();
        let host = host.worker_threads(1).enable_all().build().unwrap();
        let proxy = Proxy::start(config).unwrap();
        let addrs = host
            .block_on(proxy.listen(&[([127, 0, 0, 1], 0).into()]))
            .unwrap();
        Self {
            proxy,
            host,
            addr: addrs[0],
        }
    }

    /// Starts a proxy with one thread, so that blocks of the split are those of the test.
    pub(crate) fn with(spec: ServiceSpec) -> Self {
        let rig = Self::start(config());
        rig.publish(spec);
        rig
    }

    /// Publishes one service for all requests.
    pub(crate) fn publish(&self, spec: ServiceSpec) {
        self.proxy.publish(table(spec));
    }

    pub(crate) fn connect(&self) -> Wire {
        Wire::connect(self.addr)
    }

    pub(crate) fn version(&self, version: &str) -> VersionReading {
        let key = (SERVICE.parse().unwrap(), version.parse().unwrap());
        self.proxy.read().versions.remove(&key).unwrap_or_default()
    }
}

/// Returns settings that show the version in each response.
pub(crate) fn config() -> Config {
    Config {
        threads: NonZeroUsize::MIN,
        seed: 42,
        trust_forwarded: false,
        expose_version: true,
        limits: Limits::default(),
        ..Config::default()
    }
}

pub(crate) fn table(spec: ServiceSpec) -> Table {
    let route = Route {
        listener: None,
        host: None,
        path: PathPrefix::root(),
        service: spec.name.clone(),
    };
    Table::try_new(vec![route], vec![ServiceRoute::try_new(spec).unwrap()]).unwrap()
}

/// Returns a version with endpoints at `addrs`, reachable by override.
pub(crate) fn arm(version: &str, bps: u16, addrs: &[SocketAddr]) -> Arm {
    Arm {
        version: version.parse().unwrap(),
        share: Weight::try_from_bps(bps).unwrap(),
        endpoints: addrs.iter().copied().map(Endpoint::new).collect(),
        is_reachable_by_override: true,
    }
}

/// Returns a service whose first arm is stable.
pub(crate) fn spec(arms: Vec<Arm>) -> ServiceSpec {
    ServiceSpec {
        name: SERVICE.parse().unwrap(),
        fallback: arms[0].version.clone(),
        arms,
        overrides: Override {
            header: Some("x-canary".parse().unwrap()),
            cookie: Some("canary".to_owned()),
            query: Some("canary".to_owned()),
        },
        rules: vec![],
        unmeasured: vec!["/health".parse().unwrap()],
        conversions: vec![],
        timeouts: Timeouts {
            connect: Duration::from_secs(1),
            response_head: Duration::from_secs(5),
            body_idle: Duration::from_secs(5),
        },
        body_bytes_max: u64::MAX,
    }
}

/// Returns a service with stable `v1` and canary `v2` at `bps`.
pub(crate) fn pair(stable: &TestEndpoint, canary: &TestEndpoint, bps: u16) -> ServiceSpec {
    spec(vec![
        arm("v1", 10_000 - bps, &[stable.addr]),
        arm("v2", bps, &[canary.addr]),
    ])
}

/// Returns a service with one version.
pub(crate) fn single(endpoint: &TestEndpoint) -> ServiceSpec {
    spec(vec![arm("v1", 10_000, &[endpoint.addr])])
}

/// Returns an address where nothing listens.
pub(crate) fn nowhere() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Waits until `is_so`, but not forever.
pub(crate) fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
