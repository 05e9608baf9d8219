//! A list of weighted backends: stable's share of it is divided between stable and canary, and put together again.
//!
//! Routers differ in the names of the fields and in how fine their numbers are; what is done to the list is the same for all.
//!
//! **Invariants:** the backends that are neither stable nor canary keep their share exactly. A weight above zero is never written as
//! zero, and one below full never as full.

use haldane_core::Weight;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::shape::{Part, Wrong, entry, remove};

type NameOf<'a> = Box<dyn Fn(&Value) -> Option<String> + 'a>;

/// How the members of a list are read and written.
pub(crate) struct Members<'a> {
    /// The field with the weight.
    pub(crate) weight: &'static str,
    /// What a member without one has.
    pub(crate) unset: Unset,
    /// Which numbers a list may have.
    pub(crate) scale: Scale,
    /// Returns a member's name; nothing for a member that takes no part, such as a mirror.
    pub(crate) name: NameOf<'a>,
    /// Makes a copy of stable's member the canary's.
    pub(crate) rename: Box<dyn Fn(&mut Value) + 'a>,
    /// The name of stable's member.
    pub(crate) stable: String,
    /// The name of the canary's.
    pub(crate) canary: String,
}

/// The weight of a member that tells none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unset {
    /// This one.
    Is(u64),
    /// None; but if no member of the list has any, each has the same.
    NoneUnlessAll,
}

/// Which numbers a list may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scale {
    /// Any whole ones up to this; only their proportion counts.
    Free(u64),
    /// Whole percents that make 100 together.
    Percent,
    /// Percents with two places, which make 100 together.
    Hundredths,
}

/// The largest weight that is written where a router sets no bound that matters: room for a small share of a list with others.
pub(crate) const LARGEST: u64 = 1_000_000;

/// What a list said before it was changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Was {
    /// The members with their weights as they were written.
    of: Vec<(String, Option<Value>)>,
    /// The mark of the rule, by which its list is told from others with the same members.
    #[serde(default, rename = "rule", skip_serializing_if = "String::is_empty")]
    pub(crate) mark: String,
    /// By how much the weights of the others were multiplied.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    by: u64,
    /// Whether the canary was added.
    #[serde(default, rename = "new", skip_serializing_if = "is_false")]
    pub(crate) is_added: bool,
    /// Whether the rule had no list, but a place for a single backend.
    #[serde(default, rename = "single", skip_serializing_if = "is_false")]
    pub(crate) is_single: bool,
    /// Whether a mirror was added, and with it the list in which it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) mirror: Option<Mirrored>,
}

/// Where a mirror was added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Mirrored {
    /// In a list that was there.
    Added,
    /// In a list that was made for it.
    Alone,
}

const fn one() -> u64 {
    1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_one(by: &u64) -> bool {
    *by == 1
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// The members of a list that take part, by index.
struct Seats {
    /// Index, name and effective weight.
    all: Vec<(usize, String, u64)>,
    stable: Option<usize>,
    canary: Option<usize>,
}

impl Seats {
    fn weight_at(&self, index: Option<usize>) -> u64 {
        self.all
            .iter()
            .find(|(at, _, _)| Some(*at) == index)
            .map_or(0, |(_, _, weight)| *weight)
    }

    fn others(&self) -> impl Iterator<Item = &(usize, String, u64)> {
        self.all
            .iter()
            .filter(|(at, _, _)| Some(*at) != self.stable && Some(*at) != self.canary)
    }
}

impl Members<'_> {
    /// Whether a list names stable.
    pub(crate) fn holds_stable(&self, list: &[Value]) -> bool {
        list.iter()
            .any(|member| (self.name)(member).as_ref() == Some(&self.stable))
    }

    /// Whether a list leads to the canary and nowhere else.
    pub(crate) fn is_canary_alone(&self, list: &[Value]) -> bool {
        let mut names = list
            .iter()
            .filter_map(|member| (self.name)(member))
            .peekable();
        names.peek().is_some() && names.all(|name| name == self.canary)
    }

    /// Returns stable's member.
    pub(crate) fn stable_member<'a>(&self, list: &'a [Value]) -> Option<&'a Value> {
        list.iter()
            .find(|member| (self.name)(member).as_ref() == Some(&self.stable))
    }

    /// Returns a member for the canary that is like stable's, without a weight.
    pub(crate) fn canary_like(&self, stable: &Value) -> Value {
        let mut canary = stable.clone();
        remove(&mut canary, self.weight);
        (self.rename)(&mut canary);
        canary
    }

    /// Divides stable's share, and tells what the list said before; nothing if it does not name stable.
    pub(crate) fn split(
        &self,
        at: &str,
        list: &mut Vec<Value>,
        weight: Weight,
    ) -> Part<Option<Was>> {
        let before = self.seats(at, list)?;
        let Some(stable) = before.stable else {
            return Ok(None);
        };
        let share = before
            .weight_at(before.stable)
            .saturating_add(before.weight_at(before.canary));
        let others: Vec<u64> = before.others().map(|(_, _, weight)| *weight).collect();
        let parts = self.scale.divide(share, &others, weight).ok_or_else(|| {
            let name = &self.stable;
            Wrong::at(
                at,
                format!(
                    "expected a share of {name} that can be divided by {weight}, found {share}"
                ),
            )
        })?;
        let was = Was {
            of: self.written(list),
            mark: String::new(),
            by: parts.by,
            is_added: before.canary.is_none(),
            is_single: false,
            mirror: None,
        };
        // Where no member had a weight all of them get one, lest the others be left with none.
        let is_all_unset = self.unset == Unset::NoneUnlessAll
            && was.of.iter().all(|(_, weight)| is_unset(weight.as_ref()));
        if parts.by > 1 || is_all_unset {
            for (index, _, weight) in before.others() {
                self.write(at, list, *index, weight.saturating_mul(parts.by))?;
            }
        }
        self.write(at, list, stable, parts.stable)?;
        let canary = match before.canary {
            Some(canary) => canary,
            None => {
                let canary = list.get(stable).map(|stable| self.canary_like(stable));
                let next = stable.saturating_add(1);
                list.insert(next, canary.unwrap_or_default());
                next
            }
        };
        self.write(at, list, canary, parts.canary)?;
        Ok(Some(was))
    }

    /// Puts a list back as far as that is known; a list that somebody else has changed since keeps that.
    pub(crate) fn restore(
        &self,
        at: &str,
        list: &mut Vec<Value>,
        memory: &mut Vec<Was>,
        mark: &str,
        is_canary_ours: bool,
    ) -> Part<Option<Was>> {
        let now = self.seats(at, list)?;
        let Some(stable) = now.stable else {
            return Ok(None);
        };
        let names = |of: &[(String, Option<Value>)]| -> Vec<String> {
            of.iter()
                .map(|(name, _)| name.clone())
                .filter(|name| *name != self.canary)
                .collect()
        };
        let here = names(&self.written(list));
        let both = now
            .weight_at(now.stable)
            .saturating_add(now.weight_at(now.canary));
        // Several lists may have the same members: the likeliest is taken, and of equals the first.
        let likeness = |was: &Was| {
            u8::from(was.mark != mark) * 4
                + u8::from(!self.is_as_left(&now, was)) * 2
                + u8::from(self.share_of(was).saturating_mul(was.by) != both)
        };
        let found = memory
            .iter()
            .enumerate()
            .filter(|(_, was)| names(&was.of) == here)
            .min_by_key(|(_, was)| likeness(was))
            .map(|(index, _)| index)
            .map(|index| memory.remove(index));
        let Some(canary) = now.canary else {
            return Ok(found);
        };
        match &found {
            Some(was) if self.is_as_left(&now, was) => {
                for (name, weight) in &was.of {
                    let index = now.all.iter().find(|(_, here, _)| here == name);
                    if let Some((index, _, _)) = index {
                        self.write_raw(at, list, *index, weight.clone())?;
                    }
                }
            }
            Some(Was { is_added: true, .. }) => self.merge(at, list, &now, stable)?,
            None if is_canary_ours => self.merge(at, list, &now, stable)?,
            Some(_) | None => {}
        }
        let is_added = found.as_ref().map_or(is_canary_ours, |was| was.is_added);
        if is_added {
            list.remove(canary);
        }
        Ok(found)
    }

    /// Takes what a canary of the user's own has for stable.
    pub(crate) fn rest(&self, at: &str, list: &mut [Value]) -> Part<()> {
        let now = self.seats(at, list)?;
        match (now.stable, now.canary) {
            (Some(stable), Some(canary)) if now.weight_at(now.canary) > 0 => {
                self.merge(at, list, &now, stable)?;
                self.write(at, list, canary, 0)
            }
            _ => Ok(()),
        }
    }

    /// Returns the canary's part of what stable and canary have together; nothing if they have nothing.
    pub(crate) fn share(&self, at: &str, list: &[Value]) -> Part<Option<Weight>> {
        let now = self.seats(at, list)?;
        if now.stable.is_none() {
            return Ok(None);
        }
        let canary = now.weight_at(now.canary);
        let both = canary.saturating_add(now.weight_at(now.stable));
        Ok(part_of(canary, both))
    }

    fn merge(&self, at: &str, list: &mut [Value], now: &Seats, stable: usize) -> Part<()> {
        let both = now
            .weight_at(now.stable)
            .saturating_add(now.weight_at(now.canary));
        self.write(at, list, stable, both)
    }

    /// Whether the others have what was written to them.
    fn is_as_left(&self, now: &Seats, was: &Was) -> bool {
        let is_all_unset = was.of.iter().all(|(_, weight)| is_unset(weight.as_ref()));
        now.others().all(|(_, name, weight)| {
            let before = was.of.iter().find(|(before, _)| before == name);
            before
                .and_then(|(_, raw)| self.effective(raw.as_ref(), is_all_unset))
                .is_some_and(|before| before.saturating_mul(was.by) == *weight)
        })
    }

    /// Returns what stable and the canary had together.
    fn share_of(&self, was: &Was) -> u64 {
        let is_all_unset = was.of.iter().all(|(_, weight)| is_unset(weight.as_ref()));
        was.of
            .iter()
            .filter(|(name, _)| *name == self.stable || *name == self.canary)
            .filter_map(|(_, raw)| self.effective(raw.as_ref(), is_all_unset))
            .fold(0, u64::saturating_add)
    }

    fn written(&self, list: &[Value]) -> Vec<(String, Option<Value>)> {
        list.iter()
            .filter_map(|member| {
                let weight = member.get(self.weight).filter(|weight| !weight.is_null());
                Some(((self.name)(member)?, weight.cloned()))
            })
            .collect()
    }

    fn seats(&self, at: &str, list: &[Value]) -> Part<Seats> {
        let raw = |member: &Value| {
            member
                .get(self.weight)
                .filter(|raw| !raw.is_null())
                .cloned()
        };
        let named: Vec<(usize, String, Option<Value>)> = list
            .iter()
            .enumerate()
            .filter_map(|(index, member)| Some((index, (self.name)(member)?, raw(member))))
            .collect();
        let is_all_unset = named.iter().all(|(_, _, raw)| is_unset(raw.as_ref()));
        let mut seats = Seats {
            all: Vec::new(),
            stable: None,
            canary: None,
        };
        for (index, name, raw) in named {
            let path = format!("{at}[{index}]");
            let weight = self.effective(raw.as_ref(), is_all_unset).ok_or_else(|| {
                let found = raw.unwrap_or_default();
                Wrong::found(
                    &format!("{path}.{}", self.weight),
                    self.scale.words(),
                    &found,
                )
            })?;
            let seat = if name == self.stable {
                Some(&mut seats.stable)
            } else if name == self.canary {
                Some(&mut seats.canary)
            } else {
                None
            };
            if seat.is_some_and(|seat| seat.replace(index).is_some()) {
                return Err(Wrong::at(
                    &path,
                    format!("expected {name} only once in this list"),
                ));
            }
            seats.all.push((index, name, weight));
        }
        Ok(seats)
    }

    fn effective(&self, raw: Option<&Value>, is_all_unset: bool) -> Option<u64> {
        match (raw, self.unset) {
            (_, Unset::NoneUnlessAll) if is_all_unset => Some(1),
            (None, Unset::NoneUnlessAll) => Some(0),
            (None, Unset::Is(weight)) => Some(weight),
            (Some(raw), _) => self.scale.read(raw),
        }
    }

    fn write(&self, at: &str, list: &mut [Value], index: usize, weight: u64) -> Part<()> {
        self.write_raw(at, list, index, Some(self.scale.written(weight)))
    }

    fn write_raw(
        &self,
        at: &str,
        list: &mut [Value],
        index: usize,
        raw: Option<Value>,
    ) -> Part<()> {
        let Some(member) = list.get_mut(index) else {
            return Ok(());
        };
        match raw {
            Some(raw) => *entry(member, at, self.weight, Value::Null)? = raw,
            None => {
                remove(member, self.weight);
            }
        }
        Ok(())
    }
}

/// Whether a weight is as good as none where [`Unset::NoneUnlessAll`] holds.
fn is_unset(raw: Option<&Value>) -> bool {
    raw.is_none_or(|raw| raw.is_null() || raw.as_u64() == Some(0))
}

/// Stable's share, divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Parts {
    stable: u64,
    canary: u64,
    /// By how much the others are to be multiplied.
    by: u64,
}

impl Scale {
    /// Divides a share; nothing if it is too small for that.
    fn divide(self, share: u64, others: &[u64], weight: Weight) -> Option<Parts> {
        let is_alone = others.iter().all(|other| *other == 0);
        match self {
            _ if share == 0 => Some(Parts {
                stable: 0,
                canary: 0,
                by: 1,
            }),
            Self::Percent | Self::Hundredths => cut(share, weight, 1),
            Self::Free(most) if is_alone => cut(Self::total(most, weight), weight, 1),
            Self::Free(most) => {
                let bps = u64::from(weight.as_bps());
                let exact = FULL / gcd(FULL, share.saturating_mul(bps));
                let largest = others.iter().copied().max().unwrap_or(0).max(share);
                let by = exact.min(most / largest).max(1);
                cut(share.checked_mul(by)?, weight, by)
            }
        }
    }

    /// Returns the smallest usual total that holds a weight exactly, or the finest there is.
    fn total(most: u64, weight: Weight) -> u64 {
        let bps = u64::from(weight.as_bps());
        let is_exact = |total: &u64| total.saturating_mul(bps).is_multiple_of(FULL);
        // A part of a total is at most one less than it, unless it is full, and then 100 will do.
        let usual = [100, 1_000, FULL]
            .into_iter()
            .filter(|total| total - 1 <= most);
        let finest = usual.clone().next_back().unwrap_or(100);
        usual.into_iter().find(is_exact).unwrap_or(finest)
    }

    fn read(self, raw: &Value) -> Option<u64> {
        match self {
            Self::Free(_) | Self::Percent => raw.as_u64(),
            Self::Hundredths => hundredths(raw),
        }
    }

    fn written(self, weight: u64) -> Value {
        match self {
            Self::Hundredths if !weight.is_multiple_of(100) => {
                let text = format!("{}.{:02}", weight / 100, weight % 100);
                serde_json::from_str(&text).unwrap_or_default()
            }
            Self::Hundredths => json!(weight / 100),
            Self::Free(_) | Self::Percent => json!(weight),
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Free(_) => "a whole number",
            Self::Percent => "whole percents",
            Self::Hundredths => "percents with at most two places",
        }
    }
}

const FULL: u64 = Weight::FULL.as_bps() as u64;

/// Reads `12.5` as 1250 by its digits, so that no rounding comes in.
fn hundredths(raw: &Value) -> Option<u64> {
    let text = raw.as_number()?.to_string();
    let (whole, places) = text.split_once('.').unwrap_or((text.as_str(), ""));
    let places = format!("{:0<2}", places.trim_end_matches('0'));
    let whole: u64 = whole.parse().ok()?;
    let places: u64 = (places.len() == 2).then_some(places)?.parse().ok()?;
    whole.checked_mul(100)?.checked_add(places)
}

fn cut(total: u64, weight: Weight, by: u64) -> Option<Parts> {
    let bps = u64::from(weight.as_bps());
    let nearest = total.checked_mul(bps)?.checked_add(FULL / 2)? / FULL;
    let canary = if weight.is_zero() || weight.is_full() {
        nearest
    } else if total < 2 {
        return None;
    } else {
        nearest.clamp(1, total - 1)
    };
    Some(Parts {
        stable: total - canary,
        canary,
        by,
    })
}

/// Returns a part as a weight to the nearest basis point, but never all or nothing where it is neither.
pub(crate) fn part_of(part: u64, whole: u64) -> Option<Weight> {
    if whole == 0 {
        return None;
    }
    let nearest = part.checked_mul(FULL)?.checked_add(whole / 2)? / whole;
    let bps = if part == 0 || part >= whole {
        nearest.min(FULL)
    } else {
        nearest.clamp(1, FULL - 1)
    };
    Weight::try_from_bps(u16::try_from(bps).ok()?).ok()
}

const fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
