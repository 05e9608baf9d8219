//! `haldane up`: the daemon in the foreground.

use std::{net::SocketAddr, num::NonZeroUsize, path::PathBuf};

use anyhow::{Context as _, anyhow};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info, warn};

use crate::{
    cli::{Exit, Globals, exit::talk},
    daemon::{Daemon, DaemonConfig, apply_file},
};

/// The actor of what the daemon does by itself at a start or a reload.
const ACTOR: &str = "haldane up";

/// Options of `haldane up`.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct UpArgs {
    /// The release file; applied at the start and on SIGHUP. Without one the daemon goes on with what its store knows
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Also serve `/metrics` and `/healthz` over TCP at this address, such as 127.0.0.1:9100; by default only on the socket
    #[arg(long, value_name = "ADDR")]
    pub metrics_listen: Option<SocketAddr>,
    /// How many data threads the proxy has, 1 to 256; by default one per processor
    #[arg(long, value_name = "N", value_parser = crate::cli::quantity::threads)]
    pub threads: Option<NonZeroUsize>,
    /// How many connections each data thread keeps open to one replica at most, 1 to 65535; more requests wait for one. Raise it for
    /// services with many answers that stay open, such as event streams
    #[arg(long, value_name = "N", default_value = "256", value_parser = crate::cli::quantity::connections)]
    pub upstream_connections: NonZeroUsize,
    /// Say in the header `x-haldane-version` of each response which version made it
    #[arg(long)]
    pub expose_version: bool,
}

/// Runs the daemon until it is told to stop.
pub(crate) async fn run(args: UpArgs, globals: &Globals) -> anyhow::Result<Exit> {
    let place = &globals.place;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut reload = signal(SignalKind::hangup()).context("listening for SIGHUP")?;
    let daemon = Daemon::start(DaemonConfig {
        data_dir: place.data_dir.clone(),
        socket: place.socket.clone(),
        metrics_listen: args.metrics_listen,
        threads: args.threads,
        upstream_connections: args.upstream_connections,
        expose_version: args.expose_version,
    })
    .await?;
    if let Some(why) = daemon.store_absence().map(str::to_owned) {
        let loaded = match &args.file {
            Some(file) => load(&daemon, file).await,
            None => Err(anyhow!("without a release file there is nothing to serve")),
        };
        if let Err(error) = loaded {
            // What runs belongs to services that nobody here knows.
            daemon.leave().await?;
            return Err(error.context(format!("the store cannot be opened: {why}")));
        }
        talk(&format!(
            "WARNING: the store cannot be opened: {why}\nit is left as it is; until it is mended or moved away, and the daemon \
             started again, the release file's stable versions serve alone, and every command on rollouts is refused"
        ));
    } else if let Some(file) = &args.file
        && let Err(error) = load(&daemon, file).await
    {
        // What the store knows goes on serving: a file that is wrong now must not turn a restart into an outage.
        if daemon.engine().views().is_empty() {
            daemon.stop().await?;
            return Err(error);
        }
        talk(&format!(
            "{error:#}\nthe release file was not taken; what the store knows goes on"
        ));
    }
    talk(&format!(
        "haldane is up; its socket is {}",
        place.socket.display()
    ));
    let mut is_told = false;
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            () = daemon.asked_to_stop() => break,
            // Traffic goes on at the last weights; `/healthz` says no, and a restart takes everything up again.
            () = daemon.driver_ended(), if !is_told => {
                is_told = true;
                error!("Driver broke off; nothing is decided until the daemon is started again");
            }
            _ = reload.recv() => match &args.file {
                Some(file) => {
                    if let Err(error) = load(&daemon, file).await {
                        warn!(error = format!("{error:#}"), "Release file not taken; the last one stays");
                    }
                }
                None => info!("SIGHUP without a release file; nothing to reload"),
            },
        }
    }
    daemon.stop().await?;
    Ok(Exit::Done)
}

async fn load(daemon: &Daemon, file: &std::path::Path) -> anyhow::Result<()> {
    let answer = apply_file(daemon.engine(), file, ACTOR).await?;
    for message in answer.messages {
        talk(&message);
    }
    Ok(())
}
