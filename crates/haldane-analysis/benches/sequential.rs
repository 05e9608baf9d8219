//! What the sequential judge costs: promised are at most 1 µs per count metric and batch, 10 µs per latency metric and batch, and 4 KiB of
//! state for errors and latency. The least of five rounds is printed, for that is what the machine can do.
//!
//! `cargo bench -p haldane-analysis --bench sequential`

use std::{hint::black_box, time::Instant};

use haldane_analysis::{
    Batch, Bucket, Sample,
    sequential::{Config, Metric, Settings, State},
};
use haldane_core::Weight;
use jiff::Timestamp;

/// Batches per round.
const BATCHES: u32 = 100_000;

/// Rounds.
const ROUNDS: u32 = 5;

/// Buckets of each version, as many as a service fills in a second.
const BUCKETS: u64 = 76;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let errors = Metric::errors();
    let latency = Metric::latency();
    report("errors", 1_000, vec![errors.clone()])?;
    report("latency", 10_000, vec![latency.clone()])?;
    let state = report("errors and latency", 11_000, vec![errors, latency])?;
    let bytes = serde_json::to_string(&state)?.len();
    println_verdict("state of errors and latency", "bytes", bytes as u128, 4_096);
    Ok(())
}

fn report(
    name: &str,
    ns_max: u128,
    metrics: Vec<Metric>,
) -> Result<State, Box<dyn std::error::Error>> {
    let settings = Settings {
        metrics,
        ..Settings::standard()
    };
    let config = Config::try_new(settings)?;
    let mut state = State::new(&config);
    let mut second = 0;
    for _ in 0..300 {
        state.observe(&config, &batch(second, Weight::ZERO, (1_000, 0)))?;
        second += 1;
    }
    let mut least = u128::MAX;
    for _ in 0..ROUNDS {
        let mut batch = batch(second, Weight::from_percent(5), (950, 50));
        #[expect(clippy::disallowed_methods, reason = "a bench measures time")]
        let start = Instant::now();
        for _ in 0..BATCHES {
            batch.from = at(second);
            second += 1;
            batch.to = at(second);
            state.observe(&config, black_box(&batch))?;
        }
        least = least.min(start.elapsed().as_nanos() / u128::from(BATCHES));
    }
    println_verdict(name, "ns per batch", least, ns_max);
    Ok(state)
}

#[expect(clippy::print_stdout, reason = "the result of the bench")]
fn println_verdict(name: &str, unit: &str, found: u128, promised: u128) {
    println!("{name}: {found} {unit} (promised: {promised})");
}

fn at(second: i64) -> Timestamp {
    Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_secs(second)
}

/// A batch of one second; four in a thousand requests fail, and latencies lie in log-linear buckets.
fn batch(second: i64, weight: Weight, (stable, canary): (u64, u64)) -> Batch {
    Batch {
        from: at(second),
        to: at(second + 1),
        stable: sample(stable),
        canary: sample(canary),
        weight,
    }
}

fn sample(requests: u64) -> Sample {
    let histogram = (1..=BUCKETS).map(|place| {
        let weight = place.min(BUCKETS - place);
        (place * 5_000, requests * weight * weight / 37_000)
    });
    let latency = Bucket::list(histogram);
    Sample {
        requests,
        failures: requests / 250,
        latency,
        ..Sample::default()
    }
}
