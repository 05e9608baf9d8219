//! `haldane simulate`: what a plan would do with a version that fails so often and answers so slowly. Needs no daemon.

mod judges;
mod report;

use std::{io::Write, path::PathBuf, thread, time::Duration};

use anyhow::Context;
use haldane_api::{
    file::default_plan,
    text::{TextError, parse_limit},
};
use haldane_core::{
    guard::{Limit, Metric},
    plan::{Mode, Plan, PlanParts, Rules},
};
use haldane_sim::forecast::{self, Quality, Scenario};

use self::report::{Asked, Report};
use super::{
    deploy::{PlanFlags, read_plan},
    exit::{Exit, UsageError},
    globals::Globals,
    plan::{of_file, of_preset},
    quantity::number,
    result,
    source::Source,
};

/// Forecasts a rollout.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// With -f: the service whose plan is used
    #[arg(requires = "file")]
    name: Option<String>,
    /// The release file that has the plan; - for standard input
    #[arg(short, long, value_name = "FILE", requires = "name")]
    file: Option<PathBuf>,
    /// A preset as the plan; `haldane plan show` lists them
    #[arg(long, value_name = "NAME", conflicts_with = "file")]
    preset: Option<String>,
    /// The share of requests that stable fails, such as 0.1%
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = share)]
    base: u64,
    /// The share of requests that the canary fails, such as 5%
    #[arg(long, value_name = "SHARE", value_parser = share)]
    canary: u64,
    /// Requests per second to the service
    #[arg(long, value_name = "N", default_value_t = 100.0, value_parser = rate)]
    rps: f64,
    /// The median of stable's latency, such as 50ms
    #[arg(long, value_name = "TIME", default_value = "50ms", value_parser = latency)]
    latency: Duration,
    /// The spread of both versions' latency: the standard deviation of its logarithm
    #[arg(long, value_name = "SIGMA", default_value_t = 0.5, value_parser = spread)]
    latency_spread: f64,
    /// The canary's median: a multiple of stable's such as 2x, or a time such as 120ms
    #[arg(long, value_name = "LIMIT", default_value = "1x", value_parser = canary_latency)]
    canary_latency: Limit,
    /// Compare every judge, Haldane's and those of other tools, on the same random traffic
    #[arg(long, conflicts_with_all = ["latency", "latency_spread", "canary_latency"])]
    judges: bool,
    /// How many rollouts are played, 1 to 100000; with --judges: under each
    #[arg(long, value_name = "N", alias = "replicates", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    runs: u32,
    /// Where chance begins; the same seed gives the same answer
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Accepted, so that the options of a `deploy` can be tried as they are
    #[arg(long, value_name = "TEXT", hide = true)]
    reason: Option<String>,
    // The last, because its heading holds for all that follow.
    #[command(flatten)]
    plan: PlanFlags,
}

/// Runs the command.
pub(crate) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    let plan = args.plan()?;
    if args.judges {
        judges::run(args, &plan, globals, out)?;
        return Ok(Exit::Done);
    }
    let is_manual = plan.rules().promote == Mode::Manual;
    let scenario = args.scenario(promoted_by_itself(plan)?);
    let runs = play_all(args.runs, &|index| {
        forecast::play(&scenario, forecast::seed_of(args.seed, index))
    })?;
    let asked = Asked {
        seed: args.seed,
        is_manual,
    };
    let report = Report::new(&scenario, &forecast::summarize(&runs), &asked);
    result::write(globals, out, &report, |out| {
        report.write(&scenario, globals, out)
    })?;
    Ok(Exit::Done)
}

impl Args {
    fn plan(&self) -> anyhow::Result<Plan> {
        let name = self.name.as_deref().unwrap_or("service");
        match (&self.file, &self.preset, self.plan.rollout()) {
            (None, None, None) => Ok(default_plan()),
            (None, None, Some(rollout)) => Ok(read_plan(&"service".parse()?, &rollout)?),
            (None, Some(preset), None) => of_preset(preset),
            (Some(path), None, None) => of_file(name, &Source::read(path)?),
            (Some(_), Some(_), _) | (Some(_) | None, _, Some(_)) => Err(UsageError(
                "there are two plans; expected one of a file's service, a preset, or options of the plan".to_owned(),
            )
            .into()),
        }
    }

    fn scenario(&self, plan: Plan) -> Scenario {
        let median_us = u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX);
        let quality = |error_ppm, latency_median| Quality {
            error_ppm,
            latency_median,
            latency_sigma: self.latency_spread,
        };
        Scenario {
            plan,
            requests_per_second: self.rps,
            stable: quality(self.base, self.latency),
            canary: quality(
                self.canary,
                Duration::from_micros(self.canary_latency.value(median_us)),
            ),
        }
    }
}

/// Returns the plan without the question at its end: a person who would promote does so at once.
fn promoted_by_itself(plan: Plan) -> anyhow::Result<Plan> {
    if plan.rules().promote != Mode::Manual {
        return Ok(plan);
    }
    let PlanParts { steps, rules } = PlanParts::from(plan);
    let plan = Plan::try_new(PlanParts {
        steps,
        rules: Rules {
            promote: Mode::Auto,
            ..rules
        },
    });
    plan.map_err(|problems| {
        let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
        anyhow::anyhow!(
            "the plan cannot be promoted by itself: {}",
            texts.join("; ")
        )
    })
}

/// Plays all runs, on as many threads as there are processors.
fn play_all<R: Send>(runs: u32, play: &(impl Fn(u32) -> R + Sync)) -> anyhow::Result<Vec<R>> {
    let threads = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let part = move |first: usize| -> Vec<R> {
        (0..runs).skip(first).step_by(threads).map(play).collect()
    };
    // Each run has its own seed and its own place, so the number of threads changes nothing but the time.
    thread::scope(|scope| {
        let parts: Vec<_> = (0..threads)
            .map(|first| scope.spawn(move || part(first)))
            .collect();
        let mut all: Vec<Option<R>> = (0..runs).map(|_| None).collect();
        for (first, part) in parts.into_iter().enumerate() {
            let played = part.join().ok().context("a simulated rollout broke off")?;
            for (place, run) in all.iter_mut().skip(first).step_by(threads).zip(played) {
                *place = Some(run);
            }
        }
        all.into_iter()
            .collect::<Option<Vec<R>>>()
            .context("a simulated rollout is missing")
    })
}

/// Reads a share of requests, in parts per million.
pub(super) fn share(text: &str) -> Result<u64, String> {
    match parse_limit(Metric::ErrorRate, text) {
        Ok(Limit::Absolute(ppm)) => Ok(ppm),
        Ok(Limit::Times(_) | Limit::Points(_)) => Err(format!(
            "{text:?} is no share; expected percent such as 0.5%"
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    number(text, 0.001..=1_000_000.0)
}

fn spread(text: &str) -> Result<f64, String> {
    number(text, 0.0..=3.0)
}

fn latency(text: &str) -> Result<Duration, String> {
    match parse_limit(Metric::P50, text) {
        Ok(Limit::Absolute(us)) if us > 0 => Ok(Duration::from_micros(us)),
        Ok(_) => Err(format!(
            "{text:?} is no latency; expected a time such as 50ms"
        )),
        Err(error) => Err(error.to_string()),
    }
}

fn canary_latency(text: &str) -> Result<Limit, TextError> {
    parse_limit(Metric::P50, text)
}

#[cfg(test)]
mod tests;
