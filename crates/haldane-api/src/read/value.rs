//! Values that several maps have: times, shares, counts, texts and commands.

use std::time::Duration;

use haldane_core::Weight;

use super::{At, Problems};
use crate::{
    command,
    text::{parse_bytes, parse_count, parse_duration, parse_weight},
    tree::{Kind, Mark, shorten},
};

impl At<'_> {
    /// Reads a time; zero is fine.
    pub(crate) fn duration(&self, out: &mut Problems) -> Option<Duration> {
        self.parsed("a time such as 5m", parse_duration, out)
    }

    /// Reads a time above zero.
    pub(crate) fn wait(&self, out: &mut Problems) -> Option<Duration> {
        let time = self.duration(out)?;
        if time.is_zero() {
            out.add(
                self,
                "no time at all; expected a time above zero such as 5s",
            );
            return None;
        }
        Some(time)
    }

    /// Reads a share of traffic.
    pub(crate) fn weight(&self, out: &mut Problems) -> Option<Weight> {
        self.parsed("a share such as 5%", parse_weight, out)
    }

    /// Reads a size above zero.
    pub(crate) fn bytes(&self, out: &mut Problems) -> Option<u64> {
        let bytes = self.parsed("a size such as 10MiB", parse_bytes, out)?;
        if bytes == 0 {
            out.add(
                self,
                "nothing would be accepted; expected a size above zero such as 10MiB",
            );
            return None;
        }
        Some(bytes)
    }

    /// Reads a whole number between two.
    pub(crate) fn count(&self, min: u32, max: u32, out: &mut Problems) -> Option<u32> {
        let count = self.parsed("a number such as 2", parse_count, out)?;
        let count = u32::try_from(count)
            .ok()
            .filter(|count| (min..=max).contains(count));
        if count.is_none() {
            let expected = if max == u32::MAX {
                format!("at least {min}")
            } else {
                format!("{min} to {max}")
            };
            out.add(self, format!("out of range; expected {expected}"));
        }
        count
    }

    /// Reads the word `true`, the only value of a key whose presence says all.
    pub(crate) fn yes(&self, out: &mut Problems) -> Option<()> {
        self.choice(&[("true", ())], out)
    }

    /// Whether exactly this word is here.
    pub(crate) fn is_word(&self, word: &str) -> bool {
        matches!(&self.node.kind, Kind::Text(text) if text.text == word)
    }

    /// Reads a text of at least one character.
    pub(crate) fn filled(&self, expected: &str, out: &mut Problems) -> Option<String> {
        let text = self.text(expected, out)?;
        if text.trim().is_empty() {
            out.add(self, format!("an empty text; expected {expected}"));
            return None;
        }
        Some(text.to_owned())
    }

    /// Reads a program and its arguments: a command line, or a list of words.
    pub(crate) fn command(&self, out: &mut Problems) -> Option<Vec<String>> {
        let expected = "a command line or a list of its words";
        if let Kind::List(_) = &self.node.kind {
            let words: Vec<_> = self
                .items(expected, out)?
                .iter()
                .map(|at| at.text("a text", out))
                .collect();
            let words: Vec<String> = words
                .into_iter()
                .map(|word| word.map(str::to_owned))
                .collect::<Option<_>>()?;
            if words.first().is_none_or(String::is_empty) {
                out.add(
                    self,
                    "an empty command; expected a program and its arguments",
                );
                return None;
            }
            return Some(words);
        }
        let text = self.text(expected, out)?;
        let split = command::split(text);
        split
            .map_err(|error| out.add_at(self.inside(error.at()), &self.path, error.to_string()))
            .ok()
    }

    /// Reads an `http://` or `https://` URL.
    pub(crate) fn web_url(&self, out: &mut Problems) -> Option<String> {
        let text = self.text("a URL such as https://example.com/hook", out)?;
        let rest = text
            .strip_prefix("http://")
            .or_else(|| text.strip_prefix("https://"));
        let has_host = rest
            .is_some_and(|rest| !matches!(rest.chars().next(), None | Some('/' | '?' | '#' | ':')));
        if !has_host || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            let message = format!(
                "cannot read {:?}; expected a URL such as https://example.com/hook",
                shorten(text)
            );
            out.add(self, message);
            return None;
        }
        Some(text.to_owned())
    }

    /// The place of a character inside the text here, where the text stands in the file letter by letter.
    fn inside(&self, at: usize) -> Mark {
        let Mark { line, column } = self.node.mark;
        let inset = match &self.node.kind {
            Kind::Text(text) => text.inset,
            Kind::Null | Kind::List(_) | Kind::Map(_) | Kind::Broken => None,
        };
        Mark {
            line,
            column: inset.map_or(column, |inset| {
                column.saturating_add(inset).saturating_add(at)
            }),
        }
    }
}
