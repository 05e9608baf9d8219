//! Counts by time as moments that judges can look at.
//!
//! Where nobody says which weight was in force, it follows from the requests: the canary's share of the last minute. It is then never
//! found to be wrong, and samples speak from the canary's first request on; with weights they speak from the last change, as in a
//! rollout.

use haldane_analysis::{
    Batch, Sample,
    looks::Asked,
    recording::{Moment, Second},
    sequential::Observed,
};
use haldane_core::{Weight, verdict::Subject};
use jiff::{SignedDuration, Timestamp};

/// The time over which the share of requests is taken for the weight.
const SHARE_WINDOW: SignedDuration = SignedDuration::from_mins(1);

/// How many requests to the canary alone are taken for all traffic.
const FULL_MIN: u64 = 20;

/// What happened from one time to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// When counting began.
    pub(super) from: Timestamp,
    /// When it ended.
    pub(super) to: Timestamp,
    /// What was counted of stable.
    pub(super) stable: Sample,
    /// What was counted of the canary.
    pub(super) canary: Sample,
    /// The weight that was in force, where that is known.
    pub(super) weight: Option<Weight>,
    /// What metric systems told until then.
    pub(super) told: Vec<Observed>,
}

/// Returns the rows as moments.
pub(super) fn moments(rows: Vec<Row>) -> Vec<Moment> {
    let weights = weights(&rows);
    let mut since: Option<Timestamp> = None;
    let mut before = Weight::ZERO;
    let moments = rows.into_iter().zip(weights).map(|(row, weight)| {
        let is_change = if row.weight.is_some() {
            weight != before
        } else {
            since.is_none()
        };
        if !weight.is_zero() && is_change {
            since = Some(row.from);
        }
        before = weight;
        let asked = since.filter(|_| !weight.is_zero()).map(|since| Asked {
            subject: Subject::Background,
            since,
        });
        let told = row
            .told
            .into_iter()
            .map(|observed| Observed { weight, ..observed });
        Moment::Second(Second {
            told: told.collect(),
            bands: None,
            asked: asked.into_iter().collect(),
            is_split: true,
            batch: Batch {
                from: row.from,
                to: row.to,
                stable: row.stable,
                canary: row.canary,
                weight,
            },
        })
    });
    moments.collect()
}

/// Returns the weight of each row: as given, or by the requests.
fn weights(rows: &[Row]) -> Vec<Weight> {
    let (mut stable, mut canary) = (0_u64, 0_u64);
    let mut first = 0;
    let mut last = Weight::ZERO;
    let weight = |(index, row): (usize, &Row)| {
        stable = stable.saturating_add(row.stable.requests);
        canary = canary.saturating_add(row.canary.requests);
        while let Some(old) = rows
            .get(first)
            .filter(|old| first < index && row.to.duration_since(old.to) >= SHARE_WINDOW)
        {
            stable = stable.saturating_sub(old.stable.requests);
            canary = canary.saturating_sub(old.canary.requests);
            first = first.saturating_add(1);
        }
        last = row.weight.unwrap_or_else(|| share(stable, canary, last));
        last
    };
    rows.iter().enumerate().map(weight).collect()
}

fn share(stable: u64, canary: u64, last: Weight) -> Weight {
    if canary == 0 {
        return Weight::ZERO;
    }
    if stable == 0 {
        return if canary >= FULL_MIN {
            Weight::FULL
        } else {
            last
        };
    }
    let all = u128::from(stable).saturating_add(u128::from(canary));
    let bps = u128::from(canary).saturating_mul(10_000).checked_div(all);
    let bps = bps.and_then(|bps| u16::try_from(bps).ok()).unwrap_or(1);
    Weight::try_from_bps(bps.clamp(1, 9_999)).unwrap_or(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(second: i64, stable: u64, canary: u64, percent: Option<u8>) -> Row {
        let sample = |requests| Sample {
            requests,
            ..Sample::default()
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        Row {
            from: at(second),
            to: at(second + 1),
            stable: sample(stable),
            canary: sample(canary),
            weight: percent.map(Weight::from_percent),
            told: Vec::new(),
        }
    }

    fn told(rows: Vec<Row>) -> Vec<(u16, Option<i64>)> {
        let moments = moments(rows).into_iter().filter_map(|moment| {
            let Moment::Second(second) = moment else {
                return None;
            };
            let since = second.background().map(|asked| asked.since.as_second());
            Some((second.batch.weight.as_bps(), since))
        });
        moments.collect()
    }

    #[test]
    fn without_weights_the_share_of_the_last_minute_is_taken() {
        let mut rows: Vec<Row> = (0..3).map(|second| row(second, 90, 0, None)).collect();
        rows.extend((3..5).map(|second| row(second, 80, 10, None)));
        rows.extend((5..90).map(|second| row(second, 0, 10, None)));
        rows.extend((90..152).map(|second| row(second, 90, 0, None)));
        let told = told(rows);
        assert_eq!(told[2], (0, None));
        assert_eq!(told[3], (277, Some(3)));
        assert_eq!(told[70], (10_000, Some(3)));
        assert_eq!(told[151], (0, None));
    }

    #[test]
    fn with_weights_samples_speak_from_their_last_change() {
        let rows = [0, 5, 5, 50, 50, 0].into_iter().zip(0..);
        let rows = rows.map(|(percent, second)| row(second, 90, 10, Some(percent)));
        let expected = [
            (0, None),
            (500, Some(1)),
            (500, Some(1)),
            (5_000, Some(3)),
            (5_000, Some(3)),
            (0, None),
        ];
        assert_eq!(told(rows.collect()), expected);
    }
}
