//! Objects that are lists of rules with weighted backends: where they stand in an object, and what is done to each.
//!
//! What is wanted is always made from what the user has: the object without anything of ours. So a change that somebody made in the
//! middle of a rollout stays, and an object that is as it should be comes out the same.
//!
//! **Invariant:** `strip` after `apply` gives the object back, to the byte.

use haldane_core::{Weight, plan::HeaderRoute};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    object::{Change, ObjectRef, Objects},
    route::{BEFORE, RouteError, Seen},
    shape::{Part, Wrong, annotate, annotation, covers, digest, find, lists, part_mut, unannotate},
    shares::{Members, Mirrored, Was},
    split::Split,
};

/// Where an object has rules, and how they are read and written.
pub(crate) struct Form<'a> {
    /// Where its lists of rules are; where this is empty the object itself is the one rule.
    pub(crate) rules: &'static [&'static str],
    /// Where in a rule its list of backends is.
    pub(crate) backends: &'static [&'static str],
    /// How that list is read and written.
    pub(crate) members: Members<'a>,
    /// The names of the rules that are meant; none of them stands for all.
    pub(crate) only: &'a [String],
    /// Whether the weights are written here; else only header rules.
    pub(crate) has_weights: bool,
    /// How a rule is made to match headers too, where it can be.
    pub(crate) head: Option<Head<'a>>,
    /// How a rule copies requests, where it can.
    pub(crate) mirror: Option<Mirror<'a>>,
    /// How a rule without a list gets one, where there are such.
    pub(crate) single: Option<Single<'a>>,
}

type AddHead<'a> = Box<dyn Fn(&mut Value, &HeaderRoute, usize) -> Part<()> + 'a>;
type AddMirror<'a> = Box<dyn Fn(&mut Value, Value, Weight) -> Part<Mirrored> + 'a>;
type RemoveMirror<'a> = Box<dyn Fn(&mut Value, Mirrored) + 'a>;

/// How a rule is made to match headers too.
pub(crate) struct Head<'a> {
    /// The member of a rule by which one of ours is known again.
    pub(crate) mark: &'static str,
    /// Adds the conditions to a copy of a rule; the number tells the copies of an object apart.
    pub(crate) add: AddHead<'a>,
}

/// How a rule copies requests.
pub(crate) struct Mirror<'a> {
    /// Adds a mirror to a rule that has none of ours: to this member, for this share.
    pub(crate) add: AddMirror<'a>,
    /// Takes ours out.
    pub(crate) remove: RemoveMirror<'a>,
}

/// How a rule without a list gets one.
pub(crate) struct Single<'a> {
    /// Makes a list of the single backend, and tells whether there was one.
    pub(crate) open: Box<dyn Fn(&mut Value) -> bool + 'a>,
    /// Makes a single backend of the list.
    pub(crate) close: Box<dyn Fn(&mut Value) + 'a>,
}

/// What an object said before, and what of it is ours.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Before {
    /// The lists, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) lists: Vec<Was>,
    /// The marks of the rules that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) rules: Vec<Value>,
    /// What else a router has to remember.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

impl Before {
    /// Reads what is remembered of a release with an object. What can't be read counts as nothing: an abort must not fail over it.
    pub(crate) fn of(object: &Value, release: &str) -> Self {
        all(object)
            .remove(release)
            .and_then(|before| serde_json::from_value(before).ok())
            .unwrap_or_default()
    }

    /// Keeps this with an object; nothing leaves nothing there.
    pub(crate) fn keep(&self, object: &mut Value, release: &str) -> Part<()> {
        let mut all = all(object);
        if *self == Self::default() {
            all.remove(release);
        } else {
            let before = serde_json::to_value(self);
            let before = before.map_err(|error| Wrong::Cannot(error.to_string()))?;
            all.insert(release.to_owned(), before);
        }
        if all.is_empty() {
            unannotate(object, BEFORE);
            return Ok(());
        }
        annotate(object, BEFORE, Value::Object(all).to_string())
    }
}

/// What every release remembers with an object: several may share one, each with backends of its own.
fn all(object: &Value) -> Map<String, Value> {
    annotation(object, BEFORE)
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// One object whose rules are changed.
pub(crate) struct Edit<'a> {
    /// The router's name for people.
    pub(crate) router: &'static str,
    /// The release.
    pub(crate) release: String,
    /// The object.
    pub(crate) target: ObjectRef,
    /// Its rules.
    pub(crate) forms: Vec<Form<'a>>,
}

impl Edit<'_> {
    /// Returns what must change for a split.
    pub(crate) fn desired(
        &self,
        split: &Split,
        objects: &Objects,
    ) -> Result<Vec<Change>, RouteError> {
        let object = find(objects, &self.target)?;
        self.told(self.desired_value(split, object))
            .map(|next| self.change(object, next))
    }

    /// Returns what must change so that nothing of ours is left.
    pub(crate) fn cleared(&self, objects: &Objects) -> Result<Vec<Change>, RouteError> {
        let Some(object) = objects.get(&self.target) else {
            return Ok(Vec::new());
        };
        let next = self.told(
            strip(object, &self.forms, &self.release).and_then(|(next, _)| rest(next, &self.forms)),
        )?;
        Ok(self.change(object, next))
    }

    /// Returns what the object says.
    pub(crate) fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen, RouteError> {
        let object = find(objects, &self.target)?;
        let weight = self.told(seen(object, &self.forms, split))?;
        Ok(Seen { weight })
    }

    /// Adds the object to an error.
    pub(crate) fn told<T>(&self, part: Part<T>) -> Result<T, RouteError> {
        part.map_err(|wrong| wrong.of(self.router, &self.target))
    }

    /// Returns the change that makes one value of another.
    pub(crate) fn change(&self, object: &Value, next: Value) -> Vec<Change> {
        if next == *object {
            Vec::new()
        } else {
            vec![Change::Put(self.target.clone(), next)]
        }
    }

    fn desired_value(&self, split: &Split, object: &Value) -> Part<Value> {
        let (mut next, _) = strip(object, &self.forms, &self.release)?;
        let before = apply(&mut next, &self.forms, split)?;
        before.keep(&mut next, &self.release)?;
        Ok(next)
    }
}

/// Returns the object without anything of ours, and what was remembered with it.
pub(crate) fn strip(object: &Value, forms: &[Form<'_>], release: &str) -> Part<(Value, Before)> {
    let before = Before::of(object, release);
    let mut next = object.clone();
    Before::default().keep(&mut next, release)?;
    let mut memory = before.lists.clone();
    let is_canary_ours = memory.iter().any(|was| was.is_added);
    for form in forms {
        if form.rules.is_empty() {
            form.restore("", &mut next, &mut memory, is_canary_ours)?;
            continue;
        }
        for (at, list) in lists(&mut next, form.rules)? {
            list.retain(|rule| !form.is_ours(rule, &before.rules));
            for (index, rule) in list.iter_mut().enumerate() {
                form.restore(
                    &format!("{at}[{index}]."),
                    rule,
                    &mut memory,
                    is_canary_ours,
                )?;
            }
        }
    }
    Ok((next, before))
}

/// Changes an object without anything of ours for a split, and tells what is to be remembered.
pub(crate) fn apply(object: &mut Value, forms: &[Form<'_>], split: &Split) -> Part<Before> {
    let mut before = Before::default();
    let mut count = 0_usize;
    for form in forms {
        if form.rules.is_empty() {
            count += usize::from(form.change("", object, split, &mut before)?.is_some());
            continue;
        }
        for (at, list) in lists(object, form.rules)? {
            let mut next = Vec::with_capacity(list.len());
            for (index, mut rule) in std::mem::take(list).into_iter().enumerate() {
                let heads =
                    form.change(&format!("{at}[{index}]."), &mut rule, split, &mut before)?;
                count += usize::from(heads.is_some());
                // Right before the rule that they come from, so that no other rule loses or gains a request.
                next.extend(heads.unwrap_or_default());
                next.push(rule);
            }
            *list = next;
        }
    }
    if count == 0 {
        return Err(without_stable(forms));
    }
    if before.rules.is_empty() && !split.canary_routes().is_empty() {
        return Err(Wrong::Cannot("route by headers".to_owned()));
    }
    Ok(before)
}

/// Leaves a canary that the user put there without traffic.
pub(crate) fn rest(mut object: Value, forms: &[Form<'_>]) -> Part<Value> {
    for form in forms.iter().filter(|form| form.has_weights) {
        form.each_list(&mut object, &mut |at, list| form.members.rest(at, list))?;
    }
    Ok(object)
}

/// Returns the canary's share: of several that differ the one that is farthest from what is wished.
pub(crate) fn seen(object: &Value, forms: &[Form<'_>], split: &Split) -> Part<Weight> {
    let before = Before::of(object, &split.release);
    let wish = split.traffic.weight;
    let mut object = object.clone();
    let mut shares = Vec::new();
    let mut count = 0_usize;
    for form in forms.iter().filter(|form| form.has_weights) {
        for (_, list) in lists(&mut object, form.rules).into_iter().flatten() {
            list.retain(|rule| !form.is_ours(rule, &before.rules));
        }
        form.each_list(&mut object, &mut |at, list| {
            count += usize::from(form.members.holds_stable(list));
            shares.extend(form.members.share(at, list)?);
            Ok(())
        })?;
    }
    if count == 0 {
        return Err(without_stable(forms));
    }
    let distance = |weight: &Weight| weight.as_bps().abs_diff(wish.as_bps());
    let mut farthest = shares.first().copied().unwrap_or(Weight::ZERO);
    for share in shares {
        if distance(&share) > distance(&farthest) {
            farthest = share;
        }
    }
    Ok(farthest)
}

fn without_stable(forms: &[Form<'_>]) -> Wrong {
    let Some(form) = forms.first() else {
        return Wrong::at("", "expected rules");
    };
    let path: Vec<&str> = form.rules.iter().chain(form.backends).copied().collect();
    let names = if form.only.is_empty() {
        String::new()
    } else {
        format!(" in the rules {}", form.only.join(", "))
    };
    Wrong::at(
        &path.join("."),
        format!(
            "expected the backend {}{names}, found none",
            form.members.stable
        ),
    )
}

impl Form<'_> {
    /// Changes one rule; tells the header rules that go before it, or nothing if the rule is not meant.
    fn change(
        &self,
        at: &str,
        rule: &mut Value,
        split: &Split,
        before: &mut Before,
    ) -> Part<Option<Vec<Value>>> {
        if !self.is_meant(rule) {
            return Ok(None);
        }
        let is_single = self.open(rule);
        let path = format!("{at}{}", self.backends.join("."));
        let original = rule.clone();
        let Some(list) = self.list(&path, rule)? else {
            return Ok(None);
        };
        let Some(stable) = self.members.stable_member(list).cloned() else {
            self.close(rule, is_single);
            return Ok(None);
        };
        if self.has_weights {
            let was = self.members.split(&path, list, split.traffic.weight)?;
            let mirrored = self.mirror(rule, &stable, split.traffic.mirror)?;
            if let Some(mut was) = was {
                was.mark = self.mark(rule);
                was.is_single = is_single;
                was.mirror = mirrored;
                before.lists.push(was);
            }
        }
        self.heads(&path, &original, &stable, split, before)
            .map(Some)
    }

    /// Returns the header rules that are made of one rule.
    fn heads(
        &self,
        path: &str,
        rule: &Value,
        stable: &Value,
        split: &Split,
        before: &mut Before,
    ) -> Part<Vec<Value>> {
        let mut made = Vec::new();
        for route in split.canary_routes() {
            let Some(head) = &self.head else {
                continue;
            };
            let mut copy = rule.clone();
            if let Some(list) = self.list(path, &mut copy)? {
                list.retain(|member| (self.members.name)(member).is_none());
                list.insert(0, self.members.canary_like(stable));
            }
            (head.add)(&mut copy, &route, before.rules.len())?;
            before
                .rules
                .push(copy.get(head.mark).cloned().unwrap_or_default());
            made.push(copy);
        }
        Ok(made)
    }

    fn mirror(&self, rule: &mut Value, stable: &Value, share: Weight) -> Part<Option<Mirrored>> {
        if share.is_zero() {
            return Ok(None);
        }
        let Some(mirror) = &self.mirror else {
            return Err(Wrong::Cannot("copy requests to the canary".to_owned()));
        };
        (mirror.add)(rule, self.members.canary_like(stable), share).map(Some)
    }

    fn restore(
        &self,
        at: &str,
        rule: &mut Value,
        memory: &mut Vec<Was>,
        is_canary_ours: bool,
    ) -> Part<()> {
        if !self.has_weights || !self.is_meant(rule) {
            return Ok(());
        }
        let path = format!("{at}{}", self.backends.join("."));
        let mark = self.mark(rule);
        let Some(list) = self.list(&path, rule)? else {
            return Ok(());
        };
        let was = self
            .members
            .restore(&path, list, memory, &mark, is_canary_ours)?;
        if let Some(was) = was {
            if let (Some(mirrored), Some(mirror)) = (was.mirror, &self.mirror) {
                (mirror.remove)(rule, mirrored);
            }
            self.close(rule, was.is_single);
        }
        Ok(())
    }

    /// Calls a function with every list of backends that is meant.
    fn each_list(
        &self,
        object: &mut Value,
        call: &mut dyn FnMut(&str, &mut Vec<Value>) -> Part<()>,
    ) -> Part<()> {
        let mut on = |at: &str, rule: &mut Value| {
            if !self.is_meant(rule) {
                return Ok(());
            }
            let is_single = self.open(rule);
            let path = format!("{at}{}", self.backends.join("."));
            if let Some(list) = self.list(&path, rule)? {
                call(&path, list)?;
            }
            self.close(rule, is_single);
            Ok(())
        };
        if self.rules.is_empty() {
            return on("", object);
        }
        for (at, list) in lists(object, self.rules)? {
            for (index, rule) in list.iter_mut().enumerate() {
                on(&format!("{at}[{index}]."), rule)?;
            }
        }
        Ok(())
    }

    fn list<'a>(&self, path: &str, rule: &'a mut Value) -> Part<Option<&'a mut Vec<Value>>> {
        match part_mut(rule, self.backends) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Array(list)) => Ok(Some(list)),
            Some(other) => Err(Wrong::found(path, "a list", other)),
        }
    }

    /// Returns a mark of what a rule says beside its backends; a router of a single list needs none.
    fn mark(&self, rule: &Value) -> String {
        if self.rules.is_empty() {
            return String::new();
        }
        let mut rule = rule.clone();
        if let Some(list) = part_mut(&mut rule, self.backends) {
            *list = Value::Null;
        }
        digest(&rule).chars().take(8).collect()
    }

    fn is_meant(&self, rule: &Value) -> bool {
        let name = rule.get("name").and_then(Value::as_str);
        self.only.is_empty() || self.only.iter().any(|only| Some(only.as_str()) == name)
    }

    fn is_ours(&self, rule: &Value, marks: &[Value]) -> bool {
        let Some(mark) = self.head.as_ref().and_then(|head| rule.get(head.mark)) else {
            return false;
        };
        let backends = self
            .backends
            .iter()
            .try_fold(rule, |at, key| at.get(key))
            .and_then(Value::as_array);
        marks.iter().any(|wanted| covers(mark, wanted))
            && backends.is_some_and(|list| self.members.is_canary_alone(list))
    }

    fn open(&self, rule: &mut Value) -> bool {
        self.single
            .as_ref()
            .is_some_and(|single| (single.open)(rule))
    }

    fn close(&self, rule: &mut Value, is_single: bool) {
        if is_single && let Some(single) = &self.single {
            (single.close)(rule);
        }
    }
}
