//! The tree of a YAML text: texts, lists and maps, each with its line and column.
//!
//! Only the plain part of YAML is read: no anchors, aliases, tags or second documents, which can make a small file huge or mean
//! something else than it shows. JSON is YAML, so it is read too. Scalars stay texts; what they mean is decided by the reader of
//! each key, so that `1.10` stays a version and `no` stays a word.
//!
//! **Invariant:** text size, node count and depth are bounded, and so are the time and memory of reading.

use std::{borrow::Cow, collections::BTreeSet};

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

use crate::read::Problems;

/// The largest text that is read, in bytes: a thousand services of a kilobyte each. Callers need not load more than this plus one.
pub const TEXT_BYTES_MAX: usize = 1 << 20;

/// The most nodes (texts, lists and maps) of a tree: more than a file of the largest size with real content has.
pub(crate) const NODES_MAX: usize = 100_000;

/// The deepest nesting; the release file itself needs nine.
pub(crate) const DEPTH_MAX: usize = 32;

/// A place in the text, counted from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// Where it begins.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// A value.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// Nothing: an empty value, `~` or `null`.
    Null,
    /// A text.
    Text(Text),
    /// A list.
    List(Vec<Node>),
    /// A map, in the order of the text.
    Map(Vec<Entry>),
    /// Something already reported, about which nothing more is said.
    Broken,
}

/// A text, quoted or not.
#[derive(Clone, Debug)]
pub(crate) struct Text {
    /// The text without quotes.
    pub text: String,
    /// How many columns after the node's mark the text begins, where it stands in the file letter by letter.
    pub inset: Option<usize>,
}

/// One entry of a map.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key begins.
    pub mark: Mark,
    /// The value.
    pub value: Node,
}

/// Reads the text; `None` where it cannot be read any further, which is then among the problems.
pub(crate) fn read(text: &str, out: &mut Problems) -> Option<Node> {
    let start = Mark { line: 1, column: 1 };
    if text.len() > TEXT_BYTES_MAX {
        let message = format!(
            "the text has {} bytes; expected at most {TEXT_BYTES_MAX}",
            text.len()
        );
        out.add_at(start, "", message);
        return None;
    }
    let mut builder = Builder {
        out,
        open: Vec::new(),
        root: None,
        nodes: 0,
        documents: 0,
    };
    let mut parser = Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text));
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamEnd, _)) => break,
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let mark = Mark {
                    line: error.marker().line(),
                    column: error.marker().col().saturating_add(1),
                };
                let message = syntax_message(text, mark, error.info());
                builder.add(mark, message);
                return None;
            }
        }
    }
    let empty = Node {
        mark: start,
        kind: Kind::Null,
    };
    Some(builder.root.unwrap_or(empty))
}

/// What the YAML reader says, or the likely reason where it is a tab.
fn syntax_message(text: &str, mark: Mark, info: &str) -> String {
    let line = text
        .lines()
        .nth(mark.line.saturating_sub(1))
        .unwrap_or_default();
    let indent = line.chars().take_while(|c| c.is_whitespace());
    if indent.into_iter().any(|c| c == '\t') {
        return "a tab in the indentation; expected spaces".to_owned();
    }
    format!("this is not YAML: {info}")
}

struct Builder<'o> {
    out: &'o mut Problems,
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    documents: usize,
}

/// A list or map whose end has not been seen.
struct Open {
    mark: Mark,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        seen: BTreeSet<String>,
        key: Option<(String, Mark)>,
    },
}

impl Builder<'_> {
    /// Takes one event; `None` ends the reading.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let mark = Mark {
            line: span.start.line(),
            column: span.start.col().saturating_add(1),
        };
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Some(()),
            Event::DocumentStart(_) => self.start_document(mark),
            Event::Alias(_) => {
                self.add(mark, "an alias (*); expected the value itself");
                self.put(Node {
                    mark,
                    kind: Kind::Broken,
                })
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse(mark, anchor, tag.is_some());
                let kind = scalar(text, style, span);
                self.put(Node { mark, kind })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse(mark, anchor, tag.is_some());
                self.open(Open {
                    mark,
                    content: Content::List(Vec::new()),
                })
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse(mark, anchor, tag.is_some());
                let content = Content::Map {
                    entries: Vec::new(),
                    seen: BTreeSet::new(),
                    key: None,
                };
                self.open(Open { mark, content })
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
    }

    fn start_document(&mut self, mark: Mark) -> Option<()> {
        self.documents = self.documents.saturating_add(1);
        if self.documents > 1 {
            self.out
                .add_at(mark, "", "a second document (---); expected one");
            return None;
        }
        Some(())
    }

    fn refuse(&mut self, mark: Mark, anchor: usize, has_tag: bool) {
        if anchor > 0 {
            self.add(
                mark,
                "an anchor (&); expected plain values, written out where they are used",
            );
        }
        if has_tag {
            self.add(mark, "a tag (!); expected plain values");
        }
    }

    fn open(&mut self, open: Open) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            self.add(
                open.mark,
                format!("nested too deep; expected at most {DEPTH_MAX} levels"),
            );
            return None;
        }
        if let Some(Open {
            content: Content::Map { key: None, .. },
            ..
        }) = self.open.last()
        {
            self.add(open.mark, "a list or map as a key; expected a text");
            return None;
        }
        self.count(open.mark)?;
        self.open.push(open);
        Some(())
    }

    fn close(&mut self) -> Option<()> {
        let Open { mark, content } = self.open.pop()?;
        let kind = match content {
            Content::List(items) => Kind::List(items),
            Content::Map { entries, .. } => Kind::Map(entries),
        };
        self.place(Node { mark, kind });
        Some(())
    }

    /// Takes a node without children: a key where one is due, else a value.
    fn put(&mut self, node: Node) -> Option<()> {
        self.count(node.mark)?;
        let Some(Open {
            content: Content::Map {
                key: due @ None, ..
            },
            ..
        }) = self.open.last_mut()
        else {
            self.place(node);
            return Some(());
        };
        let text = match node.kind {
            Kind::Text(text) => text.text,
            Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Broken => "null".to_owned(),
        };
        *due = Some((text, node.mark));
        Some(())
    }

    /// Puts a finished value into what is open.
    fn place(&mut self, mut node: Node) {
        match self.open.last_mut().map(|open| &mut open.content) {
            None => self.root = Some(node),
            Some(Content::List(items)) => items.push(node),
            Some(Content::Map { entries, seen, key }) => {
                let Some((key, mark)) = key.take() else {
                    return;
                };
                if matches!(node.kind, Kind::Null) {
                    node.mark = mark; // An empty value has no place of its own.
                }
                if seen.insert(key.clone()) {
                    entries.push(Entry {
                        key,
                        mark,
                        value: node,
                    });
                } else {
                    let first = entries.iter().find(|entry| entry.key == key);
                    let line = first.map_or(0, |entry| entry.mark.line);
                    let message = format!(
                        "{:?} is given twice, first in line {line}; expected it once",
                        shorten(&key)
                    );
                    self.add(mark, message);
                }
            }
        }
    }

    fn count(&mut self, mark: Mark) -> Option<()> {
        self.nodes = self.nodes.saturating_add(1);
        if self.nodes > NODES_MAX {
            self.add(
                mark,
                format!("too many values; expected at most {NODES_MAX}"),
            );
            return None;
        }
        Some(())
    }

    fn add(&mut self, mark: Mark, message: impl Into<String>) {
        let path = self.path();
        self.out.add_at(mark, &path, message);
    }

    /// The path of what is open.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match &open.content {
                Content::List(items) => path = format!("{path}[{}]", items.len()),
                Content::Map {
                    key: Some((key, _)),
                    ..
                } => path = join(&path, key),
                Content::Map { key: None, .. } => {}
            }
        }
        path
    }
}

fn scalar(text: Cow<'_, str>, style: ScalarStyle, span: Span) -> Kind {
    let quotes = match style {
        ScalarStyle::Plain => 0,
        ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted => 1,
        ScalarStyle::Literal | ScalarStyle::Folded => usize::MAX,
    };
    if style == ScalarStyle::Plain && matches!(&*text, "" | "~" | "null") {
        return Kind::Null;
    }
    let width = text
        .chars()
        .count()
        .saturating_add(quotes.saturating_mul(2));
    let is_verbatim = span.start.line() == span.end.line() && span.len() == width;
    Kind::Text(Text {
        text: text.into_owned(),
        inset: is_verbatim.then_some(quotes),
    })
}

/// Returns the path of a key under a path.
pub(crate) fn join(path: &str, key: &str) -> String {
    let key = shorten(key);
    if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

/// Cuts a text from the file to a length that fits a message.
pub(crate) fn shorten(text: &str) -> String {
    const CHARS_MAX: usize = 63;
    if text.chars().count() <= CHARS_MAX {
        return text.to_owned();
    }
    text.chars().take(CHARS_MAX).chain(['…']).collect()
}
