//! How the canary compares with stable, and both with what is usual, in words and percent.

use haldane_analysis::{
    band::{self, Finding},
    sequential::{Estimate, Evidence, MetricEvidence, Value, Worth},
};
use haldane_api::http::{BandFinding, BandView, ComparisonView, MetricView};
use haldane_api::text::show_milli;
use haldane_core::{guard::Unit, plan::metric::Kind};

/// From here on a ratio is told without decimals, parts per million.
const WHOLE_RATIO_PPM: u64 = 10_000_000;

/// Returns what people see of the sequential judge's evidence.
pub(super) fn view(evidence: &Evidence) -> ComparisonView {
    ComparisonView {
        harm_percent: percent(evidence.harm),
        metrics: evidence.metrics.iter().map(metric).collect(),
    }
}

/// Returns what people see of a comparison with what is usual.
pub(super) fn band(evidence: &band::Evidence) -> BandView {
    let show = |value: Option<u64>| value.map(|value| evidence.measure.show(value));
    BandView {
        metric: evidence.name.clone(),
        finding: match evidence.finding {
            Finding::Usual => BandFinding::Usual,
            Finding::Environment => BandFinding::Environment,
            Finding::Suspect => BandFinding::Suspect,
            Finding::Unknown => BandFinding::Unknown,
        },
        usual: evidence.band.map(|band| band.show(evidence.measure)),
        stable: show(evidence.stable),
        canary: show(evidence.canary),
        reason: evidence.reason.clone(),
    }
}

fn metric(evidence: &MetricEvidence) -> MetricView {
    let value = |value: &Value| {
        let value = value.value?;
        let share = || Unit::Share.show(value);
        Some(match (evidence.kind, evidence.bound_us) {
            (Kind::Gauge, _) => show_milli(value),
            (Kind::Counter, _) => {
                format!(
                    "{} an hour",
                    show_milli(value.saturating_mul(3_600) / 1_000)
                )
            }
            (Kind::Latency, Some(bound)) => {
                format!("{} over {}", share(), Unit::Micros.show(bound))
            }
            (Kind::Ratio | Kind::Conversion | Kind::Latency, _) => share(),
        })
    };
    MetricView {
        name: evidence.name.clone(),
        verdict: evidence.verdict,
        stable: value(&evidence.stable),
        canary: value(&evidence.canary),
        ratio: evidence.ratio.as_ref().map(ratio),
        harm_percent: percent(evidence.harm),
        fine_percent: evidence.fine.map(percent),
        fine_in_seconds: evidence.fine_in_seconds,
        reason: evidence.reason.clone(),
    }
}

/// Returns how far evidence is on its way to its bound, by the logarithm that it grows by evenly.
fn percent(worth: Worth) -> u8 {
    if worth.bound_log10_milli <= 0 {
        return 0;
    }
    let percent = worth
        .log10_milli
        .saturating_mul(100)
        .checked_div(worth.bound_log10_milli)
        .unwrap_or(0);
    u8::try_from(percent.clamp(0, 100)).unwrap_or(100)
}

/// Returns a ratio with its interval: `2.1× (1.3× to 4.0×)`.
fn ratio(estimate: &Estimate) -> String {
    let show = |ppm: u64| {
        if ppm >= WHOLE_RATIO_PPM {
            format!("{}×", ppm / 1_000_000)
        } else {
            let hundredths = ppm / 10_000;
            format!("{}.{:02}×", hundredths / 100, hundredths % 100)
        }
    };
    let ratio = show(estimate.ratio_ppm);
    match (estimate.low_ppm, estimate.high_ppm) {
        (Some(low), Some(high)) => format!("{ratio} ({} to {})", show(low), show(high)),
        (Some(low), None) => format!("{ratio} ({} or more)", show(low)),
        (None, Some(high)) => format!("{ratio} ({} or less)", show(high)),
        (None, None) => ratio,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_is_told_as_a_part_of_the_way_to_its_bound() {
        for (is, bound, expected) in [
            (0, 2_000, 0),
            (1_000, 2_000, 50),
            (2_500, 2_000, 100),
            (-700, 2_000, 0),
            (5, 0, 0),
        ] {
            let worth = Worth {
                log10_milli: is,
                bound_log10_milli: bound,
            };
            assert_eq!(percent(worth), expected, "{is} of {bound}");
        }
    }

    #[test]
    fn ratios_have_their_interval() {
        for (ratio_ppm, low_ppm, high_ppm, expected) in [
            (
                2_104_000,
                Some(1_300_000),
                Some(4_000_000),
                "2.10× (1.30× to 4.00×)",
            ),
            (2_000_000, None, Some(12_345_678), "2.00× (12× or less)"),
            (900_000, Some(10_000), None, "0.90× (0.01× or more)"),
            (1_000_000, None, None, "1.00×"),
        ] {
            let estimate = Estimate {
                ratio_ppm,
                low_ppm,
                high_ppm,
            };
            assert_eq!(ratio(&estimate), expected);
        }
    }
}
