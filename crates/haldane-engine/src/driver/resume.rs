//! How the driver takes up what its store knows.
//!
//! **Invariant:** a rollout goes on at its last durable weight, or, where that cannot be read or makes no sense, stable serves alone.

use haldane_core::{ServiceName, rollout::invariants};
use jiff::Timestamp;
use tracing::{error, info, warn};

use super::{
    Driver,
    clock::DriverTime,
    home::{Aside, Home, Live, files},
    tell::key_of_news,
};
use crate::{
    record::{RolloutRecord, ServiceRecord},
    store::{RolloutRow, StoreError},
};

impl Driver {
    /// Takes up what the store knows.
    pub(super) fn resume(&mut self) -> Result<(), StoreError> {
        let wall = self.ports.clock.now();
        for row in self.store.services()? {
            match ServiceRecord::read(&row) {
                Ok(record) => {
                    self.homes.insert(row.name, Home::new(record, wall));
                }
                Err(source) => {
                    let why = format!(
                        "service {} cannot be read ({}); apply its file again",
                        row.name,
                        source.to_chain()
                    );
                    error!(service = %row.name, %why, "Service left out");
                    self.unreadable.insert(row.name, why);
                }
            }
        }
        let names: Vec<ServiceName> = self.homes.keys().cloned().collect();
        for name in &names {
            self.take_up(name)?;
            self.take_up_aftermaths(name)?;
        }
        self.show_store();
        self.begin_time(wall);
        self.open_ports(&names);
        let now = self.now();
        self.turn(now);
        self.publish(now);
        Ok(())
    }

    /// Takes up the last rollout of a service, and an older one that never ended.
    pub(super) fn take_up(&mut self, name: &ServiceName) -> Result<(), StoreError> {
        let mut rows = self.store.live_rollouts()?;
        rows.retain(|row| &row.service == name);
        if rows.is_empty() {
            rows = self.store.rollouts(name, 1)?;
        }
        let now = self.now();
        let Some(home) = self.homes.get_mut(name) else {
            return Ok(());
        };
        for row in rows {
            match read(&row) {
                Ok(record) => {
                    info!(rollout = %row.id, phase = record.state.phase.name(), "Rollout taken up");
                    home.rollout = Some(taken_up(record, now));
                }
                Err(why) if row.ended_at.is_some() => {
                    warn!(rollout = %row.id, %why, "Last rollout cannot be shown");
                }
                Err(why) => {
                    let why = format!(
                        "rollout {}: {why}; stable serves alone until `abort` or `deploy`",
                        row.id
                    );
                    error!(rollout = %row.id, %why, "Rollout cannot be taken up");
                    home.aside = Some(Aside { row, why });
                }
            }
        }
        Ok(())
    }

    /// Goes on no earlier than any rollout was told.
    fn begin_time(&mut self, wall: Timestamp) {
        let live = self.homes.values().filter_map(Home::live);
        let told = live.map(|live| live.state().seen).max().unwrap_or(wall);
        if told > wall {
            warn!(%wall, %told, "Wall clock is behind the last decision; rollouts go on from there");
        }
        self.time = DriverTime::new(wall, told, self.ports.clock.uptime());
        let now = self.time.at(self.ports.clock.uptime());
        for home in self.homes.values_mut() {
            home.count_anew(now);
            if let Some(live) = home.rollout.as_mut() {
                live.taken_up = Some(now);
            }
        }
    }

    /// Sets up every service, routes it as it was decided last, and only then lets requests in.
    fn open_ports(&mut self, names: &[ServiceName]) {
        for (name, home) in &self.homes {
            self.ports.workloads.configure(name, &home.record.file);
        }
        self.tell_whom();
        let now = self.now();
        // What is decided already comes before any news: traffic at its last durable weight, and nothing stopped for want of a wish.
        for name in names {
            self.state_effects(name, now);
        }
        if let Err(why) = self.ports.traffic.configure(&files(&self.homes)) {
            warn!(%why, "Some addresses cannot be listened on");
        }
    }
}

/// Reads a rollout, and checks that it makes sense.
fn read(row: &RolloutRow) -> Result<RolloutRecord, String> {
    let record = RolloutRecord::read(row).map_err(|error| error.to_chain())?;
    invariants(&record.wish.plan, &record.state)
        .map_err(|violation| format!("makes no sense ({violation})"))?;
    Ok(record)
}

fn taken_up(record: RolloutRecord, now: Timestamp) -> Live {
    let mut live = Live::new(record);
    live.taken_up = Some(now);
    if live.state().phase.is_terminal() {
        // How it ended was told when it did.
        live.told = key_of_news(live.plan(), live.state());
    }
    live
}
