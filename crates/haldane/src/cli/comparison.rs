//! How the canary compares with stable, as lines for people.

use std::io::Write;

use haldane_api::http::{ComparisonView, MetricView};

use super::{
    globals::Globals,
    paint,
    table::{Cell, Table},
    words::{NOTHING, clean, wrap},
};

/// Writes each metric with both versions' values, the ratio, and how near it is to either bound; then what it means.
pub(crate) fn write(
    comparison: &ComparisonView,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut table = Table::new([
        "COMPARED", "STABLE", "CANARY", "VERDICT", "HARM", "FINE", "RATIO",
    ]);
    for metric in &comparison.metrics {
        table.push([
            metric.name.as_str().into(),
            metric.stable.as_deref().unwrap_or(NOTHING).into(),
            metric.canary.as_deref().unwrap_or(NOTHING).into(),
            Cell::new(paint::verdict(metric.verdict), metric.verdict.to_string()),
            percent(Some(metric.harm_percent)).into(),
            percent(metric.fine_percent).into(),
            metric.ratio.as_deref().unwrap_or(NOTHING).into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    writeln!(out)?;
    for metric in &comparison.metrics {
        for line in wrap(&sentence(metric), globals.width) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Returns what a metric means, with its name.
pub(crate) fn sentence(metric: &MetricView) -> String {
    format!("{}: {}", metric.name, clean(&metric.reason))
}

/// Returns a metric in short: how near it is to either bound, and its ratio.
pub(crate) fn short(metric: &MetricView) -> String {
    let value = |value: &Option<String>| value.clone().unwrap_or_else(|| NOTHING.to_owned());
    format!(
        "{}: {} against {}, harm {}, fine {}, {}",
        metric.name,
        value(&metric.canary),
        value(&metric.stable),
        percent(Some(metric.harm_percent)),
        percent(metric.fine_percent),
        metric.ratio.as_deref().unwrap_or("no ratio yet"),
    )
}

fn percent(value: Option<u8>) -> String {
    value.map_or_else(|| NOTHING.to_owned(), |value| format!("{value}%"))
}
