//! Numbers in two bytes: eleven significant bits, so that a history of weeks takes little room.
//!
//! **Invariant:** the order of numbers is the order of their short forms, and what is read back differs from what was written by less
//! than a thousandth.

/// How many numbers share a power of two.
const STEP: u16 = 1_024;

/// Below this each number has a form of its own.
const EXACT: u16 = 2 * STEP;

/// Returns the short form of a number.
pub(super) fn write(number: u64) -> u16 {
    let length = u64::BITS.saturating_sub(number.leading_zeros());
    // The first bit and ten more are kept.
    let shift = length.saturating_sub(11);
    let kept = number.checked_shr(shift).unwrap_or(0);
    let power = u16::try_from(shift).unwrap_or(0);
    let kept = u16::try_from(kept).unwrap_or(u16::MAX);
    power.saturating_mul(STEP).saturating_add(kept)
}

/// Returns the number of a short form.
pub(super) fn read(short: u16) -> u64 {
    if short < EXACT {
        return u64::from(short);
    }
    let power = (short / STEP).saturating_sub(1);
    let kept = u64::from(short.saturating_sub(power.saturating_mul(STEP)));
    // More than `write` gives is held at the largest number.
    let is_written = u32::from(power) <= kept.leading_zeros();
    if is_written { kept << power } else { u64::MAX }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn small_numbers_are_exact_and_large_ones_nearly() {
        for number in [0, 1, 999, 2_047] {
            assert_eq!(read(write(number)), number);
        }
        assert_eq!(read(write(2_049)), 2_048);
        assert_eq!(read(write(u64::MAX)), 2_047 << 53);
        assert_eq!(read(u16::MAX), u64::MAX);
    }

    proptest! {
        #[test]
        fn order_is_kept_and_the_difference_is_small(one in any::<u64>(), other in any::<u64>(), shift in 0_u32..64) {
            let (one, other) = (one >> shift, other >> shift);
            prop_assert!(write(one.min(other)) <= write(one.max(other)));
            let again = read(write(one));
            prop_assert!(again <= one && one - again <= one / 1_000);
        }
    }
}
