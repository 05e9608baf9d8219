//! Lists of rules that each match requests and name weighted backends: what Gateway API and Istio have in common.
//!
//! Every covered rule that names stable is split, or mirrored. Header routes are copies of these rules, with one more condition and the
//! canary alone, before those of the user. What was there before is kept by rule, found again by the rule's name or matches, or, where
//! the user changed these meanwhile, by its place among those that are left.
//!
//! **Invariant:** a rule that is not ours keeps its place, and of its parts all but weights, the canary's entry and the canary's mirror.

use haldane_core::{Weight, plan::HeaderRoute};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    edit::{self, Place},
    route::{RouteError, Seen},
    split::Split,
    sticky::Sticky,
    weighted::{self, Entries, Record, Share, Side},
};

type Result<T> = std::result::Result<T, RouteError>;

/// How the rules of a router look.
pub(crate) trait Rules: Entries {
    /// Returns the member with the backends.
    fn entries_key(&self) -> &'static str;

    /// Returns the member with the matches.
    fn matches_key(&self) -> &'static str;

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
    ours: Vec<String>,
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
}

/// Returns the rules as they should be, and what they were before.
pub(crate) fn desired(
    form: &dyn Rules,
    split: &Split,
    rules: &[Value],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Desired> {
    let users = users_rules(form, rules, before);
    let known = aligned(form, &users, before, at)?;
    let mut after = Before::default();
    let mut wanted = Vec::new();
    let mut sources = Vec::new();
    for ((place, rule), known) in users.into_iter().zip(known) {
        let at = at.item(place);
        let mut rule = rule.clone();
        let done = if form.covers(&rule) {
            divide(form, split, &mut rule, known.as_ref(), &at)?
        } else {
            None
        };
        match (done, known) {
            (Some((record, canary)), known) => {
                let mirrored = known.and_then(|known| known.mirror);
                let mut source = rule.clone();
                form.mirror(&mut source, Weight::ZERO, mirrored, &at)?;
                sources.push((place, source, canary));
                let mirror = form.mirror(&mut rule, split.traffic.mirror, mirrored, &at)?;
                after.rules.push(RuleBefore {
                    rule: fingerprint(form, &rule),
                    record,
                    mirror,
                });
            }
            // It was covered before, and is no longer.
            (None, Some(known)) => rule = restored(form, &rule, Some(&known), &at)?,
            (None, None) => {}
        }
        wanted.push(rule);
    }
    let ours = header_rules(form, split, &sources, at)?;
    after.ours = ours.iter().map(|rule| fingerprint(form, rule)).collect();
    let first = sources.first().map_or(0, |(place, _, _)| *place);
    let places: Vec<bool> = rules
        .iter()
        .map(|rule| is_ours(form, rule, before))
        .collect();
    Ok(Desired {
        rules: merged(ours, wanted, &places, first),
        names_stable: !sources.is_empty(),
        before: after,
    })
}

/// Returns the rules without what was done to them.
pub(crate) fn cleared(
    form: &dyn Rules,
    rules: &[Value],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Vec<Value>> {
    let users = users_rules(form, rules, before);
    let known = aligned(form, &users, before, at)?;
    let mut wanted = Vec::new();
    for ((place, rule), known) in users.into_iter().zip(known) {
        let at = at.item(place);
        wanted.push(if known.is_some() || form.covers(rule) {
            restored(form, rule, known.as_ref(), &at)?
        } else {
            rule.clone()
        });
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
            let at = at.item(place);
            let entries = edit::list(rule, &[form.entries_key()], &at)?;
            weighted::share(form, &entries, &at.key(form.entries_key()))
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
    let key = form.entries_key();
    let present = edit::list(&rule, &[key], at)?;
    let mut entries = present.clone();
    stick(form, &mut entries, None, &at.key(key))?;
    let record = known.map(|known| &known.record);
    let entries = weighted::restore(form, &entries, record, &at.key(key))?;
    if entries != present {
        edit::set(&mut rule, &[key], Value::Array(entries), at)?;
    }
    let mirrored = known.and_then(|known| known.mirror);
    form.mirror(&mut rule, Weight::ZERO, mirrored, at)?;
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
    let entries = edit::list(rule, &[form.entries_key()], at)?;
    let record = known.map(|known| &known.record);
    let place = at.key(form.entries_key());
    let weight = split.traffic.weight;
    let done = weighted::split(form, &entries, weight, record, &place)?;
    let Some((mut entries, record)) = done else {
        return Ok(None);
    };
    stick(form, &mut entries, None, &place)?;
    let mut all = entries.iter();
    let canary = all.find(|entry| form.side(entry) == Side::Canary);
    let canary = canary.cloned().unwrap_or(Value::Null);
    let cookie = form.sticky().and_then(|sticky| sticky.set_cookie(split));
    stick(form, &mut entries, cookie.as_deref(), &place)?;
    edit::set(rule, &[form.entries_key()], Value::Array(entries), at)?;
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
        .position(|entry| form.side(entry) == Side::Canary);
    let entry = canary.and_then(|place| Some((place, entries.get_mut(place)?)));
    match (form.sticky(), entry) {
        (Some(_), Some((place, entry))) => form.set_cookie(entry, cookie, &at.item(place)),
        _ => Ok(()),
    }
}

/// Returns our rules: for each header route a copy of each rule that is split.
fn header_rules(
    form: &dyn Rules,
    split: &Split,
    sources: &[(usize, Value, Value)],
    at: &Place<'_>,
) -> Result<Vec<Value>> {
    let mut ours = Vec::new();
    let sticky = form.sticky().and_then(|sticky| sticky.route(split));
    for route in split.canary_routes().into_iter().chain(sticky) {
        for (nth, (place, rule, canary)) in sources.iter().enumerate() {
            let at = at.item(*place);
            if let Some(mut copy) = form.narrowed(rule, &route, nth, &at)? {
                let mut canary = canary.clone();
                let weight = form.write(form.scale().alone(), canary.get("weight"));
                edit::set(&mut canary, &["weight"], weight, &at)?;
                let alone = Value::Array(vec![canary]);
                edit::set(&mut copy, &[form.entries_key()], alone, &at)?;
                ours.push(copy);
            }
        }
    }
    Ok(ours)
}

/// Returns our rules and the user's in one list. Ours keep their places if these are before the first rule that they are copies of: two
/// releases that share an object would else push each other aside for ever. Otherwise they come first.
fn merged(ours: Vec<Value>, users: Vec<Value>, places: &[bool], first: usize) -> Vec<Value> {
    let are_placed = places.iter().filter(|is_ours| **is_ours).count() == ours.len()
        && places.iter().skip(first).all(|is_ours| !is_ours);
    if !are_placed {
        return ours.into_iter().chain(users).collect();
    }
    let (mut ours, mut users) = (ours.into_iter(), users.into_iter());
    places
        .iter()
        .filter_map(|is_ours| if *is_ours { ours.next() } else { users.next() })
        .collect()
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
    let entries = rule.get(form.entries_key()).and_then(Value::as_array);
    let is_canarys = entries.is_some_and(|entries| {
        !entries.is_empty() && entries.iter().all(|entry| form.side(entry) == Side::Canary)
    });
    let print = fingerprint(form, rule);
    is_canarys && before.is_some_and(|before| before.ours.contains(&print))
}

/// Returns for each rule that names the canary what it was before, as far as it is kept.
fn aligned(
    form: &dyn Rules,
    users: &[(usize, &Value)],
    before: Option<&Before>,
    at: &Place<'_>,
) -> Result<Vec<Option<RuleBefore>>> {
    let Some(before) = before else {
        return Ok(vec![None; users.len()]);
    };
    let mut kept: Vec<Option<&RuleBefore>> = before.rules.iter().map(Some).collect();
    let mut found: Vec<Option<RuleBefore>> = vec![None; users.len()];
    let mut split = Vec::new();
    for (slot, (place, rule)) in users.iter().enumerate() {
        let entries = edit::list(rule, &[form.entries_key()], &at.item(*place))?;
        if entries.iter().any(|entry| form.side(entry) == Side::Canary) {
            split.push((slot, fingerprint(form, rule), entries));
        }
    }
    // The surest signs first: a rule may be changed, moved or doubled, but seldom all at once.
    for (by_print, by_entries) in [(true, true), (true, false), (false, true)] {
        for (slot, print, entries) in &split {
            let is_it = |kept: &RuleBefore| {
                (!by_print || kept.rule == *print)
                    && (!by_entries || kept.record.fits(form, entries))
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
            });
        }
    }
    Ok(found)
}

/// Returns what a rule is known by: its name or its matches, as 64 bits (FNV-1a) that are the same on every machine.
fn fingerprint(form: &dyn Rules, rule: &Value) -> String {
    let known_by = rule.get("name").or_else(|| rule.get(form.matches_key()));
    let text = known_by.map(Value::to_string).unwrap_or_default();
    let hash = text.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}
