//! The first process inside a plane's namespaces: it starts everything, answers questions, and takes everything with it.
//!
//! It is the init process of its own process namespace, so that the kernel ends whatever was started in it as soon as it ends,
//! however it ends. Unless it was detached it lives for as long as the process that started it keeps its standard input open.
//!
//! **Invariant:** when it ends, nothing of the plane is left: no process, no namespace, and no directory unless it was killed
//! itself; then the next plane removes that.

mod addons;
mod answers;
mod cluster;
mod network;
mod programs;
mod relay;

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, SocketAddr, TcpListener as StdListener},
    os::fd::{AsFd as _, OwnedFd},
    os::unix::net::UnixStream as StdStream,
    path::PathBuf,
    sync::Arc,
};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit};
use serde::{Deserialize, Serialize};
use tokio::{
    net::{TcpListener, UnixListener, UnixStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info};

pub(crate) use crate::host::{addons::INSTALL_TIMEOUT, addons::define, cluster::client};
use crate::{
    fault::{Rules, proxy::Injector},
    host::{
        addons::{Addons, Installed, ORDERS_MAX},
        answers::Answers,
        cluster::Cluster,
        programs::Programs,
    },
    message, pod,
    site::Site,
};

/// What the process inside is told at its start.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The plane's directory.
    #[arg(long)]
    directory: PathBuf,
    /// Live on after the process that started this one.
    #[arg(long)]
    detached: bool,
}

/// What the process that starts a plane sends to the one inside; three files come with it: the listeners of API server and fault
/// injector outside, and the lock of the directory.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Greeting {}

/// How the start went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Started {
    Ready,
    Failed(String),
}

/// Runs a plane until nobody wants it any more.
pub(crate) async fn run(args: &Args) -> anyhow::Result<()> {
    let site = Site::at(args.directory.clone());
    let parent = parent().context("talking to the process that starts the plane")?;
    let gifts = Gifts::receive(&parent).await?;
    let mut programs = Programs::new(site.clone());
    let outcome = live(&site, gifts, &mut programs, &parent, args.detached).await;
    if let Err(error) = &outcome {
        error!("{error:#}");
        let failed = Started::Failed(format!("{error:#}"));
        // Whoever waits for it may be gone, or have heard of the start already.
        message::send(&parent, &failed, &[]).await.ok();
    }
    programs.end().await;
    site.remove().context("removing the plane's directory")?;
    outcome
}

async fn live(
    site: &Site,
    gifts: Gifts,
    programs: &mut Programs,
    parent: &UnixStream,
    is_detached: bool,
) -> anyhow::Result<()> {
    raise_limit();
    let (api, faults) = (gifts.address(&gifts.api)?, gifts.address(&gifts.faults)?);
    network::set_up(&[api.port(), faults.port()]).await?;
    let cluster = Cluster { site, api, faults };
    let client = tokio::select! {
        client = cluster.start(programs) => client?,
        // Whoever starts a plane and gives up takes it along.
        () = hung_up(parent) => anyhow::bail!("the process that starts the plane is gone"),
    };
    let rules = Rules::new();
    let injector = Injector::try_new(rules.clone(), api, &site.certificate(), &site.key())?;
    let inside = TcpListener::bind(faults)
        .await
        .context("listening inside")?;
    let (orders, ordered) = mpsc::channel(ORDERS_MAX);
    let answers = Answers {
        api,
        faults,
        rules,
        containers: watch::Sender::new(0),
        installed: watch::Sender::new(Installed::new()),
        orders,
        stop: CancellationToken::new(),
    };
    let addons = Addons {
        site: site.clone(),
        client: client.clone(),
        installed: answers.installed.clone(),
    };
    let control = UnixListener::bind(site.control()).context("opening the control socket")?;
    message::send(parent, &Started::Ready, &[])
        .await
        .context("telling that it is ready")?;
    info!(%api, %faults, "Ready");
    let mut terminate = signal(SignalKind::terminate()).context("listening for signals")?;
    tokio::select! {
        () = answers.serve(&control) => Ok(()),
        () = pod::server::run(client, answers.containers.clone()) => Ok(()),
        () = Arc::new(injector).serve(inside, gifts.faults) => Ok(()),
        () = relay::run(&gifts.api, api) => Ok(()),
        died = addons.run(ordered, programs) => Err(died),
        () = answers.stop.cancelled() => Ok(()),
        _ = terminate.recv() => Ok(()),
        () = hung_up(parent), if !is_detached => Ok(()),
    }
}

/// What came from outside.
#[derive(Debug)]
struct Gifts {
    api: TcpListener,
    faults: TcpListener,
    /// Held for as long as we live.
    _lock: File,
}

impl Gifts {
    async fn receive(parent: &UnixStream) -> anyhow::Result<Self> {
        let received = message::receive::<Greeting>(parent).await;
        let (Greeting {}, files) = received.context("receiving the listeners")?;
        let [api, faults, lock] = <[OwnedFd; 3]>::try_from(files)
            .map_err(|files| anyhow::anyhow!("expected three files, received {}", files.len()))?;
        Ok(Self {
            api: listener(api)?,
            faults: listener(faults)?,
            _lock: lock.into(),
        })
    }

    /// Inside, the same address is free: an address that leads to the plane from both sides needs one kubeconfig only.
    fn address(&self, listener: &TcpListener) -> anyhow::Result<SocketAddr> {
        let port = listener
            .local_addr()
            .context("asking for a listener's port")?
            .port();
        Ok((Ipv4Addr::LOCALHOST, port).into())
    }
}

pub(crate) fn listener(file: OwnedFd) -> anyhow::Result<TcpListener> {
    let listener = StdListener::from(file);
    listener
        .set_nonblocking(true)
        .context("preparing a listener")?;
    TcpListener::from_std(listener).context("preparing a listener")
}

fn parent() -> io::Result<UnixStream> {
    let stream = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}

/// Waits until the other side has closed its end. It never sends anything more.
async fn hung_up(parent: &UnixStream) {
    message::receive::<Greeting>(parent).await.ok();
}

/// Each simulated pod and each connection is a file; the default allows 1024.
fn raise_limit() {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: maximum,
        maximum,
    };
    // Without it a plane with few pods works as well.
    rustix::process::setrlimit(Resource::Nofile, wanted).ok();
}
