//! Command lines: from one line of text to arguments, and from `$PORT` to a number.
//!
//! Users write `run: ./auth --port $PORT`. A shell in between would be one more process that swallows signals, so the line is
//! split here by the shell's quoting rules and executed directly. Whatever needs a shell is refused with its column, so that
//! nobody finds out in production that `| tee log` was an argument.

use std::{borrow::Cow, collections::BTreeMap};

/// Why a command line can't be split. Columns count characters from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// There is nothing to execute.
    #[error("the command is empty")]
    Empty,
    /// A quote is opened and never closed.
    #[error("the quote {quote} at column {column} is never closed")]
    UnclosedQuote {
        /// The quoting character.
        quote: char,
        /// Where it stands.
        column: usize,
    },
    /// The line ends in a backslash that escapes nothing.
    #[error("the backslash at column {column} has nothing after it")]
    DanglingBackslash {
        /// Where it stands.
        column: usize,
    },
    /// An operator that only a shell understands.
    #[error(
        "{operator:?} at column {column} needs a shell, and commands run without one: quote it, or write sh -c '…'"
    )]
    Operator {
        /// The operator's character.
        operator: char,
        /// Where it stands.
        column: usize,
    },
}

/// Splits a command line into arguments by the shell's quoting rules, without expanding anything.
///
/// Variables such as `$PORT` stay as they are, quoted or not: the supervisor replaces them when it starts the replica.
///
/// ```
/// # use haldane_supervisor::command::split_command;
/// assert_eq!(split_command("./auth --port $PORT --name 'a b'")?, ["./auth", "--port", "$PORT", "--name", "a b"]);
/// assert!(split_command("./auth | tee log").is_err());
/// # Ok::<(), haldane_supervisor::command::CommandError>(())
/// ```
///
/// # Errors
/// When the line is empty, a quote or escape is left open, or an unquoted operator would need a shell.
pub fn split_command(line: &str) -> Result<Vec<String>, CommandError> {
    let mut arguments = Vec::new();
    let mut argument: Option<String> = None;
    let mut characters = (1..).zip(line.chars());
    while let Some((column, c)) = characters.next() {
        match c {
            _ if c.is_whitespace() => arguments.extend(argument.take()),
            '\'' | '"' => {
                let into = argument.get_or_insert_default();
                quoted(&mut characters, c, column, into)?;
            }
            '\\' => {
                let (_, escaped) = characters
                    .next()
                    .ok_or(CommandError::DanglingBackslash { column })?;
                argument.get_or_insert_default().push(escaped);
            }
            '|' | '&' | ';' | '<' | '>' | '(' | ')' | '`' => {
                return Err(CommandError::Operator {
                    operator: c,
                    column,
                });
            }
            _ => argument.get_or_insert_default().push(c),
        }
    }
    arguments.extend(argument);
    if arguments.first().is_none_or(String::is_empty) {
        return Err(CommandError::Empty);
    }
    Ok(arguments)
}

/// Replaces `$NAME` and `${NAME}` for the names in `variables`, and leaves every other dollar sign alone.
pub(crate) fn substitute<'a>(text: &'a str, variables: &BTreeMap<&str, String>) -> Cow<'a, str> {
    if !text.contains('$') {
        return Cow::Borrowed(text);
    }
    let mut result = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        let (name, behind) = variable(after);
        match variables.get(name) {
            Some(value) => {
                result.push_str(value);
                rest = behind;
            }
            None => {
                result.push('$');
                rest = after;
            }
        }
    }
    result.push_str(rest);
    Cow::Owned(result)
}

/// Reads characters into `into` until `quote` closes.
fn quoted(
    characters: &mut impl Iterator<Item = (usize, char)>,
    quote: char,
    column: usize,
    into: &mut String,
) -> Result<(), CommandError> {
    let unclosed = CommandError::UnclosedQuote { quote, column };
    loop {
        let (_, c) = characters.next().ok_or(unclosed)?;
        if c == quote {
            return Ok(());
        }
        if c != '\\' || quote == '\'' {
            into.push(c);
            continue;
        }
        let (_, escaped) = characters.next().ok_or(unclosed)?;
        // As in a shell: between double quotes a backslash is itself unless it protects one of these.
        if !matches!(escaped, '"' | '\\' | '$' | '`') {
            into.push('\\');
        }
        into.push(escaped);
    }
}

/// Splits what follows a dollar sign into a variable's name (empty when there is none) and the text behind it.
fn variable(text: &str) -> (&str, &str) {
    if let Some((name, behind)) = text.strip_prefix('{').and_then(|text| text.split_once('}')) {
        return (name, behind);
    }
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let end = text.find(|c| !is_part(c)).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_follows_the_shell() {
        let check = |line, expected: &[&str]| assert_eq!(split_command(line).unwrap(), expected);
        check("  ./auth\t--port  $PORT ", &["./auth", "--port", "$PORT"]);
        check(r"a 'b c' d\ e", &["a", "b c", "d e"]);
        check(r#"a "b 'c' \"d\" \n" ''"#, &["a", r#"b 'c' "d" \n"#, ""]);
        check(r#"a --x='1 2'"3""#, &["a", "--x=1 23"]);
        check(r"sh -c 'a | b; c > d'", &["sh", "-c", "a | b; c > d"]);
        check("grüße 'ä b'", &["grüße", "ä b"]);
    }

    #[test]
    fn mistakes_name_their_column() {
        let check = |line, expected| assert_eq!(split_command(line), Err(expected));
        check("  ", CommandError::Empty);
        check("'' a", CommandError::Empty);
        check(
            "ä 'b",
            CommandError::UnclosedQuote {
                quote: '\'',
                column: 3,
            },
        );
        check(
            r#"a "b\"#,
            CommandError::UnclosedQuote {
                quote: '"',
                column: 3,
            },
        );
        check(r"a b\", CommandError::DanglingBackslash { column: 4 });
        check(
            "a | b",
            CommandError::Operator {
                operator: '|',
                column: 3,
            },
        );
        check(
            "a http://x/?a=1&b=2",
            CommandError::Operator {
                operator: '&',
                column: 16,
            },
        );
        check(
            "a $(b)",
            CommandError::Operator {
                operator: '(',
                column: 4,
            },
        );
    }

    #[test]
    fn only_known_variables_are_replaced() {
        let variables = BTreeMap::from([("PORT", "8080".to_owned())]);
        let check = |text, expected: &str| assert_eq!(substitute(text, &variables), expected);
        check("$PORT", "8080");
        check("127.0.0.1:${PORT}/x$PORT", "127.0.0.1:8080/x8080");
        check(
            "$PORTS $HOME ${HOME} $ $$PORT ${PORT $",
            "$PORTS $HOME ${HOME} $ $8080 ${PORT $",
        );
        check("", "");
    }
}
