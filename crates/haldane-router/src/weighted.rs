//! Lists of weighted backends: stable's part of a list is split between stable and canary, and put together again.
//!
//! Stable's part is what stable and canary have together; the parts of others are theirs, and keep their share. A canary that is not in
//! the list is added beside stable and taken out at the end. Weights stay in the numbers that are there as long as these are fine
//! enough; then all are scaled up together. What was there before is kept in a [`Record`].
//!
//! **Invariant:** a canary that is to get something never gets nothing, and one that is not to get all never gets all.

use haldane_core::Weight;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    edit::{self, Place},
    route::RouteError,
};

type Result<T> = std::result::Result<T, RouteError>;

const FULL: u64 = Weight::FULL.as_bps() as u64;

/// Whom an entry names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Stable.
    Stable,
    /// The canary.
    Canary,
    /// Somebody else.
    Other,
    /// Nobody: it takes no part in the split, as a mirror does.
    Aside,
}

/// How the entries of a router's lists look.
pub(crate) trait Entries {
    /// Returns whom an entry names.
    fn side(&self, entry: &Value) -> Side;

    /// Returns what tells an entry from others of its list.
    fn id(&self, entry: &Value) -> String;

    /// Returns the canary's entry that goes beside this one of stable.
    fn canary_like(&self, stable: &Value) -> Value;

    /// Returns what the weights mean.
    fn scale(&self) -> Scale;

    /// Returns the member with the weight.
    fn weight_key(&self) -> &'static str {
        "weight"
    }

    /// Returns what a weight has to be, in words.
    fn weight_words(&self) -> &'static str {
        "a weight that is a whole number"
    }

    /// Returns the weight that this value is, if it is one.
    fn read(&self, weight: &Value) -> Option<u64> {
        weight.as_u64()
    }

    /// Returns the value of a weight, written like one that was there.
    fn write(&self, weight: u64, _like: Option<&Value>) -> Value {
        Value::from(weight)
    }
}

/// What the weights of a list mean.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// What counts where no weight is given.
    pub(crate) absent: Absent,
    /// What stable and canary together may weigh if they are alone, best first; none if what they have may not change.
    pub(crate) totals: &'static [u64],
    /// The largest weight.
    pub(crate) max: u64,
    /// The weight of an entry that is alone in a list of ours; none is written if there is none.
    pub(crate) alone: Option<u64>,
}

/// What counts where no weight is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Absent {
    /// This.
    Is(u64),
    /// Nothing; but an entry that is alone gets all, whatever its weight.
    AllIfAlone,
    /// Nothing; but if no entry has any weight all have the same.
    NoneUnlessAll,
}

/// What a list was before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Its entries with their weights as they were written.
    was: Vec<(String, Option<Value>)>,
    /// Whether the canary was not among them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) added: bool,
}

/// What the canary gets of stable's part of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Share {
    /// The list does not name stable.
    NotStable,
    /// It does not name the canary, or neither gets anything.
    Unsplit,
    /// This share.
    Of(Weight),
}

/// A list with its weights.
struct Weighted {
    stable: usize,
    canary: Option<usize>,
    weights: Vec<u64>,
}

impl Record {
    /// Returns the record of a list of which is known only that the canary was added to it.
    pub(crate) const fn of_unknown() -> Self {
        Self {
            was: Vec::new(),
            added: true,
        }
    }

    /// Whether this may be the record of a list of these entries.
    pub(crate) fn fits(&self, form: &dyn Entries, entries: &[Value]) -> bool {
        let mut was: Vec<&str> = self.was.iter().map(|(id, _)| id.as_str()).collect();
        let mut ids: Vec<String> = entries
            .iter()
            .filter(|entry| match form.side(entry) {
                Side::Canary => !self.added,
                Side::Stable | Side::Other => true,
                Side::Aside => false,
            })
            .map(|entry| form.id(entry))
            .collect();
        was.sort_unstable();
        ids.sort_unstable();
        was == ids
    }
}

/// Returns the list as it should be and its record; `None` if it does not name stable.
pub(crate) fn split(
    form: &dyn Entries,
    entries: &[Value],
    weight: Weight,
    record: Option<&Record>,
    at: &Place<'_>,
) -> Result<Option<(Vec<Value>, Record)>> {
    let Some(now) = weighted(form, entries, at)? else {
        return Ok(None);
    };
    let record = match (now.canary, record) {
        (Some(_), Some(record)) => record.clone(),
        (Some(_), None) => recorded(form, entries, false),
        (None, _) => recorded(form, entries, true),
    };
    let mut entries = entries.to_vec();
    let mut weights = now.weights;
    let canary = now.canary.unwrap_or_else(|| now.stable.saturating_add(1));
    if let Some(stable) = entries.get(now.stable).cloned() {
        let mut ours = form.canary_like(&stable);
        edit::remove(&mut ours, form.weight_key());
        match entries.get_mut(canary).filter(|_| now.canary.is_some()) {
            Some(present) => {
                if record.added {
                    keep_weight(form.weight_key(), present, &mut ours);
                    *present = ours;
                }
            }
            None => {
                let none = form.write(0, stable.get(form.weight_key()));
                edit::set(&mut ours, &[form.weight_key()], none, at)?;
                entries.insert(canary, ours);
                weights.insert(canary, 0);
            }
        }
    }
    // The canary stands right behind stable where it is new, so stable's index stays.
    let wanted = divided(&form.scale(), &weights, (now.stable, canary), weight, at)?;
    write(form, &mut entries, &wanted, at)?;
    Ok(Some((entries, record)))
}

/// Returns the list without what was done to it; stable gets what both had.
pub(crate) fn restore(
    form: &dyn Entries,
    entries: &[Value],
    record: Option<&Record>,
    at: &Place<'_>,
) -> Result<Vec<Value>> {
    let Some(now) = weighted(form, entries, at)? else {
        return Ok(without_ours(form, entries, record));
    };
    if now.canary.is_none() {
        return Ok(entries.to_vec());
    }
    let (mut entries, wanted) = merged(entries, &now, record);
    let before = match record {
        Some(record) => put_back(form, &entries, &wanted, record, at)?,
        None => None,
    };
    if let Some(before) = before {
        return Ok(before);
    }
    write(form, &mut entries, &wanted, at)?;
    Ok(entries)
}

/// Whether a list still says what was written to it when this was recorded, but for what stable and canary have of it.
pub(crate) fn is_as_left(
    form: &dyn Entries,
    entries: &[Value],
    record: &Record,
    at: &Place<'_>,
) -> bool {
    let Ok(Some(now)) = weighted(form, entries, at) else {
        return false;
    };
    let (entries, wanted) = merged(entries, &now, Some(record));
    put_back(form, &entries, &wanted, record, at).is_ok_and(|before| before.is_some())
}

/// Returns the list with all that both have for stable, without a canary that was added.
fn merged(entries: &[Value], now: &Weighted, record: Option<&Record>) -> (Vec<Value>, Vec<u64>) {
    let mut entries = entries.to_vec();
    let mut wanted = now.weights.clone();
    if let Some(canary) = now.canary {
        let pot = at_index(&wanted, now.stable).saturating_add(at_index(&wanted, canary));
        set_index(&mut wanted, now.stable, pot);
        set_index(&mut wanted, canary, 0);
        if record.is_some_and(|record| record.added) {
            entries.remove(canary);
            wanted.remove(canary);
        }
    }
    (entries, wanted)
}

/// Returns what the canary gets.
pub(crate) fn share(form: &dyn Entries, entries: &[Value], at: &Place<'_>) -> Result<Share> {
    let Some(now) = weighted(form, entries, at)? else {
        return Ok(Share::NotStable);
    };
    let Some(canary) = now.canary else {
        return Ok(Share::Unsplit);
    };
    let canary = at_index(&now.weights, canary);
    let pot = at_index(&now.weights, now.stable).saturating_add(canary);
    Ok(if pot == 0 {
        Share::Unsplit
    } else {
        Share::Of(nearest(canary, pot))
    })
}

/// Returns this part of a whole to the nearest basis point; only nothing is 0 and only all is 100 %.
pub(crate) fn nearest(part: u64, whole: u64) -> Weight {
    let bps = rounded(part, FULL, whole);
    u16::try_from(bps)
        .ok()
        .and_then(|bps| Weight::try_from_bps(bps).ok())
        .unwrap_or(Weight::FULL)
}

/// Returns how much of a whole this weight is; nothing for 0 only, and all for 100 % only.
pub(crate) fn part(weight: Weight, whole: u64) -> u64 {
    rounded(u64::from(weight.as_bps()), whole, FULL)
}

/// Returns `part / of` of `whole`, rounded to the nearest number that is none or all only if `part` is.
fn rounded(part: u64, whole: u64, of: u64) -> u64 {
    if part == 0 || of == 0 || whole == 0 {
        return 0;
    }
    if part >= of {
        return whole;
    }
    let (part, of) = (u128::from(part), u128::from(of));
    let near = (u128::from(whole) * part + of / 2) / of;
    let near = u64::try_from(near).unwrap_or(whole);
    near.clamp(1, whole.saturating_sub(1).max(1))
}

fn weighted(form: &dyn Entries, entries: &[Value], at: &Place<'_>) -> Result<Option<Weighted>> {
    let only = |side: Side| -> Result<Option<usize>> {
        let mut all = (0..)
            .zip(entries)
            .filter(|(_, entry)| form.side(entry) == side)
            .map(|(index, _)| index);
        match (all.next(), all.next()) {
            (first, None) => Ok(first),
            (_, Some(second)) => Err(at.item(second).refused(
                "the same Service stands twice in one list, so its part can't be told; name it once",
            )),
        }
    };
    let (stable, canary) = (only(Side::Stable)?, only(Side::Canary)?);
    let Some(stable) = stable else {
        return Ok(None);
    };
    let alike = alike(form, entries);
    let weights = (0..)
        .zip(entries)
        .map(|(index, entry)| {
            counted(form, entry, alike).ok_or_else(|| {
                let place = at.item(index).key(form.weight_key());
                place.wrong(form.weight_words(), entry.get(form.weight_key()))
            })
        })
        .collect::<Result<Vec<u64>>>()?;
    Ok(Some(Weighted {
        stable,
        canary,
        weights,
    }))
}

/// Returns what each entry counts where this does not depend on its own weight.
fn alike(form: &dyn Entries, entries: &[Value]) -> Option<u64> {
    let scale = form.scale();
    let is_none = |entry: &&Value| match entry.get(form.weight_key()) {
        None | Some(Value::Null) => true,
        Some(raw) => form.read(raw) == Some(0),
    };
    let mut partners = entries
        .iter()
        .filter(|entry| form.side(entry) != Side::Aside);
    let is_so = match scale.absent {
        Absent::Is(_) => false,
        Absent::AllIfAlone => partners.count() == 1,
        Absent::NoneUnlessAll => partners.all(|entry| is_none(&entry)),
    };
    is_so.then(|| scale.totals.first().copied().unwrap_or(1))
}

/// Returns what an entry counts in its list.
fn counted(form: &dyn Entries, entry: &Value, alike: Option<u64>) -> Option<u64> {
    if form.side(entry) == Side::Aside {
        return Some(0);
    }
    let given = match entry.get(form.weight_key()) {
        None | Some(Value::Null) => None,
        Some(raw) => Some(form.read(raw)?),
    };
    let absent = match form.scale().absent {
        Absent::Is(weight) => weight,
        Absent::AllIfAlone | Absent::NoneUnlessAll => 0,
    };
    Some(alike.or(given).unwrap_or(absent))
}

fn recorded(form: &dyn Entries, entries: &[Value], added: bool) -> Record {
    Record {
        was: entries
            .iter()
            .filter(|entry| form.side(entry) != Side::Aside)
            .map(|entry| (form.id(entry), entry.get(form.weight_key()).cloned()))
            .collect(),
        added,
    }
}

fn keep_weight(key: &str, from: &Value, to: &mut Value) {
    if let (Some(weight), Some(members)) = (from.get(key), to.as_object_mut()) {
        members.insert(key.to_owned(), weight.clone());
    }
}

/// Returns the weights that split what stable and canary have together, scaled up as far as needed.
fn divided(
    scale: &Scale,
    weights: &[u64],
    (stable, canary): (usize, usize),
    weight: Weight,
    at: &Place<'_>,
) -> Result<Vec<u64>> {
    let pot = at_index(weights, stable).saturating_add(at_index(weights, canary));
    let others = (0..)
        .zip(weights)
        .filter(|(index, _)| *index != stable && *index != canary)
        .map(|(_, weight)| *weight);
    let largest = others.max().unwrap_or(0);
    let is_exact =
        |pot: u64| (u128::from(pot) * u128::from(weight.as_bps())) % u128::from(FULL) == 0;
    let (factor, pot) = if pot == 0 || is_exact(pot) || scale.totals.is_empty() {
        (1, pot)
    } else if largest == 0 {
        let last = scale.totals.last().copied().unwrap_or(FULL);
        let total = scale.totals.iter().copied().find(|total| is_exact(*total));
        (1, total.unwrap_or(last))
    } else {
        let fine = FULL / common_divisor(pot, FULL);
        let factor = fine.min(scale.max / largest.max(pot)).max(1);
        (factor, pot.saturating_mul(factor))
    };
    let canarys = part(weight, pot);
    if pot == 1 && !weight.is_zero() && !weight.is_full() {
        return Err(at.refused(&format!(
            "expected a share of stable that can be divided by {weight}, found {pot} beside {largest}"
        )));
    }
    Ok((0..)
        .zip(weights)
        .map(|(index, weight)| {
            if index == stable {
                pot.saturating_sub(canarys)
            } else if index == canary {
                canarys
            } else {
                weight.saturating_mul(factor)
            }
        })
        .collect())
}

/// Writes the weights that do not count so already.
fn write(form: &dyn Entries, entries: &mut [Value], wanted: &[u64], at: &Place<'_>) -> Result<()> {
    let key = form.weight_key();
    let like = entries.iter().find_map(|entry| entry.get(key).cloned());
    // Where all count the same without a weight one that is written takes it from the others: then all are.
    let is_alike = alike(form, entries);
    let must = is_alike.is_some_and(|each| {
        let mut pairs = entries.iter().zip(wanted);
        !pairs.all(|(entry, weight)| form.side(entry) == Side::Aside || *weight == each)
    });
    for (index, (entry, weight)) in entries.iter_mut().zip(wanted).enumerate() {
        let raw = entry.get(key).cloned();
        let is_so = counted(form, entry, is_alike.filter(|_| !must)) == Some(*weight);
        if form.side(entry) == Side::Aside || is_so && !(must && raw.is_none()) {
            continue;
        }
        let new = form.write(*weight, raw.as_ref().or(like.as_ref()));
        edit::set(entry, &[key], new, &at.item(index))?;
    }
    Ok(())
}

/// Returns the entries with the weights of the record, if nobody changed them meanwhile but in scale.
fn put_back(
    form: &dyn Entries,
    entries: &[Value],
    weights: &[u64],
    record: &Record,
    at: &Place<'_>,
) -> Result<Option<Vec<Value>>> {
    let Some(before) = with_weights(form, entries, record, at)? else {
        return Ok(None);
    };
    let Some(was) = weighted(form, &before, at)? else {
        return Ok(None);
    };
    let mut was_weights = was.weights;
    let canarys = was
        .canary
        .map_or(0, |canary| at_index(&was_weights, canary));
    let pot = at_index(&was_weights, was.stable).saturating_add(canarys);
    set_index(&mut was_weights, was.stable, pot);
    if let Some(canary) = was.canary {
        set_index(&mut was_weights, canary, 0);
    }
    let now_pot = u128::from(at_index(weights, was.stable));
    let was_pot = u128::from(pot);
    let is_same = was_weights.iter().zip(weights).all(|(was, now)| {
        let (was, now) = (u128::from(*was), u128::from(*now));
        if was_pot == 0 {
            now_pot == 0 && was == now
        } else {
            now_pot * was == now * was_pot
        }
    });
    if !is_same {
        return Ok(None);
    }
    let mut before = before;
    if canarys > 0 {
        write(form, &mut before, &was_weights, at)?;
    }
    Ok(Some(before))
}

/// Returns the entries with each weight as the record has it; `None` if they are others.
fn with_weights(
    form: &dyn Entries,
    entries: &[Value],
    record: &Record,
    at: &Place<'_>,
) -> Result<Option<Vec<Value>>> {
    if !record.fits(form, entries) {
        return Ok(None);
    }
    let mut was: Vec<Option<&(String, Option<Value>)>> = record.was.iter().map(Some).collect();
    let mut before = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        if form.side(entry) == Side::Aside {
            before.push(entry.clone());
            continue;
        }
        let id = form.id(entry);
        let slot = was
            .iter_mut()
            .find(|slot| slot.is_some_and(|(known, _)| *known == id));
        let Some((_, raw)) = slot.and_then(Option::take) else {
            return Ok(None);
        };
        let mut entry = entry.clone();
        match raw {
            Some(raw) => {
                edit::set(
                    &mut entry,
                    &[form.weight_key()],
                    raw.clone(),
                    &at.item(index),
                )?;
            }
            None => {
                edit::remove(&mut entry, form.weight_key());
            }
        }
        before.push(entry);
    }
    Ok(Some(before))
}

/// Returns a list from which stable was taken meanwhile without the canary that was added; one that would be empty stays.
fn without_ours(form: &dyn Entries, entries: &[Value], record: Option<&Record>) -> Vec<Value> {
    let others: Vec<Value> = entries
        .iter()
        .filter(|entry| form.side(entry) != Side::Canary)
        .cloned()
        .collect();
    if record.is_some_and(|record| record.added) && !others.is_empty() {
        others
    } else {
        entries.to_vec()
    }
}

fn common_divisor(a: u64, b: u64) -> u64 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a.checked_rem(b).unwrap_or(0));
    }
    a.max(1)
}

fn at_index(weights: &[u64], index: usize) -> u64 {
    weights.get(index).copied().unwrap_or(0)
}

fn set_index(weights: &mut [u64], index: usize, weight: u64) {
    if let Some(slot) = weights.get_mut(index) {
        *slot = weight;
    }
}
