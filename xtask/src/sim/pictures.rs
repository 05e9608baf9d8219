//! The pictures of `docs/judging.md`, drawn from the simulator's own figures.
//!
//! **Invariant:** nothing is drawn that the simulator has not said.

use std::{fs, io::Write, path::Path};

use anyhow::Context;
use plotters::{
    coord::{
        Shift,
        ranged1d::{Ranged, ValueFormatter},
    },
    prelude::*,
};
use serde_json::Value;

/// Where the pictures are.
const DIRECTORY: &str = "docs/judging";

/// The size of a picture, in pixels.
const SIZE: (u32, u32) = (760, 440);

/// What may be told apart without color vision, by Okabe and Ito.
const COLORS: [RGBColor; 7] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
    RGBColor(90, 90, 90),
];

/// The judges of the pictures, with their names for people.
const JUDGES: [(&str, &str); 6] = [
    ("sequential", "Haldane, sequential"),
    ("kayenta", "Kayenta"),
    ("flagger_tuned", "Flagger, limit set to 3 × stable's rate"),
    ("flagger", "Flagger, 99 % success"),
    ("fixed_window", "more than 5 % in 5 min"),
    ("argo", "Argo Rollouts, 95 %/90 % success"),
];

/// The effects that are named along the axis.
const EFFECTS: [f64; 9] = [1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0];

/// The seconds that are named along the axis.
const SECONDS: [f64; 8] = [2.0, 5.0, 10.0, 30.0, 60.0, 180.0, 600.0, ROLLOUT_SECONDS];

/// The longest rollout of the pictures, seconds.
const ROLLOUT_SECONDS: f64 = 1_200.0;

/// A picture: the table that it shows, its file, and how it is drawn.
type Picture = (
    &'static str,
    &'static str,
    fn(&[Cell]) -> anyhow::Result<String>,
);

const PICTURES: [Picture; 3] = [
    ("power", "power.svg", power),
    ("time", "time.svg", time),
    ("healthy", "mistakes.svg", mistakes),
];

/// One cell of a table.
#[derive(Clone, Debug, PartialEq)]
struct Cell {
    judge: String,
    requests_per_second: f64,
    stable: f64,
    canary: f64,
    rollback_share: f64,
    paused_share: f64,
    seconds_p50: Option<f64>,
    wald_seconds: Option<f64>,
}

/// A line of a picture.
#[derive(Clone, Debug, PartialEq)]
struct Curve {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// Draws every picture from what `figures` gives for its table.
pub(super) fn draw(
    root: &Path,
    out: &mut dyn Write,
    figures: impl Fn(&str) -> anyhow::Result<String>,
) -> anyhow::Result<bool> {
    fs::create_dir_all(root.join(DIRECTORY)).with_context(|| format!("creating {DIRECTORY}"))?;
    for (table, file, picture) in PICTURES {
        let svg = picture(&read(&figures(table)?)?).with_context(|| format!("drawing {file}"))?;
        let path = root.join(DIRECTORY).join(file);
        fs::write(&path, svg).with_context(|| format!("writing {}", path.display()))?;
        writeln!(out, "{DIRECTORY}/{file}: drawn")?;
    }
    Ok(true)
}

fn read(text: &str) -> anyhow::Result<Vec<Cell>> {
    let cells = text.lines().map(|line| {
        let value: Value = serde_json::from_str(line).context("reading a figure")?;
        Cell::of(&value).with_context(|| format!("a figure lacks something: {line}"))
    });
    cells.collect()
}

impl Cell {
    fn of(value: &Value) -> Option<Self> {
        let number = |name: &str| value.get(name)?.as_f64();
        Some(Self {
            judge: value.get("judge")?.as_str()?.to_owned(),
            requests_per_second: number("requestsPerSecond")?,
            stable: number("stable")?,
            canary: number("canary")?,
            rollback_share: number("rollbackShare")?,
            paused_share: number("pausedShare")?,
            seconds_p50: number("secondsP50"),
            wald_seconds: number("waldSeconds"),
        })
    }

    /// Returns how many times as much the canary fails.
    fn effect(&self) -> f64 {
        self.canary / self.stable
    }
}

/// Which faults are found within the rollout, by effect and traffic.
fn power(cells: &[Cell]) -> anyhow::Result<String> {
    let rates = [10.0, 100.0, 1_000.0];
    let curves = rates.into_iter().zip(COLORS).map(|(rate, color)| {
        let points = cells
            .iter()
            .filter(|cell| (cell.requests_per_second - rate).abs() < 0.5)
            .map(|cell| (cell.effect(), 100.0 * cell.rollback_share));
        Curve {
            name: format!("{rate} requests a second"),
            color,
            points: points.collect(),
        }
    });
    let curves: Vec<Curve> = curves.collect();
    picture(|area| {
        let mut builder = builder(area, "Bad canaries that are rolled back, and not promoted");
        let chart = builder.build_cartesian_2d(effects(), 0.0..100.0)?;
        plot(
            chart,
            ["times as many errors as stable's 0.1 %", "rolled back, %"],
            &curves,
            SeriesLabelPosition::LowerRight,
        )
    })
}

/// How soon half of the bad canaries are rolled back, by judge.
fn time(cells: &[Cell]) -> anyhow::Result<String> {
    let curve = |name: &str, color: RGBColor, points: Vec<(f64, f64)>| Curve {
        name: name.to_owned(),
        color,
        points,
    };
    let mut curves: Vec<Curve> = JUDGES
        .into_iter()
        .zip(COLORS)
        .map(|((judge, name), color)| {
            let points = cells
                .iter()
                .filter(|cell| cell.judge == judge)
                .filter_map(|cell| Some((cell.effect(), cell.seconds_p50?)));
            curve(name, color, points.collect())
        })
        .filter(|curve| !curve.points.is_empty())
        .collect();
    let least = cells
        .iter()
        .filter(|cell| cell.judge == "sequential")
        .filter_map(|cell| Some((cell.effect(), cell.wald_seconds?)));
    curves.push(curve(
        "the least that can be (Wald)",
        BLACK,
        least.collect(),
    ));
    picture(|area| {
        let mut builder = builder(
            area,
            "Seconds until half of the bad canaries are rolled back, at 100 requests a second",
        );
        let seconds = (2.0..ROLLOUT_SECONDS).log_scale();
        let seconds = seconds.with_key_points(SECONDS.to_vec());
        let chart = builder.build_cartesian_2d(effects(), seconds)?;
        plot(
            chart,
            ["times as many errors as stable's 0.1 %", "seconds"],
            &curves,
            SeriesLabelPosition::LowerLeft,
        )
    })
}

/// How many healthy canaries each judge stops, at the worst of six services.
fn mistakes(cells: &[Cell]) -> anyhow::Result<String> {
    let bars = JUDGES.map(|(judge, name)| {
        let of_judge = cells
            .iter()
            .filter(|cell| cell.judge == judge && cell.stable < 0.1);
        let shares = of_judge.map(|cell| 100.0 * (cell.rollback_share + cell.paused_share));
        (name, shares.fold(0.0, f64::max))
    });
    picture(|area| {
        let title =
            "Healthy canaries that are rolled back or stopped, at the worst of six services";
        area.draw_text(title, &("sans-serif", 17).into_text_style(area), (16, 14))?;
        let style = ("sans-serif", 15).into_text_style(area);
        for ((place, (name, percent)), color) in (0_i32..).zip(bars).zip(COLORS) {
            let top = 60 + 60 * place;
            area.draw_text(name, &style, (16, top))?;
            let left = 300;
            let right = left + pixels(percent * 3.6).max(1);
            area.draw(&Rectangle::new(
                [(left, top - 8), (right, top + 24)],
                color.filled(),
            ))?;
            area.draw_text(&format!("{percent:.2} %"), &style, (right + 8, top))?;
        }
        Ok(())
    })
}

/// Returns the axis of effects.
fn effects() -> impl Ranged<ValueType = f64> + ValueFormatter<f64> {
    let range: LogCoord<f64> = (1.2..100.0).log_scale().into();
    range.with_key_points(EFFECTS.to_vec())
}

/// The pixels of a length.
#[expect(
    clippy::cast_possible_truncation,
    reason = "rounded, and within a picture"
)]
fn pixels(length: f64) -> i32 {
    length.round().clamp(0.0, 1e4) as i32
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn picture(draw: impl FnOnce(&Area<'_>) -> anyhow::Result<()>) -> anyhow::Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        draw(&area)?;
        area.present()?;
    }
    Ok(svg)
}

fn builder<'a, 'b>(area: &'a Area<'b>, title: &str) -> ChartBuilder<'a, 'b, SVGBackend<'b>> {
    let mut builder = ChartBuilder::on(area);
    builder
        .caption(title, ("sans-serif", 17))
        .margin(14)
        .margin_right(30)
        .x_label_area_size(44)
        .y_label_area_size(56);
    builder
}

fn plot<'a, 'b: 'a, X, Y>(
    mut chart: ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
    [x, y]: [&str; 2],
    curves: &[Curve],
    legend: SeriesLabelPosition,
) -> anyhow::Result<()>
where
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
    Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc(x)
        .y_desc(y)
        .x_label_formatter(&|effect| format!("× {effect}"))
        .y_label_formatter(&|value| value.to_string())
        .label_style(("sans-serif", 13))
        .draw()?;
    for curve in curves {
        let color = curve.color;
        let line =
            LineSeries::new(curve.points.iter().copied(), color.stroke_width(2)).point_size(3);
        chart
            .draw_series(line)?
            .label(&curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(legend)
        .background_style(WHITE.mix(0.85))
        .border_style(RGBColor(200, 200, 200))
        .label_font(("sans-serif", 13))
        .draw()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(judge: &str, canary: f64, rollback_share: f64, seconds_p50: &str) -> String {
        format!(
            r#"{{"judge":"{judge}","requestsPerSecond":100,"stable":0.001,"canary":{canary},"rollbackShare":{rollback_share},"pausedShare":0.25,"secondsP50":{seconds_p50},"waldSeconds":90}}"#
        )
    }

    #[test]
    fn a_figure_that_lacks_something_is_refused() {
        assert!(read(&line("argo", 0.01, 0.0, "null")).is_ok());
        let error = read(r#"{"judge":"argo"}"#).unwrap_err().to_string();
        assert_eq!(error, r#"a figure lacks something: {"judge":"argo"}"#);
        assert!(read("no figure").is_err());
    }

    #[test]
    fn judges_that_find_nothing_are_not_in_the_picture_of_times() {
        let lines = [
            line("sequential", 0.01, 1.0, "106"),
            line("argo", 0.01, 0.0, "null"),
        ];
        let svg = time(&read(&lines.join("\n")).unwrap()).unwrap();
        assert!(svg.contains("Haldane, sequential") && svg.contains("(Wald)"));
        assert!(!svg.contains("Argo"));
    }

    #[test]
    fn mistakes_are_rollbacks_and_stops_at_the_worst_service() {
        let lines = [
            line("argo", 0.001, 0.125, "null"),
            line("argo", 0.001, 0.5, "null"),
            line("argo", 0.001, 0.25, "null"),
        ];
        let svg = mistakes(&read(&lines.join("\n")).unwrap()).unwrap();
        assert!(svg.contains("75.00 %"), "{svg}");
    }

    #[test]
    fn every_picture_is_drawn_into_its_file() {
        let root = tempfile::tempdir().unwrap();
        let figures = |table: &str| {
            Ok(line(
                if table == "power" {
                    "sequential"
                } else {
                    "kayenta"
                },
                0.01,
                1.0,
                "300",
            ))
        };
        let mut out = Vec::new();
        assert!(draw(root.path(), &mut out, figures).unwrap());
        for (_, file, _) in PICTURES {
            let svg = fs::read_to_string(root.path().join(DIRECTORY).join(file)).unwrap();
            assert!(svg.starts_with("<svg"), "{file}");
        }
    }
}
