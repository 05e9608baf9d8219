//! `haldane bench`: the figures that are promised, measured from outside.
//!
//! Each bench starts the real daemon as a process of its own, with the demo's shop behind it as real processes, and looks at it as
//! users and operators do: through the proxy, the API and `/proc`. The promises stand in the benches' docs. Nothing here fails because
//! a figure is bad: machines differ, and whoever compares has the numbers.

mod figures;
mod judges;
mod memory;
mod reaction;
mod stand;
mod zero_drop;

use std::{fs, io::Write, thread};

use self::figures::Figures;
use crate::cli::{Exit, Globals, globals::Format};

/// Options of `haldane bench`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// Which figures to take; without a name all of them but `judges`, which takes a quarter of an hour
    #[arg(value_enum)]
    pub name: Option<BenchName>,
    /// How often `reaction` repeats each measurement, and `judges` each bad canary
    #[arg(long, value_name = "N", default_value_t = 5)]
    pub rounds: u32,
    /// How many good canaries `judges` rolls out
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub healthy: u32,
    /// How many requests `zero-drop` sends at least
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    pub requests: u32,
    /// How many times `zero-drop` changes the weight
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub changes: u32,
}

/// The benches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum BenchName {
    /// How soon a bad version loses its traffic, an abort acts, and a start serves.
    Reaction,
    /// How much memory the daemon takes under load.
    Memory,
    /// Whether requests are lost while weights change.
    ZeroDrop,
    /// How soon bad canaries are found end to end, beside what the simulation says, and how many good ones are promoted.
    Judges,
}

/// Takes the figures and writes them.
pub(crate) async fn run(
    args: &BenchArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let is_asked = |name| args.name.is_none_or(|asked| asked == name);
    let is_named = |name| args.name == Some(name);
    let mut figures = Figures::default();
    let mut rows = Vec::new();
    // A machine that is busy with other things gives other figures; the reader must see it.
    figures.put(
        "machine_processors",
        thread::available_parallelism().map_or(0, std::num::NonZero::get),
    );
    figures.put("machine_load_average_before", load_average());
    if is_asked(BenchName::Reaction) {
        reaction::run(args.rounds, &mut figures).await?;
    }
    if is_asked(BenchName::Memory) {
        memory::run(&mut figures).await?;
    }
    if is_asked(BenchName::ZeroDrop) {
        zero_drop::run(args, &mut figures).await?;
    }
    if is_named(BenchName::Judges) {
        rows = judges::run(args, &mut figures).await?;
    }
    figures.put("machine_load_average_after", load_average());
    match globals.format {
        Format::Table if !rows.is_empty() => judges::write(&rows, globals, out)?,
        Format::Table => figures.write(out)?,
        Format::Json => writeln!(out, "{}", figures.to_json())?,
        Format::Yaml => out.write_all(haldane_api::yaml::to_yaml(&figures.to_json()).as_bytes())?,
    }
    Ok(Exit::Done)
}

/// Returns how many threads wanted to run, on average over the last minute.
fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg")
        .ok()?
        .split(' ')
        .next()?
        .parse()
        .ok()
}
