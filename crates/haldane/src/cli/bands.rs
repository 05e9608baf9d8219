//! What is usual at this hour, and what is not, as lines for people.

use std::io::Write;

use haldane_api::http::{BandFinding, BandView, JudgementView};

use super::{
    globals::Globals,
    paint::Tone,
    table::{Cell, Table},
    words::{NOTHING, clean, wrap},
};

/// Writes each metric beside what is usual; then what is unusual in words.
pub(crate) fn write(
    bands: &[BandView],
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    if bands.iter().all(|band| band.usual.is_none()) {
        // The same of all of them.
        if let Some(band) = bands.first() {
            for line in wrap(
                &format!("Usual values: {}", clean(&band.reason)),
                globals.width,
            ) {
                writeln!(out, "{line}")?;
            }
        }
        return Ok(());
    }
    let mut table = Table::new([
        "METRIC",
        "STABLE",
        "CANARY",
        "FINDING",
        "USUAL AT THIS HOUR",
    ]);
    for band in bands {
        table.push([
            band.metric.as_str().into(),
            band.stable.as_deref().unwrap_or(NOTHING).into(),
            band.canary.as_deref().unwrap_or(NOTHING).into(),
            Cell::new(tone(band.finding), word(band.finding)),
            band.usual.as_deref().unwrap_or("not known yet").into(),
        ]);
    }
    table.write(out, globals.width, globals.paint)?;
    let unusual: Vec<&BandView> = bands.iter().filter(|band| is_unusual(band)).collect();
    if !unusual.is_empty() {
        writeln!(out)?;
    }
    for band in unusual {
        for line in wrap(&sentence(band), globals.width) {
            writeln!(out, "{line}")?;
        }
    }
    Ok(())
}

/// Returns what is unusual, a sentence each.
pub(crate) fn unusual(judgement: &JudgementView) -> impl Iterator<Item = (Tone, String)> {
    let bands = judgement.bands.iter().filter(|band| is_unusual(band));
    bands.map(|band| (tone(band.finding), sentence(band)))
}

/// Returns a finding in a word.
const fn word(finding: BandFinding) -> &'static str {
    match finding {
        BandFinding::Usual => "usual",
        BandFinding::Environment => "environment",
        BandFinding::Suspect => "suspect",
        BandFinding::Unknown => "unknown",
    }
}

/// Returns how a finding is meant; none is as bad as a verdict.
const fn tone(finding: BandFinding) -> Tone {
    match finding {
        BandFinding::Usual => Tone::Good,
        BandFinding::Environment | BandFinding::Suspect => Tone::Warn,
        BandFinding::Unknown => Tone::Dim,
    }
}

const fn is_unusual(band: &BandView) -> bool {
    matches!(
        band.finding,
        BandFinding::Environment | BandFinding::Suspect
    )
}

fn sentence(band: &BandView) -> String {
    let finding = word(band.finding);
    format!("{} ({finding}): {}", band.metric, clean(&band.reason))
}
