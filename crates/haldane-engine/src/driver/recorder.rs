//! What the judges of a rollout see, on its way to the store: written with what they remember, and with each decision.
//!
//! **Invariants:** recording is bounded, in memory and in the store; where it fails, seconds are missing from the recording and nothing
//! else happens.

use haldane_analysis::{
    Batch,
    looks::Knowledge,
    recording::{Moment, Second, Segment},
};
use jiff::Timestamp;
use tracing::warn;

use crate::{
    record::{Recorded, RolloutRecord},
    store::{RecordingRow, Write},
};

/// How much is recorded of one rollout: some six hours of a service of 100 requests a second.
const RECORDING_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How much waits for the store: five minutes of batches from before, each as large as it may be at a hundred buckets a version,
/// and then some minutes of a disk that fails.
const WAITING_BYTES_MAX: usize = 2 * 1024 * 1024;

/// How long a row may be, which is less than the store takes.
const ROW_BYTES_MAX: usize = 256 * 1024;

/// The recorder of one rollout.
pub(super) struct Recorder {
    lines: Vec<String>,
    bytes: usize,
    stage: Stage,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// A segment is to begin.
    Due,
    /// A segment has begun.
    Going,
    /// Nothing more is recorded.
    Over,
}

impl Recorder {
    /// Returns the recorder of a rollout of which this much is recorded.
    pub(super) const fn new(recorded: &Recorded) -> Self {
        Self {
            lines: Vec::new(),
            bytes: 0,
            stage: if recorded.full.is_some() {
                Stage::Over
            } else {
                Stage::Due
            },
        }
    }

    /// Whether a segment is to begin.
    pub(super) fn is_due(&self) -> bool {
        self.stage == Stage::Due
    }

    /// Whether something waits for the store.
    pub(super) const fn has_lines(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Begins a segment with what the judges know and the batches that they still see.
    pub(super) fn begin(
        &mut self,
        at: Timestamp,
        known: &Knowledge,
        past: impl Iterator<Item = Batch>,
    ) {
        self.stage = Stage::Going;
        let known = known.clone();
        self.put(&Moment::Segment(Box::new(Segment { at, known })));
        for batch in past {
            self.put(&Moment::Past(batch));
        }
        if self.stage != Stage::Going {
            // It would be as large each time.
            self.stage = Stage::Over;
        }
    }

    /// Adds a second, if a segment has begun.
    pub(super) fn add(&mut self, second: &Second) {
        self.put(&Moment::Second(second.clone()));
    }

    /// Returns the rows that store what waits, and how much is recorded then.
    pub(super) fn rows(&self, record: &RolloutRecord, at: Timestamp) -> (Recorded, Vec<Write>) {
        let mut recorded = record.recorded;
        let mut rows = Vec::new();
        let mut push = |body: String, recorded: &mut Recorded| {
            let number = recorded.rows;
            recorded.rows = number.saturating_add(1);
            recorded.bytes = recorded.bytes.saturating_add(length(&body));
            rows.push(Write::PutRecording(RecordingRow {
                rollout: record.state.id.clone(),
                number,
                body,
            }));
        };
        for body in bodies(&self.lines) {
            if recorded.bytes.saturating_add(length(&body)) > RECORDING_BYTES_MAX {
                recorded.full = Some(at);
                push(line(&Moment::Full(at)).unwrap_or_default(), &mut recorded);
                break;
            }
            push(body, &mut recorded);
        }
        (recorded, rows)
    }

    /// Takes notice that what waited is stored.
    pub(super) fn stored(&mut self, recorded: &Recorded) {
        self.lines.clear();
        self.bytes = 0;
        if recorded.full.is_some() {
            self.stage = Stage::Over;
        }
    }

    fn put(&mut self, moment: &Moment) {
        if self.stage != Stage::Going {
            return;
        }
        let line = line(moment).filter(|line| line.len() <= ROW_BYTES_MAX);
        let Some(line) =
            line.filter(|line| self.bytes.saturating_add(line.len()) <= WAITING_BYTES_MAX)
        else {
            warn!(
                "What the judges saw is too much to be recorded, or can't be stored; seconds are left out"
            );
            self.lines.clear();
            self.bytes = 0;
            self.stage = Stage::Due;
            return;
        };
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push(line);
    }
}

/// Returns the lines as bodies of rows.
fn bodies(lines: &[String]) -> Vec<String> {
    let mut bodies: Vec<String> = Vec::new();
    for line in lines {
        match bodies.last_mut() {
            Some(body) if body.len().saturating_add(line.len()) < ROW_BYTES_MAX => {
                body.push('\n');
                body.push_str(line);
            }
            Some(_) | None => bodies.push(line.clone()),
        }
    }
    bodies
}

/// Returns a moment as JSON; `None` where that fails, which no moment does.
fn line(moment: &Moment) -> Option<String> {
    serde_json::to_string(moment).ok()
}

fn length(body: &str) -> u64 {
    u64::try_from(body.len()).unwrap_or(u64::MAX)
}
