//! Chance from a seed: the same seed, the same world.

/// A stream of numbers that follows from its seed (splitmix64: small, well mixed, and enough for drawing worlds).
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

/// Returns the well-mixed successor of a number.
pub(crate) const fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

impl Chance {
    /// Returns the stream of this seed for one purpose, so that drawing more for one does not change another.
    pub(crate) const fn new(seed: u64, purpose: u64) -> Self {
        Self(mix(seed ^ mix(purpose)))
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `end`; zero when `end` is zero.
    pub(crate) const fn below(&mut self, end: u64) -> u64 {
        // The bias of the remainder is far below what any check here could see.
        match self.next().checked_rem(end) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Returns a time of `from` to `to` seconds, in milliseconds.
    pub(crate) fn seconds(&mut self, from: u64, to: u64) -> i64 {
        let span = to.saturating_sub(from).saturating_mul(1_000);
        let millis = from
            .saturating_mul(1_000)
            .saturating_add(self.below(span.saturating_add(1)));
        i64::try_from(millis).unwrap_or(i64::MAX)
    }

    /// Whether something happens that happens `permille` times in a thousand.
    pub(crate) const fn happens(&mut self, permille: u64) -> bool {
        self.below(1_000) < permille
    }

    /// Returns one of the choices.
    pub(crate) fn pick<T: Copy>(&mut self, first: T, rest: &[T]) -> T {
        let count = u64::try_from(rest.len()).unwrap_or(0).saturating_add(1);
        let index = usize::try_from(self.below(count)).unwrap_or(0);
        index
            .checked_sub(1)
            .and_then(|index| rest.get(index).copied())
            .unwrap_or(first)
    }
}
