//! Istio: the `http`, `tls` and `tcp` routes of a VirtualService, by host or by subset.
//!
//! Stable and canary are two Services, or two subsets of one Service in a DestinationRule, whose labels are then set to those of each
//! side's pods. Weights add up to 100 as long as whole percents do, since older releases demand it; finer ones to 10,000, which Istio
//! takes since 1.15. Header routes are routes with a name of ours.
//!
//! A subset must be there before it is named, and be named no more before it goes: changes are to be written in the order in which they
//! are returned.

use std::collections::BTreeMap;

use haldane_core::{
    Weight,
    plan::{HeaderMatch, HeaderRoute, ValueMatch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::{
    before,
    edit::{self, Place},
    object::{Change, Kind, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules::{self, Before, Rules},
    split::Split,
    sticky::Sticky,
    weighted::{Absent, Entries, Scale, Side},
};

mod subset;

pub use self::subset::Subsets;

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "Istio";

/// The lists of routes of a VirtualService.
const LISTS: [&str; 3] = ["http", "tls", "tcp"];

/// A VirtualService.
pub static VIRTUAL_SERVICE: Kind = Kind {
    group: "networking.istio.io",
    kind: "VirtualService",
    plural: "virtualservices",
    versions: &["v1", "v1beta1", "v1alpha3"],
};

/// A DestinationRule.
pub static DESTINATION_RULE: Kind = Kind {
    group: "networking.istio.io",
    kind: "DestinationRule",
    plural: "destinationrules",
    versions: &["v1", "v1beta1", "v1alpha3"],
};

/// A VirtualService of Istio that routes to the stable Service, or to the stable subset of one Service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Istio {
    /// The name of the VirtualService.
    pub virtual_service: String,
    /// The names of the HTTP routes that are meant; if empty, all routes that name stable: HTTP, TLS and TCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// The DestinationRule whose subsets are split; if left out, two Services are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub destination_rule: Option<Subsets>,
    /// Keeps users on the canary by a cookie, in HTTP routes. (A consistent hash in the DestinationRule keeps them on one pod of a side.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
    /// The namespace of these objects; the release's if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// What a VirtualService was before, by list.
type ListsBefore = BTreeMap<String, Before>;

/// One list of routes, for one release.
struct RouteList<'a> {
    split: &'a Split,
    istio: &'a Istio,
    list: &'static str,
    namespace: &'a str,
    /// The host of the DestinationRule, where subsets are split.
    host: Option<&'a str>,
}

impl Istio {
    fn namespace<'a>(&'a self, namespace: &'a str) -> &'a str {
        self.namespace.as_deref().unwrap_or(namespace)
    }

    fn service(&self, namespace: &str) -> ObjectRef {
        VIRTUAL_SERVICE.named(self.namespace(namespace), &self.virtual_service)
    }

    fn destination(&self, namespace: &str) -> Option<ObjectRef> {
        let rule = self.destination_rule.as_ref()?;
        Some(DESTINATION_RULE.named(self.namespace(namespace), &rule.name))
    }

    /// Returns the lists with how they are read.
    fn lists<'a>(&'a self, split: &'a Split, host: Option<&'a str>) -> [RouteList<'a>; 3] {
        LISTS.map(|list| RouteList {
            split,
            istio: self,
            list,
            namespace: self.namespace(&split.namespace),
            host,
        })
    }

    /// Returns the host whose subsets are split, if subsets are.
    fn host<'o>(&self, split: &Split, objects: &'o Objects) -> Result<Option<&'o str>> {
        self.destination(&split.namespace)
            .map(|target| subset::host(&target, objects))
            .transpose()
    }

    fn desired_service(&self, split: &Split, objects: &Objects) -> Result<Option<Change>> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let before: Option<ListsBefore> = before::read(present, &split.release, &at)?;
        let before = before.unwrap_or_default();
        let mut object = present.clone();
        let mut after = ListsBefore::new();
        for list in self.lists(split, self.host(split, objects)?) {
            let keys = ["spec", list.list];
            let routes = edit::list(present, &keys, &at)?;
            let place = at.keys(&keys);
            let known = before.get(list.list);
            if let Some((wanted, kept)) = rules::desired(&list, split, &routes, known, &place)? {
                if wanted != routes {
                    edit::set(&mut object, &keys, Value::Array(wanted), &at)?;
                }
                after.insert(list.list.to_owned(), kept);
            }
        }
        if after.is_empty() {
            return Err(self.names_nobody(split, &at));
        }
        if !after.contains_key("http") {
            check_bytes(split)?;
        }
        if object == *present {
            return Ok(None);
        }
        before::write(&mut object, &split.release, Some(&after), &at)?;
        Ok(Some(Change::Put(target, object)))
    }

    fn cleared_service(&self, split: &Split, objects: &Objects) -> Result<Option<Change>> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let Some(present) = objects.get(&target) else {
            return Ok(None);
        };
        let before: Option<ListsBefore> = before::read(present, &split.release, &at)?;
        let before = before.unwrap_or_default();
        let mut object = present.clone();
        // Without the DestinationRule the names of the subsets must do.
        for list in self.lists(split, self.host(split, objects).unwrap_or(None)) {
            let keys = ["spec", list.list];
            let routes = edit::list(present, &keys, &at)?;
            let known = before.get(list.list);
            let wanted = rules::cleared(&list, &routes, known, &at.keys(&keys))?;
            if wanted != routes {
                edit::set(&mut object, &keys, Value::Array(wanted), &at)?;
            }
        }
        before::write::<ListsBefore>(&mut object, &split.release, None, &at)?;
        Ok((object != *present).then_some(Change::Put(target, object)))
    }

    fn names_nobody(&self, split: &Split, at: &Place<'_>) -> RouteError {
        let whom = match &self.destination_rule {
            Some(rule) => format!("the subset {} of {}", rule.stable_subset, rule.name),
            None => format!("the Service {}", split.stable.service),
        };
        let which = if self.routes.is_empty() {
            "a route".to_owned()
        } else {
            format!("an HTTP route named {}", self.routes.join(" or "))
        };
        at.key("spec")
            .refused(&format!("expected {which} to {whom}, found none"))
    }
}

impl Router for Istio {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        [Some(self.service(namespace)), self.destination(namespace)]
            .into_iter()
            .flatten()
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let service = self.desired_service(split, objects)?;
        let subsets = match (&self.destination_rule, self.destination(&split.namespace)) {
            (Some(rule), Some(target)) => rule.desired(split, &target, objects)?,
            _ => None,
        };
        Ok(subsets.into_iter().chain(service).collect())
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let service = self.cleared_service(split, objects)?;
        let subsets = match self.destination(&split.namespace) {
            Some(target) if objects.contains_key(&target) => {
                subset::cleared(split, &target, objects)?
            }
            _ => None,
        };
        Ok(service.into_iter().chain(subsets).collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = self.service(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let before: Option<ListsBefore> = before::read(present, &split.release, &at)?;
        let before = before.unwrap_or_default();
        let mut shares = Vec::new();
        for list in self.lists(split, self.host(split, objects)?) {
            let keys = ["spec", list.list];
            let routes = edit::list(present, &keys, &at)?;
            let known = before.get(list.list);
            shares.extend(rules::shares(&list, &routes, known, &at.keys(&keys))?);
        }
        rules::told(split.traffic.weight, &shares).ok_or_else(|| self.names_nobody(split, &at))
    }

    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let target = self.service(&split.namespace);
        match objects.get(&target) {
            Some(service) => reconciled(service),
            None => Accepted::Pending(format!("{target} does not exist")),
        }
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What Istio can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: true,
    proof: Proof::Objects,
};

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
            router: NAME,
            absent: Absent::AllIfAlone,
            totals: &[100, 10_000],
            max: u64::from(i32::MAX.unsigned_abs()),
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
    fn entries_key(&self) -> &'static str {
        "route"
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

/// Refuses what routes without HTTP can't do.
fn check_bytes(split: &Split) -> Result<()> {
    let what = if !split.canary_routes().is_empty() {
        "match headers"
    } else if !split.traffic.mirror.is_zero() {
        "mirror requests"
    } else {
        return Ok(());
    };
    Err(RouteError::Cannot {
        router: NAME,
        what: format!("{what} in TLS and TCP routes"),
    })
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

/// Returns what Istio tells of an object, where its status is turned on.
fn reconciled(object: &Value) -> Accepted {
    let list = |key: &str| edit::get(object, &["status", key]).and_then(Value::as_array);
    let mistake = list("validationMessages")
        .into_iter()
        .flatten()
        .find(|message| edit::text(message, &["level"]) == Some("ERROR"));
    if let Some(mistake) = mistake {
        let code = edit::text(mistake, &["type", "code"]).unwrap_or_default();
        return Accepted::No(format!("Istio reports {code}"));
    }
    let reconciled = list("conditions")
        .into_iter()
        .flatten()
        .find(|condition| edit::text(condition, &["type"]) == Some("Reconciled"));
    let Some(reconciled) = reconciled else {
        return Accepted::Unreported;
    };
    let number = |value: Option<&Value>| match value {
        // Istio writes 64-bit numbers as text.
        Some(Value::String(text)) => text.parse().ok(),
        other => other.and_then(Value::as_i64),
    };
    let observed: Option<i64> = number(
        reconciled
            .get("observedGeneration")
            .or_else(|| edit::get(object, &["status", "observedGeneration"])),
    );
    let is_old = observed < number(edit::get(object, &["metadata", "generation"]));
    if is_old || edit::text(reconciled, &["status"]) != Some("True") {
        return Accepted::Pending("not all proxies have it yet".to_owned());
    }
    Accepted::Yes
}

#[cfg(test)]
mod tests;
