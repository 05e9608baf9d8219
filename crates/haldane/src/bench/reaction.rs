//! How soon a bad version loses its traffic, an abort acts, and a start serves.
//!
//! Promised: weight 0 within 5 s of the first bad answer of a canary that fails half of its requests (10 % of 100 requests per
//! second); the last request to a canary starts at most 100 ms after `abort` is asked for; the first request is answered at most
//! 100 ms after the daemon's process was started. All of it as a client sees it: the canary's end is its last request.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use haldane_api::http::CommandName;
use haldane_core::Weight;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    figures::Figures,
    stand::{Stand, StandPlan, finish, shop_processes, this_program},
};
use crate::{
    cli::exit::talk,
    demo::{
        load::{Arrivals, LoadPlan, LoadRun, TIMEOUT_DEFAULT},
        shop::{self, Behavior, Share, ShopArgs},
    },
};

/// How long load goes on after an end, so that a request that still met the canary is seen.
const COOL_DOWN: Duration = Duration::from_secs(1);

/// How long a canary gets requests before the abort.
const BEFORE_ABORT: Duration = Duration::from_secs(1);

/// How long the first answer may take before the bench gives up.
const FIRST_ANSWER_MAX: Duration = Duration::from_secs(20);

/// The pause between two tries to get the first answer.
const TRY_AGAIN: Duration = Duration::from_millis(1);

/// Takes the figures.
pub(super) async fn run(rounds: u32, figures: &mut Figures) -> anyhow::Result<()> {
    let plan = StandPlan {
        program: this_program()?,
        addresses: vec![Ipv4Addr::LOCALHOST],
        stable: shop_processes("v1")?,
    };
    let stand = Stand::start(&plan).await?;
    let measured = reactions(&stand, rounds).await;
    let (rollbacks, aborts) = finish(stand, measured).await?;
    figures.put_spread("reaction_rollback_seconds", &rollbacks);
    figures.put_spread("reaction_abort_ms", &aborts);
    let mut starts = Vec::new();
    for round in 1..=rounds {
        talk(&format!("bench reaction: start {round} of {rounds}"));
        starts.push(start_to_first_answer().await?.as_secs_f64() * 1_000.0);
    }
    figures.put_spread("reaction_start_to_first_request_ms", &starts);
    Ok(())
}

async fn reactions(stand: &Stand, rounds: u32) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
    let (mut rollbacks, mut aborts) = (Vec::new(), Vec::new());
    for round in 1..=rounds {
        talk(&format!(
            "bench reaction: rollback and abort {round} of {rounds}"
        ));
        rollbacks.push(
            rollback(stand, &format!("bad-{round}"))
                .await?
                .as_secs_f64(),
        );
        aborts.push(abort(stand, &format!("good-{round}")).await?.as_secs_f64() * 1_000.0);
    }
    Ok((rollbacks, aborts))
}

/// Returns the time from the canary's first bad answer to its last request.
async fn rollback(stand: &Stand, version: &str) -> anyhow::Result<Duration> {
    let load = LoadRun::start(LoadPlan::of_shop(
        stand.target()?,
        100.0,
        Arrivals::Constant,
    ))?;
    sleep(COOL_DOWN).await;
    let half: Share = "0.5".parse()?;
    let rollout = json!({ "steps": ["10%", "100%"], "hold": "5m", "guards": { "errorRate": "5%" }, "promote": "auto" });
    stand
        .deploy(version, Behavior::Errors(half), rollout)
        .await?;
    let is_promoted = stand.until_over(version).await?;
    sleep(COOL_DOWN).await;
    let report = load.stop(TIMEOUT_DEFAULT).await;
    ensure!(!is_promoted, "{version} was promoted");
    let canary = report
        .versions
        .get(version)
        .with_context(|| format!("{version} got no request"))?;
    let first_bad = canary
        .first_bad
        .with_context(|| format!("{version} gave no bad answer"))?;
    Ok(canary.last_started.saturating_sub(first_bad))
}

/// Returns the time from asking for the abort to the canary's last request.
async fn abort(stand: &Stand, version: &str) -> anyhow::Result<Duration> {
    // Half a millisecond between requests to the canary, so that the last one tells the time as finely.
    let load = LoadRun::start(LoadPlan::of_shop(
        stand.target()?,
        2_000.0,
        Arrivals::Constant,
    ))?;
    let rollout = json!({ "steps": ["90%", "100%"], "hold": "5m", "guards": { "errorRate": "5%" }, "promote": "auto" });
    stand.deploy(version, Behavior::Good, rollout).await?;
    stand.until_applied(Weight::from_percent(90)).await?;
    sleep(BEFORE_ABORT).await;
    let asked = load.snapshot().elapsed;
    stand.command(CommandName::Abort, None, false).await?;
    stand.until_over(version).await?;
    sleep(COOL_DOWN).await;
    let report = load.stop(TIMEOUT_DEFAULT).await;
    let canary = report
        .versions
        .get(version)
        .with_context(|| format!("{version} got no request"))?;
    Ok(canary.last_started.saturating_sub(asked))
}

/// Returns the time from the start of a daemon with an empty data directory to the first answer through it.
async fn start_to_first_answer() -> anyhow::Result<Duration> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .await
        .context("opening the shop")?;
    let address = listener.local_addr().context("opening the shop")?;
    let args = ShopArgs {
        port: address.port(),
        version: "v1".to_owned(),
        behavior: Behavior::Good,
        base: Share::NONE,
        seed: 1,
    };
    let mut shop = JoinSet::new();
    shop.spawn(shop::serve_on(listener, args, std::future::pending()));
    let plan = StandPlan {
        program: this_program()?,
        addresses: vec![Ipv4Addr::LOCALHOST],
        stable: json!({ "version": "v1", "url": format!("http://{address}") }),
    };
    let stand = Stand::spawn(&plan)?;
    let target = stand.target()?;
    let measured = timeout(FIRST_ANSWER_MAX, async {
        while !is_answered(target).await {
            sleep(TRY_AGAIN).await;
        }
        stand.spawned.elapsed()
    });
    let measured = measured.await.context("waiting for the first answer");
    // An early answer comes before the API's; asking it to stop needs the socket.
    let started = Instant::now();
    while !stand.client.socket().exists() && started.elapsed() < FIRST_ANSWER_MAX {
        sleep(TRY_AGAIN).await;
    }
    finish(stand, measured).await
}

/// Whether a request of a new connection is answered well.
async fn is_answered(target: SocketAddr) -> bool {
    let exchange = async {
        let mut stream = TcpStream::connect(target).await?;
        let request =
            format!("GET /health HTTP/1.1\r\nhost: {target}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(answer.starts_with(b"HTTP/1.1 200 "))
    };
    // Before the daemon listens, a connection is refused; that is no answer.
    exchange.await.unwrap_or(false)
}
