//! Reading a tree key by key: where we are, what was found there, and the mistakes so far.
//!
//! **Invariant:** the keys that are read are those of the tables in [`crate::keys`], all of them and no others; this crate's tests
//! check it at each map that they read, so that the schema made from the tables stays true.

mod value;

use std::{cell::RefCell, collections::BTreeSet, fmt};

use crate::{
    keys::Table,
    lint::StepPlaces,
    tree::{Entry, Kind, Mark, Node, join, shorten},
};

/// The most mistakes that are reported; more help nobody.
pub const PROBLEMS_MAX: usize = 100;

/// One mistake in a text, with its place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1, in characters.
    pub column: usize,
    /// The path of the key, as in `services.auth.rollout.guards.p95`; empty for the whole text.
    pub path: String,
    /// What is wrong and what was expected.
    pub message: String,
}

impl fmt::Display for Problem {
    /// Writes `7:14: services.auth.listen: …`; the caller puts the file's name before it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.line, self.column)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", one_line(&self.path))?;
        }
        f.write_str(&self.message)
    }
}

/// Returns a path whose names break no line.
fn one_line(path: &str) -> String {
    let escaped = |c: char| {
        let is_odd = c.is_control();
        let odd = is_odd.then(|| c.escape_default().collect::<String>());
        odd.unwrap_or_else(|| c.to_string())
    };
    path.chars().map(escaped).collect()
}

/// The mistakes found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    found: BTreeSet<Problem>,
    left_out: usize,
    /// Where the steps of the plans that were read were written.
    pub(crate) steps: StepPlaces,
}

impl Problems {
    pub(crate) fn add(&mut self, at: &At<'_>, message: impl Into<String>) {
        self.add_at(at.node.mark, &at.path, message);
    }

    pub(crate) fn add_at(&mut self, mark: Mark, path: &str, message: impl Into<String>) {
        if self.found.len() >= PROBLEMS_MAX {
            self.left_out = self.left_out.saturating_add(1);
            return;
        }
        let Mark { line, column } = mark;
        self.found.insert(Problem {
            line,
            column,
            path: path.to_owned(),
            message: message.into(),
        });
    }

    /// Returns the mistakes in the order of the text.
    pub(crate) fn into_list(self) -> Vec<Problem> {
        let mut list: Vec<Problem> = self.found.into_iter().collect();
        if let (Some(last), true) = (list.last(), self.left_out > 0) {
            let message = format!("and {} more mistakes", self.left_out);
            list.push(Problem {
                line: last.line,
                column: last.column,
                path: String::new(),
                message,
            });
        }
        list
    }
}

/// A value of the tree and its path.
#[derive(Clone, Debug)]
pub(crate) struct At<'a> {
    /// The value.
    pub node: &'a Node,
    /// Its path.
    pub path: String,
}

impl<'a> At<'a> {
    /// Returns the text here; anything else is a mistake.
    pub(crate) fn text(&self, expected: &str, out: &mut Problems) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) => Some(&text.text),
            Kind::Broken => None,
            Kind::Null | Kind::List(_) | Kind::Map(_) => {
                out.add(self, format!("{}; expected {expected}", self.found()));
                None
            }
        }
    }

    /// Reads the text here with a parser of its own.
    pub(crate) fn parsed<T, E: fmt::Display>(
        &self,
        expected: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
        out: &mut Problems,
    ) -> Option<T> {
        let text = self.text(expected, out)?;
        parse(text)
            .map_err(|error| out.add(self, error.to_string()))
            .ok()
    }

    /// Reads one of a few words.
    pub(crate) fn choice<T: Copy>(&self, words: &[(&str, T)], out: &mut Problems) -> Option<T> {
        let names = words
            .iter()
            .map(|(name, _)| *name)
            .collect::<Vec<_>>()
            .join(", ");
        let expected = if words.len() == 1 {
            names
        } else {
            format!("one of {names}")
        };
        let text = self.text(&expected, out)?;
        let known = words.iter().find(|(name, _)| *name == text);
        if known.is_none() {
            let hint = did_you_mean(text, words.iter().map(|(name, _)| *name));
            out.add(
                self,
                format!(
                    "{:?} is not known; {}",
                    shorten(text),
                    hint.unwrap_or_else(|| format!("expected {expected}"))
                ),
            );
        }
        known.map(|(_, value)| *value)
    }

    /// Returns the items of the list here.
    pub(crate) fn items(&self, expected: &str, out: &mut Problems) -> Option<Vec<Self>> {
        match &self.node.kind {
            Kind::List(items) => Some(self.indexed(items)),
            Kind::Broken => None,
            Kind::Null | Kind::Text(_) | Kind::Map(_) => {
                out.add(self, format!("{}; expected {expected}", self.found()));
                None
            }
        }
    }

    /// Returns the items of the list here, or the single value as the only one.
    pub(crate) fn items_or_one(&self) -> Vec<Self> {
        match &self.node.kind {
            Kind::List(items) => self.indexed(items),
            Kind::Null | Kind::Text(_) | Kind::Map(_) | Kind::Broken => vec![self.clone()],
        }
    }

    /// Returns the entries of the map here, whose keys are free.
    pub(crate) fn entries(
        &self,
        expected: &str,
        out: &mut Problems,
    ) -> Option<Vec<(&'a Entry, Self)>> {
        match &self.node.kind {
            Kind::Map(entries) => Some(
                entries
                    .iter()
                    .map(|entry| (entry, self.under(entry)))
                    .collect(),
            ),
            Kind::Broken => None,
            Kind::Null | Kind::Text(_) | Kind::List(_) => {
                out.add(self, format!("{}; expected {expected}", self.found()));
                None
            }
        }
    }

    /// Returns the map here, whose keys are those of the table; unknown ones are mistakes.
    pub(crate) fn fields(&self, table: &'static Table, out: &mut Problems) -> Option<Fields<'a>> {
        let expected = format!("a map with {}", table.names());
        for (entry, at) in self.entries(&expected, out)? {
            if table.key(&entry.key).is_none() {
                let names = || table.keys.iter().map(|key| key.name);
                let hint = did_you_mean(&entry.key, names());
                let hint = hint.unwrap_or_else(|| format!("expected one of {}", table.names()));
                out.add_at(
                    entry.mark,
                    &at.path,
                    format!("unknown key {:?}; {hint}", shorten(&entry.key)),
                );
            }
        }
        Some(Fields {
            at: self.clone(),
            table,
            asked: RefCell::default(),
        })
    }

    /// Follows a path of the core's, as in `steps[2].hold.min`, as far as the tree has it.
    pub(crate) fn follow(&self, path: &str) -> Self {
        let mut here = self.clone();
        for part in path.split('.').flat_map(|part| part.split_inclusive('[')) {
            let part = part.trim_end_matches('[').trim_end_matches(']');
            let next = match &here.node.kind {
                Kind::Map(entries) => entries
                    .iter()
                    .find(|entry| entry.key == part)
                    .map(|entry| here.under(entry)),
                Kind::List(items) => part
                    .parse::<usize>()
                    .ok()
                    .and_then(|index| here.indexed(items).into_iter().nth(index)),
                Kind::Null | Kind::Text(_) | Kind::Broken => None,
            };
            // A guard's index has no counterpart where guards are a map: its name comes next.
            here = next.unwrap_or(here);
        }
        here
    }

    /// Whether the tree has a value under these keys, one below the other.
    pub(crate) fn has(&self, keys: &[&str]) -> bool {
        let Some((first, rest)) = keys.split_first() else {
            return true;
        };
        let Kind::Map(entries) = &self.node.kind else {
            return false;
        };
        let mut found = entries.iter().filter(|entry| entry.key == *first);
        found.any(|entry| self.under(entry).has(rest))
    }

    /// What is here instead of what was expected.
    fn found(&self) -> String {
        match &self.node.kind {
            Kind::Null | Kind::Broken => "no value".to_owned(),
            Kind::Text(text) => format!("{:?}", shorten(&text.text)),
            Kind::List(_) => "a list".to_owned(),
            Kind::Map(_) => "a map".to_owned(),
        }
    }

    fn under(&self, entry: &'a Entry) -> Self {
        Self {
            node: &entry.value,
            path: join(&self.path, &entry.key),
        }
    }

    fn indexed(&self, items: &'a [Node]) -> Vec<Self> {
        let at = |(index, node)| Self {
            node,
            path: format!("{}[{index}]", self.path),
        };
        items.iter().enumerate().map(at).collect()
    }
}

/// A map whose keys are those of a table.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    /// The map itself.
    pub at: At<'a>,
    table: &'static Table,
    asked: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Fields<'a> {
    /// Returns the value of a key, where it is given.
    pub(crate) fn get(&self, key: &'static str) -> Option<At<'a>> {
        debug_assert!(
            self.table.key(key).is_some(),
            "{key} is not in the table {}",
            self.table.name
        );
        self.asked.borrow_mut().insert(key);
        self.find(key)
    }

    /// Returns the value of a key that must be given.
    pub(crate) fn need(&self, key: &'static str, out: &mut Problems) -> Option<At<'a>> {
        let value = self.get(key);
        if value.is_none() {
            let doc = self.table.key(key).map_or("", |key| key.doc);
            out.add(
                &self.at,
                format!("{key} is missing; expected {}", lower_first(doc)),
            );
        }
        value
    }

    /// Reads a key, or gives the default where it is not given. A mistake is reported and gives the default too.
    pub(crate) fn or<T>(
        &self,
        key: &'static str,
        default: T,
        read: impl FnOnce(&At<'a>) -> Option<T>,
    ) -> T {
        self.get(key).and_then(|at| read(&at)).unwrap_or(default)
    }

    /// Returns which of the table's exclusive keys is given; none or several are a mistake.
    pub(crate) fn exclusive(&self, out: &mut Problems) -> Option<(&'static str, At<'a>)> {
        let names = self.table.exactly_one_of;
        self.asked.borrow_mut().extend(names);
        let mut given = names
            .iter()
            .filter_map(|name| self.find(name).map(|at| (*name, at)));
        match (given.next(), given.next()) {
            (Some(one), None) => Some(one),
            (None, _) => {
                out.add(
                    &self.at,
                    format!("nothing given; expected one of {}", names.join(", ")),
                );
                None
            }
            (Some((first, _)), Some((second, at))) => {
                out.add(
                    &at,
                    format!(
                        "both {first} and {second}; expected exactly one of {}",
                        names.join(", ")
                    ),
                );
                None
            }
        }
    }

    fn find(&self, key: &str) -> Option<At<'a>> {
        let Kind::Map(entries) = &self.at.node.kind else {
            return None;
        };
        entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| self.at.under(entry))
    }
}

impl Drop for Fields<'_> {
    fn drop(&mut self) {
        if cfg!(test) && !std::thread::panicking() {
            let asked = self.asked.borrow();
            let forgotten = self.table.keys.iter().find(|key| !asked.contains(key.name));
            debug_assert!(
                forgotten.is_none(),
                "{:?} of {} is never read",
                forgotten.map(|key| key.name),
                self.table.name
            );
        }
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.trim_end_matches('.').chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// Returns a hint at the known word nearest to the text, where one is near.
fn did_you_mean<'k>(text: &str, known: impl Iterator<Item = &'k str>) -> Option<String> {
    /// Longer texts are no misspelling of a key.
    const CHARS_MAX: usize = 40;
    if text.len() > CHARS_MAX {
        return None;
    }
    let simple = |text: &str| -> Vec<char> {
        text.chars()
            .filter(|c| c.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .collect()
    };
    let given = simple(text);
    let near = known
        .map(|word| (distance(&given, &simple(word)), word))
        .min()?;
    let is_near = near.0 <= 2 && near.0.saturating_mul(2) < given.len().max(2);
    is_near.then(|| format!("did you mean {:?}?", near.1))
}

/// The number of letters to insert, drop or change to make one text the other.
fn distance(left: &[char], right: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, a) in left.iter().enumerate() {
        let mut diagonal = index;
        let mut before = index.saturating_add(1);
        let mut next = vec![before];
        for (b, above) in right.iter().zip(row.iter().skip(1)) {
            let change = diagonal.saturating_add(usize::from(a != b));
            before = change
                .min(above.saturating_add(1))
                .min(before.saturating_add(1));
            next.push(before);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
