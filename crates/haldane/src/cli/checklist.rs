//! `haldane checklist`: what belongs to planning, deploying, watching and taking back a version, ticked where that is seen to be true.
//!
//! **Invariant:** nothing is ticked that was not seen; what can't be seen from here is left open, with the reason.

mod facts;
mod items;
#[cfg(test)]
mod tests;

use std::{io::Write, path::PathBuf};

use serde::Serialize;

use self::facts::Facts;
use super::{exit::Exit, globals::Globals, paint::Tone, result, subject::Subject, words::clean};

/// Shows the checklists of a service.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service, on Kubernetes the release: NAME or NS/NAME
    name: Subject,
    /// The release file that has its plan; - for standard input. On Kubernetes the Release has it
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
}

/// A checklist.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checklist {
    title: &'static str,
    items: Vec<Item>,
}

/// One line of a checklist.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    text: String,
    state: State,
    /// What was seen, or why nothing was.
    reason: String,
}

/// Whether something is true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum State {
    /// It was seen.
    Done,
    /// It was looked for and is not so.
    Open,
    /// It can't be seen from here.
    Unknown,
}

/// Runs the command.
pub(crate) async fn run(
    args: &Args,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let facts = Facts::gather(args, globals).await?;
    let checklists = items::checklists(&facts);
    result::write(globals, out, &checklists, |out| {
        for (index, checklist) in checklists.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            let title = globals.paint.tone(Tone::Strong, checklist.title);
            writeln!(out, "{title}")?;
            for item in &checklist.items {
                let (sign, tone) = item.state.sign();
                let sign = globals.paint.tone(tone, sign);
                writeln!(out, "{sign} {}: {}", clean(&item.text), clean(&item.reason))?;
            }
        }
        let items = || checklists.iter().flat_map(|checklist| &checklist.items);
        let done = items().filter(|item| item.state == State::Done).count();
        writeln!(
            out,
            "\n{done} of {} are seen to be so; [?] can't be seen from here",
            items().count()
        )?;
        Ok(())
    })?;
    Ok(Exit::Done)
}

impl Item {
    fn new(text: impl Into<String>, state: State, reason: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            state,
            reason: reason.into(),
        }
    }
}

impl State {
    /// Returns a box, ticked or not, and how it is meant.
    const fn sign(self) -> (&'static str, Tone) {
        match self {
            Self::Done => ("[x]", Tone::Good),
            Self::Open => ("[ ]", Tone::Warn),
            Self::Unknown => ("[?]", Tone::Dim),
        }
    }
}
