//! What happened, as a hash for comparing runs and, on demand, as lines for people.

use crate::chance::mix;

/// The trace of one rollout.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    hash: u64,
    lines: Option<Vec<String>>,
}

impl Log {
    /// Returns a log that also keeps lines.
    pub(crate) const fn with_lines() -> Self {
        Self {
            hash: 0,
            lines: Some(Vec::new()),
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    pub(crate) fn into_lines(self) -> Vec<String> {
        self.lines.unwrap_or_default()
    }

    /// Notes something at a true time in milliseconds; `what` tells events apart in the hash.
    pub(crate) fn note(&mut self, now: i64, what: &str, text: impl FnOnce() -> String) {
        self.hash = mix(self.hash ^ now.cast_unsigned());
        for byte in what.bytes() {
            self.hash = mix(self.hash ^ u64::from(byte));
        }
        if let Some(lines) = &mut self.lines {
            lines.push(format!(
                "{:>9}.{:03} {what}: {}",
                now / 1_000,
                now % 1_000,
                text()
            ));
        }
    }
}
