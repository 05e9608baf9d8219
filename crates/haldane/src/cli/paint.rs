//! Colors and the words they go with.
//!
//! **Invariant:** a color never says anything that a word beside it does not.

use haldane_core::verdict::Verdict;
use ratatui::style::{Color, Modifier, Style};

/// Whether words have colors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    /// They have.
    Color,
    /// They have none: the reader can't see them, or does not want to.
    Mono,
}

/// How something is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As any text.
    Plain,
    /// All is well.
    Good,
    /// Worth a look.
    Warn,
    /// Wrong.
    Bad,
    /// At work.
    Busy,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
}

impl Paint {
    /// Returns the text in its tone, for a terminal.
    pub(crate) fn tone(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "1;31",
            Tone::Busy => "36",
            Tone::Dim => "2",
            Tone::Strong => "1",
        };
        match self {
            Self::Color => format!("\x1b[{code}m{text}\x1b[0m"),
            Self::Mono => text.to_owned(),
        }
    }

    /// Returns a phase with its sign, for a terminal.
    pub(crate) fn phase(self, name: &str) -> String {
        let (sign, tone) = phase(name);
        self.tone(tone, &format!("{sign} {name}"))
    }

    /// Returns a verdict, for a terminal.
    pub(crate) fn verdict(self, value: Verdict) -> String {
        self.tone(verdict(value), &value.to_string())
    }

    /// Returns the style of a tone, for a full screen; without colors, weight alone tells headings and what is wrong.
    pub(crate) fn style(self, tone: Tone) -> Style {
        let style = Style::new();
        match self {
            Self::Color => match tone {
                Tone::Plain => style,
                Tone::Good => style.fg(Color::Green),
                Tone::Warn => style.fg(Color::Yellow),
                Tone::Bad => style.fg(Color::Red).add_modifier(Modifier::BOLD),
                Tone::Busy => style.fg(Color::Cyan),
                Tone::Dim => style.add_modifier(Modifier::DIM),
                Tone::Strong => style.add_modifier(Modifier::BOLD),
            },
            Self::Mono => match tone {
                Tone::Plain | Tone::Good | Tone::Warn | Tone::Busy | Tone::Dim => style,
                Tone::Bad | Tone::Strong => style.add_modifier(Modifier::BOLD),
            },
        }
    }
}

/// Returns the sign of a phase and how it is meant.
pub(crate) fn phase(phase: &str) -> (&'static str, Tone) {
    match phase {
        "Pending" => ("◷", Tone::Dim),
        "Preparing" => ("◌", Tone::Busy),
        "Progressing" => ("◐", Tone::Busy),
        "Paused" => ("‖", Tone::Warn),
        "Promoting" => ("▲", Tone::Busy),
        "Completed" => ("✔", Tone::Good),
        "RollingBack" => ("◀", Tone::Bad),
        "RolledBack" => ("✖", Tone::Bad),
        "Failed" => ("⚠", Tone::Bad),
        _ => ("?", Tone::Plain),
    }
}

/// Returns how a verdict is meant.
pub(crate) fn verdict(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Pass => Tone::Good,
        Verdict::Fail => Tone::Bad,
        Verdict::Inconclusive => Tone::Warn,
        Verdict::NoData => Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_color_only_the_words_are_left() {
        assert_eq!(Paint::Mono.tone(Tone::Bad, "CRITICAL"), "CRITICAL");
        assert_eq!(
            Paint::Color.tone(Tone::Bad, "CRITICAL"),
            "\x1b[1;31mCRITICAL\x1b[0m"
        );
        for tone in [Tone::Good, Tone::Warn, Tone::Bad, Tone::Busy] {
            assert_eq!(Paint::Mono.style(tone).fg, None);
        }
    }
}
