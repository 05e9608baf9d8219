//! Whether requests are lost while weights change, a version is promoted and a rollout is aborted.
//!
//! Promised: of at least 1,000,000 requests over 200 changes of the weight, a promotion and an abort, sent open loop, half of them on
//! fresh connections and some with bodies, none is dropped as the client counts, and the share that the client sees is within 4 σ of
//! each weight. A fresh connection occupies an address pair for a minute after its end, so the load is spread over several addresses.

use std::{net::Ipv4Addr, ops::Range, time::Duration};

use haldane_api::http::CommandName;
use haldane_core::Weight;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    BenchArgs,
    figures::{Figures, thousandths},
    stand::{Stand, StandPlan, finish, shop_processes, this_program},
};
use crate::{
    cli::exit::talk,
    demo::{
        load::{
            Arrivals, LoadPlan, LoadRun, TIMEOUT_DEFAULT,
            report::{LoadReport, Observed},
        },
        shop::Behavior,
    },
};

/// How many addresses the load goes to: 28,000 ports each, a minute long, are enough for 3,000 fresh connections per second.
const ADDRESSES: u8 = 8;

/// How long a weight is held at least: a second in which it is changed, and one that counts.
const HOLD_SECONDS_MIN: u64 = 2;

/// The share of what the machine sustains that the load takes.
const LOAD_SHARE: f64 = 0.6;

/// What is tried next after a rate that the machine does not sustain.
const SLOWER: f64 = 0.8;

/// How long a rate is tried.
const TRIAL: Duration = Duration::from_secs(3);

/// A rate is sustained while 99 % of the answers come within this time; the shop alone takes 16 ms.
const SUSTAINED_P99_MAX: Duration = Duration::from_millis(100);

/// The slowest rate that is tried.
const RATE_MIN: f64 = 50.0;

/// How long after a whole second the weight is changed: by then the requests of that second are answered, and the change is made
/// before the next one begins, even where others use the machine, too.
const MARGIN: Duration = Duration::from_millis(400);

/// How long versions serve around the promotion and the abort.
const STAY: Duration = Duration::from_secs(3);

/// Load to all addresses of a stand.
#[derive(Debug)]
struct Load(Vec<LoadRun>);

/// What was found.
#[derive(Debug)]
struct Found {
    rate: f64,
    changes: u32,
    worst_z: f64,
    seconds: Duration,
    reports: Vec<LoadReport>,
}

/// Takes the figures.
pub(super) async fn run(args: &BenchArgs, figures: &mut Figures) -> anyhow::Result<()> {
    let plan = StandPlan {
        program: this_program()?,
        addresses: (1..=ADDRESSES)
            .map(|last| Ipv4Addr::new(127, 0, 0, last))
            .collect(),
        stable: shop_processes("v1")?,
    };
    let stand = Stand::start(&plan).await?;
    let measured = measure(&stand, args).await;
    let found = finish(stand, measured).await?;
    let sum = |of: fn(&LoadReport) -> u64| found.reports.iter().map(of).sum::<u64>();
    figures.put("zero_drop_requests", sum(|report| report.sent));
    figures.put("zero_drop_dropped", sum(|report| report.dropped));
    figures.put("zero_drop_not_sent", sum(|report| report.not_sent));
    figures.put("zero_drop_abandoned", sum(|report| report.abandoned));
    figures.put("zero_drop_retried", sum(|report| report.retried));
    figures.put(
        "zero_drop_upstream_errors",
        sum(|report| report.upstream_errors),
    );
    for report in &found.reports {
        for (cause, count) in &report.drops {
            talk(&format!("bench zero-drop: {count} dropped by {cause:?}"));
        }
    }
    figures.put("zero_drop_weight_changes", found.changes);
    figures.put("zero_drop_share_worst_z", thousandths(found.worst_z));
    figures.put("zero_drop_requests_per_second", found.rate.round());
    figures.put("zero_drop_seconds", found.seconds.as_secs());
    let slowest = found
        .reports
        .iter()
        .filter_map(|report| report.latency.p99())
        .max();
    figures.put(
        "zero_drop_latency_p99_ms",
        slowest.map(|p99| thousandths(p99.as_secs_f64() * 1_000.0)),
    );
    Ok(())
}

async fn measure(stand: &Stand, args: &BenchArgs) -> anyhow::Result<Found> {
    let changes = args.changes.max(1);
    let fastest = f64::from(args.requests) / f64::from(changes) / HOLD_SECONDS_MIN as f64;
    let rate = LOAD_SHARE * sustained(stand, fastest / LOAD_SHARE).await?;
    let hold = hold_seconds(args.requests, changes, rate);
    talk(&format!(
        "bench zero-drop: {rate:.0} requests per second, {changes} weights of {hold} s"
    ));
    let load = Load::start(stand, rate)?;
    stand.deploy("v2", Behavior::Good, unjudged()).await?;
    stand.until_applied(Weight::from_percent(10)).await?;
    let mut worst_z: f64 = 0.0;
    for change in 0..changes {
        let z = hold_weight(stand, &load, weight_of(change)?, hold).await?;
        if z.abs() > worst_z.abs() {
            worst_z = z;
        }
        if change % 20 == 19 {
            load.tell(&format!("weight {} of {changes}", change.saturating_add(1)));
        }
    }
    stand.command(CommandName::Promote, None, true).await?;
    stand.until_over("v2").await?;
    sleep(STAY).await;
    load.tell("promotion");
    stand.deploy("v3", Behavior::Good, unjudged()).await?;
    stand.until_applied(Weight::from_percent(10)).await?;
    sleep(STAY).await;
    stand.command(CommandName::Abort, None, false).await?;
    stand.until_over("v3").await?;
    sleep(STAY).await;
    load.tell("abort");
    while load
        .snapshot()
        .iter()
        .map(|report| report.sent)
        .sum::<u64>()
        < u64::from(args.requests)
    {
        sleep(STAY).await;
    }
    let reports = load.stop().await;
    let seconds = reports
        .first()
        .map(|report| report.elapsed)
        .unwrap_or_default();
    Ok(Found {
        rate,
        changes,
        worst_z,
        seconds,
        reports,
    })
}

/// Sets a weight and returns how many standard deviations the share that is seen is away from it.
async fn hold_weight(stand: &Stand, load: &Load, weight: Weight, hold: u64) -> anyhow::Result<f64> {
    stand
        .command(CommandName::SetWeight, Some(weight), false)
        .await?;
    stand.until_applied(weight).await?;
    let first = load.elapsed().as_secs().saturating_add(1);
    let counted = Duration::from_secs(first)
        ..Duration::from_secs(first.saturating_add(hold).saturating_sub(1));
    sleep(
        counted
            .end
            .saturating_add(MARGIN)
            .saturating_sub(load.elapsed()),
    )
    .await;
    Ok(z_score(load.observed("v2", &counted), weight))
}

/// Returns the fastest rate that the machine sustains, beginning with the one that is wanted.
async fn sustained(stand: &Stand, wanted: f64) -> anyhow::Result<f64> {
    let mut rate = wanted;
    while rate > RATE_MIN {
        talk(&format!(
            "bench zero-drop: trying {rate:.0} requests per second"
        ));
        let load = Load::start(stand, rate)?;
        sleep(TRIAL).await;
        if load.stop().await.iter().all(is_sustained) {
            return Ok(rate);
        }
        rate *= SLOWER;
    }
    anyhow::bail!("this machine does not sustain {RATE_MIN} requests per second")
}

fn is_sustained(report: &LoadReport) -> bool {
    let is_quick = report
        .latency
        .p99()
        .is_some_and(|p99| p99 <= SUSTAINED_P99_MAX);
    is_quick && report.not_sent == 0 && report.dropped == 0 && report.abandoned == 0
}

/// Returns how long each weight is held, so that all of them together take as many requests as wanted.
fn hold_seconds(requests: u32, changes: u32, rate: f64) -> u64 {
    let seconds = Duration::try_from_secs_f64(f64::from(requests) / f64::from(changes) / rate);
    // Rounded up, but not for what the division itself rounds.
    let up = Duration::from_millis(999);
    seconds
        .map_or(u64::MAX, |time| time.saturating_add(up).as_secs())
        .max(HOLD_SECONDS_MIN)
}

/// Returns the weight of a change: all over the scale, up and down.
fn weight_of(change: u32) -> anyhow::Result<Weight> {
    // 6,181 is the golden section of 10,000 and has no divisor in common with the number of weights.
    let bps = change.wrapping_mul(6_181) % 9_901;
    Ok(Weight::try_from_bps(u16::try_from(
        bps.saturating_add(50),
    )?)?)
}

/// Returns how many standard deviations a share is away from its weight, as if each request were drawn by itself.
fn z_score(seen: Observed, weight: Weight) -> f64 {
    // Exact below 2⁵³ requests.
    let (hits, requests) = (seen.hits as f64, seen.requests as f64);
    let share = f64::from(weight.as_bps()) / 10_000.0;
    // At least one request: no share is seen finer than that.
    let deviation = (requests * share * (1.0 - share)).sqrt().max(1.0);
    (hits - requests * share) / deviation
}

/// The rollout of versions that are known to be good: the weights are the bench's.
fn unjudged() -> Value {
    json!({ "steps": ["10%", "100%"], "hold": "1h", "guards": "none", "promote": "auto" })
}

impl Load {
    fn start(stand: &Stand, rate: f64) -> anyhow::Result<Self> {
        let share = rate / f64::from(ADDRESSES);
        let runs = stand.listen.iter().zip(1..).map(|(target, seed)| {
            let plan = LoadPlan {
                fresh_connection_share: 0.5,
                post_share: 0.1,
                seed,
                ..LoadPlan::of_shop(*target, share, Arrivals::Constant)
            };
            Ok(LoadRun::start(plan)?)
        });
        runs.collect::<anyhow::Result<_>>().map(Self)
    }

    fn snapshot(&self) -> Vec<LoadReport> {
        self.0.iter().map(LoadRun::snapshot).collect()
    }

    /// Says on standard error how far it is, so that drops can be told from what was done at the time.
    fn tell(&self, what: &str) {
        let dropped: u64 = self.snapshot().iter().map(|report| report.dropped).sum();
        talk(&format!("bench zero-drop: {what} done, {dropped} dropped"));
    }

    fn elapsed(&self) -> Duration {
        self.0
            .first()
            .map(|run| run.snapshot().elapsed)
            .unwrap_or_default()
    }

    fn observed(&self, version: &str, range: &Range<Duration>) -> Observed {
        let seen = self
            .snapshot()
            .into_iter()
            .map(|report| report.observed(version, range.clone()));
        seen.fold(
            Observed {
                hits: 0,
                requests: 0,
            },
            |sum, one| Observed {
                hits: sum.hits.saturating_add(one.hits),
                requests: sum.requests.saturating_add(one.requests),
            },
        )
    }

    async fn stop(self) -> Vec<LoadReport> {
        let mut reports = Vec::new();
        for run in self.0 {
            reports.push(run.stop(TIMEOUT_DEFAULT).await);
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_compared_in_standard_deviations() {
        let z = |hits, requests, bps| {
            z_score(
                Observed { hits, requests },
                Weight::try_from_bps(bps).unwrap(),
            )
        };
        assert_eq!(z(500, 1_000, 5_000), 0.0);
        assert!((z(560, 1_000, 5_000) - 3.79).abs() < 0.01);
        assert_eq!(z(3, 1_000, 0), 3.0);
        assert_eq!(z(0, 0, 5_000), 0.0);
    }

    #[test]
    fn weights_are_spread_and_held_for_as_long_as_the_requests_take() {
        let weights: std::collections::BTreeSet<u16> = (0..200)
            .map(|change| weight_of(change).unwrap().as_bps())
            .collect();
        assert_eq!(weights.len(), 200);
        assert!(
            weights.first() < Some(&200) && weights.last() > Some(&9_800),
            "{weights:?}"
        );
        assert_eq!(hold_seconds(1_000_000, 200, 2_500.0), 2);
        assert_eq!(hold_seconds(1_000_000, 200, 2_490.0), 3);
        assert_eq!(hold_seconds(1_000, 200, 2_500.0), 2);
    }
}
