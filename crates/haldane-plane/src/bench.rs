//! `cargo xtask bench kube`: what is promised of the controller, measured from outside on planes of its own.
//!
//! The shipped program runs as a process of its own beside a real API server. What it asks of the server is counted in the server's
//! audit log, its memory and time in `/proc`, and its traffic by a client. The promises stand in the benches' docs. Nothing here fails
//! because a figure is bad: machines differ, and whoever compares has the numbers.

mod audit;
mod child;
mod cluster;
mod figures;
mod fleet;
mod idle;
mod load;
mod reaction;
mod shop;
mod traffic;
mod wait;

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process, thread,
};

use anyhow::Context as _;

use self::{
    child::Controller, cluster::Cluster, cluster::RELEASE, figures::Figures, shop::Standing,
};
use crate::{
    addon::{Addon, Scrape},
    plane::Plane,
};

/// The program under test, beside this one.
const PROGRAM: &str = "haldane";

/// The namespace of the releases; the controller watches no other.
const NAMESPACE: &str = "bench";

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Which figures; all of them by default.
    #[arg(value_enum, env = "HALDANE_PLANE_BENCH")]
    parts: Vec<Part>,
    /// Smaller and sooner: 50 releases instead of 500, one bad canary, and not the 5,000.
    #[arg(long, env = "HALDANE_PLANE_QUICK")]
    quick: bool,
    /// How the figures are written.
    #[arg(
        short,
        long,
        value_enum,
        default_value = "table",
        env = "HALDANE_PLANE_OUTPUT"
    )]
    output: Output,
    /// The `haldane` to measure; by default the one beside this program.
    #[arg(long, env = "HALDANE_PLANE_CONTROLLER")]
    controller: Option<PathBuf>,
}

/// Groups of figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Requests through Contour and Envoy during a promotion, an abort and an undo.
    Traffic,
    /// How soon a bad canary loses its traffic.
    Reaction,
    /// What idle releases cost, and 500 that are updated at once.
    Fleet,
    /// 5,000 idle releases.
    Many,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    Table,
    Json,
}

/// Takes the figures and writes them.
pub(crate) async fn run(args: &Args, out: &mut dyn Write) -> anyhow::Result<()> {
    let program = match &args.controller {
        Some(path) => path.clone(),
        None => env::current_exe()
            .context("asking for our own path")?
            .with_file_name(PROGRAM),
    };
    anyhow::ensure!(
        program.is_file(),
        "{} is missing: `cargo xtask bench kube` builds it",
        program.display()
    );
    let mut figures = Figures::default();
    // A machine that is busy with other things gives other figures; the reader must see it.
    figures.put(
        "machine_processors",
        thread::available_parallelism().map_or(0, usize::from),
    );
    figures.put("machine_load_average_before", load_average());
    let is_asked = |part| args.parts.is_empty() || args.parts.contains(&part);
    if is_asked(Part::Traffic) || is_asked(Part::Reaction) {
        let plane = start("traffic").await?;
        let taken = routed(&plane, &program, args, &mut figures).await;
        plane.stop().await?;
        taken.context("taking the figures of traffic")?;
    }
    if is_asked(Part::Fleet) {
        let plane = start("fleet").await?;
        let taken = fleet(&plane, &program, args, &mut figures).await;
        plane.stop().await?;
        taken.context("taking the figures of a fleet")?;
    }
    if is_asked(Part::Many) && !args.quick {
        let plane = start("many").await?;
        let taken = many(&plane, &program, &mut figures).await;
        plane.stop().await?;
        taken.context("taking the figures of many releases")?;
    }
    figures.put("machine_load_average_after", load_average());
    match args.output {
        Output::Table => figures.write(out)?,
        Output::Json => writeln!(out, "{}", figures.to_json())?,
    }
    Ok(())
}

/// Takes the figures that need requests.
async fn routed(
    plane: &Plane,
    program: &Path,
    args: &Args,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let is_asked = |part| args.parts.is_empty() || args.parts.contains(&part);
    let cluster = Cluster::prepare(plane.client().await?, NAMESPACE).await?;
    plane.install(Addon::Contour).await?;
    plane
        .install(Addon::Prometheus(Scrape::EveryFiveSeconds))
        .await?;
    let controller = Controller::start(plane, program, NAMESPACE).await?;
    controller.ready().await?;
    if is_asked(Part::Traffic) {
        talk("traffic: a promotion, an abort and an undo");
        let hold = if args.quick { "5s" } else { "10s" };
        traffic::run(plane, &cluster, hold, figures).await?;
    }
    if is_asked(Part::Reaction) {
        talk("reaction: canaries that fail half of their requests");
        let rounds = if args.quick { 1 } else { 3 };
        reaction::run(plane, &cluster, rounds, figures).await?;
    }
    controller.stop().await
}

/// Takes the figures of releases that are idle, and then are updated all at once.
async fn fleet(
    plane: &Plane,
    program: &Path,
    args: &Args,
    figures: &mut Figures,
) -> anyhow::Result<()> {
    let count = if args.quick { 50 } else { 500 };
    let names = idle::names(count);
    plane.install(Addon::GatewayApi).await?;
    let cluster = Cluster::prepare(plane.client().await?, NAMESPACE).await?;
    let (_, alone_kib) = idle::start(plane, program, &cluster, 0).await?;
    talk(&format!("idle: making {count} releases"));
    idle::make_shops(&cluster, &names, fleet::REPLICAS).await?;
    let controller = Controller::start(plane, program, NAMESPACE).await?;
    let releases = cluster.follow(&RELEASE, |object, _| Standing::of(object));
    idle::in_control(&releases, count).await?;
    idle::rest(plane, figures).await?;
    let each_kib = (controller.memory_kib()? - alone_kib) / count as f64;
    controller.stop().await?;
    let (took, memory_kib) = idle::start(plane, program, &cluster, count).await?;
    let started_kib = (memory_kib - alone_kib) / count as f64;
    figures.put_number("idle_0_memory_mib", alone_kib / 1_024.0);
    figures.put_number(&format!("idle_{count}_memory_mib"), memory_kib / 1_024.0);
    figures.put_number("idle_memory_each_after_adoption_kib", each_kib);
    figures.put_judged("idle_memory_each_kib", started_kib, 50.0);
    figures.put_number(&format!("idle_{count}_start_to_in_control_s"), took);
    talk(&format!("fleet: updating {count} releases at once"));
    let controller = Controller::start(plane, program, NAMESPACE).await?;
    controller.ready().await?;
    let subject = (&controller, &releases);
    let written = fleet::run(plane, &cluster, subject, &names, figures).await?;
    controller.stop().await?;
    talk("fleet: the same writes without decisions");
    fleet::floor(&cluster, &written, &names, figures).await
}

/// Takes the figures of as many releases as one controller is promised to hold.
async fn many(plane: &Plane, program: &Path, figures: &mut Figures) -> anyhow::Result<()> {
    plane.install(Addon::GatewayApi).await?;
    let cluster = Cluster::prepare(plane.client().await?, NAMESPACE).await?;
    talk("many: making 5000 releases; that takes some minutes");
    idle::many(plane, program, &cluster, 5_000, figures).await
}

async fn start(what: &str) -> anyhow::Result<Plane> {
    talk(&format!("starting a plane for {what}"));
    Ok(Plane::start_named(&format!("bench-{what}-{}", process::id())).await?)
}

/// Tells how far it is; standard output is for the figures.
fn talk(text: &str) {
    // Nobody need listen.
    writeln!(io::stderr(), "{text}").ok();
}

/// Returns how many threads wanted to run, on average over the last minute.
fn load_average() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}
