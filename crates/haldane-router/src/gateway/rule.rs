//! The rules of one route: its backends, mirrors and header routes.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
};
use serde_json::{Value, json};

use super::{Result, cookie};
use crate::{
    before,
    edit::{self, Place},
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::RouteError,
    rules::{self, Before, Rules},
    split::Split,
    sticky::Sticky,
    weighted::{Absent, Entries, Scale, Share, Side},
};

/// How many rules a route may have, by the API.
const RULES_MAX: usize = 16;

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
    pub(crate) sticky: Option<&'a Sticky>,
    pub(crate) router: &'static str,
}

impl RouteRules<'_> {
    /// Returns what must change in this route.
    pub(crate) fn desired(&self, objects: &Objects) -> Result<Option<Change>> {
        let (present, rules, before, at) = self.read(objects)?;
        self.check_wishes()?;
        let place = at.keys(&["spec", "rules"]);
        let wanted = rules::desired(self, self.split, &rules, before.as_ref(), &place)?;
        // Where all is to go to stable, no rule to it is no reason to leave others to the canary.
        if !wanted.names_stable && !self.split.traffic.is_stable_only() {
            return Err(self.names_nobody(&place));
        }
        let kept = wanted.names_stable.then_some(wanted.before);
        let wanted = wanted.rules;
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
        before::write(&mut object, &self.split.release, kept.as_ref(), &at)?;
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
        let before = before::read(present, &self.split.release);
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
            absent: Absent::Is(1),
            totals: &[10_000],
            max: 1_000_000,
            alone: Some(1),
        }
    }
}

impl Rules for RouteRules<'_> {
    fn entries(&self) -> &dyn Entries {
        self
    }

    fn entries_keys(&self) -> &[&'static str] {
        &["backendRefs"]
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

    fn sticky(&self) -> Option<&Sticky> {
        self.sticky
    }

    fn set_cookie(&self, canary: &mut Value, value: Option<&str>, at: &Place<'_>) -> Result<()> {
        let Some(sticky) = self.sticky else {
            return Ok(());
        };
        cookie::set(canary, &sticky.begin(self.split), value, at)
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
