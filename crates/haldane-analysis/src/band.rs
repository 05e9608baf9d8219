//! Learned bands: what is usual of a metric at an hour, and whether both versions keep to it.
//!
//! A service is busier at noon than at night, and slower on Mondays. From what stable did at the same hour of earlier weeks follows a
//! [`Band`] ([`history`]): the median, and around it several times the usual deviation (the median absolute deviation, which an incident
//! or two in the past can't widen). What leaves the band is told apart by where:
//!
//! - on stable, too (or on stable alone): the **environment** is not as usual, and the canary is not the cause;
//! - on the canary alone: the canary is **suspect**.
//!
//! A few requests say little, so an arm has left the band only if its counts could hardly come from inside of it (`surprise`). All of it
//! is integers.
//!
//! **Invariant:** a finding is a reason to ask a person, and nothing else: it neither fails nor passes a canary. Without enough history
//! nothing is found.

pub mod history;
mod seen;
mod short;
mod surprise;
mod wording;

use haldane_core::{
    plan::{Bands, Rules, metric},
    verdict::Unusual,
};
use serde::{Deserialize, Serialize};

pub use history::{Band, Cell, History, Span};
pub use seen::{Seen, of_observed, of_requests};

use crate::sequential::{Direction, Kind, Reading};

/// The name of the share of the proxy's requests that failed.
pub const ERRORS: &str = "errors";

/// The name of the latency of the proxy's requests.
pub const LATENCY: &str = "latency";

/// The name of how many requests came in a second; no declared metric can have a space in its name.
pub const REQUEST_RATE: &str = "request rate";

/// Something with a band.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metric {
    /// Its name, unlike any other's of the service.
    pub name: String,
    /// What its values are.
    pub measure: Measure,
    /// Which way is worse; only there a band is left.
    pub direction: Direction,
}

/// What the values of a band are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Measure {
    /// Events in parts per million of what could have been one.
    Share,
    /// The 95th percentile of latencies, in microseconds.
    Latency,
    /// The mean of what each pod uses, in thousandths.
    Gauge,
    /// Events in a second, in millionths, of the service as a whole: both ways are unusual, and neither is the canary's doing.
    Rate,
}

/// What was found of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Finding {
    /// Both versions are in the band.
    Usual,
    /// Stable has left it, and so the canary is not the cause.
    Environment,
    /// The canary alone has left it.
    Suspect,
    /// There is no band yet, or nothing was measured.
    Unknown,
}

/// What a finding rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The metric's name.
    pub name: String,
    /// What its values are.
    pub measure: Measure,
    /// What was found.
    pub finding: Finding,
    /// The band, if there is enough history.
    pub band: Option<Band>,
    /// Stable's value; of a rate the whole service's.
    pub stable: Option<u64>,
    /// The canary's value.
    pub canary: Option<u64>,
    /// What it means, in one sentence for people.
    pub reason: String,
}

/// Where an arm is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Inside,
    Outside,
    Unknown,
}

/// Returns everything with a band under these rules: the proxy's requests, and the declared metrics.
#[must_use]
pub fn metrics(rules: &Rules) -> Vec<Metric> {
    if rules.bands == Bands::None {
        return Vec::new();
    }
    let own = [
        (ERRORS, Measure::Share),
        (LATENCY, Measure::Latency),
        (REQUEST_RATE, Measure::Rate),
    ];
    let own = own.map(|(name, measure)| Metric {
        name: name.to_owned(),
        measure,
        direction: Direction::HigherIsWorse,
    });
    own.into_iter()
        .chain(rules.metrics.iter().map(Metric::from))
        .collect()
}

/// Compares both versions with the band.
#[must_use]
pub fn look(metric: &Metric, band: Option<Band>, seen: &Seen) -> Evidence {
    let place = |reading: Option<&Reading>| match (band, reading) {
        (Some(band), Some(reading)) => place(metric, &band, reading),
        _ => Place::Unknown,
    };
    let finding = match (place(seen.stable.as_ref()), place(seen.canary.as_ref())) {
        (Place::Outside, _) => Finding::Environment,
        (Place::Inside | Place::Unknown, Place::Outside) => Finding::Suspect,
        (Place::Inside, Place::Inside) | (Place::Unknown, Place::Inside) => Finding::Usual,
        (Place::Inside, Place::Unknown) if metric.measure == Measure::Rate => Finding::Usual,
        (Place::Inside | Place::Unknown, Place::Unknown) => Finding::Unknown,
    };
    let value = |reading: &Option<Reading>| {
        let reading = reading.as_ref()?;
        metric.measure.value(reading)
    };
    let mut evidence = Evidence {
        name: metric.name.clone(),
        measure: metric.measure,
        finding,
        band,
        stable: value(&seen.stable),
        canary: value(&seen.canary),
        reason: String::new(),
    };
    evidence.reason = wording::reason(&evidence);
    evidence
}

/// Returns what is not as usual: a suspect before the environment, for it is the canary that somebody decides on.
#[must_use]
pub fn unusual(found: &[Evidence]) -> Option<Unusual> {
    let first = |finding| {
        let evidence = found.iter().find(|evidence| evidence.finding == finding)?;
        Some(format!("{}: {}", evidence.name, evidence.reason))
    };
    let suspect = first(Finding::Suspect).map(Unusual::Suspect);
    suspect.or_else(|| first(Finding::Environment).map(Unusual::Environment))
}

/// Whether an arm has surely left the band.
fn place(metric: &Metric, band: &Band, reading: &Reading) -> Place {
    if metric.measure.value(reading).is_none() {
        return Place::Unknown;
    }
    let is_outside = match (reading, metric.measure) {
        (Reading::Counts(counts), Measure::Rate) => {
            surprise::is_above(*counts, band.high) || surprise::is_below(*counts, band.low)
        }
        (Reading::Counts(counts), _) => match metric.direction {
            Direction::HigherIsWorse => surprise::is_above(*counts, band.high),
            Direction::LowerIsWorse => surprise::is_below(*counts, band.low),
        },
        (Reading::Latency(buckets), _) => surprise::is_slower(buckets, band.high),
        (Reading::Pods(pods), _) => {
            // One odd pod is no canary.
            let beyond = pods.iter().filter(|pod| **pod > band.high).count();
            beyond.saturating_mul(2) > pods.len()
        }
    };
    if is_outside {
        Place::Outside
    } else {
        Place::Inside
    }
}

impl From<&metric::Metric> for Metric {
    fn from(declared: &metric::Metric) -> Self {
        Self {
            name: declared.name.clone(),
            measure: match declared.kind {
                Kind::Ratio | Kind::Counter | Kind::Conversion => Measure::Share,
                Kind::Latency => Measure::Latency,
                Kind::Gauge => Measure::Gauge,
            },
            direction: declared.direction,
        }
    }
}

#[cfg(test)]
mod tests;
