//! Where versions answer: processes and given addresses, and which of them are healthy.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use haldane_api::file::{Source, Upstream};
use haldane_proxy::{Endpoint, Health, Target};
use haldane_supervisor::{ReplicaId, ReplicaSeen, ReplicaState, Snapshot, VersionKey};
use tokio::runtime::Handle;
use tracing::{info, warn};

use super::{EndpointKey, Given, Inner, Known};

/// How often the names in `url:` are looked up again.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(30);

/// How long one look-up of a name may take; the driver waits for it.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(1);

impl Inner {
    /// Takes in which addresses there are and which of them answer.
    pub(super) fn look(&mut self) {
        let snapshot = self.supervisor.snapshot();
        let has_changed = self.find_endpoints(&snapshot);
        let health = self.health.borrow_and_update().clone();
        for (key, known) in &self.endpoints {
            let is_healthy = health.get(&key.addr) == Some(&Health::Healthy);
            if known.endpoint.is_healthy() != is_healthy {
                info!(service = %key.service, version = %key.version, addr = %key.addr, is_healthy, "Replica's health changed");
                known.endpoint.set_healthy(is_healthy);
            }
            if let Some(replica) = &known.replica {
                self.supervisor.report_health(replica, is_healthy);
            }
        }
        if has_changed {
            self.watch_health();
            self.publish();
        }
        // Replicas that must go are in no table any more; without a request of their version they need not wait.
        for replica in snapshot
            .replicas
            .iter()
            .filter(|replica| replica.state == ReplicaState::Draining)
        {
            if self
                .proxy
                .in_flight(&replica.id.service, &replica.id.version)
                == 0
            {
                self.supervisor.report_drained(&replica.id);
            }
        }
    }

    /// Brings the list of endpoints up to date; returns whether it changed.
    fn find_endpoints(&mut self, snapshot: &Snapshot) -> bool {
        let mut wanted: BTreeMap<EndpointKey, (Option<ReplicaId>, Option<String>)> =
            BTreeMap::new();
        for replica in snapshot
            .replicas
            .iter()
            .filter(|replica| is_addressable(replica))
        {
            let key = EndpointKey {
                service: replica.id.service.clone(),
                version: replica.id.version.clone(),
                addr: SocketAddr::from((Ipv4Addr::LOCALHOST, replica.port)),
                run: replica.id.run,
            };
            wanted.insert(key, (Some(replica.id.clone()), None));
        }
        self.resolve();
        for (version, given) in &self.given {
            for (addr, authority) in &given.addresses {
                let VersionKey { service, version } = version.clone();
                wanted.insert(
                    EndpointKey {
                        service,
                        version,
                        addr: *addr,
                        run: 0,
                    },
                    (None, Some(authority.clone())),
                );
            }
        }
        if wanted.keys().eq(self.endpoints.keys()) {
            return false;
        }
        self.endpoints.retain(|key, _| wanted.contains_key(key));
        for (key, (replica, authority)) in wanted {
            if !self.endpoints.contains_key(&key) {
                let known = self.new_endpoint(&key, replica, authority);
                self.endpoints.insert(key, known);
            }
        }
        true
    }

    fn new_endpoint(
        &self,
        key: &EndpointKey,
        replica: Option<ReplicaId>,
        authority: Option<String>,
    ) -> Known {
        let endpoint = match authority
            .as_ref()
            .map(|authority| Endpoint::try_with_authority(key.addr, authority))
        {
            Some(Ok(endpoint)) => endpoint,
            Some(Err(error)) => {
                warn!(%error, "Address is asked under the client's host");
                Endpoint::new(key.addr)
            }
            None => Endpoint::new(key.addr),
        };
        // Nothing is known of it yet, and traffic goes only where an answer came from.
        endpoint.set_healthy(false);
        let target = self
            .endpoints
            .values()
            .map(|known| known.target)
            .max()
            .unwrap_or(0)
            .saturating_add(1);
        Known {
            endpoint,
            replica,
            authority,
            target,
        }
    }

    /// Looks up the hosts of versions that were given by URL, now and then.
    fn resolve(&mut self) {
        let mut wished: BTreeMap<VersionKey, &[Upstream]> = BTreeMap::new();
        for (name, setup) in &self.services {
            for wish in &setup.wishes {
                if let Source::Urls(urls) = &wish.spec.source {
                    wished.insert(
                        VersionKey {
                            service: name.clone(),
                            version: wish.spec.version.clone(),
                        },
                        urls,
                    );
                }
            }
        }
        self.given
            .retain(|key, given| wished.get(key).is_some_and(|urls| given.urls == *urls));
        for (key, urls) in wished {
            if self
                .given
                .get(&key)
                .is_some_and(|given| given.resolved_at.elapsed() < RESOLVE_INTERVAL)
            {
                continue;
            }
            let found: Vec<(SocketAddr, String)> = urls
                .iter()
                .flat_map(|url| look_up(&self.runtime, url))
                .collect();
            let before = self
                .given
                .remove(&key)
                .map(|given| given.addresses)
                .unwrap_or_default();
            // A name server that fails for a while takes no version away.
            let addresses = if found.is_empty() { before } else { found };
            self.given.insert(
                key,
                Given {
                    resolved_at: Instant::now(),
                    urls: urls.to_vec(),
                    addresses,
                },
            );
        }
    }

    fn watch_health(&mut self) {
        let targets = self.endpoints.iter().filter_map(|(key, known)| {
            let health = &self.services.get(&key.service)?.file.health;
            Some(Target {
                id: known.target,
                addr: key.addr,
                path: health.path.clone(),
                host: known.authority.clone(),
                interval: health.interval,
                timeout: health.timeout,
                healthy_after: health.healthy_after,
                unhealthy_after: health.unhealthy_after,
            })
        });
        let targets: Vec<Target> = targets.collect();
        if targets != self.targets {
            self.targets.clone_from(&targets);
            let _guard = self.runtime.enter();
            self.checker.set_targets(targets);
        }
    }
}

/// Whether requests may be sent to a replica, as far as its process tells.
const fn is_addressable(replica: &ReplicaSeen) -> bool {
    replica.port != 0
        && matches!(
            replica.state,
            ReplicaState::Starting | ReplicaState::Running
        )
}

fn look_up(runtime: &Handle, url: &Upstream) -> Vec<(SocketAddr, String)> {
    let asked = tokio::net::lookup_host((url.host(), url.port()));
    let authority = url.to_string().trim_start_matches("http://").to_owned();
    match runtime.block_on(async { tokio::time::timeout(RESOLVE_TIMEOUT, asked).await }) {
        Ok(Ok(found)) => found.map(|addr| (addr, authority.clone())).collect(),
        Ok(Err(error)) => {
            warn!(host = url.host(), %error, "Host of a version cannot be looked up");
            Vec::new()
        }
        Err(_) => {
            warn!(
                host = url.host(),
                "Host of a version cannot be looked up in time"
            );
            Vec::new()
        }
    }
}
