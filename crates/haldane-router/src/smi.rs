//! SMI: the backends of a TrafficSplit, as older Linkerd and Open Service Mesh read them.
//!
//! Weights are relative. In `v1alpha1` they are Kubernetes quantities (`500m`), later whole numbers; both are written as they are found.

use haldane_core::Weight;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    before,
    edit::{self, Place},
    kinds::TRAFFIC_SPLIT,
    object::{Change, ObjectRef, Objects},
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    rules,
    split::Split,
    weighted::{self, Absent, Entries, Record, Scale, Share, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "SMI";

/// A TrafficSplit of the Service Mesh Interface with the stable Service among its backends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Smi {
    /// The name of the TrafficSplit.
    pub traffic_split: String,
}

/// The backends of one TrafficSplit, for one release.
struct Backends<'a> {
    split: &'a Split,
    /// Whether weights are quantities; they count in thousandths then.
    has_quantities: bool,
}

impl Smi {
    fn target(&self, namespace: &str) -> ObjectRef {
        TRAFFIC_SPLIT.named(namespace, &self.traffic_split)
    }
}

impl Router for Smi {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        vec![self.target(namespace)]
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        check_wishes(split)?;
        let target = self.target(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let backends = edit::list(present, &["spec", "backends"], &at)?;
        let before: Option<Record> = before::read(present, &split.release);
        let form = Backends::of(split, present);
        let place = at.keys(&["spec", "backends"]);
        let weight = split.traffic.weight;
        let done = weighted::split(&form, &backends, weight, before.as_ref(), &place)?;
        let Some((wanted, kept)) = done else {
            return Err(names_nobody(split, &place));
        };
        if wanted == backends {
            return Ok(Vec::new());
        }
        let mut object = present.clone();
        edit::set(
            &mut object,
            &["spec", "backends"],
            Value::Array(wanted),
            &at,
        )?;
        before::write(&mut object, &split.release, Some(&kept), &at)?;
        Ok(vec![Change::Put(target, object)])
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let target = self.target(&split.namespace);
        let at = Place::of(&target);
        let Some(present) = objects.get(&target) else {
            return Ok(Vec::new());
        };
        let backends = edit::list(present, &["spec", "backends"], &at)?;
        let before: Option<Record> = before::read(present, &split.release);
        let form = Backends::of(split, present);
        let place = at.keys(&["spec", "backends"]);
        let wanted = weighted::restore(&form, &backends, before.as_ref(), &place)?;
        let mut object = present.clone();
        if wanted != backends {
            edit::set(
                &mut object,
                &["spec", "backends"],
                Value::Array(wanted),
                &at,
            )?;
        }
        before::write::<Record>(&mut object, &split.release, None, &at)?;
        let change = (object != *present).then_some(Change::Put(target, object));
        Ok(change.into_iter().collect())
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = self.target(&split.namespace);
        let at = Place::of(&target);
        let present = edit::object(objects, &target)?;
        let backends = edit::list(present, &["spec", "backends"], &at)?;
        let place = at.keys(&["spec", "backends"]);
        let share: Share = weighted::share(&Backends::of(split, present), &backends, &place)?;
        rules::told(split.traffic.weight, &[share]).ok_or_else(|| names_nobody(split, &place))
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What SMI can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: false,
    header_regex: false,
    mirror: false,
    mirror_share: false,
    sticky: false,
    proof: Proof::Objects,
};

impl<'a> Backends<'a> {
    fn of(split: &'a Split, object: &Value) -> Self {
        let version = edit::text(object, &["apiVersion"]).unwrap_or_default();
        Self {
            split,
            has_quantities: version.ends_with("/v1alpha1"),
        }
    }
}

impl Entries for Backends<'_> {
    fn side(&self, entry: &Value) -> Side {
        let service = edit::text(entry, &["service"]);
        if service == Some(&self.split.stable.service) {
            Side::Stable
        } else if service == Some(&self.split.canary.service) {
            Side::Canary
        } else {
            Side::Other
        }
    }

    fn id(&self, entry: &Value) -> String {
        edit::text(entry, &["service"])
            .unwrap_or_default()
            .to_owned()
    }

    fn canary_like(&self, stable: &Value) -> Value {
        let mut canary = stable.clone();
        if let Some(members) = canary.as_object_mut() {
            members.insert("service".to_owned(), json!(self.split.canary.service));
        }
        canary
    }

    fn scale(&self) -> Scale {
        Scale {
            absent: Absent::AllIfAlone,
            totals: if self.has_quantities {
                &[100_000, 10_000_000]
            } else {
                &[100, 10_000]
            },
            max: u64::from(i32::MAX.unsigned_abs()),
            alone: None,
        }
    }

    fn read(&self, weight: &Value) -> Option<u64> {
        if self.has_quantities {
            thousandths(weight)
        } else {
            weight.as_u64()
        }
    }

    fn write(&self, weight: u64, like: Option<&Value>) -> Value {
        if !self.has_quantities {
            return json!(weight);
        }
        let whole = weight / 1000;
        if !weight.is_multiple_of(1000) {
            json!(format!("{weight}m"))
        } else if like.is_some_and(Value::is_number) {
            json!(whole)
        } else {
            json!(whole.to_string())
        }
    }
}

/// Returns a quantity in thousandths.
fn thousandths(weight: &Value) -> Option<u64> {
    let Some(text) = weight.as_str() else {
        return weight.as_u64()?.checked_mul(1000);
    };
    let (digits, factor) = match (text.strip_suffix('m'), text.strip_suffix('k')) {
        (Some(digits), _) => (digits, 1),
        (_, Some(digits)) => (digits, 1_000_000),
        (None, None) => (text, 1000),
    };
    digits.parse::<u64>().ok()?.checked_mul(factor)
}

fn check_wishes(split: &Split) -> Result<()> {
    let what = if !split.canary_routes().is_empty() {
        "match headers"
    } else if split.traffic.mirror != Weight::ZERO {
        "mirror requests"
    } else {
        return Ok(());
    };
    Err(RouteError::Cannot {
        router: NAME,
        what: what.to_owned(),
    })
}

fn names_nobody(split: &Split, place: &Place<'_>) -> RouteError {
    let service = &split.stable.service;
    place.refused(&format!(
        "expected the Service {service} among them, found none"
    ))
}

#[cfg(test)]
mod tests;
