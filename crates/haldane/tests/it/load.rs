//! Clients that ask all the time, and note what each of them got.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, Instant},
};

use crate::it::{http::Client, rig::within};

/// How long the requests that a test needs may take on a busy machine.
const GATHER_MAX: Duration = Duration::from_secs(90);

/// Clients at work.
#[derive(Debug)]
pub(crate) struct Load {
    is_over: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Vec<Seen>>>,
}

/// One request and what came of it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) sent_at: Instant,
    /// The version that answered, with its status; or why there was no answer.
    pub(crate) got: Result<(u16, Option<String>), String>,
}

impl Load {
    /// Starts clients that ask for `/products`, each waiting `pause` between two requests.
    pub(crate) fn start(addr: SocketAddr, clients: usize, pause: Duration) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicUsize::new(0));
        let clients = (0..clients)
            .map(|_| {
                let (is_over, answered) = (Arc::clone(&is_over), Arc::clone(&answered));
                spawn(move || ask_on(addr, pause, &is_over, &answered))
            })
            .collect();
        Self {
            is_over,
            answered,
            clients,
        }
    }

    /// Waits until there were so many requests more.
    #[track_caller]
    pub(crate) fn gather(&self, requests: usize) {
        let count = || self.answered.load(Ordering::Relaxed);
        let enough = count() + requests;
        within(GATHER_MAX, "enough requests", || {
            (count() >= enough).then_some(())
        });
    }

    /// Lets every client finish its request, and returns what they got.
    pub(crate) fn stop(mut self) -> Vec<Seen> {
        self.is_over.store(true, Ordering::Relaxed);
        let clients = self.clients.drain(..);
        clients.flat_map(|client| client.join().unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    /// Whether the shop answered well, in whatever version.
    pub(crate) fn is_good(&self) -> bool {
        matches!(&self.got, Ok((200, Some(_))))
    }

    pub(crate) fn version(&self) -> Option<&str> {
        self.got.as_ref().ok()?.1.as_deref()
    }
}

/// Returns how many requests ended in which way, for messages.
pub(crate) fn tally(seen: &[Seen]) -> BTreeMap<String, usize> {
    let mut tally = BTreeMap::new();
    for one in seen {
        let key = match &one.got {
            Ok((status, version)) => format!("{status} {}", version.as_deref().unwrap_or("-")),
            Err(why) => why.clone(),
        };
        *tally.entry(key).or_default() += 1;
    }
    tally
}

/// Checks that a share is within four σ of its weight.
#[track_caller]
pub(crate) fn check_share(canary: usize, all: usize, weight_bps: u16) {
    let (canary, all) = (u32::try_from(canary).unwrap(), u32::try_from(all).unwrap());
    let wanted = f64::from(weight_bps) / 10_000.0;
    let sigma = (wanted * (1.0 - wanted) / f64::from(all)).sqrt();
    let seen = f64::from(canary) / f64::from(all);
    assert!(
        (seen - wanted).abs() <= 4.0 * sigma,
        "{canary} of {all} for {weight_bps} bp"
    );
}

fn ask_on(
    addr: SocketAddr,
    pause: Duration,
    is_over: &AtomicBool,
    answered: &AtomicUsize,
) -> Vec<Seen> {
    let mut client = Client::new(addr);
    let mut seen = Vec::new();
    while !is_over.load(Ordering::Relaxed) {
        let sent_at = Instant::now();
        let got = client.get("shop", "/products");
        let got = got.map(|answer| {
            let version = answer.header("x-shop-version").map(str::to_owned);
            (answer.status, version)
        });
        seen.push(Seen {
            sent_at,
            got: got.map_err(|error| error.to_string()),
        });
        answered.fetch_add(1, Ordering::Relaxed);
        sleep(pause);
    }
    seen
}
