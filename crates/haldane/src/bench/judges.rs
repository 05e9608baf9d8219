//! How soon bad canaries are found end to end, and how many good ones are promoted: whole demos at 1,000 requests per second, each with
//! its own daemon, processes and load, beside what the simulation says of the same traffic.
//!
//! Promised by the simulation, and not more than about twice that is to be expected of real processes, whose clocks, caches and
//! schedulers nobody simulated.

use std::io::{self, Write};

use anyhow::Context as _;
use haldane_api::http::ServiceView;
use haldane_core::Weight;
use haldane_sim::judges::{
    Figures as Simulated, Judge, Latency, Scenario, Schedule, play, summarize,
};

use super::{
    BenchArgs,
    figures::{Figures, spread},
};
use crate::{
    cli::{Globals, exit::talk, table::Table, words::NOTHING},
    demo::{
        DemoArgs,
        load::report::LoadReport,
        run::Stage,
        shop::{WORK_MS_MEDIAN, WORK_SIGMA},
        story::Told,
        until_interrupted,
    },
};

/// Requests per second of every demo here.
const RPS: f64 = 1_000.0;

/// How many rollouts are simulated for each kind of canary.
const SIMULATED: u64 = 400;

/// A kind of canary.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Its name in the figures.
    name: &'static str,
    /// The share of requests that both versions fail, as in `--base`.
    base: &'static str,
    /// What is wrong with it, as in `--canary`.
    canary: &'static str,
    /// What the simulation takes it for.
    scenario: fn() -> Scenario,
    /// Whether it is to be promoted.
    is_good: bool,
}

const CASES: [Case; 5] = [
    Case {
        name: "errors_0.1_to_1_percent",
        base: "0.1%",
        // Beside the base, so that it fails one in a hundred in all.
        canary: "errors=0.9%",
        scenario: || errors(0.001, 0.01),
        is_good: false,
    },
    Case {
        name: "errors_1_to_10_percent",
        base: "1%",
        canary: "errors=9%",
        scenario: || errors(0.01, 0.1),
        is_good: false,
    },
    Case {
        name: "errors_half",
        base: "0",
        canary: "errors=50%",
        scenario: || errors(0.0, 0.5),
        is_good: false,
    },
    Case {
        name: "latency_1.5_times",
        base: "0.1%",
        canary: "slow=1.5x",
        scenario: || slower(1.5),
        is_good: false,
    },
    Case {
        name: "healthy",
        base: "0.1%",
        canary: "good",
        scenario: || slower(1.0),
        is_good: true,
    },
];

/// What came of one kind.
#[derive(Debug)]
pub(super) struct Row {
    name: &'static str,
    is_good: bool,
    rounds: usize,
    /// Of those that ended as they should: from the canary's first answer to the decision.
    seconds: Vec<f64>,
    /// Of those: how many users got an error from the canary.
    errors: Vec<f64>,
    dropped: u64,
    simulated: Simulated,
}

/// Nobody looks while a bench runs.
struct Dark;

impl Stage for Dark {
    fn show(&mut self, _view: &ServiceView, _load: &LoadReport) -> anyhow::Result<bool> {
        Ok(true)
    }
}

/// Takes the figures.
pub(super) async fn run(args: &BenchArgs, figures: &mut Figures) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for case in &CASES {
        let rounds = if case.is_good {
            args.healthy
        } else {
            args.rounds
        };
        let mut told = Vec::new();
        for round in 1..=rounds {
            talk(&format!("bench judges: {} {round} of {rounds}", case.name));
            told.push(demo(case, round).await?);
        }
        let row = Row::new(case, &told);
        row.note(figures);
        rows.push(row);
    }
    Ok(rows)
}

/// Writes what was measured beside what is simulated.
pub(super) fn write(rows: &[Row], globals: &Globals, out: &mut impl Write) -> io::Result<()> {
    let mut table = Table::new([
        "CANARY",
        "AS IT SHOULD",
        "MEASURED, s",
        "SIMULATED, s",
        "FALSELY, SIMULATED",
        "DROPPED",
    ]);
    for row in rows {
        let simulated = match (row.simulated.seconds_p50, row.simulated.seconds_p95) {
            (Some(half), Some(most)) if !row.is_good => format!("{half} (95 %: {most})"),
            _ => NOTHING.to_owned(),
        };
        let falsely = if row.is_good {
            format!("{:.2} %", row.simulated.rollback_share * 100.0)
        } else {
            NOTHING.to_owned()
        };
        let [least, middle, most] = spread(&row.seconds);
        table.push([
            row.name.into(),
            row.right().into(),
            format!("{middle} ({least} to {most})").into(),
            simulated.into(),
            falsely.into(),
            row.dropped.to_string().into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)
}

async fn demo(case: &Case, seed: u32) -> anyhow::Result<Told> {
    let args = DemoArgs {
        canary: case.canary.parse()?,
        stable: "good".parse()?,
        base: case.base.parse()?,
        rps: RPS,
        seed: Some(u64::from(seed)),
        plain: true,
    };
    let told = until_interrupted(&args, &mut Dark)
        .await
        .with_context(|| format!("the demo with {}", case.name))?;
    if !told.is_expected(case.is_good) {
        talk(&format!(
            "bench judges: {} was {}: {}",
            case.name, told.outcome, told.reason
        ));
    }
    Ok(told)
}

impl Row {
    fn new(case: &Case, told: &[Told]) -> Self {
        let right = told.iter().filter(|told| told.is_expected(case.is_good));
        let right: Vec<&Told> = right.collect();
        Self {
            name: case.name,
            is_good: case.is_good,
            rounds: told.len(),
            seconds: right.iter().map(|told| told.seconds_to_decision).collect(),
            errors: right.iter().map(|told| told.canary_bad as f64).collect(),
            dropped: told.iter().map(|told| told.dropped).sum(),
            simulated: simulate(&(case.scenario)()),
        }
    }

    fn right(&self) -> String {
        format!("{} of {}", self.seconds.len(), self.rounds)
    }

    fn note(&self, figures: &mut Figures) {
        let name = |what: &str| format!("judges_{}_{what}", self.name);
        let what = if self.is_good {
            "promoted"
        } else {
            "rolled_back"
        };
        figures.put(&name(what), self.right());
        figures.put_spread(&name("seconds"), &self.seconds);
        figures.put(&name("dropped"), self.dropped);
        let simulated = &self.simulated;
        figures.put(
            &name("simulated_rolled_back_share"),
            simulated.rollback_share,
        );
        if !self.is_good {
            figures.put_spread(&name("users_with_errors"), &self.errors);
            figures.put(&name("simulated_seconds_median"), simulated.seconds_p50);
            figures.put(&name("simulated_seconds_95_percent"), simulated.seconds_p95);
        }
    }
}

/// Returns what the simulation says of the same canary, under the weights of the demo.
fn simulate(scenario: &Scenario) -> Simulated {
    let schedule = Schedule {
        steps: [10, 25, 50, 100].map(Weight::from_percent).to_vec(),
        hold: 7,
    };
    let runs = (0..SIMULATED).map(|seed| play(Judge::Sequential, scenario, &schedule, seed));
    summarize(&runs.collect::<Vec<_>>())
}

fn errors(stable: f64, canary: f64) -> Scenario {
    Scenario::errors(RPS, stable, canary)
}

/// Returns the shop's own latencies, the canary's times `scale`.
fn slower(scale: f64) -> Scenario {
    Scenario {
        latency: Some(Latency {
            median_us: WORK_MS_MEDIAN * 1_000.0,
            sigma: WORK_SIGMA,
            scale,
            ..Latency::usual(Latency::native())
        }),
        ..errors(0.001, 0.001)
    }
}
