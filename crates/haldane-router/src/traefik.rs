//! Traefik: the weighted services of a TraefikService, or those of an IngressRoute, with header rules in the latter.
//!
//! Traefik gives requests out in turn, not by chance: short samples look perfect, and a tiny weight arrives late. A service of weight
//! zero is left out even for those whose cookie names it, so that nobody sticks to a canary that was rolled back.

use haldane_core::plan::{HeaderMatch, HeaderRoute, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Head, Members, Memory, Numbers},
    kinds::{INGRESS_ROUTE, TRAEFIK_SERVICE},
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::{Absent, Entries, Side},
};

/// Splits the requests of Traefik; at least `service` or `ingressRoute` is named.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Traefik {
    /// The TraefikService whose `weighted` services are split. Without it those of the IngressRoute are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The IngressRoute in which header rules are put beside those that lead to `service`, or to the stable Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_route: Option<String>,
    /// The TraefikService with `mirroring` that gets the canary as a mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirroring: Option<String>,
    /// The cookie that keeps a user on one version; it is put on `service` during a rollout if that has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky_cookie: Option<String>,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Traefik",
    weight: true,
    header: true,
    header_regex: true,
    mirror: true,
    mirror_share: true,
    sticky: true,
    proof: Proof::Traffic,
};

const STICKY: &str = "sticky";
const MIRRORS: &str = "mirrors";

impl Traefik {
    fn service_edit(&self, split: &Split) -> Option<Edit<'_>> {
        let target = TRAEFIK_SERVICE.named(&split.namespace, self.service.as_ref()?);
        let form = Form {
            router: &CAPABILITIES,
            rules: &[],
            backends: &["spec", "weighted", "services"],
            members: members(split),
            only: &[],
            has_weights: true,
            head: None,
            mirror: None,
            single: None,
        };
        Some(Edit {
            target,
            forms: vec![form],
        })
    }

    fn route_edit(&self, split: &Split, objects: &Objects) -> Option<Edit<'_>> {
        let target = INGRESS_ROUTE.named(&split.namespace, self.ingress_route.as_ref()?);
        let mut members = members(split);
        if let Some(service) = &self.service {
            let (canary, port) = (split.canary.service.clone(), self.port(split, objects));
            members.stable = format!("TraefikService/{service}");
            members.rename = Box::new(move |member| {
                *member = json!({ "name": canary });
                if let (Some(member), Some(port)) = (member.as_object_mut(), &port) {
                    member.insert("port".to_owned(), port.clone());
                }
            });
        }
        let head = Head {
            mark: "match",
            add: Box::new(|rule, route, _, at| add_head(rule, route, at)),
        };
        let form = Form {
            router: &CAPABILITIES,
            rules: &["spec", "routes"],
            backends: &["services"],
            members,
            only: &[],
            has_weights: self.service.is_none(),
            head: Some(head),
            mirror: None,
            single: None,
        };
        Some(Edit {
            target,
            forms: vec![form],
        })
    }

    /// Returns the port of the stable Service, as the weighted services have it.
    fn port(&self, split: &Split, objects: &Objects) -> Option<Value> {
        let target = TRAEFIK_SERVICE.named(&split.namespace, self.service.as_ref()?);
        let list =
            edit::get(objects.get(&target)?, &["spec", "weighted", "services"])?.as_array()?;
        let members = members(split);
        let mut list = list.iter();
        let stable = list.find(|member| members.side(member) == Side::Stable)?;
        stable.get("port").cloned()
    }

    /// Returns what must change in the TraefikService; a split of nothing stands for the user's own.
    fn service_changes(
        &self,
        split: &Split,
        wanted: Option<&Split>,
        object: &Value,
        edit: &Edit<'_>,
    ) -> Result<Vec<Change>, RouteError> {
        let at = Place::of(&edit.target);
        let before = Memory::of(object, split);
        let mut next = object.clone();
        let weighted = ["spec", "weighted"];
        if let (Some(cookie), Some(weighted)) =
            (before.more.get(STICKY), edit::get_mut(&mut next, &weighted))
            && edit::get(weighted, &["sticky", "cookie", "name"]) == Some(cookie)
        {
            edit::remove(weighted, "sticky");
        }
        let Some(split) = wanted else {
            edit.clear(&mut next, &before)?;
            Memory::default().keep(&mut next, split, &at)?;
            return Ok(edit::change(&edit.target, object, next));
        };
        let mut memory = edit.apply(&mut next, &only_weight(split), &before)?;
        let is_free = edit::get(&next, &weighted).is_some_and(|all| all.get("sticky").is_none());
        if let Some(cookie) = self.sticky_cookie.as_ref().filter(|_| is_free) {
            let sticky = json!({ "cookie": { "name": cookie, "httpOnly": true } });
            edit::set(&mut next, &["spec", "weighted", "sticky"], sticky, &at)?;
            memory.more.insert(STICKY.to_owned(), json!(cookie));
        }
        memory.change(&edit.target, split, object, next)
    }

    fn mirror_changes(
        &self,
        split: &Split,
        objects: &Objects,
        share_bps: u16,
    ) -> Result<Vec<Change>, RouteError> {
        let Some(name) = &self.mirroring else {
            return Ok(Vec::new());
        };
        let target = TRAEFIK_SERVICE.named(&split.namespace, name);
        let object = match edit::object(objects, &target) {
            Err(_) if share_bps == 0 => return Ok(Vec::new()),
            found => found?,
        };
        let port = self.port(split, objects);
        let next = mirrored(object, split, share_bps, port, &Place::of(&target))?;
        Ok(edit::change(&target, object, next))
    }

    fn check(&self, split: &Split) -> Result<(), RouteError> {
        let cannot = |what: &str| Err(CAPABILITIES.cannot(what));
        if self.service.is_none() && self.ingress_route.is_none() {
            return cannot("split without a `service` or an `ingressRoute`");
        }
        if self.ingress_route.is_none() && !split.canary_routes().is_empty() {
            return cannot("route by headers without an `ingressRoute`");
        }
        if self.mirroring.is_none() && !split.traffic.mirror.is_zero() {
            return cannot("copy requests without a TraefikService named in `mirroring`");
        }
        Ok(())
    }
}

impl Router for Traefik {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        let services = self.service.iter().chain(&self.mirroring);
        services
            .map(|name| TRAEFIK_SERVICE.named(namespace, name))
            .chain(
                self.ingress_route
                    .iter()
                    .map(|name| INGRESS_ROUTE.named(namespace, name)),
            )
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        self.check(split)?;
        let mut changes = Vec::new();
        if let Some(edit) = self.service_edit(split) {
            let object = edit::object(objects, &edit.target)?;
            changes.extend(self.service_changes(split, Some(split), object, &edit)?);
        }
        if let Some(edit) = self.route_edit(split, objects) {
            match edit.desired(&without_mirror(split), objects) {
                // Where all is to go to stable, what is missing is no reason to leave others to the canary.
                Err(_) if split.traffic.is_stable_only() && self.service.is_some() => {}
                more => changes.extend(more?),
            }
        }
        changes.extend(self.mirror_changes(split, objects, split.traffic.mirror.as_bps())?);
        Ok(changes)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let mut changes = Vec::new();
        if let Some(edit) = self.service_edit(split)
            && let Some(object) = objects.get(&edit.target)
        {
            changes.extend(self.service_changes(split, None, object, &edit)?);
        }
        if let Some(edit) = self.route_edit(split, objects) {
            changes.extend(edit.cleared(split, objects)?);
        }
        changes.extend(self.mirror_changes(split, objects, 0)?);
        Ok(changes)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.check(&split.stable_only())?;
        let edit = self.service_edit(split);
        match edit.or_else(|| self.route_edit(split, objects)) {
            Some(edit) => edit.seen(split, objects),
            None => Err(RouteError::NotOne(0)),
        }
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    /// Traefik drops what leads to a Service without endpoints, and so the whole IngressRoute, unless it runs with
    /// `providers.kubernetesCRD.allowEmptyServices`.
    fn needs_endpoints(&self) -> bool {
        true
    }
}

fn members(split: &Split) -> Members<'static> {
    let (canary, namespace) = (split.canary.service.clone(), split.namespace.clone());
    Members {
        weight: "weight",
        numbers: Numbers::Free,
        absent: Absent::Is(1),
        name: Box::new(move |member| {
            let name = edit::text(member, &["name"])?;
            let home = edit::text(member, &["namespace"]).filter(|home| *home != namespace);
            Some(match (edit::text(member, &["kind"]), home) {
                (Some(kind), Some(home)) => format!("{kind}/{home}/{name}"),
                (None, Some(home)) => format!("{home}/{name}"),
                (None | Some("Service"), None) => name.to_owned(),
                (Some(kind), None) => format!("{kind}/{name}"),
            })
        }),
        rename: Box::new(move |member| {
            if let Some(name) = member.get_mut("name") {
                *name = json!(canary);
            }
        }),
        stable: split.stable.service.clone(),
        canary: split.canary.service.clone(),
    }
}

fn without_mirror(split: &Split) -> Split {
    let mut split = split.clone();
    split.traffic.mirror = haldane_core::Weight::ZERO;
    split
}

fn only_weight(split: &Split) -> Split {
    let mut split = without_mirror(split);
    split.traffic.header_routes.clear();
    split.traffic.is_open_to_override = false;
    split
}

fn add_head(rule: &mut Value, route: &HeaderRoute, at: &Place<'_>) -> Result<(), RouteError> {
    let is_old = edit::text(rule, &["syntax"]) == Some("v2");
    let Some(own) = edit::text(rule, &["match"]) else {
        return Err(at.key("match").wrong("a text", rule.get("match")));
    };
    let mut rules = vec![format!("({own})")];
    for wanted in &route.matches {
        rules.push(header_rule(wanted, is_old)?);
    }
    edit::set(rule, &["match"], json!(rules.join(" && ")), at)?;
    // Without a priority of its own the longer rule comes first.
    let priority = rule.get("priority").and_then(Value::as_i64);
    if let Some(priority) = priority.filter(|priority| *priority != 0) {
        edit::set(rule, &["priority"], json!(priority.saturating_add(1)), at)?;
    }
    Ok(())
}

fn header_rule(wanted: &HeaderMatch, is_old: bool) -> Result<String, RouteError> {
    let (is_exact, value) = match &wanted.value {
        ValueMatch::Exact(value) => (true, value.clone()),
        ValueMatch::Prefix(value) => (false, format!("^{}", literally(value))),
        ValueMatch::Regex(value) => (false, format!("^(?:{value})$")),
        ValueMatch::Present => (false, ".*".to_owned()),
    };
    if value.contains('`') || wanted.header.contains('`') {
        return Err(CAPABILITIES.cannot("match a header with a back quote"));
    }
    let matcher = match (is_exact, is_old) {
        (true, false) => "Header",
        (false, false) => "HeaderRegexp",
        (true, true) => "Headers",
        (false, true) => "HeadersRegexp",
    };
    Ok(format!("{matcher}(`{}`, `{value}`)", wanted.header))
}

/// Returns a TraefikService with the canary as a mirror for a share, or without it.
fn mirrored(
    object: &Value,
    split: &Split,
    share_bps: u16,
    port: Option<Value>,
    at: &Place<'_>,
) -> Result<Value, RouteError> {
    let mut next = object.clone();
    let before = Memory::of(object, split);
    let mut memory = Memory::default();
    let canary = json!(split.canary.service);
    let keys = ["spec", "mirroring"];
    if let (Some(was), Some(mirroring)) =
        (before.more.get(MIRRORS), edit::get_mut(&mut next, &keys))
        && let Some(Value::Array(list)) = mirroring.get_mut("mirrors")
    {
        list.retain(|mirror| mirror.get("name") != Some(&canary));
        if list.is_empty() && *was == json!("none") {
            edit::remove(mirroring, "mirrors");
        }
    }
    if share_bps == 0 {
        memory.keep(&mut next, split, at)?;
        return Ok(next);
    }
    let Some(mirroring) = edit::get_mut(&mut next, &keys) else {
        return Err(at.keys(&keys).wrong("a map", None));
    };
    let at_mirroring = at.keys(&keys);
    let own = (edit::text(mirroring, &["name"]) == Some(split.stable.service.as_str()))
        .then(|| mirroring.get("port").cloned())
        .flatten();
    let percent = share_bps.saturating_add(50).div_euclid(100).clamp(1, 100);
    let mut mirror = json!({ "name": canary, "percent": percent });
    if let Some(port) = own.or(port) {
        edit::set(&mut mirror, &["port"], port, &at_mirroring)?;
    }
    let was = if mirroring.get("mirrors").is_none() {
        "none"
    } else {
        "some"
    };
    edit::list_mut(mirroring, &["mirrors"], &at_mirroring)?.push(mirror);
    memory.more.insert(MIRRORS.to_owned(), json!(was));
    memory.keep(&mut next, split, at)?;
    Ok(next)
}

#[cfg(test)]
mod tests;
