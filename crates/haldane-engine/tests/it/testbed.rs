//! A process that holds a store, for the tests that kill it or spoil its disk.
//!
//! Argument: the data directory. It prints `opened`, or `refused` with the reason and ends. Then it carries out what it reads,
//! a line each: `commit N` writes entry N, `run N` writes entries from N on without end, `entries` tells how many there are.

use std::{
    env,
    error::Error,
    io::{self, BufRead as _, Write as _},
    path::Path,
};

use haldane_core::{RolloutId, ServiceName};
use haldane_engine::store::{
    EntryRow, RolloutRow, ServiceRow, Store as _, Write, lock::DirectoryLock, sqlite::SqliteStore,
};
use jiff::Timestamp;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = env::args().nth(1).ok_or("DIR")?;
    let dir = Path::new(&dir);
    let opened = DirectoryLock::take(dir).and_then(|lock| SqliteStore::open(dir, &lock));
    let mut store = match opened {
        Ok(store) => store,
        Err(error) => return say(&format!("refused {error:?}")),
    };
    say("opened")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("commit", number) => say(&outcome(commit(&mut store, number.parse()?)))?,
            ("run", number) => {
                let mut number = number.parse()?;
                loop {
                    commit(&mut store, number)?;
                    say(&number.to_string())?;
                    number += 1;
                }
            }
            ("entries", _) => {
                let rollout = RolloutId::new(&"auth".parse()?, 1);
                say(&store.entries(&rollout, u32::MAX)?.len().to_string())?;
            }
            _ => return Err(line.into()),
        }
    }
    Ok(())
}

/// Writes an entry, and its number to the rollout: whoever finds one without the other found half a commit.
fn commit(store: &mut SqliteStore, number: u64) -> Result<(), Box<dyn Error>> {
    let service: ServiceName = "auth".parse()?;
    let id = RolloutId::new(&service, 1);
    let writes = [
        Write::PutService(ServiceRow {
            name: service.clone(),
            body: String::new(),
        }),
        Write::PutRollout(RolloutRow {
            id: id.clone(),
            service,
            number: 1,
            started_at: Timestamp::UNIX_EPOCH,
            ended_at: None,
            body: number.to_string(),
        }),
        Write::AddEntry(EntryRow {
            rollout: id,
            number,
            at: Timestamp::UNIX_EPOCH,
            body: number.to_string().repeat(200),
        }),
    ];
    Ok(store.commit(&writes)?)
}

fn outcome(result: Result<(), Box<dyn Error>>) -> String {
    match result {
        Ok(()) => "done".to_owned(),
        Err(error) => format!("failed {error:?}"),
    }
}

fn say(line: &str) -> Result<(), Box<dyn Error>> {
    writeln!(io::stdout(), "{line}")?;
    Ok(())
}
