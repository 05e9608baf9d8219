//! What a sampler tells of counters, and of real processes.

use std::num::NonZeroUsize;

use haldane_supervisor::{Config, LogLimits, VersionKey, VersionSpec, Wish, WishedVersion};

use super::*;

/// How long what should happen at once may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn key(service: &str, version: &str) -> Key {
    (service.parse().unwrap(), version.parse().unwrap())
}

fn replica(version: &str, index: u32, run: u64) -> ReplicaId {
    let (service, version) = key("shop", version);
    ReplicaId {
        service,
        version,
        index,
        run,
    }
}

/// A sampler that has just read these counters.
fn counted(versions: &[(Key, VersionReading)]) -> Sampler {
    let mut sampler = Sampler::default();
    sampler.reading.versions = versions.iter().cloned().collect();
    sampler
}

fn take(sampler: &mut Sampler, (service, version): &Key) -> Sample {
    sampler.take(service, version, Replicas::default())
}

/// A reading of so many good and failed requests, each of which took as long.
fn requests(good: u64, failed: u64, latency: Duration) -> VersionReading {
    let mut reading = VersionReading {
        status: [0, good, 0, 0, failed],
        ..VersionReading::default()
    };
    (0..good + failed).for_each(|_| reading.latency.record(latency));
    reading
}

#[test]
fn requests_failures_and_latencies_are_told_once() {
    let v2 = key("shop", "v2");
    let first = requests(7, 3, Duration::from_millis(2));
    let mut sampler = counted(&[(v2.clone(), first.clone())]);
    let told = take(&mut sampler, &v2);
    assert_eq!((told.requests, told.failures), (10, 3));
    assert_eq!((told.latency_sum_us, told.latency_count()), (20_000, 10));
    assert_eq!(told.latency, Bucket::list(first.latency.buckets()));

    let nothing = take(&mut sampler, &v2);
    assert_eq!(nothing, Sample::default());

    let mut second = requests(8, 4, Duration::from_millis(2));
    second.latency.record(Duration::from_secs(1));
    sampler.reading.versions.insert(v2.clone(), second);
    let told = take(&mut sampler, &v2);
    assert_eq!((told.requests, told.failures), (2, 1));
    assert_eq!((told.latency_sum_us, told.latency_count()), (1_004_000, 3));
    assert_eq!(told.slower_than(900_000), 1);
}

#[test]
fn what_says_nothing_about_a_version_is_no_request_of_it() {
    let v2 = key("shop", "v2");
    let mut reading = VersionReading {
        aborted_by_client: 1,
        unavailable: 2,
        resent: 3,
        unmeasured: 4,
        in_flight: 5,
        ..VersionReading::default()
    };
    let sample = |reading: &VersionReading| {
        let told = take(&mut counted(&[(v2.clone(), reading.clone())]), &v2);
        (told.requests, told.failures)
    };
    assert_eq!(sample(&reading), (0, 0));
    // A fault is a failed request, whatever its kind; of answers only 5xx are.
    reading.faults.connect = 1;
    reading.faults.timeout = 1;
    reading.status = [0, 1, 1, 1, 1];
    assert_eq!(sample(&reading), (6, 3));
}

#[test]
fn each_version_of_each_service_is_told_apart() {
    let keys = [
        key("shop", "v1"),
        key("shop", "v2"),
        key("cart", "v1"),
        key("cart", "v2"),
    ];
    let readings: Vec<_> = keys
        .iter()
        .cloned()
        .zip((1..).map(|good| requests(good, 0, Duration::from_millis(1))))
        .collect();
    let mut sampler = counted(&readings);
    for (key, expected) in keys.iter().zip(1..) {
        assert_eq!(take(&mut sampler, key).requests, expected, "{key:?}");
    }
    assert_eq!(take(&mut sampler, &key("cart", "v3")), Sample::default());
}

#[test]
fn counters_that_begin_anew_tell_nothing_rather_than_a_wrapped_number() {
    let v2 = key("shop", "v2");
    let latency = Duration::from_millis(1);
    let mut sampler = counted(&[(v2.clone(), requests(100, 50, latency))]);
    take(&mut sampler, &v2);
    sampler
        .reading
        .versions
        .insert(v2.clone(), requests(5, 0, latency));
    assert_eq!(take(&mut sampler, &v2), Sample::default());
    sampler
        .reading
        .versions
        .insert(v2.clone(), requests(8, 1, latency));
    let told = take(&mut sampler, &v2);
    assert_eq!((told.requests, told.failures), (4, 1));
}

#[test]
fn conversions_are_told_once_and_begin_anew_with_their_counters() {
    let v2 = key("shop", "v2");
    let reading = |hits, exposures, generation| VersionReading {
        conversions: [(
            "bought".to_owned(),
            ConversionReading {
                hits,
                exposures,
                generation,
            },
        )]
        .into(),
        ..VersionReading::default()
    };
    let mut sampler = counted(&[(v2.clone(), reading(3, 10, 1))]);
    let mut look = |next: Option<VersionReading>| {
        if let Some(next) = next {
            sampler.reading.versions.insert(v2.clone(), next);
            take(&mut sampler, &v2);
        }
        let told = sampler.converted(&v2.0, &v2.1);
        told.get("bought").map(|one| (one.hits, one.exposures))
    };
    assert_eq!(look(Some(reading(3, 10, 1))), Some((3, 10)));
    assert_eq!(look(None), None, "told already");
    assert_eq!(look(Some(reading(5, 14, 1))), Some((2, 4)));
    // More than before, and yet others.
    assert_eq!(look(Some(reading(6, 20, 2))), Some((6, 20)));
    sampler.forget(&v2.0, &v2.1);
    assert_eq!(sampler.converted(&v2.0, &v2.1), Converted::new());
}

#[test]
fn a_forgotten_version_is_counted_from_nothing_although_its_counters_were_just_read() {
    let v2 = key("shop", "v2");
    let latency = Duration::from_millis(1);
    let mut sampler = counted(&[(v2.clone(), requests(100, 50, latency))]);
    take(&mut sampler, &v2);
    sampler.forget(&v2.0, &v2.1);
    assert_eq!(take(&mut sampler, &v2), Sample::default());
    sampler
        .reading
        .versions
        .insert(v2.clone(), requests(2, 1, latency));
    let told = take(&mut sampler, &v2);
    assert_eq!((told.requests, told.failures), (3, 1));
}

/// What a replica had used: milliseconds of processor time, resident and proportional bytes.
type Use = (u64, u64, Option<u64>);

fn usages(uses: &[(ReplicaId, Use)]) -> BTreeMap<ReplicaId, Usage> {
    let usage = |(cpu_ms, rss_bytes, pss_bytes): Use| Usage {
        cpu: Duration::from_millis(cpu_ms),
        rss_bytes,
        pss_bytes,
        processes: 1,
    };
    let uses = uses.iter().cloned();
    uses.map(|(id, of_it)| (id, usage(of_it))).collect()
}

/// Checks processor use and memory of `v2` by what all replicas had used at two looks so far apart.
#[track_caller]
fn check_use(
    apart_ms: u64,
    before: &[(ReplicaId, Use)],
    after: &[(ReplicaId, Use)],
    expected: (Option<u64>, Option<u64>),
) {
    let sampler = Sampler {
        used_before: usages(before),
        used: usages(after),
        used_apart: Duration::from_millis(apart_ms),
        ..Sampler::default()
    };
    let gauges = sampler.gauges(&key("shop", "v2"), Replicas::default());
    assert_eq!((gauges.cpu_ppm, gauges.memory_bytes), expected);
}

#[test]
fn use_is_per_replica_and_of_one_version() {
    let (one, two, other) = (
        replica("v2", 0, 1),
        replica("v2", 1, 1),
        replica("v1", 0, 1),
    );
    // Half a processor and a tenth of one; the other version is none of it.
    check_use(
        2_000,
        &[
            (one.clone(), (500, 0, None)),
            (two.clone(), (0, 0, None)),
            (other.clone(), (0, 0, None)),
        ],
        &[
            (one.clone(), (1_500, 100, None)),
            (two.clone(), (200, 300, None)),
            (other, (2_000, 900, None)),
        ],
        (Some(300_000), Some(200)),
    );
    // More than one processor is possible; proportional memory comes before resident.
    check_use(
        1_000,
        &[(one.clone(), (0, 0, None))],
        &[(one.clone(), (2_500, 100, Some(60)))],
        (Some(2_500_000), Some(60)),
    );
    // A process of the group that ended took its time along.
    check_use(
        1_000,
        &[(one.clone(), (900, 0, None))],
        &[(one, (400, 100, None))],
        (Some(0), Some(100)),
    );
}

#[test]
fn use_that_was_not_measured_is_none_and_not_nothing() {
    let (old, new, same) = (
        replica("v2", 0, 1),
        replica("v2", 0, 2),
        replica("v2", 1, 1),
    );
    // The first look has nothing to compare with.
    check_use(
        0,
        &[],
        &[(same.clone(), (700, 100, None))],
        (None, Some(100)),
    );
    // No replica is there, or none is left.
    check_use(1_000, &[], &[], (None, None));
    check_use(
        1_000,
        &[(same.clone(), (700, 100, None))],
        &[],
        (None, None),
    );
    // A replica that was started again is another process.
    check_use(
        1_000,
        &[(old.clone(), (9_000, 0, None))],
        &[(new.clone(), (700, 100, None))],
        (None, Some(100)),
    );
    // Beside one that is known it does not halve what that one uses.
    check_use(
        1_000,
        &[(old, (9_000, 0, None)), (same.clone(), (0, 0, None))],
        &[(new, (700, 100, None)), (same, (800, 300, None))],
        (Some(800_000), Some(200)),
    );
}

#[test]
fn readiness_is_the_share_of_the_wanted_replicas() {
    let ready_ppm = |ready, wanted| {
        let replicas = Replicas {
            wanted,
            ready,
            ..Replicas::default()
        };
        let sampler = Sampler::default();
        sampler.gauges(&key("shop", "v2"), replicas).ready_ppm
    };
    assert_eq!(ready_ppm(0, 4), Some(0));
    assert_eq!(ready_ppm(3, 4), Some(750_000));
    // An old replica that still answers while its successor does, too, is no surplus.
    assert_eq!(ready_ppm(5, 4), Some(1_000_000));
    assert_eq!(ready_ppm(1, 0), None, "nothing is wanted");
}

/// Real processes under a real supervisor, beside a proxy without traffic; they are gone afterwards, whatever happened.
struct Machine {
    _dir: tempfile::TempDir,
    supervisor: Supervisor,
    proxy: Proxy,
}

impl Machine {
    /// Starts one replica of each version by this shell command.
    fn start(versions: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::open(&dir.path().join("s"), Config::default()).unwrap();
        let proxy = Proxy::start(haldane_proxy::Config {
            threads: NonZeroUsize::MIN,
            ..haldane_proxy::Config::default()
        });
        let machine = Self {
            _dir: dir,
            supervisor,
            proxy: proxy.unwrap(),
        };
        let versions = versions.iter().map(|(version, script)| {
            let (service, version) = key("shop", version);
            (VersionKey { service, version }, wished(script))
        });
        machine.supervisor.ensure(Wish {
            versions: versions.collect(),
        });
        machine
    }

    fn restarts(&self) -> u64 {
        let snapshot = self.supervisor.snapshot();
        snapshot.replicas.iter().map(|seen| seen.restarts).sum()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.supervisor.stop_all();
        let deadline = Instant::now() + PATIENCE;
        while !self.supervisor.is_idle() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn wished(script: &str) -> WishedVersion {
    // It ends by itself if nobody is left to end it.
    let argv = ["timeout", "120", "sh", "-c", script];
    WishedVersion {
        spec: VersionSpec {
            argv: argv.map(str::to_owned).to_vec(),
            env: BTreeMap::new(),
            dir: None,
            user: None,
            drain_grace: Duration::ZERO,
            stop_grace: Duration::ZERO,
            start_grace: Duration::from_secs(120),
            log: LogLimits::default(),
        },
        replicas: 1,
        generation: 0,
    }
}

/// Looks at the machine until a look shows this.
#[track_caller]
fn until(machine: &Machine, sampler: &mut Sampler, is_seen: impl Fn(&Sampler) -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_seen(sampler) {
        assert!(Instant::now() < deadline, "never: {sampler:?}");
        std::thread::sleep(Duration::from_millis(5));
        sampler.refresh(&machine.proxy, &machine.supervisor);
    }
}

fn gauges(sampler: &Sampler, version: &str) -> Gauges {
    sampler.gauges(&key("shop", version), Replicas::default())
}

#[test]
fn a_busy_process_is_seen_as_busy_and_an_idle_one_as_idle() {
    let machine = Machine::start(&[("busy", "while :; do :; done"), ("idle", "sleep 100")]);
    let mut sampler = Sampler::default();
    until(&machine, &mut sampler, |sampler| {
        let measured = |version| gauges(sampler, version).cpu_ppm.is_some();
        measured("busy") && measured("idle")
    });
    let used = |usages: &BTreeMap<ReplicaId, Usage>| {
        let mut usages = usages.iter();
        let (_, usage) = usages
            .find(|(id, _)| id.version.as_str() == "busy")
            .unwrap();
        usage.cpu
    };
    let began = Instant::now();
    until(&machine, &mut sampler, |sampler| {
        sampler.read_at > Some(began)
    });
    // The time comes from the kernel's own books, so that the test holds on a machine that is busy otherwise.
    let worked = Duration::from_millis(300);
    let enough = used(&sampler.used) + worked;
    let deadline = Instant::now() + PATIENCE;
    while used(&machine.supervisor.usage()) < enough {
        assert!(Instant::now() < deadline, "the busy process doesn't run");
        std::thread::sleep(Duration::from_millis(5));
    }
    sampler.refresh(&machine.proxy, &machine.supervisor);
    let told = gauges(&sampler, "busy").cpu_ppm.unwrap();
    let ppm = |work: Duration, time: Duration| work.as_micros() * 1_000_000 / time.as_micros();
    let least = ppm(worked, began.elapsed());
    // One loop keeps one processor busy at most; the books are kept in ticks of 10 ms.
    let most = ppm(
        began.elapsed() + Duration::from_millis(20),
        sampler.used_apart,
    );
    assert!(
        (least..=most).contains(&u128::from(told)),
        "{told} ppm, not from {least} to {most}"
    );
    let idle = gauges(&sampler, "idle");
    assert!(idle.cpu_ppm.unwrap() < told / 4, "{idle:?} beside {told}");
    assert!(idle.memory_bytes.unwrap() > 0, "{idle:?}");
}

#[test]
fn a_look_serves_all_that_ask_within_a_moment() {
    let machine = Machine::start(&[]);
    let mut sampler = Sampler::default();
    sampler.refresh(&machine.proxy, &machine.supervisor);
    let first = sampler.read_at.unwrap();
    sampler.refresh(&machine.proxy, &machine.supervisor);
    assert!(sampler.read_at == Some(first) || first.elapsed() >= READING_AGE_MAX);
    until(&machine, &mut sampler, |sampler| {
        sampler.read_at > Some(first)
    });
    assert!(sampler.used_apart >= READING_AGE_MAX);
}

#[test]
fn restarts_are_those_of_all_replicas_of_the_version() {
    let machine = Machine::start(&[("bad", "exit 1"), ("good", "sleep 100")]);
    let mut sampler = Sampler::default();
    until(&machine, &mut sampler, |sampler| {
        gauges(sampler, "bad").restarts >= Some(1)
    });
    assert!(gauges(&sampler, "bad").restarts.unwrap() <= machine.restarts());
    assert_eq!(gauges(&sampler, "good").restarts, Some(0));
    assert_eq!(gauges(&sampler, "ghost").restarts, None);
}
