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
    // Grafana takes at most 40 characters.
    let uid: String = format!("canary-{first}-{}", names.service)
        .chars()
        .take(40)
        .collect();
    let title = format!("Canary of {}/{}: {what}", names.namespace, names.service);
    board(&uid, &title, false, panels)
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
