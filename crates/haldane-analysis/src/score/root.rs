//! Finds a root between two ends, by the steps of `zeroin` (Brent 1973, as in netlib and R's `uniroot`).
//!
//! The function searched is a staircase, so that *which* point of a landing is found depends on the steps taken. Therefore these are
//! the same ones, in the same order, with the same tolerance as in R; any other root finder would give other intervals.

/// R's default for an interval of `wilcox.test`: absolute, in the unit of the metric.
pub(super) const TOLERANCE: f64 = 1e-4;

/// More steps than any bracket of finite numbers needs; the last point is then the answer.
const STEPS_MAX: u32 = 1_000;

/// A place and the function's value there.
#[derive(Clone, Copy, Debug)]
pub(super) struct End {
    pub(super) at: f64,
    pub(super) value: f64,
}

/// Returns a root of `function` between two ends, `None` if they don't enclose one or if the function has no value on the way.
pub(super) fn find(mut a: End, mut b: End, function: impl Fn(f64) -> Option<f64>) -> Option<f64> {
    if a.value == 0.0 {
        return Some(a.at);
    }
    if b.value == 0.0 {
        return Some(b.at);
    }
    if !is_apart(a, b) {
        return None;
    }
    let mut c = a;
    for _ in 0..STEPS_MAX {
        let previous = b.at - a.at;
        if c.value.abs() < b.value.abs() {
            (a, b, c) = (b, c, b);
        }
        let least = 2.0 * f64::EPSILON * b.at.abs() + TOLERANCE / 2.0;
        let half = (c.at - b.at) / 2.0;
        if half.abs() <= least || b.value == 0.0 {
            return Some(b.at);
        }
        let mut step = half;
        if previous.abs() >= least && a.value.abs() > b.value.abs() {
            step = interpolate(a, b, c, previous, least).unwrap_or(half);
        }
        if step.abs() < least {
            step = if step > 0.0 { least } else { -least };
        }
        a = b;
        let at = b.at + step;
        b = End {
            at,
            value: function(at)?,
        };
        if !is_apart(b, c) {
            c = a;
        }
    }
    Some(b.at)
}

/// Returns the step by the secant or by inverse quadratic interpolation, `None` if it leads too far or gains too little.
fn interpolate(a: End, b: End, c: End, previous: f64, least: f64) -> Option<f64> {
    let width = c.at - b.at;
    let (p, q) = if a.at == c.at {
        let slope = b.value / a.value;
        (width * slope, 1.0 - slope)
    } else {
        let (q, r, s) = (a.value / c.value, b.value / c.value, b.value / a.value);
        (
            s * (width * q * (q - r) - (b.at - a.at) * (r - 1.0)),
            (q - 1.0) * (r - 1.0) * (s - 1.0),
        )
    };
    let (p, q) = if p > 0.0 { (p, -q) } else { (-p, q) };
    let is_inside = p < 0.75 * width * q - (least * q).abs() / 2.0;
    (is_inside && p < (previous * q / 2.0).abs()).then_some(p / q)
}

/// Whether the values of both ends have opposite signs.
fn is_apart(a: End, b: End) -> bool {
    (a.value > 0.0 && b.value < 0.0) || (a.value < 0.0 && b.value > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(from: f64, to: f64, function: impl Fn(f64) -> f64) -> Option<f64> {
        let end = |at| End {
            at,
            value: function(at),
        };
        find(end(from), end(to), |at| Some(function(at)))
    }

    #[test]
    fn a_root_is_found_within_the_tolerance() {
        for (from, to, function, root) in [
            (0.0, 2.0, (|x| x * x - 3.0) as fn(f64) -> f64, 1.732_050_808),
            (2.0, 0.0, |x| x * x - 3.0, 1.732_050_808),
            (-5.0, 5.0, |x| x * x * x - x + 4.0, -1.796_321_903),
            (0.0, 100.0, |x| if x < 31.25 { 1.0 } else { -1.0 }, 31.25),
            (-1e9, 1e9, |x| 7.0 - x, 7.0),
        ] {
            let found = check(from, to, function).unwrap();
            assert!((found - root).abs() <= TOLERANCE, "{found} for {root}");
        }
    }

    #[test]
    fn an_end_that_is_a_root_is_the_answer() {
        assert_eq!(check(3.0, 9.0, |x| x - 3.0), Some(3.0));
        assert_eq!(check(1.0, 3.0, |x| x - 3.0), Some(3.0));
    }

    #[test]
    fn ends_that_enclose_no_root_have_no_answer() {
        assert_eq!(check(1.0, 2.0, |x| x), None);
        assert_eq!(check(1.0, 2.0, |_| f64::NAN), None);
    }

    #[test]
    fn a_function_without_a_value_on_the_way_has_no_answer() {
        let ends = (
            End {
                at: 0.0,
                value: 1.0,
            },
            End {
                at: 1.0,
                value: -1.0,
            },
        );
        assert_eq!(find(ends.0, ends.1, |_| None), None);
    }
}
