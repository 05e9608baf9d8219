//! The part of JSONPath that Kubernetes users write: `{$.a.b[0]}`, `{.items[*].value}`, `$['a b'][-1:]`, `$..x`, `$.a[?(@.b=="c")].d`.
//!
//! <https://kubernetes.io/docs/reference/kubectl/jsonpath/>. Braces around the whole are optional, and so is `$`. Left out are `range`
//! and text between braces: they make texts for people.

use serde_json::Value;

use crate::error::{Error, Result, short};

/// The longest path.
const PATH_BYTES_MAX: usize = 1_024;

/// The most values that a path selects.
const FOUND_MAX: usize = 10_000;

/// The most values that are looked at, for `..` over a large document.
const VISITED_MAX: usize = 200_000;

/// A path into a document.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct JsonPath {
    steps: Vec<Step>,
}

/// One step into the selected values.
#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// Members of these names.
    Names(Vec<String>),
    /// Items at these places, from the end if negative.
    Indices(Vec<i64>),
    /// Items from one place to before another.
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        by: usize,
    },
    /// All members or items.
    All,
    /// The values themselves and all in them.
    Deep,
    /// Items for which a condition holds.
    Filter(Condition),
}

/// A condition on an item.
#[derive(Clone, Debug, PartialEq)]
struct Condition {
    path: Vec<Step>,
    /// `None` asks only whether there is such a value.
    compare: Option<(Comparison, Value)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// A text being read.
struct Reader<'a> {
    text: &'a str,
    at: usize,
}

/// Splits a text into what is asked and the JSONPath that follows it, if one does.
///
/// A path begins a word with `$.`, `$[`, `{$` or `{.`, or is `$` alone; so `$NAME` and `{{name}}` begin none.
pub(crate) fn split(text: &str) -> (&str, Option<&str>) {
    let begins = |rest: &str| {
        ["$.", "$[", "{$", "{."]
            .iter()
            .any(|begin| rest.starts_with(begin))
            || rest == "$"
    };
    let text = text.trim();
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        let (asked, rest) = text.split_at(at);
        if before.is_whitespace() && begins(rest) {
            return (asked.trim_end(), Some(rest));
        }
        before = c;
    }
    (text, None)
}

impl JsonPath {
    /// Reads a path.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let text = text.trim();
        if text.len() > PATH_BYTES_MAX {
            return Err(Error::invalid(
                "the JSONPath",
                "expected at most 1024 bytes",
            ));
        }
        let inner = text.strip_prefix('{').map(|text| text.strip_suffix('}'));
        let inner = match inner {
            None => text,
            Some(Some(inner)) => inner.trim(),
            Some(None) => return Err(Error::invalid("the JSONPath", "expected a `}` at its end")),
        };
        let mut reader = Reader { text: inner, at: 0 };
        reader.take("$");
        let steps = reader.steps(false)?;
        Ok(Self { steps })
    }

    /// Returns the selected values, in the order of the document.
    pub(crate) fn select<'a>(&self, root: &'a Value) -> Result<Vec<&'a Value>> {
        let mut visited = 0;
        select(&self.steps, root, &mut visited)
    }
}

fn select<'a>(steps: &[Step], root: &'a Value, visited: &mut usize) -> Result<Vec<&'a Value>> {
    let mut found = vec![root];
    for step in steps {
        let mut next = Vec::new();
        for value in found {
            step.apply(value, &mut next, visited)?;
            *visited = visited.saturating_add(1);
            if next.len() > FOUND_MAX || *visited > VISITED_MAX {
                return Err(Error::TooLarge {
                    what: "values that the JSONPath selects",
                    max: FOUND_MAX,
                });
            }
        }
        found = next;
    }
    Ok(found)
}

impl Step {
    fn apply<'a>(
        &self,
        value: &'a Value,
        next: &mut Vec<&'a Value>,
        visited: &mut usize,
    ) -> Result<()> {
        match self {
            Self::Names(names) => next.extend(names.iter().filter_map(|name| value.get(name))),
            Self::Indices(indices) => {
                let items = items(value);
                let places = indices
                    .iter()
                    .filter_map(|index| place(*index, items.len()));
                next.extend(places.filter_map(|place| items.get(place)));
            }
            Self::Slice { from, to, by } => {
                let items = items(value);
                let clamp = |index: &i64| bound(*index, items.len());
                let from = from.as_ref().map_or(0, clamp);
                let to = to.as_ref().map_or(items.len(), clamp);
                let range = items.get(from..to.max(from)).unwrap_or_default();
                next.extend(range.iter().step_by((*by).max(1)));
            }
            Self::All => next.extend(children(value)),
            Self::Deep => {
                let mut stack = vec![value];
                while let Some(value) = stack.pop() {
                    *visited = visited.saturating_add(1);
                    if *visited > VISITED_MAX {
                        return Err(Error::TooLarge {
                            what: "values that the JSONPath looks at",
                            max: VISITED_MAX,
                        });
                    }
                    next.push(value);
                    let mut inner: Vec<&Value> = children(value).collect();
                    inner.reverse();
                    stack.extend(inner);
                }
            }
            Self::Filter(condition) => {
                for item in children(value) {
                    if condition.holds(item, visited)? {
                        next.push(item);
                    }
                }
            }
        }
        Ok(())
    }
}

impl Condition {
    fn holds(&self, item: &Value, visited: &mut usize) -> Result<bool> {
        let found = select(&self.path, item, visited)?;
        Ok(match (&self.compare, found.first()) {
            (None, found) => found.is_some(),
            (Some(_), None) => false,
            (Some((comparison, wanted)), Some(found)) => comparison.holds(found, wanted),
        })
    }
}

impl Comparison {
    fn holds(self, found: &Value, wanted: &Value) -> bool {
        let order = match (found, wanted) {
            (Value::String(found), Value::String(wanted)) => Some(found.cmp(wanted)),
            (Value::Number(found), Value::Number(wanted)) => {
                match (found.as_f64(), wanted.as_f64()) {
                    (Some(found), Some(wanted)) => found.partial_cmp(&wanted),
                    _ => None,
                }
            }
            (Value::Bool(found), Value::Bool(wanted)) => Some(found.cmp(wanted)),
            _ => None,
        };
        match self {
            Self::Equal => order.is_some_and(std::cmp::Ordering::is_eq),
            Self::NotEqual => !order.is_some_and(std::cmp::Ordering::is_eq),
            Self::Less => order.is_some_and(std::cmp::Ordering::is_lt),
            Self::LessOrEqual => order.is_some_and(std::cmp::Ordering::is_le),
            Self::Greater => order.is_some_and(std::cmp::Ordering::is_gt),
            Self::GreaterOrEqual => order.is_some_and(std::cmp::Ordering::is_ge),
        }
    }
}

impl Reader<'_> {
    /// Reads steps up to the end, or inside of a condition up to what compares.
    fn steps(&mut self, is_condition: bool) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.rest().is_empty() {
                return Ok(steps);
            }
            if self.take("..") {
                steps.push(Step::Deep);
                if !self.rest().starts_with('[') {
                    steps.push(self.name()?);
                }
            } else if self.take(".") {
                // A lone dot is the value itself.
                if !(self.rest().is_empty() || self.rest().starts_with('[')) {
                    steps.push(self.name()?);
                }
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else if is_condition {
                return Ok(steps);
            } else {
                return Err(self.expected("`.` or `[`"));
            }
        }
    }

    fn name(&mut self) -> Result<Step> {
        if self.take("*") {
            return Ok(Step::All);
        }
        let mut name = String::new();
        while let Some(c) = self.rest().chars().next() {
            let is_end = ".[]()=!<>'\"{} ,".contains(c);
            if c == '\\' {
                // Kubernetes escapes dots in names with a backslash.
                self.skip(c);
                let escaped = self.rest().chars().next();
                let escaped = escaped.ok_or_else(|| self.expected("a character after `\\`"))?;
                name.push(escaped);
                self.skip(escaped);
            } else if is_end {
                break;
            } else {
                name.push(c);
                self.skip(c);
            }
        }
        if name.is_empty() {
            return Err(self.expected("a name"));
        }
        Ok(Step::Names(vec![name]))
    }

    fn bracket(&mut self) -> Result<Step> {
        self.spaces();
        let step = if self.take("?(") {
            let condition = self.condition()?;
            self.need(")")?;
            Step::Filter(condition)
        } else if self.take("*") {
            Step::All
        } else if self.rest().starts_with(['\'', '"']) {
            let mut names = vec![self.quoted()?];
            while self.take(",") {
                self.spaces();
                names.push(self.quoted()?);
            }
            Step::Names(names)
        } else {
            self.places()?
        };
        self.spaces();
        self.need("]")?;
        Ok(step)
    }

    /// Reads `0`, `-1`, `0,2`, `1:3`, `-1:` or `::2`.
    fn places(&mut self) -> Result<Step> {
        let from = self.integer()?;
        if self.take(":") {
            let to = self.integer()?;
            let by = if self.take(":") {
                self.integer()?.unwrap_or(1)
            } else {
                1
            };
            let by = usize::try_from(by).ok().filter(|by| *by > 0);
            let by = by.ok_or_else(|| self.expected("a positive step"))?;
            return Ok(Step::Slice { from, to, by });
        }
        let first = from.ok_or_else(|| self.expected("a place, a name or a condition"))?;
        let mut places = vec![first];
        while self.take(",") {
            self.spaces();
            let place = self.integer()?;
            places.push(place.ok_or_else(|| self.expected("a place"))?);
        }
        Ok(Step::Indices(places))
    }

    fn condition(&mut self) -> Result<Condition> {
        self.spaces();
        self.need("@")?;
        let path = self.steps(true)?;
        self.spaces();
        let comparisons = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        let comparison = comparisons.into_iter().find(|(sign, _)| self.take(sign));
        let compare = match comparison {
            None => None,
            Some((_, comparison)) => {
                self.spaces();
                Some((comparison, self.literal()?))
            }
        };
        self.spaces();
        Ok(Condition { path, compare })
    }

    /// Reads a text in quotes, a number, or a boolean.
    fn literal(&mut self) -> Result<Value> {
        if self.rest().starts_with(['\'', '"']) {
            return self.quoted().map(Value::String);
        }
        let rest = self.rest();
        let end = rest.find([')', ' ']).unwrap_or(rest.len());
        let word = rest.get(..end).unwrap_or_default();
        let value: Option<Value> = serde_json::from_str(word).ok();
        let value = value.filter(|value| value.is_number() || value.is_boolean());
        let value =
            value.ok_or_else(|| self.expected("a text in quotes, a number or a boolean"))?;
        self.at = self.at.saturating_add(end);
        Ok(value)
    }

    fn quoted(&mut self) -> Result<String> {
        let quote = self
            .rest()
            .chars()
            .next()
            .filter(|c| matches!(c, '\'' | '"'));
        let quote = quote.ok_or_else(|| self.expected("a quote"))?;
        self.skip(quote);
        let mut text = String::new();
        loop {
            let c = self.rest().chars().next();
            let c = c.ok_or_else(|| self.expected("the end of the text"))?;
            self.skip(c);
            match c {
                c if c == quote => return Ok(text),
                '\\' => {
                    let escaped = self.rest().chars().next();
                    let escaped = escaped.ok_or_else(|| self.expected("a character after `\\`"))?;
                    text.push(escaped);
                    self.skip(escaped);
                }
                c => text.push(c),
            }
        }
    }

    fn integer(&mut self) -> Result<Option<i64>> {
        self.spaces();
        let is_part = |c: char| c.is_ascii_digit() || c == '-';
        let rest = self.rest();
        let end = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if end == 0 {
            return Ok(None);
        }
        let number = rest.get(..end).and_then(|digits| digits.parse().ok());
        let number = number.ok_or_else(|| self.expected("a whole number"))?;
        self.at = self.at.saturating_add(end);
        self.spaces();
        Ok(Some(number))
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, c: char) {
        self.at = self.at.saturating_add(c.len_utf8());
    }

    fn spaces(&mut self) {
        while self.take(" ") {}
    }

    fn take(&mut self, sign: &str) -> bool {
        let is_there = self.rest().starts_with(sign);
        if is_there {
            self.at = self.at.saturating_add(sign.len());
        }
        is_there
    }

    fn need(&mut self, sign: &str) -> Result<()> {
        if self.take(sign) {
            return Ok(());
        }
        Err(self.expected(&format!("`{sign}`")))
    }

    fn expected(&self, what: &str) -> Error {
        let why = format!("expected {what} at `{}`", short(self.rest()));
        Error::invalid("the JSONPath", why)
    }
}

fn items(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

fn children(value: &Value) -> impl Iterator<Item = &Value> {
    let members = value
        .as_object()
        .into_iter()
        .flat_map(|object| object.values());
    items(value).iter().chain(members)
}

/// Returns the place of an index, which counts from the end if it is negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let from_end = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 {
        return length.checked_sub(from_end);
    }
    usize::try_from(index).ok().filter(|index| *index < length)
}

/// Returns the bound of a slice, kept within the list.
fn bound(index: i64, length: usize) -> usize {
    let distance = usize::try_from(index.unsigned_abs()).unwrap_or(usize::MAX);
    if index < 0 {
        length.saturating_sub(distance)
    } else {
        distance.min(length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{
        "value": 7,
        "a b": {"x.y": 1},
        "items": [
            {"name": "one", "size": 1, "tags": ["p"], "is": true},
            {"name": "two", "size": 2.5, "tags": []},
            {"name": "three", "size": 3, "deep": {"size": 4}}
        ]
    }"#;

    #[test]
    fn a_path_is_told_from_what_stands_before_it() {
        for (text, expected) in [
            ("", ("", None)),
            ("$.a", ("", Some("$.a"))),
            (" {$.a b} ", ("", Some("{$.a b}"))),
            ("$", ("", Some("$"))),
            (
                "/kpi?v={{version}} $.a[?(@.b == 1)].c",
                ("/kpi?v={{version}}", Some("$.a[?(@.b == 1)].c")),
            ),
            (
                "sold --of $VERSION $['a']",
                ("sold --of $VERSION", Some("$['a']")),
            ),
            ("sold --of a$.b", ("sold --of a$.b", None)),
            ("sold {.items}", ("sold", Some("{.items}"))),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    #[test]
    fn paths_select_what_kubectl_selects() {
        let root = crate::json::parse(DOCUMENT).unwrap();
        let check = |path: &str, expected: &str| {
            let found = JsonPath::parse(path).unwrap();
            let found: Vec<String> = found
                .select(&root)
                .unwrap()
                .iter()
                .map(ToString::to_string)
                .collect();
            assert_eq!(found.join(" "), expected, "{path}");
        };
        check("{$.value}", "7");
        check("$.value", "7");
        check("{.value}", "7");
        check(".value", "7");
        check("$['value']", "7");
        check("$['a b'][\"x.y\"]", "1");
        check(r"{.a\ b.x\.y}", "1");
        check("$.items[0].name", "\"one\"");
        check("$.items[-1].name", "\"three\"");
        check("$.items[3].name", "");
        check("$.items[-4].name", "");
        check("$.items[0,2].size", "1 3");
        check("$.items[-1:].size", "3");
        check("$.items[:2].size", "1 2.5");
        check("$.items[::2].size", "1 3");
        check("$.items[5:9].size", "");
        check("$.items[2:1].size", "");
        check("$.items[*].size", "1 2.5 3");
        check("$.items.*.size", "1 2.5 3");
        check("$.items[?(@.name==\"two\")].size", "2.5");
        check("$.items[?(@.name != 'two')].size", "1 3");
        check("$.items[?(@.size>=2.5)].name", "\"two\" \"three\"");
        check("$.items[?(@.deep)].name", "\"three\"");
        check("$.items[?(@.deep.size < 5)].name", "\"three\"");
        check("$.items[?(@.is == true)].name", "\"one\"");
        check("$.items[?(@.tags[0] == 'p')].name", "\"one\"");
        check("$..size", "1 2.5 3 4");
        check("$.items[0]['name','size']", "\"one\" 1");
        check("$.nosuch.value", "");
        check("$.value.more", "");
        let whole = JsonPath::parse("{$}").unwrap();
        assert_eq!(whole.select(&root).unwrap(), [&root]);
    }

    #[test]
    fn what_is_no_path_is_told_with_its_place() {
        let check = |path: &str, expected: &str| {
            let error = JsonPath::parse(path).unwrap_err().to_string();
            assert_eq!(
                error,
                format!("the JSONPath is not usable: expected {expected}")
            );
        };
        check("{$.a", "a `}` at its end");
        check("$a", "`.` or `[` at `a`");
        check("$.a[", "a place, a name or a condition at ``");
        check("$.a[0", "`]` at ``");
        check("$.a['x]", "the end of the text at ``");
        check("$.a[?(b)]", "`@` at `b)]`");
        check(
            "$.a[?(@.b==c)]",
            "a text in quotes, a number or a boolean at `c)]`",
        );
        check("$.a[1:2:0]", "a positive step at `]`");
        check("$.a[1-]", "a whole number at `1-]`");
        check("$.a..", "a name at ``");
        check(
            "{range .items[*]}{.a}{end}",
            "`.` or `[` at `range .items[*]}{.a}{end`",
        );
        assert!(JsonPath::parse(&".a".repeat(1_000)).is_err());
    }

    #[test]
    fn no_path_looks_at_everything_for_ever() {
        let list = Value::Array(vec![Value::Array(vec![Value::Null; 200]); 200]);
        let deep = JsonPath::parse("$..*..*..*").unwrap();
        assert!(matches!(deep.select(&list), Err(Error::TooLarge { .. })));
    }
}
