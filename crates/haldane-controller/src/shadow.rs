//! What would be written, told once.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::{Mutex, PoisonError},
};

use haldane_router::ObjectRef;
use tracing::info;

use crate::{
    metrics::Metrics,
    turn::{What, Write},
};

/// Remembers what was told. It holds as much as the last turn of each object wanted to write.
#[derive(Debug, Default)]
pub(crate) struct Shadow {
    told: Mutex<BTreeMap<ObjectRef, BTreeSet<u64>>>,
}

impl Shadow {
    /// Tells what a turn would have written and the last one would not.
    pub(crate) fn report(&self, about: &ObjectRef, writes: &[Write], metrics: &Metrics) {
        let prints: BTreeSet<u64> = writes.iter().map(print).collect();
        let before = {
            let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
            told.insert(about.clone(), prints).unwrap_or_default()
        };
        for write in writes {
            if before.contains(&print(write)) {
                continue;
            }
            let verb = write.verb();
            metrics.count_shadow(write.target.kind.kind, verb);
            info!(
                about = %about,
                target = %write.target,
                verb = verb.as_str(),
                body = body(write),
                "Would write"
            );
        }
    }

    pub(crate) fn forget(&self, about: &ObjectRef) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.remove(about);
    }
}

fn body(write: &Write) -> String {
    match &write.what {
        What::Create(body) => body.to_string(),
        What::Merge { patch, .. } | What::MergeStatus { patch, .. } => patch.to_string(),
        What::Delete { uid } => uid.clone(),
    }
}

/// Returns a number that is the same for what is written to the same effect.
fn print(write: &Write) -> u64 {
    let mut hasher = DefaultHasher::new();
    write.target.hash(&mut hasher);
    write.verb().as_str().hash(&mut hasher);
    body(write).hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use haldane_router::Kind;
    use serde_json::json;

    use super::*;
    use crate::{metrics::Gauges, turn::Urgency};

    static MAP: Kind = Kind {
        group: "",
        kind: "ConfigMap",
        plural: "configmaps",
        versions: &["v1"],
    };

    #[test]
    fn the_same_write_is_told_once_and_another_one_anew() {
        let (shadow, metrics) = (Shadow::default(), Metrics::default());
        let key = MAP.named("shop", "a");
        let write = |value: u32, version: &str| Write {
            target: MAP.named("shop", "a"),
            what: What::Merge {
                patch: json!({"data": value}),
                resource_version: Some(version.to_owned()),
            },
            urgency: Urgency::Rest,
        };
        let check = |count: u32| {
            let text = metrics.render(&Gauges::default());
            let line = format!(
                "haldane_controller_shadow_writes_total{{kind=\"ConfigMap\",verb=\"patch\"}} {count}\n"
            );
            assert!(text.contains(&line), "{text}");
        };
        shadow.report(&key, &[write(1, "5")], &metrics);
        shadow.report(&key, &[write(1, "6")], &metrics);
        check(1);
        shadow.report(&key, &[write(1, "6"), write(2, "6")], &metrics);
        check(2);
        shadow.report(&key, &[], &metrics);
        shadow.report(&key, &[write(1, "6")], &metrics);
        check(3);
    }
}
