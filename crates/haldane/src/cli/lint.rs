//! `haldane lint`: what is wrong or unwise in release files and in the objects of manifests. Needs neither daemon nor cluster.

mod junit;
mod power;
mod rules;
mod sarif;
#[cfg(test)]
mod tests;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use anyhow::Context;
use haldane_api::{
    lint::{self, Finding, Report, Rule, Severity, Traffic},
    text::parse_milli,
};
use serde::Serialize;

use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint::Tone,
    result,
    source::Source,
    words::clean,
};

/// The file that is checked where none is named.
const FILE: &str = "haldane.yaml";

/// The name that means standard input.
const STDIN: &str = "-";

/// Checks release files and manifests.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Release files, and manifests with objects of Kubernetes; - for standard input, haldane.yaml by default
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The same, as other commands have it
    #[arg(short, long, value_name = "FILE")]
    file: Vec<PathBuf>,
    /// From which severity on a finding is a failure
    #[arg(long, value_enum, value_name = "SEVERITY", default_value = "errors")]
    deny: Deny,
    /// Write the findings for other programs, instead of as -o says
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<Form>,
    /// Mend in the files what is plain and safe to mend; nothing that works is changed, and comments stay
    #[arg(long)]
    fix: bool,
    /// Requests per second to the service, both versions together: says which steps are too short for them
    #[arg(long, value_name = "N", value_parser = rate)]
    rps: Option<u64>,
    /// With --rps: the share of requests that stable fails
    #[arg(long, value_name = "SHARE", default_value = "0.1%", value_parser = super::simulate::share)]
    base: u64,
    /// With --rps: the share of requests that a canary fails which must be found
    #[arg(long, value_name = "SHARE", default_value = "1%", value_parser = super::simulate::share)]
    canary: u64,
    /// List the rules instead
    #[arg(long)]
    rules: bool,
}

/// From which severity on a finding is a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Deny {
    /// Errors alone
    Errors,
    /// Errors and warnings
    Warnings,
    /// Whatever is found
    Notes,
}

/// A form for other programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    /// SARIF 2.1.0, for code scanning
    Sarif,
    /// JUnit XML, for test reports
    Junit,
    /// With --rules: the page about them
    Markdown,
}

/// A file and what was found in it.
#[derive(Debug)]
struct Checked {
    name: String,
    report: Report,
    /// How many findings were mended.
    fixed: usize,
}

/// What was found, as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    findings: Vec<FindingView<'a>>,
    /// Objects of manifests that no rule is about.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    ignored: Vec<String>,
    /// How many findings were mended.
    #[serde(skip_serializing_if = "is_zero")]
    fixed: usize,
}

/// A finding, as data.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FindingView<'a> {
    rule: &'static str,
    severity: Severity,
    file: &'a str,
    line: usize,
    column: usize,
    key: &'a str,
    reason: &'a str,
    fix: &'a str,
    /// Whether --fix mends it.
    is_fixable: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args, globals: &Globals, out: &mut impl Write) -> anyhow::Result<Exit> {
    if args.rules {
        return rules::run(args.format, globals, out);
    }
    let checked = args.check()?;
    match args.format {
        Some(Form::Sarif) => writeln!(out, "{:#}", sarif::to_sarif(&checked))?,
        Some(Form::Junit) => out.write_all(junit::to_junit(&checked, args.deny).as_bytes())?,
        Some(Form::Markdown) => {
            let error = "markdown is a form of the rules; expected it with --rules";
            return Err(UsageError(error.to_owned()).into());
        }
        None => result::write(globals, out, &View::of(&checked), |out| {
            checked
                .iter()
                .try_for_each(|one| one.write(globals, out))
                .context("writing the findings")
        })?,
    }
    let mut findings = checked.iter().flat_map(|one| &one.report.findings);
    Ok(if findings.any(|one| args.deny.is_denied(one.rule)) {
        Exit::Failed
    } else {
        Exit::Done
    })
}

impl Args {
    fn check(&self) -> anyhow::Result<Vec<Checked>> {
        let mut paths: Vec<&Path> = self
            .files
            .iter()
            .chain(&self.file)
            .map(PathBuf::as_path)
            .collect();
        if paths.is_empty() {
            paths.push(Path::new(FILE));
        }
        if self.fix && paths.contains(&Path::new(STDIN)) {
            let error =
                "--fix changes files, and standard input is none; expected the names of files";
            return Err(UsageError(error.to_owned()).into());
        }
        let find = self
            .rps
            .map(|rate| power::finder(rate, self.base, self.canary));
        let traffic = self
            .rps
            .zip(find.as_ref())
            .map(|(request_rate_milli, find)| Traffic {
                request_rate_milli,
                stable_ppm: self.base,
                canary_ppm: self.canary,
                find,
            });
        let checked = paths
            .into_iter()
            .map(|path| self.check_file(path, traffic.as_ref()));
        checked.collect()
    }

    fn check_file(&self, path: &Path, traffic: Option<&Traffic<'_>>) -> anyhow::Result<Checked> {
        let source = Source::read(path)?;
        let name = source.name();
        let report = lint::check(&source.text, traffic);
        let fixable = report.findings.iter().filter(|one| one.edit.is_some());
        let fixed = if self.fix { fixable.count() } else { 0 };
        if fixed == 0 {
            return Ok(Checked {
                name,
                report,
                fixed,
            });
        }
        let text = lint::fixed(&source.text, &report.findings);
        fs::write(path, &text).with_context(|| format!("writing {name}"))?;
        Ok(Checked {
            name,
            report: lint::check(&text, traffic),
            fixed,
        })
    }
}

impl Deny {
    const fn is_denied(self, rule: &Rule) -> bool {
        match rule.severity {
            Severity::Error => true,
            Severity::Warning => matches!(self, Self::Warnings | Self::Notes),
            Severity::Note => matches!(self, Self::Notes),
        }
    }
}

impl Checked {
    /// Writes what was found for people.
    fn write(&self, globals: &Globals, out: &mut impl Write) -> anyhow::Result<()> {
        let name = &self.name;
        for one in &self.report.findings {
            let severity = one.rule.severity;
            let tone = match severity {
                Severity::Error => Tone::Bad,
                Severity::Warning => Tone::Warn,
                Severity::Note => Tone::Dim,
            };
            let said = format!("{}[{}]:", severity.name(), one.rule.id);
            let said = globals.paint.tone(tone, &said);
            let key = if one.path.is_empty() {
                String::new()
            } else {
                format!("{}: ", clean(&one.path))
            };
            let reason = clean(&one.reason);
            writeln!(
                out,
                "{name}:{}:{}: {said} {key}{reason}",
                one.line, one.column
            )?;
            writeln!(out, "    {}", clean(&one.fix))?;
        }
        if !self.report.ignored.is_empty() {
            let ignored: Vec<String> = self.report.ignored.iter().map(|one| clean(one)).collect();
            writeln!(out, "{name}: no rule is about {}", ignored.join(", "))?;
        }
        if self.fixed > 0 {
            writeln!(out, "{name}: {} mended", self.fixed)?;
        }
        writeln!(out, "{name}: {}", summary(&self.report.findings))?;
        Ok(())
    }
}

/// Returns how many findings there are: `1 error, 2 warnings`.
fn summary(findings: &[Finding]) -> String {
    let severities = [Severity::Error, Severity::Warning, Severity::Note];
    let counts = severities.into_iter().filter_map(|severity| {
        let found = findings.iter().filter(|one| one.rule.severity == severity);
        match found.count() {
            0 => None,
            1 => Some(format!("1 {}", severity.name())),
            count => Some(format!("{count} {}s", severity.name())),
        }
    });
    let counts: Vec<String> = counts.collect();
    if counts.is_empty() {
        return "nothing found".to_owned();
    }
    counts.join(", ")
}

impl<'a> View<'a> {
    fn of(checked: &'a [Checked]) -> Self {
        let findings = checked.iter().flat_map(|file| {
            let findings = file.report.findings.iter();
            findings.map(|one| FindingView {
                rule: one.rule.id,
                severity: one.rule.severity,
                file: &file.name,
                line: one.line,
                column: one.column,
                key: &one.path,
                reason: &one.reason,
                fix: &one.fix,
                is_fixable: one.edit.is_some(),
            })
        });
        let ignored = checked.iter().flat_map(|file| &file.report.ignored);
        Self {
            findings: findings.collect(),
            ignored: ignored.cloned().collect(),
            fixed: checked.iter().map(|file| file.fixed).sum(),
        }
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde's skip_serializing_if hands it so"
)]
fn is_zero(count: &usize) -> bool {
    *count == 0
}

/// Reads requests per second, in thousandths.
fn rate(text: &str) -> Result<u64, String> {
    const MAX_MILLI: u64 = 1_000_000_000;
    let milli = parse_milli(text).ok();
    let milli = milli.filter(|milli| (1..=MAX_MILLI).contains(milli));
    milli.ok_or_else(|| format!("{text:?} is no rate; expected a number from 0.001 to 1000000"))
}
