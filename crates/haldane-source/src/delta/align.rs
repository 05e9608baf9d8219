//! Whether two increases cover the same time: counts of two versions can only be compared if they do.

use std::time::Duration;

use jiff::Timestamp;

use crate::delta::Span;

/// The share of a batch, in percent, by which its arms may be apart where the weight changed inside.
const SKEW_PERCENT_MAX: u128 = 20;

/// Whether two increases can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alignment {
    /// They cover the same time.
    Aligned,
    /// They are more than one scrape apart: one arm's data is missing or late.
    Apart {
        /// How far.
        skew: Duration,
    },
    /// They are less than a scrape apart, but the weight changed meanwhile, so that the share of requests would be biased.
    Skewed {
        /// How far.
        skew: Duration,
    },
    /// One of them covers no time.
    Empty,
}

/// Returns whether the increases of both versions cover the same time.
///
/// `scrape` is the distance of two scrapes, `changes` the times at which the weight changed.
#[must_use]
pub fn align(stable: Span, canary: Span, scrape: Duration, changes: &[Timestamp]) -> Alignment {
    let length = |span: Span| span.to.duration_since(span.from);
    let is_empty = |span: Span| !length(span).is_positive();
    if is_empty(stable) || is_empty(canary) {
        return Alignment::Empty;
    }
    let apart = |a: Timestamp, b: Timestamp| a.duration_since(b).unsigned_abs();
    let skew = apart(stable.from, canary.from).max(apart(stable.to, canary.to));
    if skew > scrape {
        return Alignment::Apart { skew };
    }
    let shorter = length(stable).min(length(canary)).unsigned_abs();
    let is_large =
        skew.as_nanos().saturating_mul(100) > shorter.as_nanos().saturating_mul(SKEW_PERCENT_MAX);
    let (from, to) = (stable.from.min(canary.from), stable.to.max(canary.to));
    let is_changed = changes.iter().any(|at| from < *at && *at < to);
    if is_large && is_changed {
        return Alignment::Skewed { skew };
    }
    Alignment::Aligned
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn span(from: i64, to: i64) -> Span {
        Span {
            from: at(from),
            to: at(to),
        }
    }

    #[test]
    fn only_the_same_time_is_compared() {
        let scrape = Duration::from_secs(15);
        let check = |stable, canary, changes: &[i64], expected| {
            let changes: Vec<_> = changes.iter().map(|second| at(*second)).collect();
            assert_eq!(align(stable, canary, scrape, &changes), expected);
            assert_eq!(align(canary, stable, scrape, &changes), expected);
        };
        let skew = Duration::from_secs;
        let aligned = Alignment::Aligned;
        check(span(0, 60), span(0, 60), &[30], aligned);
        check(span(0, 60), span(12, 72), &[30], aligned);
        check(span(0, 60), span(13, 60), &[], aligned);
        let skewed = Alignment::Skewed { skew: skew(13) };
        check(span(0, 60), span(13, 60), &[30], skewed);
        check(span(0, 60), span(13, 60), &[0, 60], aligned);
        let apart = Alignment::Apart { skew: skew(16) };
        check(span(0, 60), span(0, 44), &[], apart);
        check(span(0, 60), span(30, 30), &[], Alignment::Empty);
        check(span(0, 60), span(30, 20), &[], Alignment::Empty);
    }
}
