//! Counts since the last look, per version: the proxy's counters and what the processes use.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use haldane_analysis::{Bucket, Gauges, Sample};
use haldane_core::{ServiceName, VersionName, rollout::Replicas};
use haldane_proxy::{ConversionReading, Proxy, Reading, VersionReading};
use haldane_supervisor::{ReplicaId, Supervisor, Usage};

/// How long one reading serves all versions: merging every thread's histograms costs more than a look at one of them.
const READING_AGE_MAX: Duration = Duration::from_millis(200);

type Key = (ServiceName, VersionName);

/// What was counted of each conversion.
pub(super) type Converted = BTreeMap<String, ConversionReading>;

/// What was read, and what of it was told already.
#[derive(Debug, Default)]
pub(super) struct Sampler {
    read_at: Option<Instant>,
    reading: Reading,
    told: BTreeMap<Key, VersionReading>,
    /// What the newest look told of conversions, until it is taken.
    converted: BTreeMap<Key, Converted>,
    used: BTreeMap<ReplicaId, Usage>,
    used_before: BTreeMap<ReplicaId, Usage>,
    used_apart: Duration,
    restarts: BTreeMap<Key, u64>,
}

impl Sampler {
    /// Reads everything again, unless that was a moment ago.
    pub(super) fn refresh(&mut self, proxy: &Proxy, supervisor: &Supervisor) {
        if self
            .read_at
            .is_some_and(|at| at.elapsed() < READING_AGE_MAX)
        {
            return;
        }
        self.used_apart = self.read_at.map_or(Duration::ZERO, |at| at.elapsed());
        self.read_at = Some(Instant::now());
        self.reading = proxy.read();
        self.used_before = std::mem::replace(&mut self.used, supervisor.usage());
        self.restarts.clear();
        for replica in &supervisor.snapshot().replicas {
            let key = (replica.id.service.clone(), replica.id.version.clone());
            let restarts = self.restarts.entry(key).or_default();
            *restarts = restarts.saturating_add(replica.restarts);
        }
    }

    /// Returns what was counted of a version since it was last taken.
    pub(super) fn take(
        &mut self,
        service: &ServiceName,
        version: &VersionName,
        replicas: Replicas,
    ) -> Sample {
        let key = (service.clone(), version.clone());
        let now = self.reading.versions.get(&key).cloned().unwrap_or_default();
        let since = self
            .told
            .get(&key)
            .map_or_else(|| now.clone(), |told| now.saturating_sub(told));
        let gauges = self.gauges(&key, replicas);
        self.converted
            .insert(key.clone(), since.conversions.clone());
        self.told.insert(key, now);
        Sample {
            requests: since.requests(),
            failures: since.failures(),
            latency_sum_us: u64::try_from(since.latency.sum().as_micros()).unwrap_or(u64::MAX),
            latency: Bucket::list(since.latency.buckets()),
            gauges,
        }
    }

    /// Returns what the last [`take`](Self::take) counted of a version's conversions, once.
    pub(super) fn converted(&mut self, service: &ServiceName, version: &VersionName) -> Converted {
        let key = (service.clone(), version.clone());
        self.converted.remove(&key).unwrap_or_default()
    }

    /// Counts a version from nothing, as the proxy does once it was told to forget it, too.
    pub(super) fn forget(&mut self, service: &ServiceName, version: &VersionName) {
        let key = (service.clone(), version.clone());
        self.told.remove(&key);
        self.converted.remove(&key);
        // What was read a moment ago may still serve the next look, and was told already.
        self.reading.versions.remove(&key);
    }

    fn gauges(&self, key: &Key, replicas: Replicas) -> Gauges {
        let of_version = |id: &&ReplicaId| id.service == key.0 && id.version == key.1;
        let used: Vec<(&ReplicaId, &Usage)> =
            self.used.iter().filter(|(id, _)| of_version(id)).collect();
        let count = u64::try_from(used.len()).unwrap_or(u64::MAX);
        let memory = used.iter().fold(0_u64, |sum, (_, usage)| {
            sum.saturating_add(usage.pss_bytes.unwrap_or(usage.rss_bytes))
        });
        let apart_us = self.used_apart.as_micros();
        // A replica that was not there at the last look has used nothing since that is known; it must not pull the mean down.
        let busy_us = used.iter().filter_map(|(id, usage)| {
            let before = self.used_before.get(*id)?;
            Some(usage.cpu.saturating_sub(before.cpu).as_micros())
        });
        let (busy_us, measured) = busy_us.fold((0_u128, 0_u128), |(sum, count), busy_us| {
            (sum.saturating_add(busy_us), count.saturating_add(1))
        });
        let cpu_ppm =
            (busy_us.saturating_mul(1_000_000)).checked_div(apart_us.saturating_mul(measured));
        let ready_ppm = u64::from(replicas.ready.min(replicas.wanted))
            .saturating_mul(1_000_000)
            .checked_div(u64::from(replicas.wanted));
        Gauges {
            cpu_ppm: cpu_ppm.and_then(|ppm| u64::try_from(ppm).ok()),
            memory_bytes: memory.checked_div(count),
            restarts: self.restarts.get(key).copied(),
            ready_ppm,
            replicas: (replicas.wanted > 0).then(|| u64::from(replicas.ready)),
        }
    }
}

#[cfg(test)]
mod tests;
