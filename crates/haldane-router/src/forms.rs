//! Rules described by data: where they stand in an object, and how their backends, matches and mirrors are read and written.
//!
//! It is what routers need whose objects differ in their fields alone; what is done with the rules is in [`crate::rules`].
//!
//! **Invariant:** of an object only the lists of rules are changed that a form names.

use std::collections::BTreeMap;

use haldane_core::{Weight, plan::HeaderRoute};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    before,
    edit::{self, Place},
    object::{Change, ObjectRef, Objects},
    route::{Capabilities, RouteError, Seen},
    rules::{self, Before, Rules},
    split::Split,
    weighted::{Absent, Entries, Scale, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

/// Where an object has rules, and how they are read and written.
pub(crate) struct Form<'a> {
    /// What the router can do, and its name.
    pub(crate) router: &'static Capabilities,
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

type NameOf<'a> = Box<dyn Fn(&Value) -> Option<String> + 'a>;
type AddHead<'a> = Box<dyn Fn(&mut Value, &HeaderRoute, usize, &Place<'_>) -> Result<()> + 'a>;
type AddMirror<'a> = Box<dyn Fn(&mut Value, Value, Weight, &Place<'_>) -> Result<bool> + 'a>;

/// How the members of a list are read and written.
pub(crate) struct Members<'a> {
    /// The field with the weight.
    pub(crate) weight: &'static str,
    /// How it is written.
    pub(crate) numbers: Numbers,
    /// What a member without one has.
    pub(crate) absent: Absent,
    /// Returns a member's name; nothing for a member that takes no part, such as a mirror.
    pub(crate) name: NameOf<'a>,
    /// Makes a copy of stable's member the canary's.
    pub(crate) rename: Box<dyn Fn(&mut Value) + 'a>,
    /// The name of stable's member.
    pub(crate) stable: String,
    /// The name of the canary's.
    pub(crate) canary: String,
}

/// How weights are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// As whole numbers, of which only the proportion counts.
    Free,
    /// The same, up to 999.
    Small,
    /// As whole percents that make 100 together.
    Percent,
    /// As percents with two places, which make 100 together.
    Hundredths,
}

/// How a rule is made to match headers too.
pub(crate) struct Head<'a> {
    /// The member of a rule with its matches.
    pub(crate) mark: &'static str,
    /// Adds the conditions to a copy of a rule; the number tells the rules of an object apart.
    pub(crate) add: AddHead<'a>,
}

/// How a rule copies requests.
pub(crate) struct Mirror<'a> {
    /// Adds a mirror to a rule that has none of ours: to this member, for this share. Tells whether the place for it was made too.
    pub(crate) add: AddMirror<'a>,
    /// Takes ours out, and the place for it if that was made.
    pub(crate) remove: Box<dyn Fn(&mut Value, bool) + 'a>,
}

/// How a rule without a list gets one.
pub(crate) struct Single<'a> {
    /// Makes a list of the single backend, and tells whether there was one.
    pub(crate) open: Box<dyn Fn(&mut Value) -> bool + 'a>,
    /// Makes a single backend of the list.
    pub(crate) close: Box<dyn Fn(&mut Value) + 'a>,
}

/// What an object was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Memory {
    /// Its lists of rules, by their places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) lists: BTreeMap<String, Before>,
    /// What else a router has to remember.
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

/// One object whose rules are changed.
pub(crate) struct Edit<'a> {
    /// The object.
    pub(crate) target: ObjectRef,
    /// Its rules.
    pub(crate) forms: Vec<Form<'a>>,
}

impl Memory {
    /// Reads what is remembered of a release with an object.
    pub(crate) fn of(object: &Value, split: &Split) -> Self {
        before::read(object, &split.release).unwrap_or_default()
    }

    /// Keeps this with an object; nothing leaves nothing there.
    pub(crate) fn keep(&self, object: &mut Value, split: &Split, at: &Place<'_>) -> Result<()> {
        let piece = (*self != Self::default()).then_some(self);
        before::write(object, &split.release, piece, at)
    }

    /// Returns the change that makes one object of another, with this kept in it.
    pub(crate) fn change(
        &self,
        target: &ObjectRef,
        split: &Split,
        present: &Value,
        mut next: Value,
    ) -> Result<Vec<Change>> {
        if next == *present {
            return Ok(Vec::new());
        }
        self.keep(&mut next, split, &Place::of(target))?;
        Ok(edit::change(target, present, next))
    }
}

impl Edit<'_> {
    /// Returns what must change for a split.
    pub(crate) fn desired(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let present = edit::object(objects, &self.target)?;
        let mut next = present.clone();
        let memory = self.apply(&mut next, split, &Memory::of(present, split))?;
        memory.change(&self.target, split, present, next)
    }

    /// Returns what must change so that nothing of ours is left.
    pub(crate) fn cleared(&self, split: &Split, objects: &Objects) -> Result<Vec<Change>> {
        let Some(present) = objects.get(&self.target) else {
            return Ok(Vec::new());
        };
        let mut next = present.clone();
        self.clear(&mut next, &Memory::of(present, split))?;
        Memory::default().keep(&mut next, split, &Place::of(&self.target))?;
        Ok(edit::change(&self.target, present, next))
    }

    /// Returns what the object says.
    pub(crate) fn seen(&self, split: &Split, objects: &Objects) -> Result<Seen> {
        let object = edit::object(objects, &self.target)?;
        let memory = Memory::of(object, split);
        let mut object = object.clone();
        let mut shares = Vec::new();
        for form in self.forms.iter().filter(|form| form.has_weights) {
            form.each(&mut object, &Place::of(&self.target), &mut |at, list| {
                let known = memory.lists.get(at.path());
                shares.extend(rules::shares(form, list, known, at)?);
                Ok(())
            })?;
        }
        rules::told(split.traffic.weight, &shares).ok_or_else(|| self.names_nobody())
    }

    /// Changes an object for a split, and tells what it was before.
    pub(crate) fn apply(
        &self,
        object: &mut Value,
        split: &Split,
        before: &Memory,
    ) -> Result<Memory> {
        let is_out = split.traffic.is_stable_only();
        let at = Place::of(&self.target);
        let mut memory = Memory::default();
        for form in &self.forms {
            let done = form.each(object, &at, &mut |at, list| {
                let known = before.lists.get(at.path());
                let wanted = rules::desired(form, split, list, known, at)?;
                if wanted.names_stable {
                    memory.lists.insert(at.path().to_owned(), wanted.before);
                }
                *list = wanted.rules;
                Ok(())
            });
            // Where all is to go to stable, one list that can't be read is no reason to leave others to the canary.
            match done {
                Err(_) if is_out => {}
                done => done?,
            }
        }
        if memory.lists.is_empty() && !is_out {
            return Err(self.names_nobody());
        }
        let has_heads = memory.lists.values().any(|list| !list.ours.is_empty());
        if let Some(form) = self.forms.first()
            && !has_heads
            && !split.canary_routes().is_empty()
        {
            return Err(form.router.cannot("route by headers"));
        }
        Ok(memory)
    }

    /// Takes everything of ours out of an object.
    pub(crate) fn clear(&self, object: &mut Value, before: &Memory) -> Result<()> {
        for form in &self.forms {
            form.each(object, &Place::of(&self.target), &mut |at, list| {
                *list = rules::cleared(form, list, before.lists.get(at.path()), at)?;
                Ok(())
            })?;
        }
        Ok(())
    }

    fn names_nobody(&self) -> RouteError {
        let at = Place::of(&self.target);
        let Some(form) = self.forms.first() else {
            return at.refused("expected rules");
        };
        let path: Vec<&str> = form.rules.iter().chain(form.backends).copied().collect();
        let names = if form.only.is_empty() {
            String::new()
        } else {
            format!(" in the rules {}", form.only.join(", "))
        };
        let stable = &form.members.stable;
        at.keys(&path)
            .refused(&format!("expected the backend {stable}{names}, found none"))
    }
}

impl Form<'_> {
    /// Calls a function with every list of rules; the object itself is one of a single rule where it has none.
    fn each(
        &self,
        object: &mut Value,
        at: &Place<'_>,
        visit: &mut dyn FnMut(&Place<'_>, &mut Vec<Value>) -> Result<()>,
    ) -> Result<()> {
        if self.rules.is_empty() {
            let mut list = vec![object.take()];
            let done = visit(at, &mut list);
            *object = list.pop().unwrap_or_default();
            return done;
        }
        for (at, list) in edit::lists(object, self.rules, at)? {
            visit(&at, list)?;
        }
        Ok(())
    }
}

impl Rules for Form<'_> {
    fn entries(&self) -> &dyn Entries {
        &self.members
    }

    fn entries_keys(&self) -> &[&'static str] {
        self.backends
    }

    fn matches_key(&self) -> &'static str {
        self.head.as_ref().map_or("matches", |head| head.mark)
    }

    fn place<'a>(&self, at: &Place<'a>, index: usize) -> Place<'a> {
        if self.rules.is_empty() {
            at.clone()
        } else {
            at.item(index)
        }
    }

    fn has_weights(&self) -> bool {
        self.has_weights
    }

    fn open(&self, rule: &mut Value) -> bool {
        self.single
            .as_ref()
            .is_some_and(|single| (single.open)(rule))
    }

    fn close(&self, rule: &mut Value) {
        if let Some(single) = &self.single {
            (single.close)(rule);
        }
    }

    fn covers(&self, rule: &Value) -> bool {
        let name = edit::text(rule, &["name"]);
        self.only.is_empty() || self.only.iter().any(|only| Some(only.as_str()) == name)
    }

    fn narrowed(
        &self,
        rule: &Value,
        route: &HeaderRoute,
        index: usize,
        at: &Place<'_>,
    ) -> Result<Option<Value>> {
        let Some(head) = &self.head else {
            return Ok(None);
        };
        let mut copy = rule.clone();
        (head.add)(&mut copy, route, index, at)?;
        Ok(Some(copy))
    }

    fn mirror(
        &self,
        rule: &mut Value,
        share: Weight,
        ours: Option<bool>,
        at: &Place<'_>,
    ) -> Result<Option<bool>> {
        if let (Some(is_alone), Some(mirror)) = (ours, &self.mirror) {
            (mirror.remove)(rule, is_alone);
        }
        if share.is_zero() {
            return Ok(None);
        }
        let Some(mirror) = &self.mirror else {
            return Err(self.router.cannot("copy requests to the canary"));
        };
        let entries = edit::list(rule, self.backends, at)?;
        let mut entries = entries.iter();
        let canary = entries.find(|entry| self.members.side(entry) == Side::Canary);
        let mut canary = canary.cloned().unwrap_or(Value::Null);
        edit::remove(&mut canary, self.members.weight);
        (mirror.add)(rule, canary, share, at).map(Some)
    }
}

impl Entries for Members<'_> {
    fn side(&self, entry: &Value) -> Side {
        match (self.name)(entry) {
            None => Side::Aside,
            Some(name) if name == self.stable => Side::Stable,
            Some(name) if name == self.canary => Side::Canary,
            Some(_) => Side::Other,
        }
    }

    fn id(&self, entry: &Value) -> String {
        (self.name)(entry).unwrap_or_default()
    }

    fn canary_like(&self, stable: &Value) -> Value {
        let mut canary = stable.clone();
        edit::remove(&mut canary, self.weight);
        (self.rename)(&mut canary);
        canary
    }

    fn scale(&self) -> Scale {
        let (totals, max): (&[u64], u64) = match self.numbers {
            Numbers::Free => (&[100, 1_000, 10_000], 1_000_000),
            Numbers::Small => (&[100, 999], 999),
            Numbers::Percent => (&[], 100),
            Numbers::Hundredths => (&[], 10_000),
        };
        Scale {
            absent: self.absent,
            totals,
            max,
            alone: None,
        }
    }

    fn weight_key(&self) -> &'static str {
        self.weight
    }

    fn weight_words(&self) -> &'static str {
        match self.numbers {
            Numbers::Free | Numbers::Small => "a weight that is a whole number",
            Numbers::Percent => "whole percents",
            Numbers::Hundredths => "percents with at most two places",
        }
    }

    fn read(&self, weight: &Value) -> Option<u64> {
        match self.numbers {
            Numbers::Free | Numbers::Small | Numbers::Percent => weight.as_u64(),
            Numbers::Hundredths => hundredths(weight),
        }
    }

    fn write(&self, weight: u64, _like: Option<&Value>) -> Value {
        match self.numbers {
            Numbers::Hundredths if !weight.is_multiple_of(100) => {
                let text = format!("{}.{:02}", weight / 100, weight % 100);
                serde_json::from_str(&text).unwrap_or_default()
            }
            Numbers::Hundredths => Value::from(weight / 100),
            Numbers::Free | Numbers::Small | Numbers::Percent => Value::from(weight),
        }
    }
}

/// Reads `12.5` as 1250 by its digits, so that no rounding comes in.
fn hundredths(raw: &Value) -> Option<u64> {
    let text = raw.as_number()?.to_string();
    let (whole, places) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let places = format!("{:0<2}", places.trim_end_matches('0'));
    let whole: u64 = whole.parse().ok()?;
    let places: u64 = (places.len() == 2).then_some(places)?.parse().ok()?;
    whole.checked_mul(100)?.checked_add(places)
}
