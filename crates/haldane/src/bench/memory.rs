//! How much memory the daemon takes under load.
//!
//! Promised: at most 25 MiB of proportional set size with proxy, store, API and a rollout under load. The daemon runs from a copy of
//! this program, because its pages would else count half with every process of the shop and with the bench itself.

use std::{fs, net::Ipv4Addr, time::Duration};

use anyhow::Context as _;
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    figures::{Figures, thousandths},
    stand::{Stand, StandPlan, finish, shop_processes, this_program},
};
use crate::{
    cli::exit::talk,
    demo::{
        load::{Arrivals, LoadPlan, LoadRun, TIMEOUT_DEFAULT},
        shop::Behavior,
    },
};

/// Requests per second.
const RATE: f64 = 500.0;

/// How long to look.
const LOOK_FOR: Duration = Duration::from_secs(20);

/// The time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What the kernel says of a process's memory, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Memory {
    rss: u64,
    pss: u64,
    anonymous: u64,
}

/// Takes the figures.
pub(super) async fn run(figures: &mut Figures) -> anyhow::Result<()> {
    talk("bench memory: 20 s");
    let dir = tempfile::tempdir().context("making a directory")?;
    let program = dir.path().join("haldane");
    fs::copy(this_program()?, &program).context("copying this program")?;
    let plan = StandPlan {
        program,
        addresses: vec![Ipv4Addr::LOCALHOST],
        stable: shop_processes("v1")?,
    };
    let stand = Stand::start(&plan).await?;
    let measured = watch(&stand).await;
    let seen = finish(stand, measured).await?;
    let last = seen.last().copied().unwrap_or_default();
    let peak = |of: fn(&Memory) -> u64| seen.iter().map(of).max().unwrap_or(0);
    figures.put("memory_pss_mib_last", mebibytes(last.pss));
    figures.put("memory_pss_mib_peak", mebibytes(peak(|memory| memory.pss)));
    figures.put("memory_rss_mib_peak", mebibytes(peak(|memory| memory.rss)));
    figures.put(
        "memory_anonymous_mib_peak",
        mebibytes(peak(|memory| memory.anonymous)),
    );
    Ok(())
}

/// Looks at the daemon while it has load, a reader of events and a rollout.
async fn watch(stand: &Stand) -> anyhow::Result<Vec<Memory>> {
    let load = LoadRun::start(LoadPlan::of_shop(stand.target()?, RATE, Arrivals::Constant))?;
    let rollout =
        json!({ "steps": ["10%", "25%", "50%", "100%"], "hold": "5s", "promote": "auto" });
    stand.deploy("v2", Behavior::Good, rollout).await?;
    let mut events = stand.client.events("/v1/events").await?;
    let path = format!("/proc/{}/smaps_rollup", stand.pid()?);
    let mut seen = Vec::new();
    let end = Instant::now() + LOOK_FOR;
    while Instant::now() < end {
        let next = sleep(LOOK_EVERY);
        tokio::pin!(next);
        loop {
            tokio::select! {
                () = &mut next => break,
                event = events.next() => drop(event?.context("the daemon ended its events")?),
            }
        }
        seen.push(Memory::parse(
            &fs::read_to_string(&path).with_context(|| format!("reading {path}"))?,
        ));
    }
    load.stop(TIMEOUT_DEFAULT).await;
    Ok(seen)
}

impl Memory {
    fn parse(text: &str) -> Self {
        let mut memory = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            let (name, value) = (
                words.next(),
                words.next().and_then(|value| value.parse().ok()),
            );
            match (name, value) {
                (Some("Rss:"), Some(value)) => memory.rss = value,
                (Some("Pss:"), Some(value)) => memory.pss = value,
                (Some("Anonymous:"), Some(value)) => memory.anonymous = value,
                _ => {}
            }
        }
        memory
    }
}

fn mebibytes(kibibytes: u64) -> f64 {
    // Exact below 2⁵³ KiB.
    thousandths(kibibytes as f64 / 1_024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_s_sums_are_read() {
        let text = "\
5580aef2b000-7ffd6a5f5000 ---p 00000000 00:00 0                          [rollup]
Rss:                4840 kB
Pss:                1523 kB
Pss_Anon:            880 kB
Anonymous:           880 kB
";
        assert_eq!(
            Memory::parse(text),
            Memory {
                rss: 4_840,
                pss: 1_523,
                anonymous: 880
            }
        );
        assert_eq!(mebibytes(1_536), 1.5);
    }
}
