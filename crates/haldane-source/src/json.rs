//! JSON with the place of each value, so that a malformed answer is told with where and what.

use serde_json::Value;

use crate::error::{Error, Result, short};

/// The deepest place that is told; no provider's values lie deeper.
const DEPTH_MAX: usize = 10;

/// A value and where it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node<'a> {
    value: &'a Value,
    steps: [Step<'a>; DEPTH_MAX],
    depth: usize,
}

/// One step from a value into it.
#[derive(Clone, Copy, Debug)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Parses a text.
pub(crate) fn parse(text: &str) -> Result<Value> {
    serde_json::from_str(text).map_err(|error| {
        let found = match text.trim_start().chars().next() {
            None => "nothing",
            Some('<') => "a page of markup",
            Some(_) => "something else",
        };
        Error::malformed(
            format!("JSON, found {found}"),
            format!("line {} column {}", error.line(), error.column()),
        )
    })
}

impl<'a> Node<'a> {
    pub(crate) const fn root(value: &'a Value) -> Self {
        Self {
            value,
            steps: [Step::Index(0); DEPTH_MAX],
            depth: 0,
        }
    }

    pub(crate) const fn value(&self) -> &'a Value {
        self.value
    }

    /// Returns the member `key`, unless it is missing or null.
    pub(crate) fn get(&self, key: &'a str) -> Option<Self> {
        let value = self.value.get(key).filter(|value| !value.is_null())?;
        Some(self.step(Step::Key(key), value))
    }

    /// Returns the member `key`, which may be null.
    pub(crate) fn need(&self, key: &'a str) -> Result<Self> {
        match self.value.get(key) {
            Some(value) => Ok(self.step(Step::Key(key), value)),
            None => Err(self.wrong(&format!("a member `{key}`"))),
        }
    }

    /// Returns the item `index`, which may be null.
    pub(crate) fn at(&self, index: usize) -> Result<Self> {
        match self.value.get(index) {
            Some(value) => Ok(self.step(Step::Index(index), value)),
            None => Err(self.wrong(&format!("an item {index}"))),
        }
    }

    /// Returns the items of a list.
    pub(crate) fn items(&self) -> Result<impl ExactSizeIterator<Item = Node<'a>> + use<'a>> {
        let node = *self;
        let items = self.value.as_array().ok_or_else(|| self.wrong("a list"))?;
        let numbered = items.iter().enumerate();
        Ok(numbered.map(move |(index, value)| node.step(Step::Index(index), value)))
    }

    /// Returns the members of an object.
    pub(crate) fn members(
        &self,
    ) -> Result<impl ExactSizeIterator<Item = (&'a str, Node<'a>)> + use<'a>> {
        let node = *self;
        let members = self.value.as_object();
        let members = members.ok_or_else(|| self.wrong("an object"))?;
        Ok(members
            .iter()
            .map(move |(key, value)| (key.as_str(), node.step(Step::Key(key), value))))
    }

    /// Checks that the value is an object.
    pub(crate) fn check_object(&self) -> Result<()> {
        if self.value.is_object() {
            return Ok(());
        }
        Err(self.wrong("an object"))
    }

    pub(crate) fn text(&self) -> Result<&'a str> {
        self.value.as_str().ok_or_else(|| self.wrong("a text"))
    }

    pub(crate) fn integer(&self) -> Result<i64> {
        self.value.as_i64().ok_or_else(|| self.wrong("an integer"))
    }

    pub(crate) fn number(&self) -> Result<f64> {
        self.value.as_f64().ok_or_else(|| self.wrong("a number"))
    }

    /// Returns the error that something else was expected here.
    pub(crate) fn wrong(&self, expected: &str) -> Error {
        Error::malformed(format!("{expected}, found {}", self.kind()), self.place())
    }

    /// Returns the place of the value.
    pub(crate) fn place(&self) -> String {
        let mut place = "$".to_owned();
        for step in self.steps.iter().take(self.depth) {
            place.push_str(&match step {
                Step::Key(key) => format!(".{}", short(key)),
                Step::Index(index) => format!("[{index}]"),
            });
        }
        place
    }

    /// Returns what kind of value it is.
    const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    fn step(&self, step: Step<'a>, value: &'a Value) -> Self {
        let mut node = Self { value, ..*self };
        if let Some(place) = node.steps.get_mut(self.depth) {
            *place = step;
            node.depth = self.depth.saturating_add(1);
        }
        node
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_value_is_told_with_its_place() {
        let value = parse(r#"{"data":{"result":[{"value":[1,"2"]}]}}"#).unwrap();
        let result = Node::root(&value).need("data").unwrap().need("result");
        let node = result.unwrap().at(0).unwrap().need("value").unwrap();
        assert_eq!(
            node.at(1).unwrap().number().unwrap_err().to_string(),
            "malformed answer at $.data.result[0].value[1]: expected a number, found a text"
        );
        assert_eq!(
            node.at(2).unwrap_err().to_string(),
            "malformed answer at $.data.result[0].value: expected an item 2, found a list"
        );
    }

    #[test]
    fn what_is_not_json_is_told_with_its_place() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        };
        check(
            "<html>502</html>",
            "malformed answer at line 1 column 1: expected JSON, found a page of markup",
        );
        check(
            "{\"a\":",
            "malformed answer at line 1 column 5: expected JSON, found something else",
        );
        check(
            "",
            "malformed answer at line 1 column 0: expected JSON, found nothing",
        );
        let bomb = "[".repeat(100_000);
        assert!(parse(&bomb).is_err(), "nesting is bounded");
    }
}
