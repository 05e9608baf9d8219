//! One list of routes of a VirtualService: its destinations, mirrors and header routes.

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
};
use serde_json::{Map, Value, json};

use super::{Istio, NAME, Result};
use crate::{
    edit::{self, Place},
    route::RouteError,
    rules::Rules,
    split::Split,
    sticky::Sticky,
    weighted::{Absent, Entries, Scale, Side},
};

/// One list of routes, for one release.
pub(super) struct RouteList<'a> {
    pub(super) split: &'a Split,
    pub(super) istio: &'a Istio,
    pub(super) list: &'static str,
    pub(super) namespace: &'a str,
    /// The host of the DestinationRule, where subsets are split.
    pub(super) host: Option<&'a str>,
}

impl Entries for RouteList<'_> {
    fn side(&self, entry: &Value) -> Side {
        let host = edit::text(entry, &["destination", "host"]).unwrap_or_default();
        if let Some(rule) = &self.istio.destination_rule {
            let subset = edit::text(entry, &["destination", "subset"]);
            return match subset {
                _ if self.host.is_some_and(|of| self.long(of) != self.long(host)) => Side::Other,
                Some(name) if name == rule.stable_subset => Side::Stable,
                Some(name) if name == rule.canary_subset => Side::Canary,
                _ => Side::Other,
            };
        }
        let is = |service: &str| self.long(host) == format!("{service}.{}", self.split.namespace);
        if is(&self.split.stable.service) {
            Side::Stable
        } else if is(&self.split.canary.service) {
            Side::Canary
        } else {
            Side::Other
        }
    }

    fn id(&self, entry: &Value) -> String {
        let text = |key| edit::text(entry, &["destination", key]);
        let host = text("host").unwrap_or_default();
        match text("subset") {
            Some(subset) => format!("{host}/{subset}"),
            None => host.to_owned(),
        }
    }

    fn canary_like(&self, stable: &Value) -> Value {
        let mut canary = stable.clone();
        let Some(destination) = canary.get_mut("destination").and_then(Value::as_object_mut) else {
            return canary;
        };
        if let Some(rule) = &self.istio.destination_rule {
            destination.insert("subset".to_owned(), json!(rule.canary_subset));
            return canary;
        }
        let host = destination.get("host").and_then(Value::as_str);
        let domain = host.and_then(|host| host.split_once('.'));
        let service = &self.split.canary.service;
        let host = match domain {
            Some((_, domain)) => format!("{service}.{domain}"),
            None => service.clone(),
        };
        destination.insert("host".to_owned(), json!(host));
        canary
    }

    fn scale(&self) -> Scale {
        Scale {
            absent: Absent::AllIfAlone,
            totals: &[100, 10_000],
            max: u64::from(i32::MAX.unsigned_abs()),
            alone: Some(100),
        }
    }
}

impl RouteList<'_> {
    /// Returns a host as `service.namespace`, or as it is if it is no Service's.
    fn long(&self, host: &str) -> String {
        let mut parts = host.splitn(3, '.');
        match (parts.next(), parts.next(), parts.next()) {
            (Some(service), None, _) => format!("{service}.{}", self.namespace),
            (Some(service), Some(namespace), None) => format!("{service}.{namespace}"),
            (Some(service), Some(namespace), Some(rest))
                if rest == "svc" || rest.starts_with("svc.") =>
            {
                format!("{service}.{namespace}")
            }
            _ => host.to_owned(),
        }
    }

    fn prefix(&self) -> String {
        format!("haldane/{}/", self.split.release)
    }
}

impl Rules for RouteList<'_> {
    fn entries(&self) -> &dyn Entries {
        self
    }

    fn entries_keys(&self) -> &[&'static str] {
        &["route"]
    }

    fn matches_key(&self) -> &'static str {
        "match"
    }

    fn covers(&self, rule: &Value) -> bool {
        let names = &self.istio.routes;
        names.is_empty()
            || edit::text(rule, &["name"]).is_some_and(|name| names.iter().any(|one| one == name))
    }

    fn is_named_ours(&self, rule: &Value) -> bool {
        edit::text(rule, &["name"]).is_some_and(|name| name.starts_with(&self.prefix()))
    }

    fn narrowed(
        &self,
        rule: &Value,
        route: &HeaderRoute,
        index: usize,
        at: &Place<'_>,
    ) -> Result<Option<Value>> {
        if self.list != "http" {
            return Ok(None);
        }
        let mut matches = edit::list(rule, &["match"], at)?;
        if matches.is_empty() {
            matches.push(json!({}));
        }
        let mut narrowed = Vec::new();
        for (index, one) in matches.iter().enumerate() {
            let at = at.key("match").item(index);
            if let Some(one) = with_headers(one, &route.matches, &at)? {
                narrowed.push(one);
            }
        }
        if narrowed.is_empty() {
            return Ok(None);
        }
        let name = match index {
            0 => format!("{}{}", self.prefix(), route.name),
            more => format!("{}{}-{more}", self.prefix(), route.name),
        };
        let mut copy = rule.clone();
        edit::set(&mut copy, &["name"], json!(name), at)?;
        edit::set(&mut copy, &["match"], Value::Array(narrowed), at)?;
        Ok(Some(copy))
    }

    fn sticky(&self) -> Option<&Sticky> {
        self.istio.sticky.as_ref().filter(|_| self.list == "http")
    }

    fn set_cookie(&self, canary: &mut Value, value: Option<&str>, at: &Place<'_>) -> Result<()> {
        let Some(sticky) = self.sticky() else {
            return Ok(());
        };
        let path = ["headers", "response", "add", "set-cookie"];
        let present = edit::get(canary, &path).filter(|present| !present.is_null());
        let is_ours = present.is_none_or(|present| {
            let text = present.as_str().unwrap_or_default();
            text.starts_with(&sticky.begin(self.split))
        });
        match (is_ours, value) {
            (false, Some(_)) => Err(RouteError::Cannot {
                router: NAME,
                what: format!(
                    "set a second cookie on the canary's answers in {}",
                    at.object()
                ),
            }),
            (true, Some(value)) => edit::set(canary, &path, json!(value), at),
            (true, None) => {
                edit::prune(canary, &path);
                Ok(())
            }
            (false, None) => Ok(()),
        }
    }

    fn mirror(
        &self,
        rule: &mut Value,
        share: Weight,
        ours: Option<bool>,
        at: &Place<'_>,
    ) -> Result<Option<bool>> {
        if self.list != "http" {
            return Ok(None);
        }
        let (destination, percent) = (self.mirrored(rule), json!({"value": percent(share)}));
        match ours {
            Some(true) => {
                let new = json!({"destination": destination, "percentage": percent});
                self.mirror_in_list(rule, (!share.is_zero()).then_some(new), true, at)?;
                return Ok((!share.is_zero()).then_some(true));
            }
            Some(false) => {
                edit::remove(rule, "mirror");
                edit::remove(rule, "mirrorPercentage");
            }
            None => {}
        }
        if share.is_zero() {
            return Ok(None);
        }
        if rule.get("mirrors").is_some() {
            let new = json!({"destination": destination, "percentage": percent});
            self.mirror_in_list(rule, Some(new), false, at)?;
            return Ok(Some(true));
        }
        if rule.get("mirror").is_some() {
            return Err(RouteError::Cannot {
                router: NAME,
                what: format!(
                    "mirror beside the `mirror` of a route in {}; write that one as a list, `mirrors`",
                    at.object()
                ),
            });
        }
        edit::set(rule, &["mirror"], destination, at)?;
        edit::set(rule, &["mirrorPercentage"], percent, at)?;
        Ok(Some(false))
    }
}

impl RouteList<'_> {
    /// Returns the destination of the canary in a route that is split.
    fn mirrored(&self, rule: &Value) -> Value {
        let entries = rule.get("route").and_then(Value::as_array);
        let canary = entries
            .into_iter()
            .flatten()
            .find(|entry| self.side(entry) == Side::Canary);
        let destination = canary.and_then(|entry| entry.get("destination"));
        destination.cloned().unwrap_or(Value::Null)
    }

    /// Puts our mirror into the list of them in the place of the one that is there, or takes it out.
    fn mirror_in_list(
        &self,
        rule: &mut Value,
        new: Option<Value>,
        is_there: bool,
        at: &Place<'_>,
    ) -> Result<()> {
        if rule.get("mirrors").is_none() && new.is_none() {
            return Ok(());
        }
        let mut mirrors = edit::list(rule, &["mirrors"], at)?;
        let ours = mirrors
            .iter()
            .rposition(|mirror| self.side(mirror) == Side::Canary);
        match (ours.filter(|_| is_there), new) {
            (Some(place), None) => drop(mirrors.remove(place)),
            (Some(place), Some(new)) => {
                if let Some(mirror) = mirrors.get_mut(place) {
                    *mirror = new;
                }
            }
            (None, Some(new)) => mirrors.push(new),
            (None, None) => {}
        }
        edit::set(rule, &["mirrors"], Value::Array(mirrors), at)
    }
}

/// Returns the match with these conditions too; `None` if no request can have both.
fn with_headers(one: &Value, conditions: &[HeaderMatch], at: &Place<'_>) -> Result<Option<Value>> {
    let mut headers = match one.get("headers") {
        None => Map::new(),
        Some(Value::Object(headers)) => headers.clone(),
        other => return Err(at.key("headers").wrong("a map", other)),
    };
    for condition in conditions {
        let wanted = match &condition.value {
            ValueMatch::Exact(value) => json!({ "exact": value }),
            ValueMatch::Prefix(prefix) => json!({ "prefix": prefix }),
            ValueMatch::Regex(regex) => json!({ "regex": regex }),
            ValueMatch::Present => json!({}),
        };
        match headers.get(&condition.header) {
            None => {
                headers.insert(condition.header.clone(), wanted);
            }
            Some(present) if *present == wanted => {}
            Some(present) if present.get("exact").is_some() && wanted.get("exact").is_some() => {
                return Ok(None);
            }
            Some(_) => {
                return Err(RouteError::Cannot {
                    router: NAME,
                    what: format!(
                        "match the header {} twice in one route: {} has a condition on it already",
                        condition.header,
                        at.object()
                    ),
                });
            }
        }
    }
    let mut one = one.clone();
    edit::set(&mut one, &["headers"], Value::Object(headers), at)?;
    Ok(Some(one))
}

/// Returns percent as a number, with a fraction only if it has one.
fn percent(share: Weight) -> Value {
    let bps = share.as_bps();
    if bps.is_multiple_of(100) {
        return json!(bps / 100);
    }
    let text = format!("{}.{:02}", bps / 100, bps % 100);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
