//! What an object said before Haldane changed it, kept in its annotation [`BEFORE`]: for each release one compact piece of JSON.
//!
//! What can't be read counts as nothing: an abort must not fail over it, and without it a canary gets no weight all the same.
//!
//! **Invariant:** releases that share an object never touch each other's piece.

use std::collections::BTreeMap;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    edit::{self, Place},
    route::{BEFORE, RouteError},
};

type Result<T> = std::result::Result<T, RouteError>;

/// Returns what is kept for this release, if anything is.
pub(crate) fn read<T: DeserializeOwned>(object: &Value, release: &str) -> Option<T> {
    let piece = pieces(object).remove(release)?;
    serde_json::from_value(piece).ok()
}

/// Keeps this for the release, or nothing any more.
pub(crate) fn write<T: Serialize>(
    object: &mut Value,
    release: &str,
    piece: Option<&T>,
    at: &Place<'_>,
) -> Result<()> {
    let mut all = pieces(object);
    match piece {
        None => {
            all.remove(release);
        }
        Some(piece) => {
            let piece = serde_json::to_value(piece)
                .map_err(|error| place(at).refused(&format!("can't be written: {error}")))?;
            all.insert(release.to_owned(), piece);
        }
    }
    let text = if all.is_empty() {
        None
    } else {
        let text = serde_json::to_string(&all)
            .map_err(|error| place(at).refused(&format!("can't be written: {error}")))?;
        Some(text)
    };
    edit::annotate(object, BEFORE, text, at)
}

/// Returns a short mark of a text, the same on every machine (FNV-1a): another one for another text, as far as 64 bits go.
pub(crate) fn mark(text: &str) -> String {
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn pieces(object: &Value) -> BTreeMap<String, Value> {
    edit::annotation(object, BEFORE)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

fn place<'a>(at: &Place<'a>) -> Place<'a> {
    Place::of(at.object()).keys(&["metadata", "annotations", BEFORE])
}
