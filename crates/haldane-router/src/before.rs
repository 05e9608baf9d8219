//! What an object said before Haldane changed it, kept in its annotation [`BEFORE`]: for each release one compact piece of JSON.
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
pub(crate) fn read<T: DeserializeOwned>(
    object: &Value,
    release: &str,
    at: &Place<'_>,
) -> Result<Option<T>> {
    let mut all = pieces(object, at)?;
    let Some(piece) = all.remove(release) else {
        return Ok(None);
    };
    serde_json::from_value(piece)
        .map(Some)
        .map_err(|error| place(at).refused(&format!("can't be read: {error}")))
}

/// Keeps this for the release, or nothing any more.
pub(crate) fn write<T: Serialize>(
    object: &mut Value,
    release: &str,
    piece: Option<&T>,
    at: &Place<'_>,
) -> Result<()> {
    let mut all = pieces(object, at)?;
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

fn pieces(object: &Value, at: &Place<'_>) -> Result<BTreeMap<String, Value>> {
    let Some(text) = edit::annotation(object, BEFORE) else {
        return Ok(BTreeMap::new());
    };
    serde_json::from_str(text)
        .map_err(|error| place(at).refused(&format!("can't be read: {error}")))
}

fn place<'a>(at: &Place<'a>) -> Place<'a> {
    Place::of(at.object()).keys(&["metadata", "annotations", BEFORE])
}
