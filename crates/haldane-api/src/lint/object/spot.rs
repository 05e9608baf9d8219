//! A value of an object with its key's place and path.

use super::is_veiled;
use crate::tree::{Kind, Mark, Node, join};

/// A value, and where its key stands.
#[derive(Clone, Debug)]
pub(super) struct Spot<'a> {
    /// The value.
    pub node: &'a Node,
    /// Where its key begins; of an item of a list the item.
    pub mark: Mark,
    /// Its path.
    pub path: String,
}

impl<'a> Spot<'a> {
    /// Returns the whole object.
    pub(super) const fn root(node: &'a Node) -> Self {
        Self {
            node,
            mark: node.mark,
            path: String::new(),
        }
    }

    /// Returns the value under these keys, one below the other.
    pub(super) fn at(&self, keys: &[&str]) -> Option<Self> {
        let mut here = self.clone();
        for key in keys {
            here = here.entries().into_iter().find(|(one, _)| one == key)?.1;
        }
        Some(here)
    }

    /// Returns the entries of the map here.
    pub(super) fn entries(&self) -> Vec<(&'a str, Self)> {
        let Kind::Map(entries) = &self.node.kind else {
            return Vec::new();
        };
        let entry = entries.iter().map(|entry| {
            let spot = Self {
                node: &entry.value,
                mark: entry.mark,
                path: join(&self.path, &entry.key),
            };
            (entry.key.as_str(), spot)
        });
        entry.collect()
    }

    /// Returns the items of the list here.
    pub(super) fn items(&self) -> Vec<Self> {
        let Kind::List(items) = &self.node.kind else {
            return Vec::new();
        };
        let items = items.iter().enumerate().map(|(index, node)| Self {
            node,
            mark: node.mark,
            path: format!("{}[{index}]", self.path),
        });
        items.collect()
    }

    /// Returns the items of the list under these keys; none where there is none.
    pub(super) fn items_at(&self, keys: &[&str]) -> Vec<Self> {
        self.at(keys).map(|list| list.items()).unwrap_or_default()
    }

    /// Returns the text here.
    pub(super) fn text(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) => Some(&text.text),
            Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Broken => None,
        }
    }

    /// Returns the text here where it has no quotes and stands as it is.
    pub(super) fn plain(&self) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Text(text) if text.inset == Some(0) => Some(&text.text),
            Kind::Text(_) | Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Broken => None,
        }
    }

    /// Returns the text under these keys.
    pub(super) fn text_at(&self, keys: &[&str]) -> Option<&'a str> {
        self.at(keys)?.text()
    }

    /// Whether the map here surely has nothing under these keys, one below the other.
    pub(super) fn lacks(&self, keys: &[&str]) -> bool {
        let Some((first, rest)) = keys.split_first() else {
            return matches!(self.node.kind, Kind::Null);
        };
        match self.at(&[first]) {
            Some(inner) => inner.lacks(rest),
            None => !is_veiled(self.node),
        }
    }
}
