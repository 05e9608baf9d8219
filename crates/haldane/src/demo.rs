//! `haldane demo`: the whole main job in one command.
//!
//! A sample shop in two versions runs as real processes behind the real daemon in a temporary directory, real open-loop load goes
//! through the proxy, and the second version is rolled out. Only the shop's process knows what is wrong with it: daemon, judge and
//! driver get the same arguments whatever `--canary` says.

mod chance;
pub(crate) mod load;
mod plain;
pub(crate) mod run;
mod screen;
pub(crate) mod shop;
pub(crate) mod story;

use std::{
    io::Write,
    process,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::bail;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    plain::PlainStage,
    run::Stage,
    screen::ScreenStage,
    shop::{Behavior, Share},
    story::Told,
};
use crate::cli::{Exit, Globals, exit::talk, globals::Format, quantity::number, words::count};

/// Options of `haldane demo`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// What is wrong with the new version: `good` (nothing), `errors` (half of its requests fail), `errors=SHARE`, `slow` (by hundreds of milliseconds), `slow=FACTORx` or `crash`
    #[arg(long, value_name = "KIND", default_value = "good")]
    pub canary: Behavior,
    /// What is wrong with the old version
    #[arg(long, value_name = "KIND", default_value = "good", hide = true)]
    pub stable: Behavior,
    /// The share of requests that fail in both versions, as in `0.1%` or `0.001`
    #[arg(long, value_name = "SHARE", default_value = "0")]
    pub base: Share,
    /// Requests per second from the demo's users
    #[arg(
        long,
        value_name = "N",
        default_value_t = 100.0,
        value_parser = rate,
    )]
    pub rps: f64,
    /// The seed of users and failures; by default another one each time. The result names it
    #[arg(long, value_name = "N")]
    pub seed: Option<u64>,
    /// Plain lines instead of the live view
    #[arg(long)]
    pub plain: bool,
}

impl DemoArgs {
    /// Returns the seed that was asked for, or one of the clock's.
    fn seed(&self) -> u64 {
        let clock = || {
            let since = SystemTime::now().duration_since(UNIX_EPOCH);
            let nanos = since.map_or(0, |since| u64::from(since.subsec_nanos()));
            // Short enough to be typed again.
            chance::stream(nanos, u64::from(process::id())) % 1_000_000
        };
        self.seed.unwrap_or_else(clock)
    }
}

/// Runs the demo, and tells what happened.
pub(crate) async fn run(
    args: &DemoArgs,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let is_for_people = globals.format == Format::Table;
    let told = if is_for_people && globals.is_terminal && !args.plain {
        let title = format!("haldane demo --canary {}", args.canary);
        let mut stage = ScreenStage::open(title, globals.zone.clone(), globals.paint)?;
        until_interrupted(args, &mut stage).await?
    } else if is_for_people {
        writeln!(
            out,
            "The shop's v1 serves; v2 comes beside it under {} per second.",
            count(args.rps, "request", "requests")
        )?;
        until_interrupted(args, &mut PlainStage::new(&mut *out)).await?
    } else {
        until_interrupted(args, &mut PlainStage::new(std::io::sink())).await?
    };
    match globals.format {
        Format::Table => {
            for line in told.lines() {
                writeln!(out, "{line}")?;
            }
        }
        Format::Json => writeln!(out, "{}", serde_json::to_string(&told)?)?,
        Format::Yaml => {
            out.write_all(haldane_api::yaml::to_yaml(&serde_json::to_value(&told)?).as_bytes())?
        }
    }
    if told.is_expected(args.canary == Behavior::Good) {
        return Ok(Exit::Done);
    }
    talk(&format!(
        "haldane demo: that is not how a canary that is `{}` should end",
        args.canary
    ));
    Ok(Exit::Failed)
}

/// Runs a demo to its end; ^C and SIGTERM stop everything that it started.
pub(crate) async fn until_interrupted(
    args: &DemoArgs,
    stage: &mut dyn Stage,
) -> anyhow::Result<Told> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let demo = run::Demo::start().await?;
    let told = tokio::select! {
        told = demo.play(args, stage) => told,
        _ = interrupt.recv() => Err(anyhow::anyhow!("interrupted")),
        _ = terminate.recv() => Err(anyhow::anyhow!("interrupted")),
    };
    let stopped = demo.stop().await;
    let told = told?;
    if let Err(error) = stopped {
        bail!("the demo ended, but its daemon did not: {error:#}");
    }
    Ok(told)
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, load::RATE_MIN..=load::RATE_MAX)
}
