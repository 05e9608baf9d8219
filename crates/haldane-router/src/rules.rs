//! Lists of rules that each match requests and name weighted backends: what most routers have in common.
//!
//! Every covered rule that names stable is split, or mirrored. Header routes are copies of these rules, with one more condition and the
//! canary alone; each stands before the rule that it comes from, so that no other rule loses a request. What was there before is kept by rule, found again by the rule's name or matches, or, where
//! the user changed these meanwhile, by its place among those that are left.
//!
//! **Invariant:** a rule that is not ours keeps its place, and of its parts all but weights, the canary's entry and the canary's mirror.

use haldane_core::{Weight, plan::HeaderRoute};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    before,
    edit::{self, Place},
    route::{RouteError, Seen},
    split::Split,
    sticky::Sticky,
    weighted::{self, Entries, Record, Share, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

/// How the rules of a router look.
pub(crate) trait Rules {
    /// Returns how the backends of a rule look.
    fn entries(&self) -> &dyn Entries;

    /// Returns the members that lead to the backends.
    fn entries_keys(&self) -> &[&'static str];

    /// Returns the member with the matches.
    fn matches_key(&self) -> &'static str;

    /// Returns the place of a rule in the list at a place.
    fn place<'a>(&self, at: &Place<'a>, index: usize) -> Place<'a> {
        at.item(index)
    }

    /// Whether backends are split; else there are only header routes.
    fn has_weights(&self) -> bool {
        true
    }

    /// Makes a list of a rule's backend where it has none, and tells whether it did.
    fn open(&self, _rule: &mut Value) -> bool {
        false
    }

    /// Takes back what `open` did.
    fn close(&self, _rule: &mut Value) {}

    /// Whether the configuration means this rule.
    fn covers(&self, rule: &Value) -> bool;

    /// Whether a rule bears the name of one that was added by us; without names they are known by what is kept.
    fn is_named_ours(&self, _rule: &Value) -> bool {
        false
    }

    /// Returns the rule's copy for the requests of a header route, `None` if no request could reach it. The copy has no backends yet.
    fn narrowed(
        &self,
        rule: &Value,
        route: &HeaderRoute,
        index: usize,
        at: &Place<'_>,
    ) -> Result<Option<Value>>;

    /// Returns how users are kept on the canary, if they are.
    fn sticky(&self) -> Option<&Sticky> {
        None
    }

    /// Lets the canary's answers set our cookie, or no more; only asked where there is a [`Sticky`].
    fn set_cookie(&self, _canary: &mut Value, _value: Option<&str>, _at: &Place<'_>) -> Result<()> {
        Ok(())
    }

    /// Sets or removes our mirror in a rule, given whether there is one and if so what it told then; returns what to tell next time.
    fn mirror(
        &self,
        rule: &mut Value,
        share: Weight,
        ours: Option<bool>,
        at: &Place<'_>,
    ) -> Result<Option<bool>>;
}

/// What a list of rules was before.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Before {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rules: Vec<RuleBefore>,
    /// The matches of the rules that were added.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ours: Vec<String>,
}

/// A list of rules as it should be.
pub(crate) struct Desired {
    pub(crate) rules: Vec<Value>,
    /// Whether one of them names stable and so was split.
    pub(crate) names_stable: bool,
    /// What the rules were before.
    pub(crate) before: Before,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct RuleBefore {
    /// The rule's name or matches, as a fingerprint.
    rule: String,
    #[serde(flatten)]
    record: Record,
    /// Whether a mirror was added; what it says is the router's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mirror: Option<bool>,
    /// Whether a list was made of its backend.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    single: bool,
}

/// What became of one rule of the user.
struct Done {
    /// Its place among all rules.
    place: usize,
    rule: Value,
    /// What it was before, if it was split.
    known: Option<RuleBefore>,
    /// The rules that go before it.
    heads: Vec<Value>,
    /// Whether it names stable.
    names_stable: bool,
}

/// Returns the rules as they should be, and what they were before. Where all is to go to stable a rule that can't be read stays as it is,
/// lest it keep the others with the canary.
pub(crate) fn desired(
    form: &dyn Rules,
    split: &Split,
    rules: &[Value],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Desired> {
    let is_out = split.traffic.is_stable_only();
    let users = users_rules(form, rules, before);
    let known = aligned(form, &users, before, at);
    let mut done: Vec<Done> = Vec::new();
    for ((place, rule), known) in users.into_iter().zip(known) {
        let nth = done.iter().filter(|done| done.names_stable).count();
        let at = form.place(at, place);
        let kept = known.clone();
        done.push(match changed(form, split, (nth, place, rule), known, &at) {
            Err(_) if is_out => Done {
                place,
                rule: rule.clone(),
                known: kept,
                heads: Vec::new(),
                names_stable: false,
            },
            one => one?,
        });
    }
    let heads = done.iter().flat_map(|done| &done.heads);
    let after = Before {
        ours: heads.map(|rule| fingerprint(form, rule)).collect(),
        rules: done.iter().filter_map(|done| done.known.clone()).collect(),
    };
    let names_stable = done.iter().any(|done| done.names_stable);
    let ours: Vec<bool> = rules
        .iter()
        .map(|rule| is_ours(form, rule, before))
        .collect();
    Ok(Desired {
        rules: merged(done, &ours),
        names_stable,
        before: after,
    })
}

/// Returns one rule as it should be, `nth` of those that name stable.
fn changed(
    form: &dyn Rules,
    split: &Split,
    (nth, place, rule): (usize, usize, &Value),
    known: Option<RuleBefore>,
    at: &Place<'_>,
) -> Result<Done> {
    let mut done = Done {
        place,
        rule: rule.clone(),
        known: None,
        heads: Vec::new(),
        names_stable: false,
    };
    // What a list was made of may have changed, so it is made anew.
    let known = match known {
        Some(known) if known.single => {
            done.rule = restored(form, rule, Some(&known), at)?;
            None
        }
        known => known,
    };
    if !form.covers(&done.rule) {
        // It may have been covered before.
        done.rule = match known {
            Some(known) => restored(form, rule, Some(&known), at)?,
            None => done.rule,
        };
        return Ok(done);
    }
    let single = form.open(&mut done.rule);
    let Some((record, canary)) = divide(form, split, &mut done.rule, known.as_ref(), at)? else {
        done.rule = match known {
            Some(known) => restored(form, rule, Some(&known), at)?,
            None if single => {
                form.close(&mut done.rule);
                done.rule
            }
            None => done.rule,
        };
        return Ok(done);
    };
    let mirrored = known.and_then(|known| known.mirror);
    let mut source = done.rule.clone();
    done.names_stable = true;
    if form.has_weights() {
        form.mirror(&mut source, Weight::ZERO, mirrored, at)?;
        let mirror = form.mirror(&mut done.rule, split.traffic.mirror, mirrored, at)?;
        done.known = Some(RuleBefore {
            rule: fingerprint(form, &done.rule),
            record,
            mirror,
            single,
        });
    }
    done.heads = header_rules(form, split, (nth, &source, &canary), at)?;
    Ok(done)
}

/// Returns the rules without what was done to them.
pub(crate) fn cleared(
    form: &dyn Rules,
    rules: &[Value],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Vec<Value>> {
    let users = users_rules(form, rules, before);
    let known = aligned(form, &users, before, at);
    let mut wanted = Vec::new();
    for ((place, rule), known) in users.into_iter().zip(known) {
        let at = form.place(at, place);
        wanted.push(
            if form.has_weights() && (known.is_some() || form.covers(rule)) {
                restored(form, rule, known.as_ref(), &at)?
            } else {
                rule.clone()
            },
        );
    }
    Ok(wanted)
}

/// Returns what each rule of the user gives the canary.
pub(crate) fn shares(
    form: &dyn Rules,
    rules: &[Value],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Vec<Share>> {
    users_rules(form, rules, before)
        .into_iter()
        .filter(|(_, rule)| form.covers(rule))
        .map(|(place, rule)| {
            let at = form.place(at, place);
            let mut rule = rule.clone();
            form.open(&mut rule);
            let entries = edit::list(&rule, form.entries_keys(), &at)?;
            weighted::share(form.entries(), &entries, &at.keys(form.entries_keys()))
        })
        .collect()
}

/// Returns what all rules together say: the share that is farthest from the wanted one, so that one wrong rule shows. A rule that is not
/// split says something only if none is. `None` if no rule names stable.
pub(crate) fn told(wanted: Weight, shares: &[Share]) -> Option<Seen> {
    if shares.iter().all(|share| *share == Share::NotStable) {
        return None;
    }
    let weight = shares
        .iter()
        .filter_map(|share| match share {
            Share::Of(weight) => Some(*weight),
            Share::NotStable | Share::Unsplit => None,
        })
        .max_by_key(|weight| weight.as_bps().abs_diff(wanted.as_bps()));
    Some(Seen {
        weight: weight.unwrap_or(Weight::ZERO),
    })
}

/// Returns a rule without what was done to it.
fn restored(
    form: &dyn Rules,
    rule: &Value,
    known: Option<&RuleBefore>,
    at: &Place<'_>,
) -> Result<Value> {
    let mut rule = rule.clone();
    let keys = form.entries_keys();
    let present = edit::list(&rule, keys, at)?;
    let mut entries = present.clone();
    stick(form, &mut entries, None, &at.keys(keys))?;
    let record = known.map(|known| &known.record);
    let entries = weighted::restore(form.entries(), &entries, record, &at.keys(keys))?;
    if entries != present {
        edit::set(&mut rule, keys, Value::Array(entries), at)?;
    }
    let mirrored = known.and_then(|known| known.mirror);
    form.mirror(&mut rule, Weight::ZERO, mirrored, at)?;
    if known.is_some_and(|known| known.single) {
        form.close(&mut rule);
    }
    Ok(rule)
}

/// Splits a rule's backends; returns their record and the canary's entry, `None` if the rule does not name stable.
fn divide(
    form: &dyn Rules,
    split: &Split,
    rule: &mut Value,
    known: Option<&RuleBefore>,
    at: &Place<'_>,
) -> Result<Option<(Record, Value)>> {
    let entries = edit::list(rule, form.entries_keys(), at)?;
    let all = form.entries();
    if !form.has_weights() {
        let mut entries = entries.iter();
        let stable = entries.find(|entry| all.side(entry) == Side::Stable);
        return Ok(stable.map(|stable| (Record::of_unknown(), all.canary_like(stable))));
    }
    let record = known.map(|known| &known.record);
    let place = at.keys(form.entries_keys());
    let weight = split.traffic.weight;
    let done = weighted::split(all, &entries, weight, record, &place)?;
    let Some((mut entries, record)) = done else {
        return Ok(None);
    };
    stick(form, &mut entries, None, &place)?;
    let canary = entries.iter().find(|entry| all.side(entry) == Side::Canary);
    let canary = canary.cloned().unwrap_or(Value::Null);
    let cookie = form.sticky().and_then(|sticky| sticky.set_cookie(split));
    stick(form, &mut entries, cookie.as_deref(), &place)?;
    edit::set(rule, form.entries_keys(), Value::Array(entries), at)?;
    Ok(Some((record, canary)))
}

fn stick(
    form: &dyn Rules,
    entries: &mut [Value],
    cookie: Option<&str>,
    at: &Place<'_>,
) -> Result<()> {
    let canary = entries
        .iter()
        .position(|entry| form.entries().side(entry) == Side::Canary);
    let entry = canary.and_then(|place| Some((place, entries.get_mut(place)?)));
    match (form.sticky(), entry) {
        (Some(_), Some((place, entry))) => form.set_cookie(entry, cookie, &at.item(place)),
        _ => Ok(()),
    }
}

/// Returns the rules that go before one that is split: for each header route a copy of it.
fn header_rules(
    form: &dyn Rules,
    split: &Split,
    (nth, rule, canary): (usize, &Value, &Value),
    at: &Place<'_>,
) -> Result<Vec<Value>> {
    let entries = form.entries();
    let key = entries.weight_key();
    let mut alone = canary.clone();
    match entries.scale().alone {
        Some(weight) => {
            let weight = entries.write(weight, canary.get(key));
            edit::set(&mut alone, &[key], weight, at)?;
        }
        None => drop(edit::remove(&mut alone, key)),
    }
    let mut list = edit::list(rule, form.entries_keys(), at)?;
    list.retain(|entry| entries.side(entry) == Side::Aside);
    list.insert(0, alone);
    let sticky = form.sticky().and_then(|sticky| sticky.route(split));
    let mut ours = Vec::new();
    for route in split.canary_routes().into_iter().chain(sticky) {
        if let Some(mut copy) = form.narrowed(rule, &route, nth, at)? {
            let list = Value::Array(list.clone());
            edit::set(&mut copy, form.entries_keys(), list, at)?;
            ours.push(copy);
        }
    }
    Ok(ours)
}

/// Returns our rules and the user's in one list. Those that belong to a rule keep their places if they are between it and the one before
/// it that is split: two releases that split the same rule would else push each other aside for ever.
fn merged(done: Vec<Done>, ours: &[bool]) -> Vec<Value> {
    let mut all = Vec::new();
    let mut start = 0;
    let mut waiting: Vec<(usize, Value)> = Vec::new();
    for one in done {
        if !one.names_stable {
            waiting.push((one.place, one.rule));
            continue;
        }
        let window = ours.iter().enumerate().take(one.place).skip(start);
        let places: Vec<usize> = window
            .filter(|(_, is_ours)| **is_ours)
            .map(|(place, _)| place)
            .collect();
        start = one.place;
        if places.len() == one.heads.len() {
            waiting.extend(places.into_iter().zip(one.heads));
            waiting.sort_by_key(|(place, _)| *place);
            all.extend(waiting.drain(..).map(|(_, rule)| rule));
        } else {
            all.extend(waiting.drain(..).map(|(_, rule)| rule));
            all.extend(one.heads);
        }
        all.push(one.rule);
    }
    all.extend(waiting.into_iter().map(|(_, rule)| rule));
    all
}

/// Returns the rules that are not ours, with their places.
fn users_rules<'r>(
    form: &dyn Rules,
    rules: &'r [Value],
    before: Option<&Before>,
) -> Vec<(usize, &'r Value)> {
    rules
        .iter()
        .enumerate()
        .filter(|(_, rule)| !is_ours(form, rule, before))
        .collect()
}

fn is_ours(form: &dyn Rules, rule: &Value, before: Option<&Before>) -> bool {
    if form.is_named_ours(rule) {
        return true;
    }
    let all = edit::get(rule, form.entries_keys()).and_then(Value::as_array);
    let mut sides = all
        .into_iter()
        .flatten()
        .map(|entry| form.entries().side(entry))
        .filter(|side| *side != Side::Aside)
        .peekable();
    let is_canarys = sides.peek().is_some() && sides.all(|side| side == Side::Canary);
    let print = fingerprint(form, rule);
    is_canarys && before.is_some_and(|before| before.ours.contains(&print))
}

/// Returns for each rule that names the canary what it was before, as far as it is kept.
fn aligned(
    form: &dyn Rules,
    users: &[(usize, &Value)],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Vec<Option<RuleBefore>> {
    let Some(before) = before else {
        return vec![None; users.len()];
    };
    let mut kept: Vec<Option<&RuleBefore>> = before.rules.iter().map(Some).collect();
    let mut found: Vec<Option<RuleBefore>> = vec![None; users.len()];
    let mut split = Vec::new();
    for (slot, (_, rule)) in users.iter().enumerate() {
        let entries = edit::get(rule, form.entries_keys()).and_then(Value::as_array);
        let mut sides = entries
            .into_iter()
            .flatten()
            .map(|entry| form.entries().side(entry));
        if let Some(entries) = entries.filter(|_| sides.any(|side| side == Side::Canary)) {
            split.push((slot, fingerprint(form, rule), entries));
        }
    }
    // The surest signs first: a rule may be changed, moved or doubled, but seldom all at once.
    for (by_print, by_entries, by_weights) in [
        (true, true, true),
        (true, true, false),
        (true, false, false),
        (false, true, true),
        (false, true, false),
    ] {
        for (slot, print, entries) in &split {
            let all = form.entries();
            let is_it = |kept: &RuleBefore| {
                (!by_print || kept.rule == *print)
                    && (!by_entries || kept.record.fits(all, entries))
                    && (!by_weights || weighted::is_as_left(all, entries, &kept.record, at))
            };
            if let Some(slot) = found.get_mut(*slot)
                && slot.is_none()
            {
                let one = kept.iter_mut().find(|kept| kept.is_some_and(is_it));
                *slot = one.and_then(Option::take).cloned();
            }
        }
    }
    let is_all_added = before.rules.iter().all(|rule| rule.record.added);
    for (slot, print, _) in split {
        if let Some(slot) = found.get_mut(slot)
            && slot.is_none()
            && is_all_added
            && !before.rules.is_empty()
        {
            *slot = Some(RuleBefore {
                rule: print,
                record: Record::of_unknown(),
                mirror: None,
                single: false,
            });
        }
    }
    found
}

/// Returns what a rule is known by: a mark of its name or its matches.
fn fingerprint(form: &dyn Rules, rule: &Value) -> String {
    let known_by = rule.get("name").or_else(|| rule.get(form.matches_key()));
    before::mark(&known_by.map(Value::to_string).unwrap_or_default())
}
