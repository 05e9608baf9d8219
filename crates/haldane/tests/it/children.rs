//! Watches the daemon's children from outside: which ones there are, and whether each of them answers.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{JoinHandle, sleep, spawn},
    time::{Duration, SystemTime},
};

use crate::it::{http, rig::Rig};

/// The time between two rounds of questions.
const ROUND: Duration = Duration::from_millis(15);

/// How many rounds use one look at the processes.
const ROUNDS_PER_LOOK: u32 = 8;

/// Somebody who watches.
#[derive(Debug)]
pub(crate) struct Watch {
    is_over: Arc<AtomicBool>,
    watcher: Option<JoinHandle<BTreeMap<i32, Child>>>,
}

/// What was seen of one child.
#[derive(Clone, Debug)]
pub(crate) struct Child {
    pub(crate) version: String,
    /// How often it answered.
    pub(crate) answers: usize,
    /// When it did not answer, after it once had, and how.
    pub(crate) silences: Vec<(SystemTime, String)>,
    port: u16,
}

impl Watch {
    pub(crate) fn start(rig: &Arc<Rig>) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let (rig, is_over_seen) = (Arc::clone(rig), Arc::clone(&is_over));
        let watcher = Some(spawn(move || watch(&rig, &is_over_seen)));
        Self { is_over, watcher }
    }

    /// Ends watching, and returns what was seen of each child, by process id.
    pub(crate) fn stop(mut self) -> BTreeMap<i32, Child> {
        self.is_over.store(true, Ordering::Relaxed);
        self.watcher.take().unwrap().join().unwrap()
    }
}

impl Drop for Watch {
    /// Lets go of the rig before its other owner, the test, does.
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(Err(_)) = self.watcher.take().map(JoinHandle::join) {
            eprintln!("the watcher of the children broke off");
        }
    }
}

fn watch(rig: &Rig, is_over: &AtomicBool) -> BTreeMap<i32, Child> {
    let mut children = BTreeMap::new();
    for round in 0.. {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        if round % ROUNDS_PER_LOOK == 0 {
            find(rig, &mut children);
        }
        for child in children.values_mut() {
            child.ask();
        }
        sleep(ROUND);
    }
    children
}

fn find(rig: &Rig, children: &mut BTreeMap<i32, Child>) {
    for process in rig.replicas() {
        if let (Some(version), Some(port)) = (process.option("--version"), process.option("--port"))
        {
            children.entry(process.pid).or_insert_with(|| Child {
                version: version.to_owned(),
                answers: 0,
                silences: Vec::new(),
                port: port.parse().unwrap(),
            });
        }
    }
}

impl Child {
    fn ask(&mut self) {
        // One that stopped long ago needs no more questions.
        if self.silences.len() > 3 {
            return;
        }
        let at = SystemTime::now();
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        match http::get(addr, "shop", "/health") {
            Ok(answer) if answer.status == 200 => self.answers += 1,
            Ok(answer) => self
                .silences
                .push((at, format!("status {}", answer.status))),
            Err(_) if self.answers == 0 => {}
            Err(error) => self.silences.push((at, error.to_string())),
        }
    }
}
