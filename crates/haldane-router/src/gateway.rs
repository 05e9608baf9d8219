//! Gateway API: the `backendRefs` of an HTTPRoute, GRPCRoute, TCPRoute or TLSRoute.
//!
//! Weights are written in 10,000 parts where the numbers that are there are too coarse (the API allows up to 1,000,000). A mirror is a
//! filter, a header route a rule. What else stands in a rule, such as `sessionPersistence`, is kept. A route's status says whether the
//! gateway took it.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    before,
    edit::{self, Place},
    object::{Change, Kind, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules::{self, Before, Rules},
    split::Split,
    weighted::{Absent, Entries, Scale, Share, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "Gateway API";

/// How many rules a route may have, by the API.
const RULES_MAX: usize = 16;

/// A route for HTTP.
pub static HTTP_ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    kind: "HTTPRoute",
    plural: "httproutes",
    versions: &["v1", "v1beta1"],
};

/// A route for gRPC.
pub static GRPC_ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    kind: "GRPCRoute",
    plural: "grpcroutes",
    versions: &["v1", "v1alpha2"],
};

/// A route for TCP.
pub static TCP_ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    kind: "TCPRoute",
    plural: "tcproutes",
    versions: &["v1", "v1alpha2"],
};

/// A route for TLS.
pub static TLS_ROUTE: Kind = Kind {
    group: "gateway.networking.k8s.io",
    kind: "TLSRoute",
    plural: "tlsroutes",
    versions: &["v1", "v1alpha3", "v1alpha2"],
};

/// Routes of the Gateway API that name the stable Service; one or more of the four kinds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gateway {
    /// The name of an HTTPRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http_route: Option<String>,
    /// The name of a GRPCRoute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grpc_route: Option<String>,
    /// The name of a TCPRoute. It knows no headers and no mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tcp_route: Option<String>,
    /// The name of a TLSRoute. It knows no headers and no mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_route: Option<String>,
    /// The names of the rules that are meant; all that name the stable Service if empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<String>,
    /// The namespace of the routes; the release's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What the rules of one route can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Speaks {
    /// Paths, headers and mirrors.
    Http,
    /// The same without mirrors, between the services of a mesh.
    Mesh,
    /// Methods, headers and mirrors.
    Grpc,
    /// Nothing but backends.
    Bytes,
}

/// The rules of one route, for one release.
pub(crate) struct RouteRules<'a> {
    pub(crate) split: &'a Split,
    pub(crate) target: &'a ObjectRef,
    pub(crate) names: &'a [String],
    pub(crate) speaks: Speaks,
    pub(crate) router: &'static str,
}

impl Gateway {
    fn routes(&self, namespace: &str) -> Vec<(ObjectRef, Speaks)> {
        let namespace = self.namespace.as_deref().unwrap_or(namespace);
        [
            (&self.http_route, &HTTP_ROUTE, Speaks::Http),
            (&self.grpc_route, &GRPC_ROUTE, Speaks::Grpc),
            (&self.tcp_route, &TCP_ROUTE, Speaks::Bytes),
            (&self.tls_route, &TLS_ROUTE, Speaks::Bytes),
        ]
        .into_iter()
        .filter_map(|(name, kind, speaks)| {
            let name = name.as_deref()?;
            Some((kind.named(namespace, name), speaks))
        })
        .collect()
    }

    fn check_named(&self) -> Result<()> {
        if !self.routes("").is_empty() {
            return Ok(());
        }
        Err(RouteError::Cannot {
            router: NAME,
            what:
                "route without the name of a route: set httpRoute, grpcRoute, tcpRoute or tlsRoute"
                    .to_owned(),
        })
    }

    /// Calls this for each route.
    fn each<T>(
        &self,
        split: &Split,
        mut visit: impl FnMut(&RouteRules<'_>) -> Result<T>,
    ) -> Result<Vec<T>> {
        let routes = self.routes(&split.namespace);
        routes
            .iter()
            .map(|(target, speaks)| {
                visit(&RouteRules {
                    split,
                    target,
                    names: &self.rules,
                    speaks: *speaks,
                    router: NAME,
                })
            })
            .collect()
    }
}

impl Router for Gateway {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        self.routes(namespace)
            .into_iter()
            .map(|(target, _)| target)
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        self.check_named()?;
        let changes = self.each(split, |route| route.desired(objects))?;
        Ok(changes.into_iter().flatten().collect())
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let changes = self.each(split, |route| route.cleared(objects))?;
        Ok(changes.into_iter().flatten().collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        self.check_named()?;
        let shares = self.each(split, |route| route.shares(objects))?;
        let shares: Vec<Share> = shares.into_iter().flatten().collect();
        Ok(rules::told(split.traffic.weight, &shares).unwrap_or_default())
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        self.objects(&split.namespace)
            .iter()
            .map(|target| accepted_by_parents(target, objects))
            .find(|accepted| *accepted != Accepted::Yes)
            .unwrap_or(Accepted::Yes)
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What Gateway API can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: true,
    proof: Proof::Traffic,
};

impl RouteRules<'_> {
    /// Returns what must change in this route.
    pub(crate) fn desired(&self, objects: &Objects) -> Result<Option<Change>> {
        let (present, rules, before, at) = self.read(objects)?;
        self.check_wishes()?;
        let place = at.keys(&["spec", "rules"]);
        let wanted = rules::desired(self, self.split, &rules, before.as_ref(), &place)?;
        let Some((wanted, kept)) = wanted else {
            return Err(self.names_nobody(&place));
        };
        if wanted.len() > RULES_MAX {
            return Err(RouteError::Cannot {
                router: self.router,
                what: format!(
                    "give {} {} rules, it may have {RULES_MAX}; use fewer header routes",
                    self.target,
                    wanted.len()
                ),
            });
        }
        if wanted == rules {
            return Ok(None);
        }
        let mut object = present.clone();
        edit::set(&mut object, &["spec", "rules"], Value::Array(wanted), &at)?;
        before::write(&mut object, &self.split.release, Some(&kept), &at)?;
        Ok(Some(Change::Put(self.target.clone(), object)))
    }

    /// Returns what must change in this route so that nothing of us is left.
    pub(crate) fn cleared(&self, objects: &Objects) -> Result<Option<Change>> {
        if !objects.contains_key(self.target) {
            return Ok(None);
        }
        let (present, rules, before, at) = self.read(objects)?;
        let place = at.keys(&["spec", "rules"]);
        let wanted = rules::cleared(self, &rules, before.as_ref(), &place)?;
        let mut object = present.clone();
        if wanted != rules {
            edit::set(&mut object, &["spec", "rules"], Value::Array(wanted), &at)?;
        }
        before::write::<Before>(&mut object, &self.split.release, None, &at)?;
        Ok((object != *present).then(|| Change::Put(self.target.clone(), object)))
    }

    /// Returns what each rule gives the canary.
    pub(crate) fn shares(&self, objects: &Objects) -> Result<Vec<Share>> {
        let (_, rules, before, at) = self.read(objects)?;
        let place = at.keys(&["spec", "rules"]);
        let shares = rules::shares(self, &rules, before.as_ref(), &place)?;
        if shares.iter().all(|share| *share == Share::NotStable) {
            return Err(self.names_nobody(&place));
        }
        Ok(shares)
    }

    fn read<'o>(
        &'o self,
        objects: &'o Objects,
    ) -> Result<(&'o Value, Vec<Value>, Option<Before>, Place<'o>)> {
        let at = Place::of(self.target);
        let present = edit::object(objects, self.target)?;
        let rules = edit::list(present, &["spec", "rules"], &at)?;
        let before = before::read(present, &self.split.release, &at)?;
        Ok((present, rules, before, at))
    }

    fn names_nobody(&self, place: &Place<'_>) -> RouteError {
        let service = &self.split.stable.service;
        let which = if self.names.is_empty() {
            "a rule".to_owned()
        } else {
            format!("a rule named {}", self.names.join(" or "))
        };
        place.refused(&format!(
            "expected {which} with the Service {service} in backendRefs, found none"
        ))
    }

    /// Refuses what routes of this kind can't do.
    fn check_wishes(&self) -> Result<()> {
        let cannot = |what: String| {
            Err(RouteError::Cannot {
                router: self.router,
                what,
            })
        };
        let kind = self.target.kind.kind;
        match self.speaks {
            Speaks::Http | Speaks::Grpc => Ok(()),
            Speaks::Bytes if !self.split.canary_routes().is_empty() => {
                cannot(format!("match headers in a {kind}"))
            }
            Speaks::Mesh | Speaks::Bytes if !self.split.traffic.mirror.is_zero() => {
                cannot(format!("mirror requests by a {kind}"))
            }
            Speaks::Mesh | Speaks::Bytes => Ok(()),
        }
    }

    fn names_service(&self, backend: &Value, service: &str) -> bool {
        let or = |key: &str, default: &str| -> String {
            backend
                .get(key)
                .and_then(Value::as_str)
                .unwrap_or(default)
                .to_owned()
        };
        or("kind", "Service") == "Service"
            && matches!(or("group", "").as_str(), "" | "core")
            && or("name", "") == service
            && or("namespace", &self.target.namespace) == self.split.namespace
    }
}

impl Entries for RouteRules<'_> {
    fn side(&self, entry: &Value) -> Side {
        if self.names_service(entry, &self.split.stable.service) {
            Side::Stable
        } else if self.names_service(entry, &self.split.canary.service) {
            Side::Canary
        } else {
            Side::Other
        }
    }

    fn id(&self, entry: &Value) -> String {
        let name = edit::text(entry, &["name"]).unwrap_or_default();
        match edit::text(entry, &["namespace"]) {
            Some(namespace) => format!("{namespace}/{name}"),
            None => name.to_owned(),
        }
    }

    fn canary_like(&self, stable: &Value) -> Value {
        let mut canary = stable.clone();
        if let Some(members) = canary.as_object_mut() {
            members.insert("name".to_owned(), json!(self.split.canary.service));
        }
        canary
    }

    fn scale(&self) -> Scale {
        Scale {
            router: self.router,
            absent: Absent::One,
            totals: &[10_000],
            max: 1_000_000,
        }
    }
}

impl Rules for RouteRules<'_> {
    fn entries_key(&self) -> &'static str {
        "backendRefs"
    }

    fn matches_key(&self) -> &'static str {
        "matches"
    }

    fn covers(&self, rule: &Value) -> bool {
        self.names.is_empty()
            || edit::text(rule, &["name"])
                .is_some_and(|name| self.names.iter().any(|wanted| wanted == name))
    }

    fn narrowed(
        &self,
        rule: &Value,
        route: &HeaderRoute,
        _index: usize,
        at: &Place<'_>,
    ) -> Result<Option<Value>> {
        let mut matches = edit::list(rule, &["matches"], at)?;
        if matches.is_empty() {
            matches.push(self.any_request());
        }
        let mut narrowed = Vec::new();
        for (index, one) in matches.iter().enumerate() {
            let at = at.key("matches").item(index);
            if let Some(one) = self.with_headers(one, &route.matches, &at)? {
                narrowed.push(one);
            }
        }
        if narrowed.is_empty() {
            return Ok(None);
        }
        let mut copy = rule.clone();
        // Names of rules are unique in a route.
        edit::remove(&mut copy, "name");
        edit::set(&mut copy, &["matches"], Value::Array(narrowed), at)?;
        Ok(Some(copy))
    }

    fn mirror(
        &self,
        rule: &mut Value,
        share: Weight,
        ours: Option<bool>,
        at: &Place<'_>,
    ) -> Result<Option<bool>> {
        if ours.is_none() && share.is_zero() {
            return Ok(None);
        }
        let mut filters = edit::list(rule, &["filters"], at)?;
        let had_filters = ours.unwrap_or_else(|| rule.get("filters").is_some());
        let is_mirror = |filter: &Value| {
            edit::get(filter, &["requestMirror", "backendRef"])
                .is_some_and(|backend| self.side(backend) == Side::Canary)
        };
        let present = ours.and_then(|_| filters.iter().rposition(is_mirror));
        match (present, share.is_zero()) {
            (Some(place), true) => drop(filters.remove(place)),
            (Some(place), false) => {
                if let Some(filter) = filters.get_mut(place) {
                    *filter = self.mirror_filter(rule, share);
                }
            }
            (None, true) => {}
            (None, false) => filters.push(self.mirror_filter(rule, share)),
        }
        if filters.is_empty() && !had_filters {
            edit::remove(rule, "filters");
        } else {
            edit::set(rule, &["filters"], Value::Array(filters), at)?;
        }
        Ok((!share.is_zero()).then_some(had_filters))
    }
}

impl RouteRules<'_> {
    /// Returns what a rule without matches matches, as the API server writes it.
    fn any_request(&self) -> Value {
        match self.speaks {
            Speaks::Http | Speaks::Mesh => json!({"path": {"type": "PathPrefix", "value": "/"}}),
            Speaks::Grpc | Speaks::Bytes => json!({}),
        }
    }

    /// Returns the match with these conditions too; `None` if no request can have both.
    fn with_headers(
        &self,
        one: &Value,
        conditions: &[HeaderMatch],
        at: &Place<'_>,
    ) -> Result<Option<Value>> {
        let mut headers = edit::list(one, &["headers"], at)?;
        for condition in conditions {
            let wanted = self.header(condition)?;
            let same_name = headers.iter().find(|present| {
                edit::text(present, &["name"])
                    .is_some_and(|name| name.eq_ignore_ascii_case(&condition.header))
            });
            let Some(present) = same_name else {
                headers.push(wanted);
                continue;
            };
            let is_exact =
                |header: &Value| edit::text(header, &["type"]).is_none_or(|form| form == "Exact");
            let is_same = is_exact(present) == is_exact(&wanted)
                && present.get("value") == wanted.get("value");
            if is_same {
                continue;
            }
            if is_exact(present) && is_exact(&wanted) {
                return Ok(None);
            }
            return Err(RouteError::Cannot {
                router: self.router,
                what: format!(
                    "match the header {} twice in one rule: {} has a condition on it already",
                    condition.header, self.target
                ),
            });
        }
        let mut one = one.clone();
        edit::set(&mut one, &["headers"], Value::Array(headers), at)?;
        Ok(Some(one))
    }

    fn header(&self, condition: &HeaderMatch) -> Result<Value> {
        let (form, value) = match &condition.value {
            ValueMatch::Exact(value) if value.is_empty() => {
                return Err(RouteError::Cannot {
                    router: self.router,
                    what: format!("match an empty header {}", condition.header),
                });
            }
            ValueMatch::Exact(value) => ("Exact", value.clone()),
            ValueMatch::Prefix(prefix) => ("RegularExpression", format!("{}.*", literally(prefix))),
            ValueMatch::Regex(regex) => ("RegularExpression", regex.clone()),
            ValueMatch::Present => ("RegularExpression", ".*".to_owned()),
        };
        Ok(json!({"type": form, "name": condition.header, "value": value}))
    }

    fn mirror_filter(&self, rule: &Value, share: Weight) -> Value {
        let backends = rule.get("backendRefs").and_then(Value::as_array);
        let canary = backends
            .into_iter()
            .flatten()
            .find(|backend| self.side(backend) == Side::Canary);
        let mut backend = BTreeMap::from([
            ("group", json!("")),
            ("kind", json!("Service")),
            ("name", json!(self.split.canary.service)),
        ]);
        for key in ["namespace", "port"] {
            if let Some(value) = canary.and_then(|canary| canary.get(key)) {
                backend.insert(key, value.clone());
            }
        }
        let mut mirror = json!({ "backendRef": backend });
        let bps = share.as_bps();
        if let Some(members) = mirror.as_object_mut()
            && !share.is_full()
        {
            if bps.is_multiple_of(100) {
                members.insert("percent".to_owned(), json!(bps / 100));
            } else {
                let fraction = json!({"numerator": bps, "denominator": 10_000});
                members.insert("fraction".to_owned(), fraction);
            }
        }
        json!({"type": "RequestMirror", "requestMirror": mirror})
    }
}

/// Returns a regular expression (RE2) for exactly this text.
pub(crate) fn literally(text: &str) -> String {
    let mut regex = String::new();
    for character in text.chars() {
        if "\\.+*?()|[]{}^$".contains(character) {
            regex.push('\\');
        }
        regex.push(character);
    }
    regex
}

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
        let mut told = reports
            .iter()
            .filter(|report| {
                report
                    .get("parentRef")
                    .is_some_and(|of| is_same_parent(of, parent))
            })
            .peekable();
        if told.peek().is_none() {
            return Accepted::Pending(format!("{name} has not reported on {target}"));
        }
        let wrong = told
            .map(|report| accepted_by(report, name, generation))
            .find(|accepted| *accepted != Accepted::Yes);
        if let Some(wrong) = wrong {
            return wrong;
        }
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

#[cfg(test)]
mod tests;
