//! The limit of a metric: a share, or of a gauge a number in its own unit.

use haldane_core::{
    guard::{self, Limit},
    plan::metric::Kind,
};

use crate::{
    read::{At, Problems},
    text::{parse_limit, parse_milli},
};

/// Reads the limit of a metric of this kind.
pub(super) fn read(at: &At<'_>, kind: Kind, out: &mut Problems) -> Option<u64> {
    if kind == Kind::Gauge {
        return at.parsed("a number such as 250", parse_milli, out);
    }
    let expected = "a share such as 1%";
    let parse = |text: &str| parse_limit(guard::Metric::ErrorRate, text);
    match at.parsed(expected, parse, out)? {
        Limit::Absolute(ppm) => Some(ppm),
        Limit::Times(_) | Limit::Points(_) => {
            out.add(at, format!("a limit stands alone; expected {expected}"));
            None
        }
    }
}
