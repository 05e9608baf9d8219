//! The words of SQL, each with its line: enough to tell where a statement ends, whatever is in its strings and bodies.

use crate::dialect::Dialect;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A keyword or a name.
    Word,
    /// A name in quotes.
    Quoted,
    /// A string.
    Text,
    /// A number.
    Number,
    /// Any other character.
    Symbol,
    /// The end of a statement.
    End,
    /// For people, or for the tool that runs the migrations.
    Comment,
    /// A comment that MySQL runs.
    Executable,
    /// A line for psql.
    Meta,
}

/// A part of the text.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    /// What it is.
    pub kind: Kind,
    /// As it stands there.
    pub text: &'a str,
    /// Where it begins, in bytes.
    pub start: usize,
    /// The line in which it begins, from 1.
    pub line: u32,
}

/// Reads tokens one after the other.
#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a str,
    dialect: Dialect,
    at: usize,
    line: u32,
    /// What ends a statement; MySQL's command-line client lets scripts change it.
    delimiter: &'a str,
}

impl<'a> Lexer<'a> {
    /// Begins to read.
    pub(crate) fn new(text: &'a str, dialect: Dialect) -> Self {
        Self {
            text,
            dialect,
            at: 0,
            line: 1,
            delimiter: ";",
        }
    }

    /// Whether a statement ends only where the script's own delimiter stands.
    pub(crate) fn has_own_delimiter(&self) -> bool {
        self.delimiter != ";"
    }

    /// Reads the rest of a DELIMITER line, of which the first word was read.
    pub(crate) fn read_delimiter(&mut self) {
        let line = self.rest().lines().next().unwrap_or_default();
        self.delimiter = match line.trim() {
            "" => ";",
            delimiter => delimiter,
        };
        self.skip(line.len());
    }

    /// Skips what follows a COPY … FROM STDIN.
    pub(crate) fn skip_copied(&mut self) {
        let rest = self.rest();
        let end = rest
            .find("\n\\.")
            .map_or(rest.len(), |end| end.saturating_add(3));
        self.skip(end);
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn skip(&mut self, bytes: usize) -> &'a str {
        let rest = self.rest();
        let skipped = rest.get(..bytes).unwrap_or(rest);
        let lines = skipped.matches('\n').count();
        self.line = self
            .line
            .saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        self.at = self.at.saturating_add(skipped.len());
        skipped
    }

    fn measure(&self, first: char) -> (Kind, usize) {
        let rest = self.rest();
        let is_mysql = self.dialect == Dialect::Mysql;
        if rest.starts_with(self.delimiter) {
            return (Kind::End, self.delimiter.len());
        }
        if rest.starts_with("--") || is_mysql && first == '#' {
            return (Kind::Comment, rest.find('\n').unwrap_or(rest.len()));
        }
        if is_mysql && rest.starts_with("/*!") {
            return (
                Kind::Executable,
                rest.find("*/")
                    .map_or(rest.len(), |end| end.saturating_add(2)),
            );
        }
        if rest.starts_with("/*") {
            return (Kind::Comment, comment(rest, self.dialect));
        }
        match first {
            '\'' => (Kind::Text, quoted(rest, '\'', is_mysql)),
            '"' => (Kind::Quoted, quoted(rest, '"', is_mysql)),
            '`' => (Kind::Quoted, quoted(rest, '`', false)),
            'e' | 'E' if rest.get(1..).is_some_and(|rest| rest.starts_with('\'')) => {
                let string = rest.get(1..).unwrap_or_default();
                (Kind::Text, quoted(string, '\'', true).saturating_add(1))
            }
            '\\' if self.is_line_start() => (Kind::Meta, rest.find('\n').unwrap_or(rest.len())),
            '$' if !is_mysql => {
                dollar(rest).map_or((Kind::Symbol, 1), |length| (Kind::Text, length))
            }
            _ if is_name(first) && !first.is_ascii_digit() => (Kind::Word, run(rest, is_name)),
            _ if first.is_ascii_digit() => (Kind::Number, run(rest, |c| is_name(c) || c == '.')),
            _ => (Kind::Symbol, first.len_utf8()),
        }
    }

    fn is_line_start(&self) -> bool {
        let before = self.text.get(..self.at).unwrap_or_default();
        before.is_empty() || before.ends_with('\n')
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.skip(run(self.rest(), char::is_whitespace));
        let first = self.rest().chars().next()?;
        let (kind, length) = self.measure(first);
        let (start, line) = (self.at, self.line);
        let text = self.skip(length.max(first.len_utf8()));
        Some(Token {
            kind,
            text,
            start,
            line,
        })
    }
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Returns how many bytes at the beginning hold such characters.
fn run(text: &str, is_such: impl Fn(char) -> bool) -> usize {
    text.find(|c| !is_such(c)).unwrap_or(text.len())
}

/// Returns the length of a quoted text; a doubled quote is one of its characters.
fn quoted(text: &str, quote: char, has_escapes: bool) -> usize {
    let mut characters = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = characters.next() {
        if c == '\\' && has_escapes {
            characters.next();
        } else if c == quote && characters.next_if(|(_, next)| *next == quote).is_none() {
            return at.saturating_add(1);
        }
    }
    text.len()
}

/// Returns the length of a comment; PostgreSQL's may hold others.
fn comment(text: &str, dialect: Dialect) -> usize {
    let mut depth = 0_usize;
    let mut at = 0_usize;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with("/*") && (depth == 0 || dialect == Dialect::Postgres) {
            depth = depth.saturating_add(1);
            at = at.saturating_add(2);
        } else if rest.starts_with("*/") {
            depth = depth.saturating_sub(1);
            at = at.saturating_add(2);
            if depth == 0 {
                return at;
            }
        } else {
            at = at.saturating_add(rest.chars().next().map_or(1, char::len_utf8));
        }
    }
    text.len()
}

/// Returns the length of a `$tag$ … $tag$`, if it is one.
fn dollar(text: &str) -> Option<usize> {
    let name = text.get(1..)?;
    let tag_end = run(name, is_name);
    let tag = text.get(..tag_end.saturating_add(2))?;
    if !tag.ends_with('$') || name.starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    let body = text.get(tag.len()..)?;
    let end = body.find(tag).map_or(text.len(), |end| {
        end.saturating_add(tag.len().saturating_mul(2))
    });
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(text: &str, dialect: Dialect) -> Vec<(Kind, &str)> {
        Lexer::new(text, dialect)
            .map(|token| (token.kind, token.text))
            .collect()
    }

    #[test]
    fn what_looks_like_an_end_inside_of_something_is_none() {
        for (dialect, text) in [
            (Dialect::Postgres, "'a;''b;'"),
            (Dialect::Postgres, r"E'a\';b'"),
            (Dialect::Postgres, "$$ a; b $$"),
            (Dialect::Postgres, "$x$ a; $$ ; $x$"),
            (Dialect::Postgres, "\"a;b\""),
            (Dialect::Postgres, "/* a; /* b; */ c; */"),
            (Dialect::Postgres, "-- a; b"),
            (Dialect::Postgres, "\\connect a; b"),
            (Dialect::Mysql, r"'a\';b'"),
            (Dialect::Mysql, "`a;b`"),
            (Dialect::Mysql, "# a; b"),
            (Dialect::Mysql, "/*! a; */"),
            (Dialect::Postgres, "'never closed; "),
            (Dialect::Postgres, "/* never closed; "),
        ] {
            let kinds = kinds(text, dialect);
            assert_eq!(kinds.len(), 1, "{text}: {kinds:?}");
            assert_ne!(kinds[0].0, Kind::End, "{text}");
        }
    }

    #[test]
    fn a_backslash_ends_no_string_of_postgres() {
        let kinds = kinds(r"'a\'; b", Dialect::Postgres);
        assert_eq!(kinds[1], (Kind::End, ";"));
        let kinds = self::kinds("a$b ä", Dialect::Postgres);
        assert_eq!(kinds.last().unwrap(), &(Kind::Word, "ä"));
    }

    #[test]
    fn lines_are_counted_inside_of_tokens_too() {
        let lines: Vec<u32> = Lexer::new("a\n'x\ny' b\n\nc", Dialect::Postgres)
            .map(|token| token.line)
            .collect();
        assert_eq!(lines, [1, 2, 3, 5]);
    }
}
