//! Metrics that the proxy counts: `hit: POST /checkout 2xx`, `of: GET /cart`.

use haldane_core::plan::metric::{Ask, RequestPattern, Requests, Source};

use crate::read::{At, Fields, Problems};

/// What other systems are asked with, and the proxy isn't.
const FOREIGN: [&str; 8] = [
    "template",
    "query",
    "events",
    "exposure",
    "variables",
    "workload",
    "unit",
    "interval",
];

/// Whether the proxy is meant.
pub(super) fn is_given(fields: &Fields<'_>) -> bool {
    ["hit", "of", "within"]
        .iter()
        .any(|key| fields.get(key).is_some())
}

/// Returns the proxy as the source, which need not be named.
pub(super) fn read_source(fields: &Fields<'_>, out: &mut Problems) -> Option<Source> {
    let Some(at) = fields.get("source") else {
        return Some(Source::proxy());
    };
    let name = at.filled("proxy, or no source", out)?;
    if name != Source::PROXY {
        out.add(
            &at,
            "hit and of are counted by the proxy itself; expected no source",
        );
        return None;
    }
    Some(Source::proxy())
}

/// Reads which requests are counted.
pub(super) fn read(fields: &Fields<'_>, out: &mut Problems) -> Option<Ask> {
    for at in FOREIGN.iter().filter_map(|key| fields.get(key)) {
        out.add(
            &at,
            "the proxy is asked nothing, it counts hit and of; expected this to be left out",
        );
    }
    let hit = fields.need("hit", out).and_then(|at| pattern(&at, out));
    let of = fields.need("of", out).and_then(|at| pattern(&at, out));
    let within = match fields.get("within") {
        Some(at) => Some(at.wait(out)?),
        None => None,
    };
    let (hit, of) = (hit?, of?);
    let within = within.unwrap_or_else(|| Requests::within(&hit, &of));
    Some(Ask::Requests(Requests { hit, of, within }))
}

fn pattern(at: &At<'_>, out: &mut Problems) -> Option<RequestPattern> {
    let text = at.filled("[METHOD] PATH [STATUS], such as POST /checkout 2xx", out)?;
    match text.parse::<RequestPattern>() {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            out.add(at, error.to_string());
            None
        }
    }
}
