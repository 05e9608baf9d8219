//! Lines over time as SVG, in whole numbers: the same figures give the same picture.

use std::fmt::Write as _;

use haldane_core::guard::Unit;

use super::document::escape;

const WIDTH: u64 = 720;
const HEIGHT: u64 = 160;
/// Room for the words on the left, and below.
const LEFT: u64 = 64;
const BELOW: u64 = 24;
const ABOVE: u64 = 24;

/// The colors of the first and the second line, readable on light and dark.
const COLORS: [&str; 2] = ["#4078c8", "#d0661a"];

/// A picture of shares over time.
#[derive(Debug)]
pub(super) struct Plot {
    /// What it shows.
    pub title: &'static str,
    /// The lines.
    pub lines: Vec<Line>,
    /// Whether a value holds until the next one.
    pub is_stepped: bool,
    /// How long the time is, in words.
    pub span: String,
}

/// A line.
#[derive(Debug)]
pub(super) struct Line {
    /// What it is of.
    pub name: &'static str,
    /// Seconds since the beginning, and parts per million.
    pub points: Vec<(u64, u64)>,
}

impl Plot {
    /// Returns what is seen in it, in words.
    pub(super) fn summary(&self) -> String {
        let highest = |line: &Line| {
            line.points
                .iter()
                .map(|(_, value)| *value)
                .max()
                .unwrap_or(0)
        };
        let lines: Vec<String> = self
            .lines
            .iter()
            .map(|line| format!("{} at most {}", line.name, Unit::Share.show(highest(line))))
            .collect();
        format!("{} over {}: {}", self.title, self.span, lines.join(", "))
    }

    /// Returns the picture.
    pub(super) fn to_svg(&self) -> String {
        let all = || self.lines.iter().flat_map(|line| &line.points);
        let end = all().map(|(at, _)| *at).max().unwrap_or(0).max(1);
        let top = all().map(|(_, value)| *value).max().unwrap_or(0).max(1);
        let x = |at: u64| LEFT.saturating_add(at.saturating_mul(WIDTH.saturating_sub(LEFT)) / end);
        let y = |value: u64| {
            ABOVE
                .saturating_add(HEIGHT)
                .saturating_sub(value.saturating_mul(HEIGHT) / top)
        };
        let height = ABOVE.saturating_add(HEIGHT).saturating_add(BELOW);
        let base = y(0);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{}\" font-size=\"12\" fill=\"currentColor\">\
             <path d=\"M{LEFT} {ABOVE}V{base}H{WIDTH}\" fill=\"none\" stroke=\"currentColor\" opacity=\"0.4\"/>\
             <text x=\"0\" y=\"{ABOVE}\">{}</text><text x=\"0\" y=\"{base}\">0%</text>\
             <text x=\"{WIDTH}\" y=\"{height}\" text-anchor=\"end\">{}</text>",
            escape(&self.summary()),
            Unit::Share.show(top),
            escape(&self.span),
        );
        for (index, (line, color)) in self.lines.iter().zip(COLORS).enumerate() {
            let mut path = String::new();
            for (number, (at, value)) in line.points.iter().enumerate() {
                let (x, y) = (x(*at), y(*value));
                match (number, self.is_stepped) {
                    (0, _) => write!(path, "M{x} {y}"),
                    (_, true) => write!(path, "H{x}V{y}"),
                    (_, false) => write!(path, "L{x} {y}"),
                }
                .ok();
            }
            if self.is_stepped {
                write!(path, "H{WIDTH}").ok();
            }
            let at = LEFT.saturating_add(u64::try_from(index).unwrap_or(0).saturating_mul(120));
            write!(
                svg,
                "<path d=\"{path}\" fill=\"none\" stroke=\"{color}\" stroke-width=\"2\"/><text x=\"{at}\" y=\"12\" fill=\"{color}\">{}</text>",
                line.name
            )
            .ok();
        }
        svg.push_str("</svg>");
        svg
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_its_first_value_to_its_last() {
        let plot = |is_stepped| Plot {
            title: "Share",
            lines: vec![Line {
                name: "canary",
                points: vec![(0, 0), (50, 250_000), (100, 500_000)],
            }],
            is_stepped,
            span: "2m".to_owned(),
        };
        assert!(
            plot(false).to_svg().contains("M64 184L392 104L720 24"),
            "{}",
            plot(false).to_svg()
        );
        assert!(
            plot(true).to_svg().contains("M64 184H392V104H720V24H720"),
            "{}",
            plot(true).to_svg()
        );
        assert_eq!(plot(true).summary(), "Share over 2m: canary at most 50%");
    }

    #[test]
    fn nothing_counted_is_no_division_by_zero() {
        let plot = Plot {
            title: "Share",
            lines: vec![Line {
                name: "canary",
                points: vec![(0, 0)],
            }],
            is_stepped: false,
            span: "0s".to_owned(),
        };
        assert!(plot.to_svg().contains("M64 184\""));
    }
}
