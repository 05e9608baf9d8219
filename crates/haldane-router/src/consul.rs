//! Consul: the splits of a ServiceSplitter, and the routes of a ServiceRouter for headers.
//!
//! A split of a split multiplies: the canary must have no splitter of its own. The subsets that a splitter names have to stand in the
//! ServiceResolver; that is looked at and told, lest Consul refuse the splitter.

use haldane_core::plan::{HeaderMatch, ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    forms::{Edit, Form, Members, Memory, Numbers},
    kinds::{SERVICE_RESOLVER, SERVICE_ROUTER, SERVICE_SPLITTER},
    made::{covers, is_made, kept},
    object::{Change, ObjectRef, Objects},
    report::condition,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted::Absent,
};

/// Splits the requests of a Consul service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Consul {
    /// The ServiceSplitter's name, which is that of the Consul service.
    pub splitter: String,
    /// The subsets of that service, where stable and canary are subsets; else they are the services of the release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subsets: Option<Subsets>,
    /// Whether a ServiceRouter of the same name is used for header rules; it is made for them where there is none. Default: `false`.
    #[serde(default)]
    pub router: bool,
}

/// The subsets of both sides, as the ServiceResolver of the same name has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Subsets {
    /// Stable's subset.
    pub stable: String,
    /// The canary's subset.
    pub canary: String,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Consul",
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

/// Where the memory keeps which routes of a ServiceRouter are ours.
const ROUTES: &str = "routes";

impl Consul {
    fn edit(&self, split: &Split) -> Edit<'_> {
        let (stable, canary) = match &self.subsets {
            Some(subsets) => (
                self.label(Some(&subsets.stable)),
                self.label(Some(&subsets.canary)),
            ),
            None => (split.stable.service.clone(), split.canary.service.clone()),
        };
        let destination = self.destination(split);
        Edit {
            target: SERVICE_SPLITTER.named(&split.namespace, &self.splitter),
            forms: vec![Form {
                router: &CAPABILITIES,
                rules: &[],
                backends: &["spec", "splits"],
                members: Members {
                    weight: "weight",
                    numbers: Numbers::Hundredths,
                    absent: Absent::Is(0),
                    name: Box::new(|member| Some(self.name(member))),
                    rename: Box::new(move |member| {
                        if let (Some(member), Value::Object(destination)) =
                            (member.as_object_mut(), &destination)
                        {
                            member.extend(destination.clone());
                        }
                    }),
                    stable,
                    canary,
                },
                only: &[],
                has_weights: true,
                head: None,
                mirror: None,
                single: None,
            }],
        }
    }

    fn label(&self, subset: Option<&str>) -> String {
        subset.map_or_else(
            || self.splitter.clone(),
            |subset| format!("{}/{subset}", self.splitter),
        )
    }

    fn name(&self, member: &Value) -> String {
        let service = edit::text(member, &["service"]).unwrap_or(&self.splitter);
        edit::text(member, &["serviceSubset"]).map_or_else(
            || service.to_owned(),
            |subset| format!("{service}/{subset}"),
        )
    }

    /// Returns what leads to the canary.
    fn destination(&self, split: &Split) -> Value {
        match &self.subsets {
            Some(subsets) => json!({ "service": self.splitter, "serviceSubset": subsets.canary }),
            None => json!({ "service": split.canary.service }),
        }
    }

    /// Looks for the subsets in the ServiceResolver.
    fn check(&self, split: &Split, objects: &Objects) -> Result<(), RouteError> {
        let Some(subsets) = &self.subsets else {
            return Ok(());
        };
        let target = SERVICE_RESOLVER.named(&split.namespace, &self.splitter);
        let resolver = edit::object(objects, &target)?;
        for subset in [&subsets.stable, &subsets.canary] {
            if edit::get(resolver, &["spec", "subsets", subset]).is_none() {
                return Err(Place::of(&target)
                    .keys(&["spec", "subsets"])
                    .refused(&format!("expected the subset {subset}, found none")));
            }
        }
        Ok(())
    }

    /// Returns what must change in the ServiceRouter: nothing of a split stands for the user's own.
    fn route_change(
        &self,
        split: &Split,
        objects: &Objects,
        conditions: &[Value],
    ) -> Result<Option<Change>, RouteError> {
        let target = SERVICE_ROUTER.named(&split.namespace, &self.splitter);
        match objects.get(&target) {
            Some(object) if !is_made(object, split) => {
                let next = self.routed(object, split, conditions, &Place::of(&target))?;
                Ok(edit::change(&target, object, next).pop())
            }
            None if conditions.is_empty() => Ok(None),
            Some(_) if conditions.is_empty() => Ok(Some(Change::Delete(target))),
            Some(_) | None => {
                let spec = json!({ "routes": self.everywhere(split, conditions) });
                kept(target, split, &spec, objects)
            }
        }
    }

    /// Returns a ServiceRouter of the user's own with header rules before each route that leads here, and at the end.
    fn routed(
        &self,
        object: &Value,
        split: &Split,
        conditions: &[Value],
        at: &Place<'_>,
    ) -> Result<Value, RouteError> {
        let keys = ["spec", "routes"];
        let before = Memory::of(object, split);
        let marks = before.more.get(ROUTES).and_then(Value::as_array);
        let mut next = object.clone();
        let mut routes = edit::list(&next, &keys, at)?;
        let is_ours =
            |route: &Value| marks.is_some_and(|marks| marks.iter().any(|mark| covers(route, mark)));
        routes.retain(|route| !is_ours(route));
        let mut ours = Vec::new();
        let mut all = Vec::new();
        for (index, route) in routes.into_iter().enumerate() {
            if self.leads_here(&route, split) {
                let at = at.keys(&keys).item(index);
                for condition in conditions {
                    let copy = self.with_condition(&route, split, condition, &at)?;
                    ours.push(copy.clone());
                    all.push(copy);
                }
            }
            all.push(route);
        }
        let last = self.everywhere(split, conditions);
        ours.extend(last.clone());
        all.extend(last);
        if edit::get(&next, &keys).is_some() || !all.is_empty() {
            edit::set(&mut next, &keys, Value::Array(all), at)?;
        }
        let mut memory = Memory::default();
        if !ours.is_empty() {
            memory.more.insert(ROUTES.to_owned(), Value::Array(ours));
        }
        memory.keep(&mut next, split, at)?;
        Ok(next)
    }

    fn leads_here(&self, route: &Value, split: &Split) -> bool {
        let destination = route.get("destination").unwrap_or(&Value::Null);
        let name = self.name(destination);
        name == self.splitter || self.subsets.is_none() && name == split.stable.service
    }

    fn with_condition(
        &self,
        route: &Value,
        split: &Split,
        condition: &Value,
        at: &Place<'_>,
    ) -> Result<Value, RouteError> {
        let mut copy = route.clone();
        let headers = edit::list_mut(&mut copy, &["match", "http", "header"], at)?;
        headers.extend(condition.as_array().into_iter().flatten().cloned());
        if let Value::Object(canary) = self.destination(split) {
            for (key, value) in canary {
                edit::set(&mut copy, &["destination", &key], value, at)?;
            }
        }
        Ok(copy)
    }

    /// Returns the header rules for the requests that no other route takes.
    fn everywhere(&self, split: &Split, conditions: &[Value]) -> Vec<Value> {
        let destination = self.destination(split);
        conditions
            .iter()
            .map(|condition| {
                json!({ "match": { "http": { "header": condition } }, "destination": destination })
            })
            .collect()
    }
}

impl Router for Consul {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        let mut kinds = vec![&SERVICE_SPLITTER];
        kinds.extend(self.subsets.iter().map(|_| &SERVICE_RESOLVER));
        kinds.extend(self.router.then_some(&SERVICE_ROUTER));
        let named = kinds
            .into_iter()
            .map(|kind| kind.named(namespace, &self.splitter));
        named.collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let conditions: Vec<Value> = split
            .canary_routes()
            .iter()
            .map(|route| route.matches.iter().map(header).collect())
            .collect();
        if !self.router && !conditions.is_empty() {
            return Err(CAPABILITIES.cannot("route by headers without `router: true`"));
        }
        // Going back to stable must not fail over what only the canary needs.
        if !split.traffic.is_stable_only() {
            self.check(split, objects)?;
        }
        let mut weighed = split.clone();
        weighed.traffic.header_routes.clear();
        weighed.traffic.is_open_to_override = false;
        let mut changes = self.edit(split).desired(&weighed, objects)?;
        if self.router {
            let change = match self.route_change(split, objects, &conditions) {
                Err(_) if split.traffic.is_stable_only() => None,
                change => change?,
            };
            changes.extend(change);
        }
        Ok(changes)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let mut changes = self.edit(split).cleared(split, objects)?;
        if self.router {
            changes.extend(self.route_change(split, objects, &[])?);
        }
        Ok(changes)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.edit(split).seen(split, objects)
    }

    /// Consul tells no generation: a refusal counts, that it was synced at some time does not.
    fn accepted(&self, split: &Split, objects: &Objects) -> Accepted {
        let targets = self.objects(&split.namespace);
        let refused = targets
            .iter()
            .filter_map(|target| objects.get(target))
            .find_map(|object| {
                let mut object = object.clone();
                // Without a generation every condition counts as of the present one.
                edit::get_mut(&mut object, &["metadata"])
                    .and_then(|metadata| edit::remove(metadata, "generation"));
                match condition(
                    &object,
                    &["Synced"],
                    CAPABILITIES.name,
                    Accepted::Unreported,
                ) {
                    Accepted::No(why) => Some(Accepted::No(why)),
                    Accepted::Yes | Accepted::Unreported | Accepted::Pending(_) => None,
                }
            });
        refused.unwrap_or(Accepted::Unreported)
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn header(wanted: &HeaderMatch) -> Value {
    let name = &wanted.header;
    match &wanted.value {
        ValueMatch::Exact(value) => json!({ "name": name, "exact": value }),
        ValueMatch::Prefix(value) => json!({ "name": name, "prefix": value }),
        ValueMatch::Regex(value) => json!({ "name": name, "regex": value }),
        ValueMatch::Present => json!({ "name": name, "present": true }),
    }
}

#[cfg(test)]
mod tests;
