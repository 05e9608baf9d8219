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
    kinds::MAPPING,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    shape::{Part, Wrong, entry, find, is_made, keep_made, part, quoted, text},
    shares::part_of,
    split::Split,
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
        let object = find(objects, &target)?;
        canary_spec(object, split).map_err(|wrong| wrong.of(CAPABILITIES.name, &target))
    }

    fn weigh(
        &self,
        split: &Split,
        objects: &Objects,
        spec: &Value,
    ) -> Result<Option<Change>, RouteError> {
        let target = self.canary(&split.namespace);
        let percent = json!(percent(split.traffic.weight));
        let told = |wrong: Wrong| wrong.of(CAPABILITIES.name, &target);
        let next = match objects.get(&target) {
            Some(object) if !is_made(object, split) => {
                let mut next = object.clone();
                let place = entry(&mut next, "", "spec", json!({})).map_err(told)?;
                *entry(place, "spec", "weight", Value::Null).map_err(told)? = percent;
                (next != *object).then_some(next)
            }
            Some(_) | None => {
                let mut spec = spec.clone();
                *entry(&mut spec, "spec", "weight", Value::Null).map_err(told)? = percent;
                keep_made(&target, split, &spec, objects)?
            }
        };
        Ok(next.map(|next| Change::Put(target.clone(), next)))
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
        let cannot = |what: &str| RouteError::Cannot {
            router: CAPABILITIES.name,
            what: what.to_owned(),
        };
        if !split.traffic.mirror.is_zero() {
            return Err(cannot("copy requests to the canary"));
        }
        let routes = split.canary_routes();
        if routes.len() > HEADER_RULES_MAX {
            return Err(cannot("have more than 8 header rules at once"));
        }
        let spec = self.spec(split, objects)?;
        let mut changes: Vec<Change> = self.weigh(split, objects, &spec)?.into_iter().collect();
        for (index, target) in self.headers(&split.namespace).enumerate() {
            match routes.get(index) {
                Some(route) => {
                    let spec = with_headers(&spec, route).map_err(|wrong| {
                        wrong.of(CAPABILITIES.name, &self.base(&split.namespace))
                    })?;
                    let next = keep_made(&target, split, &spec, objects)?;
                    changes.extend(next.map(|next| Change::Put(target, next)));
                }
                None => changes.extend(gone(target, split, objects)),
            }
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
        let weight = match part(object, &["spec", "weight"]) {
            // Mappings without a weight share evenly.
            None | Some(Value::Null) => part_of(1, 2),
            Some(raw) => raw
                .as_u64()
                .filter(|weight| *weight <= 100)
                .and_then(|weight| part_of(weight, 100)),
        };
        let weight = weight.ok_or_else(|| {
            let found = part(object, &["spec", "weight"]).unwrap_or(&Value::Null);
            Wrong::found("spec.weight", "whole percents", found).of(CAPABILITIES.name, &target)
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

fn canary_spec(object: &Value, split: &Split) -> Part<Value> {
    let mut spec = match object.get("spec") {
        Some(spec) => spec.clone(),
        None => return Err(Wrong::at("spec", "expected a mapping, found nothing")),
    };
    if spec.get("weight").is_some_and(|weight| !weight.is_null()) {
        let expected = "expected none: the Mapping of stable gets what the canary's leaves";
        return Err(Wrong::at("spec.weight", expected));
    }
    let found = spec.get("service").cloned().unwrap_or_default();
    let renamed = found.as_str().and_then(|service| {
        let (scheme, rest) = match service.split_once("://") {
            Some((scheme, rest)) => (format!("{scheme}://"), rest),
            None => (String::new(), service),
        };
        let rest = rest.strip_prefix(split.stable.service.as_str())?;
        let is_whole = rest.is_empty() || rest.starts_with(['.', ':', '/']);
        is_whole.then(|| format!("{scheme}{}{rest}", split.canary.service))
    });
    let Some(renamed) = renamed else {
        let expected = format!(
            "expected the Service {}, found {found}",
            split.stable.service
        );
        return Err(Wrong::at("spec.service", expected));
    };
    *entry(&mut spec, "spec", "service", Value::Null)? = json!(renamed);
    Ok(spec)
}

fn with_headers(spec: &Value, route: &HeaderRoute) -> Part<Value> {
    let mut spec = spec.clone();
    for wanted in &route.matches {
        let (field, value) = match &wanted.value {
            ValueMatch::Exact(value) => ("headers", value.clone()),
            ValueMatch::Prefix(value) => ("regex_headers", format!("{}.*", quoted(value))),
            ValueMatch::Regex(value) => ("regex_headers", value.clone()),
            ValueMatch::Present => ("regex_headers", ".*".to_owned()),
        };
        for field in ["headers", "regex_headers"] {
            if text(&spec, &[field, &wanted.header]).is_some() {
                let what = format!("match the header {} twice in one Mapping", wanted.header);
                return Err(Wrong::Cannot(what));
            }
        }
        let headers = entry(&mut spec, "spec", field, json!({}))?;
        *entry(
            headers,
            &format!("spec.{field}"),
            &wanted.header,
            Value::Null,
        )? = json!(value);
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
