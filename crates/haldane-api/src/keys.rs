//! The keys of the release file: one table per map, from which the reader, the schema and the order of written files are made.
//!
//! A default given here as text is what the reader uses; tests compare the two.

mod guard;
mod metric;
mod rollout;
mod service;
mod step;

pub(crate) use self::{
    guard::{GUARD, GUARD_ITEM, GUARDS},
    metric::{AUTH, METRIC, REQUESTS, SECRET, SOURCE, TEMPLATES},
    rollout::{DEADLINES, FREEZE, HOOKS, JUDGE, ROLLOUT, SAMPLING, WINDOW},
    service::{FILE, HEALTH, JUDGED_PLAN, LIMITS, NOTIFY, OVERRIDE, SERVICE, STABLE, TIMEOUTS},
    step::{ANALYSIS, ARM, EXPERIMENT, GATE, HEADER_MATCH, HEADER_ROUTE, HOLD, STEP},
};

/// A map of the file.
#[derive(Debug)]
pub(crate) struct Table {
    /// The map's name in the schema.
    pub name: &'static str,
    /// What the map is for.
    pub doc: &'static str,
    /// Its keys.
    pub keys: &'static [Key],
    /// Of these exactly one must be given; empty where there is no such rule.
    pub exactly_one_of: &'static [&'static str],
}

/// A key of a map.
#[derive(Debug)]
pub(crate) struct Key {
    /// The key.
    pub name: &'static str,
    /// Whether it must be given.
    pub need: Need,
    /// What its value looks like.
    pub form: Form,
    /// What it means.
    pub doc: &'static str,
}

/// Whether a key must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// It must.
    Required,
    /// It may be left out, and then means this.
    Default(&'static str),
    /// It may be left out, and then nothing is set.
    Optional,
}

/// What a value looks like.
#[derive(Debug)]
pub(crate) enum Form {
    /// A text.
    Text,
    /// A text or number that is taken as text, such as a version or an environment variable's value.
    Scalar,
    /// The word `true`.
    True,
    /// A time with a unit.
    Duration,
    /// A share of traffic in percent.
    Weight,
    /// A size in bytes with a unit.
    Bytes,
    /// A whole number of at least this.
    Count(u32),
    /// A guard's limit.
    Limit,
    /// A point in time.
    Timestamp,
    /// A time of day.
    TimeOfDay,
    /// An address to listen on.
    Listen,
    /// An HTTP URL.
    Url,
    /// The number 1.
    One,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A map with the keys of a table.
    Map(&'static Table),
    /// A map with free keys.
    MapOf(&'static Self),
    /// A list.
    List(&'static Self),
    /// One of several forms.
    Any(&'static [Self]),
}

impl Table {
    /// Returns the key of this name.
    pub(crate) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// Returns the keys with commas between.
    pub(crate) fn names(&self) -> String {
        self.keys
            .iter()
            .map(|key| key.name)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

const fn required(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        need: Need::Required,
        form,
        doc,
    }
}

const fn optional(name: &'static str, form: Form, doc: &'static str) -> Key {
    Key {
        name,
        need: Need::Optional,
        form,
        doc,
    }
}

const fn default(name: &'static str, form: Form, value: &'static str, doc: &'static str) -> Key {
    Key {
        name,
        need: Need::Default(value),
        form,
        doc,
    }
}

/// Every table, in the order in which a file has them.
pub(crate) static TABLES: [&Table; 30] = [
    &FILE,
    &NOTIFY,
    &SOURCE,
    &AUTH,
    &SECRET,
    &SERVICE,
    &METRIC,
    &STABLE,
    &HEALTH,
    &OVERRIDE,
    &TIMEOUTS,
    &LIMITS,
    &ROLLOUT,
    &STEP,
    &HOLD,
    &ANALYSIS,
    &EXPERIMENT,
    &ARM,
    &HEADER_ROUTE,
    &HEADER_MATCH,
    &GATE,
    &GUARD_ITEM,
    &GUARD,
    &JUDGE,
    &SAMPLING,
    &DEADLINES,
    &WINDOW,
    &FREEZE,
    &HOOKS,
    &GUARDS,
];
