//! Command lines: a text split into a program and its arguments, as a shell would, but without a shell.
//!
//! Quotes and backslashes work as in a shell. Nothing is expanded: `$PORT` stays as it is, for whoever starts the program to
//! replace. What only a shell could do, such as `|` or `&&`, is refused instead of being handed to the program as an argument.

/// Why a text is not a command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is no program.
    #[error("an empty command; expected a program and its arguments")]
    Empty,
    /// A quote is not closed.
    #[error("the quote {quote} is not closed; expected another {quote}")]
    Unclosed {
        /// The quote.
        quote: char,
        /// Where it opens, in characters from 0.
        at: usize,
    },
    /// A backslash at the end.
    #[error("a backslash at the end; expected a character after it")]
    Dangling {
        /// Where it stands, in characters from 0.
        at: usize,
    },
    /// Something that needs a shell.
    #[error(
        "{what:?} needs a shell; expected a program and its arguments, quotes around it, or [sh, -c, \"…\"]"
    )]
    Shell {
        /// The character.
        what: char,
        /// Where it stands, in characters from 0.
        at: usize,
    },
}

impl CommandError {
    /// Returns where in the text the mistake is, in characters from 0.
    #[must_use]
    pub const fn at(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Unclosed { at, .. } | Self::Dangling { at } | Self::Shell { at, .. } => *at,
        }
    }
}

/// Splits a command line into its words.
///
/// ```
/// # use haldane_api::command::split;
/// assert_eq!(split("./auth --port $PORT --name 'a b'").unwrap(), ["./auth", "--port", "$PORT", "--name", "a b"]);
/// assert!(split("a | b").is_err());
/// ```
///
/// # Errors
/// When the text is empty, a quote or backslash is left open, or a shell would be needed.
pub fn split(text: &str) -> Result<Vec<String>, CommandError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars().enumerate().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\'' | '"' => read_quoted(&mut chars, (at, c), word.get_or_insert_default())?,
            '\\' => {
                let (_, next) = chars.next().ok_or(CommandError::Dangling { at })?;
                word.get_or_insert_default().push(next);
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                return Err(CommandError::Shell { what: c, at });
            }
            '$' if chars.peek().is_some_and(|(_, next)| *next == '(') => {
                return Err(CommandError::Shell { what: c, at });
            }
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    if words.first().is_none_or(String::is_empty) {
        Err(CommandError::Empty)
    } else {
        Ok(words)
    }
}

/// Writes words as a command line that [`split`] reads as the same.
///
/// ```
/// # use haldane_api::command::{join, split};
/// let words = ["sh", "-c", "echo 'a' | wc", ""].map(str::to_owned);
/// assert_eq!(split(&join(&words)).unwrap(), words);
/// assert_eq!(join(&words[..2]), "sh -c");
/// ```
#[must_use]
pub fn join(words: &[String]) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=,+@%$".contains(c);
    let quoted = words.iter().map(|word| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', r"'\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

/// Reads up to the closing quote; in double quotes a backslash keeps `"`, `\`, `$` and the backtick, as in a shell.
fn read_quoted(
    chars: &mut impl Iterator<Item = (usize, char)>,
    (at, quote): (usize, char),
    word: &mut String,
) -> Result<(), CommandError> {
    while let Some((_, c)) = chars.next() {
        match c {
            c if c == quote => return Ok(()),
            '\\' if quote == '"' => {
                let Some((_, next)) = chars.next() else { break };
                if !matches!(next, '"' | '\\' | '$' | '`') {
                    word.push('\\');
                }
                word.push(next);
            }
            c => word.push(c),
        }
    }
    Err(CommandError::Unclosed { quote, at })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_quotes_and_backslashes_are_those_of_a_shell() {
        for (text, expected) in [
            ("./auth", vec!["./auth"]),
            ("  a\tb\n c ", vec!["a", "b", "c"]),
            ("a 'b c' \"d e\"", vec!["a", "b c", "d e"]),
            ("a --x='b c'd", vec!["a", "--x=b cd"]),
            ("a '' \"\"", vec!["a", "", ""]),
            (
                r#"a "b\"c" 'd\e' f\ g "h\i""#,
                vec!["a", "b\"c", "d\\e", "f g", "h\\i"],
            ),
            (
                "a $PORT ${PORT} 'x|y' \\;",
                vec!["a", "$PORT", "${PORT}", "x|y", ";"],
            ),
        ] {
            assert_eq!(split(text).unwrap(), expected, "{text:?}");
        }
    }

    #[test]
    fn mistakes_say_where_they_are() {
        for (text, expected) in [
            ("", CommandError::Empty),
            ("  ", CommandError::Empty),
            ("'' a", CommandError::Empty),
            ("é 'b", CommandError::Unclosed { quote: '\'', at: 2 }),
            ("a \"b\\", CommandError::Unclosed { quote: '"', at: 2 }),
            ("a \\", CommandError::Dangling { at: 2 }),
            ("a | b", CommandError::Shell { what: '|', at: 2 }),
            ("a && b", CommandError::Shell { what: '&', at: 2 }),
            ("a $(b)", CommandError::Shell { what: '$', at: 2 }),
        ] {
            assert_eq!(split(text), Err(expected), "{text:?}");
        }
    }
}
