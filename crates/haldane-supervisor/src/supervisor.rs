//! The supervisor's thread, and the handle that hosts hold.
//!
//! Starting a process blocks, and so does a slow disk, so all of it happens on one named thread. The host and the thread share a
//! desk with the latest wish and reports: a wish that wasn't read yet is replaced, so nothing queues up, and no call waits for
//! anything but that desk's lock. The thread sleeps until a child ends, the host leaves something, or a deadline comes.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::watch;

use crate::{
    fleet::Fleet,
    home::OpenError,
    job::Jobs,
    proc,
    seen::{ReplicaId, ReplicaSeen, Usage},
    spec::{Config, Wish},
};

/// The wait after a failed poll, which would else spin.
const POLL_RETRY: Duration = Duration::from_millis(100);

/// All replicas at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// The replicas, by service, version and index; stopping ones are here until they are gone.
    pub replicas: Vec<ReplicaSeen>,
    /// Which wish they reflect: the number that [`Supervisor::ensure`] returned, 0 before the first.
    pub wish: u64,
}

/// Runs the replicas of one data directory.
///
/// Dropping it ends the care, not the replicas: they run on, and the next supervisor of the directory adopts them.
#[derive(Debug)]
pub struct Supervisor {
    desk: Arc<Desk>,
    snapshot: watch::Receiver<Arc<Snapshot>>,
    jobs: Jobs,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    /// Takes over the directory (making it if need be) with all that still runs of it, and starts the thread.
    ///
    /// Until the first [`Self::ensure`], nothing is started or stopped.
    ///
    /// # Errors
    /// When the directory can't be used, or another supervisor uses it.
    pub fn open(dir: &Path, config: Config) -> Result<Self, OpenError> {
        let bell = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let bell = bell.map_err(|errno| OpenError::Thread(errno.into()))?;
        let desk = Arc::new(Desk {
            bell,
            papers: Mutex::default(),
        });
        let fleet = Fleet::open(dir, config, Instant::now())?;
        let first = Snapshot {
            replicas: fleet.seen(),
            wish: 0,
        };
        let jobs = fleet.jobs();
        let (tx, snapshot) = watch::channel(Arc::new(first));
        let worker = Worker {
            fleet,
            desk: Arc::clone(&desk),
            tx,
            wish: 0,
        };
        let thread = thread::Builder::new().name("supervisor".into());
        let thread = thread
            .spawn(move || worker.run())
            .map_err(OpenError::Thread)?;
        Ok(Self {
            desk,
            snapshot,
            jobs,
            thread: Some(thread),
        })
    }

    /// Asks for exactly these versions and replicas from now on, and returns the wish's number.
    pub fn ensure(&self, wish: Wish) -> u64 {
        let mut papers = self.desk.papers();
        papers.number = papers.number.saturating_add(1);
        papers.wish = Some(wish);
        let number = papers.number;
        drop(papers);
        self.desk.ring();
        number
    }

    /// Asks that everything stops; [`Self::idle`] tells when it has.
    pub fn stop_all(&self) -> u64 {
        self.ensure(Wish::default())
    }

    /// Tells whether a replica answers. Reports about an earlier run of it are ignored.
    ///
    /// The first good report ends its start; without one within its `start_grace` it is restarted. Later bad reports restart
    /// nothing: whether a sick version is rolled back is the rollout's decision.
    pub fn report_health(&self, id: &ReplicaId, is_healthy: bool) {
        self.report(|papers| {
            papers.health.insert(id.clone(), is_healthy);
        });
    }

    /// Tells that a draining replica has no request left, so that it needn't wait out its `drain_grace`.
    pub fn report_drained(&self, id: &ReplicaId) {
        self.report(|papers| {
            papers.drained.insert(id.clone());
        });
    }

    /// Returns who runs single commands on behalf of this daemon.
    #[must_use]
    pub const fn jobs(&self) -> &Jobs {
        &self.jobs
    }

    /// Returns the latest snapshot.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshot.borrow())
    }

    /// Returns a receiver that is woken at each change.
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Whether the latest wish was taken up, and nothing runs or waits to run.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let issued = self.desk.papers().number;
        is_idle(&self.snapshot.borrow(), issued)
    }

    /// Waits until [`Self::is_idle`].
    pub async fn idle(&self) {
        let issued = self.desk.papers().number;
        let mut snapshot = self.subscribe();
        // It fails when the thread has ended, and then nothing changes any more.
        snapshot
            .wait_for(|snapshot| is_idle(snapshot, issued))
            .await
            .ok();
    }

    /// Returns what each running replica uses, read from `/proc` now: some milliseconds of work.
    #[must_use]
    pub fn usage(&self) -> BTreeMap<ReplicaId, Usage> {
        usage(&self.snapshot())
    }

    fn report(&self, change: impl FnOnce(&mut Papers)) {
        change(&mut self.desk.papers());
        self.desk.ring();
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.report(|papers| papers.is_closed = true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("Supervisor thread panicked");
        }
    }
}

/// Where the host leaves what the thread picks up.
#[derive(Debug)]
struct Desk {
    /// Readable while something lies on the desk.
    bell: OwnedFd,
    papers: Mutex<Papers>,
}

#[derive(Debug, Default)]
struct Papers {
    /// How many wishes there were.
    number: u64,
    /// The latest, if the thread hasn't taken it.
    wish: Option<Wish>,
    health: BTreeMap<ReplicaId, bool>,
    drained: BTreeSet<ReplicaId>,
    is_closed: bool,
}

impl Desk {
    /// Nothing that holds the lock can leave half a paper, so a poisoned one is as good as any.
    fn papers(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // It fails only when the bell is ringing for 2^64 times already.
        rustix::io::write(&self.bell, &1_u64.to_ne_bytes()).ok();
    }

    fn take(&self) -> Papers {
        // Silence the bell first: what comes after the look rings again.
        rustix::io::read(&self.bell, &mut [0; 8]).ok();
        let mut papers = self.papers();
        let number = papers.number;
        let rest = Papers {
            number,
            is_closed: papers.is_closed,
            ..Papers::default()
        };
        std::mem::replace(&mut papers, rest)
    }
}

/// What the thread owns.
struct Worker {
    fleet: Fleet,
    desk: Arc<Desk>,
    tx: watch::Sender<Arc<Snapshot>>,
    wish: u64,
}

impl Worker {
    fn run(mut self) {
        loop {
            let papers = self.desk.take();
            if papers.is_closed {
                return;
            }
            let now = Instant::now();
            for (id, is_healthy) in &papers.health {
                self.fleet.report_health(id, *is_healthy, now);
            }
            for id in &papers.drained {
                self.fleet.report_drained(id, now);
            }
            if let Some(wish) = papers.wish {
                self.wish = papers.number;
                self.fleet.ensure(wish);
            }
            let deadline = self.fleet.turn(now);
            self.publish();
            if let Err(error) = self.sleep(deadline) {
                tracing::error!(%error, "Supervisor can't wait for events");
                thread::sleep(POLL_RETRY);
            }
        }
    }

    fn publish(&self) {
        let snapshot = Snapshot {
            replicas: self.fleet.seen(),
            wish: self.wish,
        };
        self.tx.send_if_modified(|current| {
            let is_new = **current != snapshot;
            if is_new {
                *current = Arc::new(snapshot);
            }
            is_new
        });
    }

    /// Sleeps until a leader ends, the bell rings, or the deadline comes.
    fn sleep(&self, deadline: Option<Instant>) -> io::Result<()> {
        let fds = self.fleet.pidfds().chain([&self.desk.bell]);
        let mut fds: Vec<_> = fds.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
        let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = wait.and_then(|wait| Timespec::try_from(wait).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }
}

fn is_idle(snapshot: &Snapshot, issued: u64) -> bool {
    snapshot.wish == issued && snapshot.replicas.is_empty()
}

/// Adds up the processes of each replica's group.
fn usage(snapshot: &Snapshot) -> BTreeMap<ReplicaId, Usage> {
    let by_group: BTreeMap<i32, &ReplicaId> = snapshot
        .replicas
        .iter()
        .filter_map(|seen| Some((seen.pid?, &seen.id)))
        .collect();
    let mut usages: BTreeMap<ReplicaId, Usage> = BTreeMap::new();
    for stat in proc::all() {
        let Some(&id) = by_group.get(&stat.group) else {
            continue;
        };
        let pss_bytes = proc::pss_bytes(stat.mark.pid);
        let one = Usage {
            cpu: stat.cpu(),
            rss_bytes: stat.rss_bytes(),
            pss_bytes,
            processes: 1,
        };
        usages
            .entry(id.clone())
            .and_modify(|sum| *sum = add(*sum, one))
            .or_insert(one);
    }
    usages
}

fn add(a: Usage, b: Usage) -> Usage {
    Usage {
        cpu: a.cpu.saturating_add(b.cpu),
        rss_bytes: a.rss_bytes.saturating_add(b.rss_bytes),
        pss_bytes: a
            .pss_bytes
            .zip(b.pss_bytes)
            .map(|(a, b)| a.saturating_add(b)),
        processes: a.processes.saturating_add(b.processes),
    }
}
