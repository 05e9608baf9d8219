//! What the parents of a route say of it in its status.
//!
//! Several controllers may write an entry for the same parent, also one to which that parent does not belong. It can't be told from here
//! whose word counts, so for each parent one that has taken the route is enough, and only if all refuse it is it refused.

use serde_json::Value;

use crate::{
    edit,
    object::{ObjectRef, Objects},
    route::Accepted,
};

/// Returns what all parents of a route say of it.
pub(crate) fn accepted_by_parents(target: &ObjectRef, objects: &Objects) -> Accepted {
    let Some(route) = objects.get(target) else {
        return Accepted::Pending(format!("{target} does not exist"));
    };
    let parents = |keys: &[&str]| -> Vec<Value> {
        let found = edit::get(route, keys).and_then(Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let (wanted, reports) = (
        parents(&["spec", "parentRefs"]),
        parents(&["status", "parents"]),
    );
    if wanted.is_empty() {
        return Accepted::Pending(format!("{target} names no parent"));
    }
    let generation = edit::get(route, &["metadata", "generation"]).and_then(Value::as_i64);
    for parent in &wanted {
        let name = edit::text(parent, &["name"]).unwrap_or_default();
        let told: Vec<Accepted> = reports
            .iter()
            .filter(|report| {
                report
                    .get("parentRef")
                    .is_some_and(|of| is_same_parent(of, parent))
            })
            .map(|report| accepted_by(report, name, generation))
            .collect();
        if told.contains(&Accepted::Yes) {
            continue;
        }
        let refused = |one: &&Accepted| matches!(one, Accepted::No(_));
        let open = told.iter().find(|one| !refused(one));
        return open
            .or_else(|| told.first())
            .cloned()
            .unwrap_or_else(|| Accepted::Pending(format!("{name} has not reported on {target}")));
    }
    Accepted::Yes
}

fn is_same_parent(one: &Value, other: &Value) -> bool {
    ["name", "namespace", "sectionName", "port"]
        .iter()
        .all(|key| match (one.get(key), other.get(key)) {
            // The namespace may be left out on either side.
            (None, _) | (_, None) if *key == "namespace" => true,
            (one, other) => one == other,
        })
}

fn accepted_by(report: &Value, parent: &str, generation: Option<i64>) -> Accepted {
    for (kind, is_needed) in [
        ("Accepted", true),
        ("ResolvedRefs", true),
        ("Programmed", false),
    ] {
        let conditions = report.get("conditions").and_then(Value::as_array);
        let condition = conditions
            .into_iter()
            .flatten()
            .find(|condition| edit::text(condition, &["type"]) == Some(kind));
        let Some(condition) = condition else {
            if is_needed {
                return Accepted::Pending(format!("{parent} has not told {kind}"));
            }
            continue;
        };
        let observed = condition.get("observedGeneration").and_then(Value::as_i64);
        if observed.is_some() && observed < generation {
            return Accepted::Pending(format!("{parent} has told {kind} of an older generation"));
        }
        let said = |key: &str| edit::text(condition, &[key]).unwrap_or_default().to_owned();
        match said("status").as_str() {
            "True" => {}
            "False" => {
                return Accepted::No(format!(
                    "{parent}: {kind} is False: {}: {}",
                    said("reason"),
                    said("message")
                ));
            }
            _ => return Accepted::Pending(format!("{parent}: {kind} is not known yet")),
        }
    }
    Accepted::Yes
}
