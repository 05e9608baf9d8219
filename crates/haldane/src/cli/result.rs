//! Writing results in the form that was asked for.

use std::io::Write;

use anyhow::Context;
use haldane_api::{http::Answer, yaml::to_yaml};
use serde::Serialize;

use super::globals::{Format, Globals};

/// Writes a value as JSON or YAML, or hands over to `table`.
pub(crate) fn write<W: Write, T: Serialize + ?Sized>(
    globals: &Globals,
    out: &mut W,
    value: &T,
    table: impl FnOnce(&mut W) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    match globals.format {
        Format::Table => table(out),
        Format::Json => {
            let text = serde_json::to_string_pretty(value).context("writing JSON")?;
            Ok(writeln!(out, "{text}")?)
        }
        Format::Yaml => {
            let value = serde_json::to_value(value).context("writing YAML")?;
            Ok(out.write_all(to_yaml(&value).as_bytes())?)
        }
    }
}

/// Writes what became of a request.
pub(crate) fn write_answer(
    globals: &Globals,
    out: &mut impl Write,
    answer: &Answer,
) -> anyhow::Result<()> {
    write(globals, out, answer, |out| {
        for message in &answer.messages {
            writeln!(out, "{}", super::words::clean(message))?;
        }
        if !answer.is_durable {
            writeln!(
                out,
                "applied, not durable: the disk failed; the daemon writes it down as soon as it can"
            )?;
        }
        Ok(())
    })
}

/// Writes a value of a stream: one JSON object per line, or one YAML document each.
pub(crate) fn write_next(
    globals: &Globals,
    out: &mut impl Write,
    value: &impl Serialize,
) -> anyhow::Result<()> {
    match globals.format {
        Format::Table | Format::Json => {
            let text = serde_json::to_string(value).context("writing JSON")?;
            writeln!(out, "{text}")?;
        }
        Format::Yaml => {
            let value = serde_json::to_value(value).context("writing YAML")?;
            write!(out, "---\n{}", to_yaml(&value))?;
        }
    }
    Ok(out.flush()?)
}
