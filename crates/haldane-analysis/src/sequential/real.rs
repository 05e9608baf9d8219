//! Real numbers of the sequential judge: the few functions that it needs, and a stored form that keeps every bit.
//!
//! Logarithm, exponential and square root come from `libm`, which computes them in plain code and so alike on every machine; what
//! the platform's own library gives may differ in the last bit. Stored numbers are the bytes of the number itself, as text.
//!
//! **Invariant:** no stored number is infinite or "not a number", and a number read back is the number that was written, bit for bit.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The largest wealth kept: far beyond every bound, and far from overflow when multiplied by [`exp`] of [`LOG_MAX`].
pub(crate) const WEALTH_MAX: f64 = 1e200;

/// The largest logarithm of a factor that is used; one batch can't say more.
const LOG_MAX: f64 = 600.0;

/// A fixed number of reals.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reals<const N: usize>(pub(crate) [f64; N]);

/// Why stored reals can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum ReadError {
    #[error("expected {expected} characters, found {found}")]
    Length { expected: usize, found: usize },
    #[error("unexpected character {0:?}")]
    Character(char),
    #[error("a stored number is infinite or not a number")]
    NotFinite,
}

/// Returns the natural logarithm.
pub(crate) fn ln(x: f64) -> f64 {
    libm::log(x)
}

/// Returns `e` to the power of `x`, with `x` held within what wealth can bear.
pub(crate) fn exp(x: f64) -> f64 {
    libm::exp(x.clamp(-LOG_MAX, LOG_MAX))
}

/// Returns the square root.
pub(crate) fn sqrt(x: f64) -> f64 {
    libm::sqrt(x)
}

/// Returns a count as a real number; exact up to 2^53, far above any count of a batch.
pub(crate) const fn real(count: u64) -> f64 {
    count as f64
}

/// Returns `x` rounded to a whole number, held within what the type can say; `None` for "not a number".
#[expect(
    clippy::cast_possible_truncation,
    reason = "clamped to far within the type before"
)]
pub(crate) fn whole(x: f64) -> Option<i64> {
    const MAX: f64 = 9e15;
    (!x.is_nan()).then(|| libm::round(x.clamp(-MAX, MAX)) as i64)
}

/// Returns `x` rounded to a count; `None` if it is negative or not a number.
pub(crate) fn count(x: f64) -> Option<u64> {
    whole(x).and_then(|x| u64::try_from(x).ok())
}

/// Returns `x` in parts per million, rounded; `None` if it is negative or not a number.
pub(crate) fn ppm(x: f64) -> Option<u64> {
    count(x * 1e6)
}

/// Returns parts per million as a number.
pub(crate) fn of_ppm(ppm: u32) -> f64 {
    f64::from(ppm) / 1e6
}

impl<const N: usize> Reals<N> {
    /// How many characters the stored form has: six bits each.
    const CHARACTERS: usize = (N * 64).div_ceil(6);

    fn read(text: &str) -> Result<Self, ReadError> {
        if text.len() != Self::CHARACTERS {
            return Err(ReadError::Length {
                expected: Self::CHARACTERS,
                found: text.len(),
            });
        }
        let mut reals = [0.0; N];
        let mut characters = text.chars();
        let (mut bits, mut held) = (0_u128, 0_u32);
        for real in &mut reals {
            while held < u64::BITS {
                let Some(character) = characters.next() else {
                    break;
                };
                bits |= u128::from(value(character)?) << held;
                held += 6;
            }
            *real = f64::from_bits(low_half(bits));
            bits >>= u64::BITS;
            held = held.saturating_sub(u64::BITS);
            if !real.is_finite() {
                return Err(ReadError::NotFinite);
            }
        }
        Ok(Self(reals))
    }

    fn write(&self) -> String {
        let mut text = String::with_capacity(Self::CHARACTERS);
        let (mut bits, mut held) = (0_u128, 0_u32);
        for real in &self.0 {
            bits |= u128::from(real.to_bits()) << held;
            held += u64::BITS;
            while held >= 6 {
                text.push(character(bits));
                bits >>= 6;
                held -= 6;
            }
        }
        if held > 0 {
            text.push(character(bits));
        }
        text
    }
}

impl<const N: usize> PartialEq for Reals<N> {
    fn eq(&self, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.fold(true, |is_equal, (a, b)| {
            is_equal && a.to_bits() == b.to_bits()
        })
    }
}

impl<const N: usize> Eq for Reals<N> {}

impl<const N: usize> Serialize for Reals<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.write())
    }
}

impl<'de, const N: usize> Deserialize<'de> for Reals<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::read(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// The characters of the stored form, by value.
const ALPHABET: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Returns the character of the lowest six bits.
fn character(bits: u128) -> char {
    let value = usize::try_from(bits & 63).unwrap_or_default();
    ALPHABET
        .as_bytes()
        .get(value)
        .map_or('A', |byte| char::from(*byte))
}

fn value(character: char) -> Result<u8, ReadError> {
    let of = |first: char, base: u8| {
        u8::try_from(character)
            .ok()
            .zip(u8::try_from(first).ok())
            .map(|(byte, first)| byte - first + base)
    };
    match character {
        'A'..='Z' => of('A', 0),
        'a'..='z' => of('a', 26),
        '0'..='9' => of('0', 52),
        '-' => Some(62),
        '_' => Some(63),
        _ => None,
    }
    .ok_or(ReadError::Character(character))
}

fn low_half(bits: u128) -> u64 {
    u64::try_from(bits & u128::from(u64::MAX)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_finite() -> impl Strategy<Value = f64> {
        any::<u64>()
            .prop_map(f64::from_bits)
            .prop_filter("finite", |x| x.is_finite())
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_to_the_last_bit(a in any_finite(), b in any_finite(), c in any_finite()) {
            let reals = Reals([a, b, c]);
            let text = serde_json::to_string(&reals).unwrap();
            prop_assert_eq!(text.len(), 2 + 32);
            prop_assert_eq!(serde_json::from_str::<Reals<3>>(&text).unwrap(), reals);
        }
    }

    #[test]
    fn a_damaged_number_is_refused() {
        for (text, expected) in [
            ("\"\"", "expected 11 characters, found 0"),
            ("\"AAAAAAAAAA!\"", "unexpected character '!'"),
            (
                "\"AAAAAAAA4_H\"",
                "a stored number is infinite or not a number",
            ),
        ] {
            let error = serde_json::from_str::<Reals<1>>(text).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{text}: {error}");
        }
        let infinite = Reals([f64::INFINITY]).write();
        assert_eq!(Reals::<1>::read(&infinite), Err(ReadError::NotFinite));
    }

    #[test]
    fn zero_and_its_negative_differ() {
        assert_ne!(Reals([0.0]), Reals([-0.0]));
        assert_eq!(Reals([f64::MIN_POSITIVE]), Reals([f64::MIN_POSITIVE]));
    }

    #[test]
    fn rounding_tells_what_it_can_not_say() {
        assert_eq!(count(1.5), Some(2));
        assert_eq!(count(-1.0), None);
        assert_eq!(count(f64::NAN), None);
        assert_eq!(whole(f64::NEG_INFINITY), Some(-9_000_000_000_000_000));
        assert_eq!(ppm(0.25), Some(250_000));
    }
}
