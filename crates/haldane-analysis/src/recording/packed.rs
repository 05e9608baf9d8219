//! A batch as a short list: latencies by the distance from the bucket before, and the bucket's width.

use haldane_core::Weight;
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    sample::{Bucket, Gauges, Sample},
    series::Batch,
};

/// From, to, weight, stable, canary.
#[derive(Serialize, Deserialize)]
struct PackedBatch(Timestamp, Timestamp, Weight, PackedSample, PackedSample);

/// Requests, failures, sum of latencies, latencies, gauges.
#[derive(Serialize, Deserialize)]
struct PackedSample(u64, u64, u64, Vec<PackedBucket>, Option<PackedGauges>);

/// The distance from the bucket before, the width, the count; all wrap around, so that none is lost.
#[derive(Serialize, Deserialize)]
struct PackedBucket(i64, u64, u64);

/// Processor, memory, restarts, ready, how many are ready.
#[derive(Serialize, Deserialize)]
struct PackedGauges(
    Option<u64>,
    Option<u64>,
    Option<u64>,
    Option<u64>,
    #[serde(default)] Option<u64>,
);

pub(super) fn serialize<S: Serializer>(batch: &Batch, serializer: S) -> Result<S::Ok, S::Error> {
    let (stable, canary) = (pack(&batch.stable), pack(&batch.canary));
    PackedBatch(batch.from, batch.to, batch.weight, stable, canary).serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Batch, D::Error> {
    let PackedBatch(from, to, weight, stable, canary) = PackedBatch::deserialize(deserializer)?;
    Ok(Batch {
        from,
        to,
        stable: unpack(stable),
        canary: unpack(canary),
        weight,
    })
}

fn pack(sample: &Sample) -> PackedSample {
    let mut end = 0_u64;
    let buckets = sample.latency.iter().map(|bucket| {
        let distance = bucket.lower_us.wrapping_sub(end).cast_signed();
        end = bucket.upper_us;
        let width = bucket.upper_us.wrapping_sub(bucket.lower_us);
        PackedBucket(distance, width, bucket.count)
    });
    let Gauges {
        cpu_ppm,
        memory_bytes,
        restarts,
        ready_ppm,
        replicas,
    } = sample.gauges;
    let gauges = PackedGauges(cpu_ppm, memory_bytes, restarts, ready_ppm, replicas);
    PackedSample(
        sample.requests,
        sample.failures,
        sample.latency_sum_us,
        buckets.collect(),
        (sample.gauges != Gauges::default()).then_some(gauges),
    )
}

fn unpack(packed: PackedSample) -> Sample {
    let PackedSample(requests, failures, latency_sum_us, buckets, gauges) = packed;
    let mut end = 0_u64;
    let latency = buckets
        .into_iter()
        .map(|PackedBucket(distance, width, count)| {
            let lower_us = end.wrapping_add_signed(distance);
            let upper_us = lower_us.wrapping_add(width);
            end = upper_us;
            Bucket {
                lower_us,
                upper_us,
                count,
            }
        });
    let latency = latency.collect();
    let gauges = gauges.map(
        |PackedGauges(cpu_ppm, memory_bytes, restarts, ready_ppm, replicas)| Gauges {
            cpu_ppm,
            memory_bytes,
            restarts,
            ready_ppm,
            replicas,
        },
    );
    Sample {
        requests,
        failures,
        latency_sum_us,
        latency,
        gauges: gauges.unwrap_or_default(),
    }
}
