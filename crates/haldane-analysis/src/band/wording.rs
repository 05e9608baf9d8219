//! Findings in words.

use haldane_core::guard::Unit;

use super::{Band, Evidence, Finding, Measure, Span};

/// Returns what a finding means, in one sentence.
pub(super) fn reason(evidence: &Evidence) -> String {
    let Some(band) = &evidence.band else {
        return "not enough history yet to know what is usual; about a day of it is needed"
            .to_owned();
    };
    let show = |value: Option<u64>| value.map(|value| evidence.measure.show(value));
    let (stable, canary) = (show(evidence.stable), show(evidence.canary));
    let usual = usual(evidence.measure, band);
    let of = evidence.measure.of();
    match (evidence.finding, evidence.measure) {
        (Finding::Unknown, _) => format!("too little was measured; {usual}"),
        (_, Measure::Rate) => format!("{}; {usual}", told(stable, "nothing was measured")),
        (Finding::Usual, _) => {
            let canary = told(canary, "too little was measured");
            format!("{of}{canary}; {usual}")
        }
        (Finding::Suspect, _) => {
            let stable = stable.map_or_else(
                || "stable has too few requests to compare with".to_owned(),
                |stable| format!("stable is in its band with {stable}"),
            );
            let canary = told(canary, "nothing");
            format!("{of}{canary} of the canary; {usual}; {stable}")
        }
        (Finding::Environment, _) => {
            let canary =
                canary.map_or_else(String::new, |canary| format!(", {canary} of the canary"));
            format!("{of}{} of stable{canary}; {usual}", told(stable, "nothing"))
        }
    }
}

fn told(value: Option<String>, otherwise: &str) -> String {
    value.unwrap_or_else(|| otherwise.to_owned())
}

/// Returns the band in words: `usual at this hour is 80ms to 120ms (5 weeks)`.
fn usual(measure: Measure, band: &Band) -> String {
    let when = match band.span {
        Span::Weeks(_) => "at this hour of the week ",
        Span::Days(_) => "at this hour ",
        Span::Recent(_) => "",
    };
    format!("usual {when}is {}", band.show(measure))
}

impl Band {
    /// Writes the band for people, and of what it is made: `80ms to 120ms (5 weeks)`.
    #[must_use]
    pub fn show(&self, measure: Measure) -> String {
        let (low, high) = (measure.show(self.low), measure.show(self.high));
        let (count, unit) = match self.span {
            Span::Weeks(weeks) => (weeks, "week"),
            Span::Days(days) | Span::Recent(days) => (days, "day"),
        };
        let plural = if count == 1 { "" } else { "s" };
        format!("{low} to {high} ({count} {unit}{plural})")
    }
}

impl Measure {
    /// Writes a value for people.
    #[must_use]
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Share => Unit::Share.show(value),
            Self::Latency => Unit::Micros.show(value),
            Self::Gauge => decimal(value, 1_000),
            Self::Rate => format!("{}/s", decimal(value / 1_000, 1_000)),
        }
    }

    /// Returns what stands before a value.
    const fn of(self) -> &'static str {
        match self {
            Self::Latency => "p95 ",
            Self::Share | Self::Gauge | Self::Rate => "",
        }
    }
}

/// Writes a number of thousandths with at most two digits behind the point, and none where it is large.
fn decimal(thousandths: u64, unit: u64) -> String {
    let (whole, rest) = (thousandths / unit, thousandths % unit);
    let hundredths = rest / 10;
    if hundredths == 0 || whole >= 100 {
        return whole.to_string();
    }
    format!("{whole}.{hundredths:02}")
        .trim_end_matches('0')
        .to_owned()
}
