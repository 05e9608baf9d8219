//! ingress-nginx: a canary Ingress beside the main one, told what to do by annotations.
//!
//! Where there is no canary Ingress it is made of the main one's paths to stable, and deleted in the end; one that a user has made is
//! only annotated. What the controller does with these annotations, in its order: a cookie of session affinity binds a request to where
//! it was; then the header, the cookie, and the weight out of the total decide. So at weight zero affinity is turned off for the canary,
//! or bound users would stay there.

use std::collections::{BTreeMap, BTreeSet};

use haldane_core::{Weight, plan::ValueMatch};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{
    before,
    edit::{self, Place},
    kinds::INGRESS,
    object::{Change, ObjectRef, Objects},
    pattern::literally,
    route::{Accepted, Capabilities, Proof, RouteError, Router, Seen},
    split::Split,
    weighted,
};

type Result<T> = std::result::Result<T, RouteError>;

/// The name for people.
const NAME: &str = "NGINX ingress";

/// The total where none is given.
const TOTAL: u64 = 100;

/// The total where whole percents are too coarse.
const FINE_TOTAL: u64 = 10_000;

/// The annotations of the one header rule.
const HEADER_RULE: [&str; 3] = [
    "canary-by-header",
    "canary-by-header-value",
    "canary-by-header-pattern",
];

/// Ingresses of ingress-nginx: the main one, the canary's, or both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Nginx {
    /// The name of the main Ingress, from which the canary's is made where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<String>,
    /// The name of the canary's Ingress; the main one's with `-canary` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub canary_ingress: Option<String>,
    /// The prefix of the annotations; `nginx.ingress.kubernetes.io` if left out.
    #[serde(default = "prefix")]
    pub annotation_prefix: String,
    /// The cookie by which a browser asks for the canary: `always` gets it, `never` does not. None if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// What the canary's Ingress was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Before {
    /// Whether it was not there.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    made: bool,
    /// The annotations that were changed, without the prefix.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    was: BTreeMap<String, Option<String>>,
}

/// The annotations that are set, without the prefix; `None` for one that must not be there.
type Wanted = BTreeMap<&'static str, Option<String>>;

/// Which header leads to the canary.
struct ByHeader {
    header: String,
    value: Option<String>,
    pattern: Option<String>,
}

impl Nginx {
    fn main(&self, namespace: &str) -> Option<ObjectRef> {
        let name = self.ingress.as_deref()?;
        Some(INGRESS.named(namespace, name))
    }

    fn canary(&self, namespace: &str) -> Result<ObjectRef> {
        let name = match (&self.canary_ingress, &self.ingress) {
            (Some(name), _) => name.clone(),
            (None, Some(main)) => format!("{main}-canary"),
            (None, None) => {
                return Err(RouteError::Cannot {
                    router: NAME,
                    what: "route without the name of an Ingress: set ingress or canaryIngress"
                        .to_owned(),
                });
            }
        };
        Ok(INGRESS.named(namespace, &name))
    }

    fn annotation(&self, name: &str) -> String {
        format!("{}/{name}", self.annotation_prefix)
    }

    fn read<'v>(&self, object: &'v Value, name: &str) -> Option<&'v str> {
        edit::annotation(object, &self.annotation(name))
    }

    /// Returns the canary's Ingress as it is to begin with: the one that is there, or one made of the main one.
    fn base(
        &self,
        split: &Split,
        target: &ObjectRef,
        objects: &Objects,
    ) -> Result<(Value, Before)> {
        let at = Place::of(target);
        let present = objects.get(target);
        let before: Option<Before> = match present {
            Some(present) => before::read(present, &split.release),
            None => None,
        };
        let before = before.unwrap_or_else(|| Before {
            made: present.is_none(),
            ..Before::default()
        });
        match present {
            Some(present) if !before.made => {
                self.check_users(split, present, &at)?;
                Ok((present.clone(), before))
            }
            _ => {
                let made = self.made(split, target, present, objects);
                match (made, present) {
                    // Where all is to go to stable, a main Ingress that is gone is no reason to leave some to the canary.
                    (Err(_), Some(present)) if split.traffic.is_stable_only() => {
                        Ok((present.clone(), before))
                    }
                    (made, _) => Ok((made?, before)),
                }
            }
        }
    }

    /// Refuses an Ingress of the user that is none for the canary.
    fn check_users(&self, split: &Split, present: &Value, at: &Place<'_>) -> Result<()> {
        let name = self.annotation("canary");
        let place = at.keys(&["metadata", "annotations", &name]);
        let said = edit::get(present, &["metadata", "annotations", &name]);
        if said.and_then(Value::as_str) != Some("true") {
            return Err(place.wrong("\"true\"", said));
        }
        let (rules, default) = paths(present, &split.canary.service, None, at)?;
        if rules.is_empty() && default.is_none() {
            let service = &split.canary.service;
            return Err(at.keys(&["spec", "rules"]).refused(&format!(
                "expected a path to the Service {service}, found none"
            )));
        }
        Ok(())
    }

    /// Returns the canary's Ingress with the paths that the main one has now.
    fn made(
        &self,
        split: &Split,
        target: &ObjectRef,
        present: Option<&Value>,
        objects: &Objects,
    ) -> Result<Value> {
        let Some(main) = self.main(&split.namespace) else {
            return Err(RouteError::Missing(target.clone()));
        };
        let at = Place::of(&main);
        let source = edit::object(objects, &main)?;
        let canary = Some(split.canary.service.as_str());
        let (rules, default) = paths(source, &split.stable.service, canary, &at)?;
        if rules.is_empty() && default.is_none() {
            let service = &split.stable.service;
            return Err(at.keys(&["spec", "rules"]).refused(&format!(
                "expected a path to the Service {service}, found none"
            )));
        }
        let mut made = present.cloned().unwrap_or_else(|| {
            json!({
                "apiVersion": INGRESS.api_version(),
                "kind": INGRESS.kind,
                "metadata": {"name": target.name, "namespace": target.namespace},
            })
        });
        let at = Place::of(target);
        let class = edit::get(source, &["spec", "ingressClassName"]).cloned();
        let rules = (!rules.is_empty()).then_some(Value::Array(rules));
        for (key, value) in [
            ("ingressClassName", class),
            ("rules", rules),
            ("defaultBackend", default),
        ] {
            match (value, made.get_mut("spec")) {
                (Some(value), _) => edit::set(&mut made, &["spec", key], value, &at)?,
                (None, Some(spec)) => drop(edit::remove(spec, key)),
                (None, None) => {}
            }
        }
        let class = edit::annotation(source, "kubernetes.io/ingress.class").map(str::to_owned);
        edit::annotate(&mut made, "kubernetes.io/ingress.class", class, &at)?;
        edit::annotate(
            &mut made,
            &self.annotation("canary"),
            Some("true".to_owned()),
            &at,
        )?;
        Ok(made)
    }

    /// Returns what the annotations must say.
    fn wanted(
        &self,
        split: &Split,
        base: &Value,
        before: &Before,
        objects: &Objects,
        at: &Place<'_>,
    ) -> Result<Wanted> {
        let weight = split.traffic.weight;
        let first = |name: &'static str| match before.was.get(name) {
            Some(was) => was.clone(),
            None if before.made => None,
            None => self.read(base, name).map(str::to_owned),
        };
        let first_total = first("canary-weight-total");
        let total = match self.total(first_total.as_deref(), at) {
            Err(_) if weight.is_zero() => TOTAL,
            total => total?,
        };
        let is_exact = (u128::from(total) * u128::from(weight.as_bps()))
            .is_multiple_of(u128::from(Weight::FULL.as_bps()));
        let (total, total_text) = if is_exact {
            (total, first_total)
        } else {
            (FINE_TOTAL, Some(FINE_TOTAL.to_string()))
        };
        let mut wanted = Wanted::from([
            (
                "canary-weight",
                Some(weighted::part(weight, total).to_string()),
            ),
            ("canary-weight-total", total_text),
        ]);
        let users = HEADER_RULE.map(first);
        let ours =
            by_header(split)?.map(|header| [Some(header.header), header.value, header.pattern]);
        let header = match (ours, &users) {
            (None, _) => users,
            (Some(ours), [None, ..]) => ours,
            (Some(ours), _) if is_same_rule(&ours, &users) => users,
            (Some(_), [theirs, ..]) => {
                let header = theirs.as_deref().unwrap_or_default();
                return Err(RouteError::Cannot {
                    router: NAME,
                    what: format!(
                        "add a header rule: {} has the one that it may have, for {header}",
                        at.object()
                    ),
                });
            }
        };
        wanted.extend(HEADER_RULE.into_iter().zip(header));
        let is_open = split.traffic.is_open_to_override;
        let cookie = self.cookie.clone().filter(|_| is_open);
        wanted.insert(
            "canary-by-cookie",
            cookie.or_else(|| first("canary-by-cookie")),
        );
        let has_affinity = self
            .main(&split.namespace)
            .and_then(|main| objects.get(&main))
            .is_some_and(|main| self.read(main, "affinity") == Some("cookie"));
        let behavior = if has_affinity && weight.is_zero() {
            Some("legacy".to_owned())
        } else {
            first("affinity-canary-behavior")
        };
        wanted.insert("affinity-canary-behavior", behavior);
        Ok(wanted)
    }

    /// Returns the total that counts; one of up to 100 does not.
    fn total(&self, text: Option<&str>, at: &Place<'_>) -> Result<u64> {
        let Some(text) = text else {
            return Ok(TOTAL);
        };
        let total: u64 = text.parse().map_err(|_| {
            let name = self.annotation("canary-weight-total");
            at.keys(&["metadata", "annotations", &name])
                .wrong("a whole number", Some(&json!(text)))
        })?;
        Ok(total.max(TOTAL))
    }
}

impl Router for Nginx {
    fn objects(&self, namespace: &str) -> Vec<ObjectRef> {
        self.main(namespace)
            .into_iter()
            .chain(self.canary(namespace).ok())
            .collect()
    }

    fn undivided(&self, namespace: &str) -> Vec<ObjectRef> {
        self.canary(namespace).into_iter().collect()
    }

    fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        if !split.traffic.mirror.is_zero() {
            return Err(RouteError::Cannot {
                router: NAME,
                what: "mirror requests to a Service".to_owned(),
            });
        }
        let target = self.canary(&split.namespace)?;
        let at = Place::of(&target);
        let (mut object, mut before) = self.base(split, &target, objects)?;
        let wanted = self.wanted(split, &object, &before, objects, &at)?;
        for (name, text) in wanted {
            let present = self.read(&object, name).map(str::to_owned);
            if present == text {
                continue;
            }
            if !before.made {
                before.was.entry(name.to_owned()).or_insert(present);
            }
            edit::annotate(&mut object, &self.annotation(name), text, &at)?;
        }
        if objects.get(&target) == Some(&object) {
            return Ok(Vec::new());
        }
        before::write(&mut object, &split.release, Some(&before), &at)?;
        Ok(vec![Change::Put(target, object)])
    }

    fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let Ok(target) = self.canary(&split.namespace) else {
            return Ok(Vec::new());
        };
        let Some(present) = objects.get(&target) else {
            return Ok(Vec::new());
        };
        let at = Place::of(&target);
        let before: Option<Before> = before::read(present, &split.release);
        let before = before.unwrap_or_default();
        if before.made {
            return Ok(vec![Change::Delete(target)]);
        }
        let mut object = present.clone();
        for (name, was) in &before.was {
            edit::annotate(&mut object, &self.annotation(name), was.clone(), &at)?;
        }
        let is_weighed = self.read(&object, "canary-weight").is_some();
        if is_weighed && self.share(&object) != Weight::ZERO {
            let name = self.annotation("canary-weight");
            edit::annotate(&mut object, &name, Some("0".to_owned()), &at)?;
        }
        before::write::<Before>(&mut object, &split.release, None, &at)?;
        if object == *present {
            return Ok(Vec::new());
        }
        Ok(vec![Change::Put(target, object)])
    }

    fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let target = self.canary(&split.namespace)?;
        let Some(present) = objects.get(&target) else {
            let main = self.main(&split.namespace);
            edit::object(objects, &main.unwrap_or(target))?;
            return Ok(Seen {
                weight: Weight::ZERO,
            });
        };
        Ok(Seen {
            weight: self.share(present),
        })
    }

    fn accepted(&self, _split: &Split, _objects: &Objects) -> Accepted {
        Accepted::Unreported
    }

    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }
}

/// What ingress-nginx can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    name: NAME,
    weight: true,
    header: true,
    header_regex: true,
    mirror: false,
    mirror_share: false,
    sticky: true,
    proof: Proof::Objects,
};

impl Nginx {
    /// Returns the share as ingress-nginx reads it: mistakes count as weight 0.
    fn share(&self, ingress: &Value) -> Weight {
        let number = |name: &str, default: u64| match self.read(ingress, name) {
            Some(text) => text.parse::<u64>().ok(),
            None => Some(default),
        };
        let is_canary = self.read(ingress, "canary") == Some("true");
        match (
            number("canary-weight", 0),
            number("canary-weight-total", TOTAL),
        ) {
            (Some(weight), Some(total)) if is_canary => weighted::nearest(weight, total.max(TOTAL)),
            _ => Weight::ZERO,
        }
    }
}

/// Returns the rules with those paths that lead to a Service, and the default backend if it is that one, with the other name put in.
fn paths(
    ingress: &Value,
    service: &str,
    rename: Option<&str>,
    at: &Place<'_>,
) -> Result<(Vec<Value>, Option<Value>)> {
    let renamed = |backend: &Value| -> Option<Value> {
        if edit::text(backend, &["service", "name"]) != Some(service) {
            return None;
        }
        let mut backend = backend.clone();
        if let Some(name) = backend.pointer_mut("/service/name") {
            *name = json!(rename.unwrap_or(service));
        }
        Some(backend)
    };
    let mut rules = Vec::new();
    let place = at.keys(&["spec", "rules"]);
    for (index, rule) in edit::list(ingress, &["spec", "rules"], at)?
        .iter()
        .enumerate()
    {
        let place = place.item(index);
        let paths = edit::list(rule, &["http", "paths"], &place)?;
        let paths: Vec<Value> = paths
            .into_iter()
            .filter_map(|mut path| {
                let backend = renamed(path.get("backend")?)?;
                *path.get_mut("backend")? = backend;
                Some(path)
            })
            .collect();
        if !paths.is_empty() {
            let mut rule = rule.clone();
            edit::set(&mut rule, &["http", "paths"], Value::Array(paths), &place)?;
            rules.push(rule);
        }
    }
    let default = edit::get(ingress, &["spec", "defaultBackend"]).and_then(renamed);
    Ok((rules, default))
}

/// Returns the one header rule that stands for all header routes.
fn by_header(split: &Split) -> Result<Option<ByHeader>> {
    let cannot = |what: String| RouteError::Cannot { router: NAME, what };
    let mut headers = BTreeSet::new();
    let mut values = Vec::new();
    for route in split.canary_routes() {
        let [condition] = route.matches.as_slice() else {
            return Err(cannot("match several headers at once".to_owned()));
        };
        headers.insert(condition.header.clone());
        if !values.contains(&condition.value) {
            values.push(condition.value.clone());
        }
    }
    let mut names = headers.into_iter();
    let (header, second) = (names.next(), names.next());
    let Some(header) = header else {
        return Ok(None);
    };
    if let Some(second) = second {
        return Err(cannot(format!(
            "match by two headers, {header} and {second}"
        )));
    }
    if let [ValueMatch::Exact(value)] = values.as_slice() {
        return Ok(Some(ByHeader {
            header,
            value: Some(value.clone()),
            pattern: None,
        }));
    }
    // The controller looks for the pattern anywhere in the value.
    let patterns: Vec<String> = values.iter().map(pattern).collect();
    Ok(Some(ByHeader {
        header,
        value: None,
        pattern: Some(format!("^(?:{})$", patterns.join("|"))),
    }))
}

/// Whether two header rules are the same; names of headers have no case.
fn is_same_rule(ours: &[Option<String>; 3], theirs: &[Option<String>; 3]) -> bool {
    let [our_name, ours @ ..] = ours;
    let [their_name, theirs @ ..] = theirs;
    let is_same_name = match (our_name, their_name) {
        (Some(ours), Some(theirs)) => ours.eq_ignore_ascii_case(theirs),
        (ours, theirs) => ours == theirs,
    };
    is_same_name && ours == theirs
}

fn pattern(value: &ValueMatch) -> String {
    match value {
        ValueMatch::Exact(value) => literally(value),
        ValueMatch::Prefix(prefix) => format!("{}.*", literally(prefix)),
        ValueMatch::Regex(regex) => format!("(?:{regex})"),
        ValueMatch::Present => ".*".to_owned(),
    }
}

fn prefix() -> String {
    "nginx.ingress.kubernetes.io".to_owned()
}

#[cfg(test)]
mod tests;
