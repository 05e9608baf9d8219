//! A real Prometheus, which scrapes exporters that speak as Envoy, Istio and ingress-nginx do.

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use haldane_analysis::looks::{Asked, Knowledge, series};
use haldane_core::verdict::{Subject, Verdict};

use super::{
    exporter::{Counts, Exporter, Words, envoy, istio, nginx},
    *,
};

/// Prometheus, which runs until it is dropped.
struct Prometheus {
    child: Child,
    addr: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that scrapes these each second.
    fn start(targets: &[SocketAddr]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let targets: Vec<String> = targets.iter().map(|addr| format!("'{addr}'")).collect();
        let config = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s }}\nscrape_configs: [{{ job_name: tests, static_configs: [{{ targets: [{}] }}] }}]\n",
            targets.join(", ")
        );
        let path = dir.path().join("prometheus.yaml");
        fs::write(&path, config).unwrap();
        // Whoever takes it in between makes the test fail, not pass.
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let addr = listener.local_addr().unwrap();
        drop(listener);
        let child = Command::new(program())
            .arg(format!("--config.file={}", path.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                dir.path().join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={addr}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        Self {
            child: child.unwrap(),
            addr,
            _dir: dir,
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Returns the program that `cargo xtask setup` fetches, unless it is installed.
fn program() -> PathBuf {
    let fetched = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../target/setup/prometheus/usr/bin/prometheus"
    );
    let candidates = [Path::new("/usr/bin/prometheus"), Path::new(fetched)];
    let mut here = candidates.into_iter().filter(|program| program.exists());
    here.next()
        .expect("Prometheus is missing: run `cargo xtask setup`")
        .to_owned()
}

const fn counts(stable: (u64, u64), canary: (u64, u64)) -> [Counts; 2] {
    [
        Counts {
            fine: stable.0,
            failed: stable.1,
        },
        Counts {
            fine: canary.0,
            failed: canary.1,
        },
    ]
}

/// A release, and what counts its requests.
struct Case {
    exporter: Exporter,
    key: Key,
    watch: Watch,
    judged: JudgedPlan,
    batches: Vec<Batch>,
}

impl Case {
    fn new(name: &str, exporter: Exporter, prometheus: SocketAddr) -> Self {
        let requests = json!({ "template": name });
        let rollout = json!({ "guards": { "errorRate": "5%", "mean": "50ms", "p95": "1s" } });
        let metrics = json!({ "again": { "kind": "ratio", "source": "prom", "template": name, "interval": "1s" } });
        let judged = judged(prometheus, &requests, &metrics, &rollout);
        let mut watch = watch(judged.clone());
        watch.weight = Weight::from_percent(50);
        watch.places.ingress = Some("shop".to_owned());
        Self {
            exporter,
            key: Key {
                name: name.to_owned(),
                ..key()
            },
            watch,
            judged,
            batches: Vec::new(),
        }
    }

    fn take(&mut self, meter: &ClusterMeter) {
        let taken = meter.take(&self.key);
        assert_eq!(taken.faults, [""; 0], "{}", self.key);
        self.batches.extend(taken.batches);
    }

    /// Returns what was counted of stable and of the canary since the last call.
    fn sum(&mut self) -> [Counts; 2] {
        let of = |sample: &haldane_analysis::Sample| Counts {
            fine: sample.requests - sample.failures,
            failed: sample.failures,
        };
        self.batches
            .drain(..)
            .fold(<[Counts; 2]>::default(), |sum, batch| {
                let add = |sum: Counts, more: Counts| Counts {
                    fine: sum.fine + more.fine,
                    failed: sum.failed + more.failed,
                };
                [
                    add(sum[0], of(&batch.stable)),
                    add(sum[1], of(&batch.canary)),
                ]
            })
    }

    /// Waits until what happened was counted, and two scrapes more.
    async fn counted(&mut self, meter: &ClusterMeter, expected: [Counts; 2]) {
        let wanted = expected[0].fine + expected[0].failed;
        until(|| {
            self.take(meter);
            let requests = self.batches.iter().map(|batch| batch.stable.requests);
            (requests.sum::<u64>() >= wanted).then_some(())
        })
        .await;
        let known = self.batches.len();
        until(|| {
            self.take(meter);
            (self.batches.len() >= known + 2).then_some(())
        })
        .await;
        assert_eq!(self.sum(), expected, "{}", self.key);
    }
}

/// Old counts, as routers and sidecars have.
const OLD: [Counts; 2] = counts((100_000, 50_000), (7_000, 6_000));

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_envoy_istio_and_nginx_count_reaches_the_judges() {
    let words: [(&str, Words); 3] = [("contour", envoy), ("istio", istio), ("nginx", nginx)];
    let exporters = words.map(|(_, words)| Exporter::start(words, OLD));
    let prometheus = Prometheus::start(&exporters.each_ref().map(|exporter| exporter.addr));
    for exporter in &exporters {
        until(|| (exporter.scraped() >= 2).then_some(())).await;
    }
    let meter = meter();
    for ((name, _), exporter) in words.into_iter().zip(exporters) {
        let mut case = Case::new(name, exporter, prometheus.addr);
        meter.watch(&case.key, Some(&case.watch));
        // From the first batch on everything counts, and nothing of what was there before.
        until(|| {
            case.take(&meter);
            (!case.batches.is_empty()).then_some(())
        })
        .await;
        assert_eq!(case.sum(), <[Counts; 2]>::default(), "{name}");
        case.exporter.set(counts((100_400, 50_002), (7_360, 6_040)));
        let from = Timestamp::now();
        until(|| {
            case.take(&meter);
            case.batches
                .iter()
                .any(|batch| batch.canary.requests == 400)
                .then_some(())
        })
        .await;
        is_judged(&case, from);
        let told = case.sum();
        assert_eq!(told, counts((400, 2), (360, 40)), "{name}");
        // It begins anew.
        case.exporter.set(counts((30, 0), (3, 1)));
        case.counted(&meter, counts((30, 0), (3, 1))).await;
        // While scrapes fail nothing is known, and afterwards everything.
        case.exporter.break_down(true);
        let failing = case.exporter.scraped() + 3;
        until(|| (case.exporter.scraped() >= failing).then_some(())).await;
        case.take(&meter);
        case.sum();
        case.exporter.set(counts((70, 0), (5, 1)));
        until(|| (case.exporter.scraped() >= failing + 2).then_some(())).await;
        case.take(&meter);
        assert_eq!(case.batches, [], "{name}");
        case.exporter.break_down(false);
        case.counted(&meter, counts((40, 0), (2, 0))).await;
        meter.watch(&case.key, None);
    }
}

/// A canary with so many errors fails by its limits and beside stable.
fn is_judged(case: &Case, from: Timestamp) {
    let name = &case.key.name;
    let mut all = series();
    for batch in &case.batches {
        all.push(batch.clone()).unwrap();
    }
    let busy = case.batches.iter().find(|batch| batch.canary.requests > 0);
    let batch = busy.unwrap();
    assert_eq!(batch.weight, Weight::from_percent(50));
    let (stable, canary) = (&batch.stable, &batch.canary);
    assert_eq!(canary.latency_count(), 400, "{name}");
    assert_eq!(canary.slower_than(25_000), 40, "{name}");
    let mean_us = canary.latency_sum_us / canary.latency_count();
    assert!((17_990..=18_010).contains(&mean_us), "{name}: {mean_us}");
    assert_eq!(stable.failures, 2, "{name}");
    let asked = Asked {
        subject: Subject::Background,
        since: from - std::time::Duration::from_secs(30),
    };
    let now = batch.to;
    let look = |rollout: Value| {
        let requests = json!({ "template": name });
        let addr = "127.0.0.1:1".parse().unwrap();
        let judged = judged(addr, &requests, &json!({}), &rollout);
        let mut knowledge = Knowledge::default();
        knowledge.look(&judged.plan, asked, &all, now).judgement
    };
    let by_limits = look(json!({ "judge": "threshold", "guards": { "errorRate": "5%" } }));
    assert_eq!(by_limits.verdict, Verdict::Fail, "{name}: {by_limits:?}");
    let beside_stable = look(json!({ "guards": "none", "judge": { "warmUp": "0s" } }));
    assert_eq!(
        beside_stable.verdict,
        Verdict::Fail,
        "{name}: {beside_stable:?}"
    );
    let fine = look(
        json!({ "judge": "threshold", "guards": { "errorRate": "20%", "mean": "30ms", "p95": "1s" } }),
    );
    assert_ne!(fine.verdict, Verdict::Fail, "{name}: {fine:?}");
    assert_eq!(case.judged.plan.rules().sampling.stale_after.as_secs(), 60);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_labels_are_told_and_a_canary_that_begins_is_counted_from_its_first_request() {
    fn alone(counts: [Counts; 2]) -> String {
        let all = envoy(counts);
        let is_known = |line: &&str| counts[1].fine > 0 || !line.contains("shop-canary");
        let known: Vec<&str> = all.lines().filter(is_known).collect();
        known.join("\n") + "\n"
    }
    let exporter = Exporter::start(alone, counts((1_000, 0), (0, 0)));
    let prometheus = Prometheus::start(&[exporter.addr]);
    until(|| (exporter.scraped() >= 2).then_some(())).await;
    let meter = meter();
    let case = Case::new("contour", exporter.clone(), prometheus.addr);
    let fault = async |watch: &Watch| {
        meter.watch(&case.key, Some(watch));
        until(|| {
            let taken = meter.take(&case.key);
            assert_eq!(taken.batches, []);
            taken
                .faults
                .into_iter()
                .find(|fault| fault.starts_with("the requests"))
        })
        .await
    };
    let mut elsewhere = case.watch.clone();
    elsewhere.places.namespace = "elsewhere".to_owned();
    let told = fault(&elsewhere).await;
    assert!(
        told.starts_with("the requests: stable: no samples for {"),
        "{told}"
    );
    let told = fault(&case.watch).await;
    assert!(
        told.starts_with("the requests: the canary: no samples for {"),
        "{told}"
    );
    // Envoy knew no cluster of this name until now, so each of its requests is new.
    exporter.set(counts((1_100, 0), (9, 1)));
    let batch = until(|| {
        let taken = meter.take(&case.key);
        taken.batches.into_iter().next()
    })
    .await;
    assert_eq!((batch.canary.requests, batch.canary.failures), (10, 1));
    // A metric of the same series is counted by the same rules.
    let told = until(|| meter.take(&case.key).told.into_iter().next());
    assert_eq!(told.await.metric, "again");
}
