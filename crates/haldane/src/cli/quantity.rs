//! Quantities as they are written on the command line, where the release file's readers don't say enough.

use std::{num::NonZeroUsize, ops::RangeInclusive};

use haldane_api::text::{TextError, parse_weight};
use haldane_core::Weight;

/// The most data threads: more than the processors of any machine that one proxy is meant for.
const THREADS_MAX: usize = 256;

/// The most connections to one replica from one address: there are no more ports.
const CONNECTIONS_MAX: usize = 65_535;

/// The forms of a weight.
const WEIGHT_FORMS: &str = "expected percent such as 50% or 12.5%, or basis points such as 5000bps";

/// Reads a weight: `50%`, `12.5%`, `5000bps`.
pub(crate) fn weight(text: &str) -> Result<Weight, String> {
    let text = text.trim();
    if let Some(bps) = text.strip_suffix("bps") {
        let weight = bps.trim_end().parse().ok().map(Weight::try_from_bps);
        return match weight {
            Some(Ok(weight)) => Ok(weight),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!(
                "cannot read {text:?}; expected basis points from 0bps to 10000bps"
            )),
        };
    }
    parse_weight(text).map_err(|error| match error {
        TextError::NoUnit { .. } => format!("{text:?} has no unit; {WEIGHT_FORMS}"),
        TextError::Unreadable { .. } => format!("cannot read {text:?}; {WEIGHT_FORMS}"),
        error @ (TextError::TooFine { .. } | TextError::TooLarge { .. }) => error.to_string(),
    })
}

/// Reads a number of threads.
pub(crate) fn threads(text: &str) -> Result<NonZeroUsize, String> {
    count(text, THREADS_MAX)
}

/// Reads a number of connections.
pub(crate) fn connections(text: &str) -> Result<NonZeroUsize, String> {
    count(text, CONNECTIONS_MAX)
}

fn count(text: &str, max: usize) -> Result<NonZeroUsize, String> {
    let count = text.parse().ok().filter(|count| *count <= max);
    count
        .and_then(NonZeroUsize::new)
        .ok_or_else(|| format!("expected a number from 1 to {max}"))
}

/// Reads a number within a range.
pub(crate) fn number(text: &str, range: RangeInclusive<f64>) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        format!(
            "expected a number from {} to {}",
            range.start(),
            range.end()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weight_has_its_unit() {
        for (text, bps) in [
            ("50%", 5_000),
            ("12.5 %", 1_250),
            ("5000bps", 5_000),
            ("1 bps", 1),
        ] {
            assert_eq!(weight(text).map(Weight::as_bps), Ok(bps), "{text}");
        }
        for (text, expected) in [
            ("50", format!("\"50\" has no unit; {WEIGHT_FORMS}")),
            ("-5%", format!("cannot read \"-5%\"; {WEIGHT_FORMS}")),
            (
                "101%",
                "\"101%\" is too large; expected at most 100%".to_owned(),
            ),
            (
                "0.001%",
                "\"0.001%\" is finer than 0.01%; expected fewer digits".to_owned(),
            ),
            (
                "-5bps",
                "cannot read \"-5bps\"; expected basis points from 0bps to 10000bps".to_owned(),
            ),
            (
                "10001bps",
                "a weight is at most 10000 basis points (100 %), not 10001".to_owned(),
            ),
        ] {
            assert_eq!(weight(text), Err(expected));
        }
    }

    #[test]
    fn numbers_have_their_bounds() {
        for (text, expected) in [
            ("1", Some(1)),
            ("256", Some(256)),
            ("0", None),
            ("257", None),
            ("x", None),
        ] {
            assert_eq!(
                threads(text).ok().map(NonZeroUsize::get),
                expected,
                "{text}"
            );
        }
        for (text, is_well) in [
            ("2", true),
            ("0.5", true),
            ("0.4", false),
            ("NaN", false),
            ("inf", false),
        ] {
            assert_eq!(number(text, 0.5..=2.0).is_ok(), is_well, "{text}");
        }
    }
}
