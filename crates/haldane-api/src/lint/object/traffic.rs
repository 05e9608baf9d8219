//! Findings on what leads traffic.

use super::{Finding, Spot, World};
use crate::lint::{
    Edit,
    rules::{EMPTY_CANARY, STICKY_SESSIONS, UNJUDGED_SPLIT},
};

/// What the annotations of ingress-nginx begin with.
const NGINX: &str = "nginx.ingress.kubernetes.io/";

/// Returns what is to be said of an Ingress.
pub(super) fn check_ingress(root: &Spot<'_>, world: &World) -> Vec<Finding> {
    let Some(annotations) = root.at(&["metadata", "annotations"]) else {
        return Vec::new();
    };
    let nginx = |key: &str| annotations.at(&[&format!("{NGINX}{key}")]);
    let mut findings = Vec::new();
    if let Some(canary) = nginx("canary").filter(|one| one.text() == Some("true")) {
        let ways = ["canary-weight", "canary-by-header", "canary-by-cookie"];
        if ways
            .iter()
            .all(|key| annotations.lacks(&[&format!("{NGINX}{key}")]))
        {
            let reason = "nothing says which requests are the canary's";
            findings.push(canary.say(&EMPTY_CANARY, reason));
        }
        let weight = nginx("canary-weight").filter(|weight| weight.text() != Some("0"));
        findings.extend(weight.filter(|_| !world.is_judged).map(|weight| {
            let share = weight.text().unwrap_or_default();
            weight.say(
                &UNJUDGED_SPLIT,
                format!("{share} % of the users are on the canary by hand"),
            )
        }));
    }
    let affinity = nginx("affinity").filter(|one| one.text() == Some("cookie"));
    let behavior = format!("{NGINX}affinity-canary-behavior");
    let is_sticky =
        annotations.lacks(&[&behavior]) || annotations.text_at(&[&behavior]) == Some("sticky");
    findings.extend(affinity.filter(|_| is_sticky).map(|affinity| {
        let reason =
            "a user whose cookie names a pod of the canary stays with it, whatever the weight is";
        let mut finding = affinity.say(&STICKY_SESSIONS, reason);
        if annotations.lacks(&[&behavior]) {
            finding.edit = line_below(&affinity, &format!("{behavior}: legacy"));
        }
        finding
    }));
    findings
}

/// Returns the edit that puts an entry of the same map below one that stands on one line.
fn line_below(entry: &Spot<'_>, text: &str) -> Option<Edit> {
    let value = entry.plain()?;
    (entry.mark.line == entry.node.mark.line).then(|| Edit {
        line: entry.mark.line,
        column: entry.node.mark.column.saturating_add(value.chars().count()),
        remove: 0,
        insert: format!(
            "\n{}{text}",
            " ".repeat(entry.mark.column.saturating_sub(1))
        ),
    })
}

/// Returns what is to be said of a Service.
pub(super) fn check_service(root: &Spot<'_>) -> Vec<Finding> {
    let affinity = root.at(&["spec", "sessionAffinity"]);
    let affinity = affinity.filter(|one| one.text() == Some("ClientIP"));
    let finding = affinity.map(|affinity| {
        let mut finding = affinity.say(
            &STICKY_SESSIONS,
            "an address that met a pod of the canary stays with it, for three hours by default",
        );
        finding.fix = "keep sessions outside of the pods, and leave sessionAffinity out".to_owned();
        finding
    });
    finding.into_iter().collect()
}

/// Returns what is to be said of a VirtualService.
pub(super) fn check_virtual_service(root: &Spot<'_>, world: &World) -> Vec<Finding> {
    let routes = ["http", "tcp", "tls"].map(|key| root.items_at(&["spec", key]));
    let routes = routes.into_iter().flatten();
    // Without a weight a lone destination has all of it, and one of several has nothing.
    let split = routes.filter_map(|route| split(&route.items_at(&["route"]), 0, world));
    split.collect()
}

/// Returns what is to be said of an HTTPRoute.
pub(super) fn check_http_route(root: &Spot<'_>, world: &World) -> Vec<Finding> {
    let rules = root.items_at(&["spec", "rules"]);
    let split = rules
        .iter()
        .filter_map(|rule| split(&rule.items_at(&["backendRefs"]), 1, world));
    let mut findings: Vec<Finding> = split.collect();
    let sessions = rules
        .iter()
        .filter_map(|rule| rule.at(&["sessionPersistence"]));
    findings.extend(sessions.map(|session| {
        let reason =
            "by the Gateway API a session stays with its backend even when that has weight 0";
        let mut finding = session.say(&STICKY_SESSIONS, reason);
        finding.fix =
            "keep sessions outside of the versions, and leave sessionPersistence out".to_owned();
        finding
    }));
    findings
}

/// Returns what is to be said of a TrafficSplit.
pub(super) fn check_split(root: &Spot<'_>, world: &World) -> Vec<Finding> {
    let found = split(&root.items_at(&["spec", "backends"]), 0, world);
    found.into_iter().collect()
}

/// Returns what is to be said of backends of which more than one has traffic.
fn split(backends: &[Spot<'_>], default: u32, world: &World) -> Option<Finding> {
    let weight = |backend: &Spot<'_>| match backend.text_at(&["weight"]) {
        // What is not a number is filled in later.
        Some(text) => text
            .trim_end_matches('m')
            .parse::<u32>()
            .unwrap_or_default(),
        None => default,
    };
    let mut served = backends.iter().filter(|one| weight(one) > 0);
    let (_, second) = (served.next()?, served.next()?);
    (!world.is_judged).then(|| {
        let place = second.at(&["weight"]).unwrap_or_else(|| second.clone());
        place.say(&UNJUDGED_SPLIT, "the traffic is split by hand")
    })
}
