//! Taking over what an earlier daemon left.
//!
//! | the record says | the kernel says | what happens |
//! |---|---|---|
//! | process id and start time | the same one runs | adopted |
//! | process id and start time | it is gone, others bear its token | those are killed |
//! | an intent only | a group leader bears the token | adopted; the daemon died between fork and record |
//! | an intent only | nobody bears the token | the daemon died before the fork: nothing runs |
//! | another boot | | nothing of it can run |
//! | nothing | a process bears a token of this directory | it is killed: nobody knows what it is for, or waits for its answer |

use std::{
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    decide,
    fleet::{Fleet, replica::Replica, save},
    home::{Home, OpenError, Record},
    process::{self, Process},
    spec::Config,
};

/// How long a child may be between fork and exec, where it has its daemon's environment and not yet its token.
const EXEC_TIME_MAX: Duration = Duration::from_secs(5);

impl Fleet {
    /// Opens the data directory and takes over the children of the daemon before.
    pub(crate) fn open(dir: &Path, config: Config, now: Instant) -> Result<Self, OpenError> {
        let home = Home::open(dir)?;
        let mut fleet = Self {
            wish: None,
            replicas: std::collections::BTreeMap::new(),
            logs_at: now,
            sweep_at: Some(decide::after(now, EXEC_TIME_MAX)),
            home,
            config,
        };
        for mut record in fleet.home.load()? {
            let key = record.key();
            let process = adopt(&fleet.home, &mut record);
            if let Some(process) = &process {
                tracing::info!(%key, pid = process.mark().pid, "Replica adopted");
            }
            fleet
                .replicas
                .insert(key, Replica::recorded(record, process, now));
        }
        fleet.sweep();
        Ok(fleet)
    }
}

/// Returns the process of the record, if it still runs, and completes the record if it was an intent.
fn adopt(home: &Home, record: &mut Record) -> Option<Process> {
    if record.boot != home.boot() {
        return None;
    }
    if let Some(mark) = record.process {
        return Process::adopt(mark, record.token.clone());
    }
    let mark = process::find_by_token(&record.token)?;
    let process = Process::adopt(mark, record.token.clone())?;
    record.process = Some(mark);
    save(home, record);
    Some(process)
}
