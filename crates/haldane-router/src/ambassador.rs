//! Ambassador (Emissary): a second Mapping like the user's own takes the canary's share; others, with headers, take what asks for it.
//!
//! Ambassador prefers the Mapping with more conditions, so that header rules come first by themselves. Weights are whole percents.

use haldane_core::{
    Weight,
    plan::{HeaderRoute, ValueMatch},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    edit::{self, Place},
    kinds::MAPPING,
    made::{is_made, kept},
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted,
};

/// Splits the requests of an Ambassador Mapping.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Ambassador {
    /// The name of the Mapping that leads to the stable Service.
    pub mapping: String,
    /// The name of the canary's Mapping; it is made where there is none. Default: that of `mapping` with `-canary`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_mapping: Option<String>,
}

/// What it can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: "Ambassador",
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

/// The most header rules at once: each is a Mapping whose name has to be known beforehand.
const HEADER_RULES_MAX: usize = 8;

impl Ambassador {
    fn base(&self, namespace: &str) -> ObjectRef {
        MAPPING.named(namespace, &self.mapping)
    }

    fn canary(&self, namespace: &str) -> ObjectRef {
        let name = self.canary_mapping.clone();
        let name = name.unwrap_or_else(|| format!("{}-canary", self.mapping));
        MAPPING.named(namespace, &name)
    }

    fn headers(&self, namespace: &str) -> impl Iterator<Item = ObjectRef> {
        let name = |number| format!("{}-haldane-{number}", self.mapping);
        (1..=HEADER_RULES_MAX).map(move |number| MAPPING.named(namespace, &name(number)))
    }

    /// Returns what the canary's Mapping says, but for its weight.
    fn spec(&self, split: &Split, objects: &Objects) -> Result<Value, RouteError> {
        let target = self.base(&split.namespace);
        let object = edit::object(objects, &target)?;
        canary_spec(object, split, &Place::of(&target))
    }

    fn weigh(
        &self,
        split: &Split,
        objects: &Objects,
        spec: &Value,
    ) -> Result<Option<Change>, RouteError> {
        let target = self.canary(&split.namespace);
        let percent = json!(percent(split.traffic.weight));
        let at = Place::of(&target);
        match objects.get(&target) {
            Some(object) if !is_made(object, split) => {
                let mut next = object.clone();
                edit::set(&mut next, &["spec", "weight"], percent, &at)?;
                Ok(edit::change(&target, object, next).pop())
            }
            Some(_) | None => {
                let mut spec = spec.clone();
                edit::set(&mut spec, &["weight"], percent, &at)?;
                kept(target, split, &spec, objects)
            }
        }
    }
}

impl Router for Ambassador {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        [self.base(namespace), self.canary(namespace)]
            .into_iter()
            .chain(self.headers(namespace))
            .collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        if !split.traffic.mirror.is_zero() {
            return Err(CAPABILITIES.cannot("copy requests to the canary"));
        }
        let routes = split.canary_routes();
        if routes.len() > HEADER_RULES_MAX {
            return Err(CAPABILITIES.cannot("have more than 8 header rules at once"));
        }
        let spec = match self.spec(split, objects) {
            // Where all is to go to stable its Mapping is no reason to leave some to the canary.
            Err(_)
                if split.traffic.is_stable_only()
                    && objects.contains_key(&self.canary(&split.namespace)) =>
            {
                return self.cleared(split, objects);
            }
            spec => spec?,
        };
        let mut changes: Vec<Change> = self.weigh(split, objects, &spec)?.into_iter().collect();
        for (index, target) in self.headers(&split.namespace).enumerate() {
            let Some(route) = routes.get(index) else {
                changes.extend(gone(target, split, objects));
                continue;
            };
            let base = self.base(&split.namespace);
            let spec = with_headers(&spec, route, &Place::of(&base).key("spec"))?;
            changes.extend(kept(target, split, &spec, objects)?);
        }
        Ok(changes)
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let target = self.canary(&split.namespace);
        let mut changes = Vec::new();
        match objects.get(&target) {
            Some(object) if !is_made(object, split) => {
                changes.extend(self.weigh(&split.stable_only(), objects, &Value::Null)?);
            }
            Some(_) => changes.push(Change::Delete(target)),
            None => {}
        }
        let headers = self.headers(&split.namespace);
        changes.extend(headers.filter_map(|target| gone(target, split, objects)));
        Ok(changes)
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        self.spec(split, objects)?;
        let target = self.canary(&split.namespace);
        let Some(object) = objects.get(&target) else {
            return Ok(Seen {
                weight: Weight::ZERO,
            });
        };
        let found = edit::get(object, &["spec", "weight"]);
        let weight = match found {
            // Mappings without a weight share evenly.
            None | Some(Value::Null) => Some(weighted::nearest(1, 2)),
            Some(raw) => raw
                .as_u64()
                .filter(|weight| *weight <= 100)
                .map(|weight| weighted::nearest(weight, 100)),
        };
        let weight = weight.ok_or_else(|| {
            Place::of(&target)
                .keys(&["spec", "weight"])
                .wrong("whole percents", found)
        })?;
        Ok(Seen { weight })
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

fn gone(target: ObjectRef, split: &Split, objects: &Objects) -> Option<Change> {
    let is_ours = objects
        .get(&target)
        .is_some_and(|object| is_made(object, split));
    is_ours.then_some(Change::Delete(target))
}

fn canary_spec(object: &Value, split: &Split, at: &Place<'_>) -> Result<Value, RouteError> {
    let at = at.key("spec");
    let found = object.get("spec");
    let Some(mut spec) = found.filter(|spec| spec.is_object()).cloned() else {
        return Err(at.wrong("a map", found));
    };
    if spec.get("weight").is_some_and(|weight| !weight.is_null()) {
        return Err(at
            .key("weight")
            .refused("expected none: the Mapping of stable gets what the canary's leaves"));
    }
    let found = edit::text(&spec, &["service"]);
    let renamed = found.and_then(|service| {
        let (scheme, rest) = match service.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), service),
        };
        let rest = rest.strip_prefix(split.stable.service.as_str())?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', ':', '/']);
        is_whole.then(|| format!("{scheme}{}{rest}", split.canary.service))
    });
    let Some(renamed) = renamed else {
        let expected = format!("the Service {}", split.stable.service);
        return Err(at.key("service").wrong(&expected, spec.get("service")));
    };
    edit::set(&mut spec, &["service"], json!(renamed), &at)?;
    Ok(spec)
}

fn with_headers(spec: &Value, route: &HeaderRoute, at: &Place<'_>) -> Result<Value, RouteError> {
    let mut spec = spec.clone();
    for wanted in &route.matches {
        let header = &wanted.header;
        let (field, value) = match &wanted.value {
            ValueMatch::Exact(value) => ("headers", value.clone()),
            ValueMatch::Prefix(value) => ("regex_headers", format!("{}.*", literally(value))),
            ValueMatch::Regex(value) => ("regex_headers", value.clone()),
            ValueMatch::Present => ("regex_headers", ".*".to_owned()),
        };
        let is_taken = |field| edit::text(&spec, &[field, header]).is_some();
        if is_taken("headers") || is_taken("regex_headers") {
            return Err(
                CAPABILITIES.cannot(format!("match the header {header} twice in one Mapping"))
            );
        }
        edit::set(&mut spec, &[field, header], json!(value), at)?;
    }
    Ok(spec)
}

/// Returns whole percents: never none or all of them where the weight is neither.
fn percent(weight: Weight) -> u16 {
    let nearest = weight.as_bps().saturating_add(50) / 100;
    if weight.is_zero() || weight.is_full() {
        nearest
    } else {
        nearest.clamp(1, 99)
    }
}

#[cfg(test)]
mod tests;
