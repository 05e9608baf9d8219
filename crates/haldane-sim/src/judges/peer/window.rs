//! Windows: counts by spans of equal length, the last few of them together.

use std::collections::VecDeque;

use crate::judges::traffic::Counts;

/// The counts of the last spans.
pub(super) struct Windows {
    /// The length of a span, seconds.
    every: u32,
    /// How many are kept.
    kept: usize,
    open: Counts,
    closed: VecDeque<Counts>,
}

impl Windows {
    pub(super) fn new(every: u32, kept: usize) -> Self {
        Self {
            every,
            kept,
            open: Counts::default(),
            closed: VecDeque::new(),
        }
    }

    /// Takes in the second that ended at `at`; returns the sum of the last spans whenever one is full.
    pub(super) fn hear(&mut self, at: u32, second: &Counts) -> Option<Counts> {
        self.open.add(second);
        if !at.is_multiple_of(self.every) {
            return None;
        }
        self.closed.push_back(std::mem::take(&mut self.open));
        while self.closed.len() > self.kept {
            self.closed.pop_front();
        }
        let mut sum = Counts::default();
        for span in &self.closed {
            sum.add(span);
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_the_sum_of_its_last_spans() {
        let mut windows = Windows::new(2, 2);
        let requests = (1..=6).map(|at| {
            let second = Counts {
                requests: u64::from(at),
                latencies: vec![1, u64::from(at)],
                ..Counts::default()
            };
            let window = windows.hear(at, &second)?;
            Some((window.requests, window.latencies))
        });
        assert_eq!(
            requests.collect::<Vec<_>>(),
            [
                None,
                Some((3, vec![2, 3])),
                None,
                Some((10, vec![4, 10])),
                None,
                Some((18, vec![4, 18])),
            ]
        );
    }
}
