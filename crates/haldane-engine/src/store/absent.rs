//! What stands in for a store that could not be opened.
//!
//! It knows nothing and takes nothing, so that a daemon can go on serving what its release file says while nobody can decide anything.
//!
//! **Invariant:** it touches no file: what could not be opened stays as it is, for whoever mends it.

use std::ops::RangeInclusive;

use haldane_core::{RolloutId, ServiceName};

use crate::store::{
    BandRow, CommandRow, EntryRow, RecordingRow, RolloutRow, ServiceRow, Store, StoreError,
    VersionRow, Write,
};

/// A store that is not there.
#[derive(Clone, Debug)]
pub struct AbsentStore {
    why: String,
}

impl AbsentStore {
    /// Returns what stands in for the store that gave this error; the error itself where somebody else has the store, or where it
    /// must be opened by another release: then a person is there and sees it.
    ///
    /// # Errors
    /// See above.
    pub fn try_new(error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::Damaged { .. } | StoreError::Io { .. } => Ok(Self {
                why: error.to_chain(),
            }),
            StoreError::InUse { .. }
            | StoreError::TooNew { .. }
            | StoreError::NotADirectory { .. }
            | StoreError::Absent { .. } => Err(error),
        }
    }

    fn refusal<T>(&self) -> Result<T, StoreError> {
        let why = self.why.clone();
        Err(StoreError::Absent { why })
    }
}

impl Store for AbsentStore {
    fn absence(&self) -> Option<&str> {
        Some(&self.why)
    }

    fn commit(&mut self, _: &[Write]) -> Result<(), StoreError> {
        self.refusal()
    }

    fn services(&mut self) -> Result<Vec<ServiceRow>, StoreError> {
        Ok(Vec::new())
    }

    fn live_rollouts(&mut self) -> Result<Vec<RolloutRow>, StoreError> {
        Ok(Vec::new())
    }

    fn rollouts(&mut self, _: &ServiceName, _: u32) -> Result<Vec<RolloutRow>, StoreError> {
        self.refusal()
    }

    fn entries(&mut self, _: &RolloutId, _: u32) -> Result<Vec<EntryRow>, StoreError> {
        self.refusal()
    }

    fn recording(
        &mut self,
        _: &RolloutId,
        _: u64,
        _: u32,
    ) -> Result<Vec<RecordingRow>, StoreError> {
        self.refusal()
    }

    fn commands(&mut self, _: &ServiceName, _: u32) -> Result<Vec<CommandRow>, StoreError> {
        self.refusal()
    }

    fn versions(&mut self, _: &ServiceName) -> Result<Vec<VersionRow>, StoreError> {
        self.refusal()
    }

    fn bands(
        &mut self,
        _: &ServiceName,
        _: &str,
        _: RangeInclusive<u8>,
    ) -> Result<Vec<BandRow>, StoreError> {
        Ok(Vec::new())
    }
}
