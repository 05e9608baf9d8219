//! Grafana dashboards about canaries, as JSON that imports.
//!
//! [`overview`] and [`rollouts`] show all services for which [`crate::alerts`] records figures, whatever counts their requests, and have
//! variables to choose among them. The others show one service, in the words of its own mesh, and both versions beside each other.
//!
//! **Invariant:** a dashboard names no data source: it asks for one when it is imported.

mod panel;
mod queries;

use serde_json::{Value, json};

use crate::{
    alerts::Thresholds,
    dashboard::panel::{Panel, data_source, lay_out},
    watched::Watched,
};

/// The version of Grafana's schema: that of Grafana 10.4, which later ones read.
const SCHEMA: u32 = 39;

/// The longest name by which Grafana knows a dashboard.
const UID_BYTES_MAX: usize = 40;

/// The constants of the hash FNV-1a.
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// Returns the overview of all canaries.
#[must_use]
pub fn overview(thresholds: &Thresholds) -> Value {
    let panels = queries::overview(thresholds);
    board("canary-overview", "Canaries: overview", true, panels)
}

/// Returns the overview of all rollouts, and of Haldane itself.
#[must_use]
pub fn rollouts() -> Value {
    board(
        "canary-rollouts",
        "Canaries: all rollouts",
        true,
        queries::rollouts(),
    )
}

/// Returns everything about one service.
#[must_use]
pub fn service(watched: &Watched, thresholds: &Thresholds) -> Value {
    of(watched, "service", queries::service(watched, thresholds))
}

/// Returns how traffic is split.
#[must_use]
pub fn traffic(watched: &Watched) -> Value {
    of(watched, "traffic split", queries::traffic(watched))
}

/// Returns how often both versions fail, and how.
#[must_use]
pub fn errors(watched: &Watched, thresholds: &Thresholds) -> Value {
    of(
        watched,
        "error comparison",
        queries::errors(watched, thresholds),
    )
}

/// Returns how long both versions take.
#[must_use]
pub fn latency(watched: &Watched, thresholds: &Thresholds) -> Value {
    of(
        watched,
        "latency distribution",
        queries::latency(watched, thresholds),
    )
}

fn of(watched: &Watched, what: &str, panels: Vec<Panel>) -> Value {
    let names = watched.names();
    let first = what.split(' ').next().unwrap_or_default();
    let uid = uid(&format!(
        "canary-{first}-{}-{}",
        names.namespace, names.service
    ));
    let title = format!("Canary of {}/{}: {what}", names.namespace, names.service);
    board(&uid, &title, false, panels)
}

/// Shortens a name to what Grafana takes: by its beginning, and a hash of the whole, so that no two become one.
fn uid(name: &str) -> String {
    if name.len() <= UID_BYTES_MAX {
        return name.to_owned();
    }
    let mix = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    let hash = name.bytes().fold(FNV_OFFSET, mix);
    let beginning: String = name.chars().take(UID_BYTES_MAX - 17).collect();
    format!("{beginning}-{hash:016x}")
}

fn board(uid: &str, title: &str, has_choice: bool, panels: Vec<Panel>) -> Value {
    let mut variables = vec![json!({
        "name": "datasource",
        "label": "Prometheus",
        "type": "datasource",
        "query": "prometheus",
        "current": {},
        "hide": 0,
        "refresh": 1,
    })];
    if has_choice {
        variables.extend(["namespace", "service"].map(choice));
    }
    json!({
        "uid": uid,
        "title": title,
        "tags": ["canary", "haldane"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": { "from": "now-1h", "to": "now" },
        "refresh": "10s",
        "links": [{
            "title": "Canaries", "type": "dashboards", "tags": ["canary", "haldane"], "asDropdown": true, "keepTime": true,
        }],
        "annotations": { "list": [] },
        "templating": { "list": variables },
        "panels": lay_out(panels),
    })
}

/// Returns a variable for a label of the recorded figures.
fn choice(label: &str) -> Value {
    let among = match label {
        "service" => r#"{namespace=~"$namespace"}"#,
        _ => "",
    };
    let query = format!("label_values(canary:request_rate:5m{among}, {label})");
    json!({
        "name": label,
        "label": label,
        "type": "query",
        "datasource": data_source(),
        "definition": query,
        "query": { "query": query, "refId": "A" },
        "refresh": 2,
        "sort": 1,
        "multi": true,
        "includeAll": true,
        "allValue": ".+",
        "current": { "text": ["All"], "value": ["$__all"] },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_no_two_become_one() {
        assert_eq!(uid("canary-errors-orion-auth"), "canary-errors-orion-auth");
        let long = |end: &str| uid(&format!("canary-errors-{}-{end}", "a".repeat(60)));
        assert_eq!(long("b").len(), UID_BYTES_MAX);
        assert_ne!(long("b"), long("c"));
    }
}
