//! Queries for the usual meshes and ingresses, chosen by name.
//!
//! Each template names the counter of requests, which of them failed, and the buckets of latency, for one *workload*: stable's or the
//! canary's. [`render`] gives both. What a workload is called differs: a Deployment, a Service, a revision or a version; [`Template::workload`]
//! tells which. The selectors follow those that Flagger and the projects themselves use; where Flagger matches a name as a regular
//! expression, the name is escaped here, which means the same for every name that is one.
//!
//! Queries answer raw samples (`[1m]` at the end), for [`crate::delta`]; `success_rate` and `duration` are the peers' single numbers,
//! in percent and milliseconds.

mod fill;
mod list;

use std::{collections::BTreeMap, time::Duration};

use crate::{
    error::{Error, Result},
    histogram::Unit,
    reading::Labels,
};

pub use crate::template::fill::{Language, fill};

/// The longest value of a variable: a Kubernetes name has at most 253 bytes.
pub const VALUE_BYTES_MAX: usize = 256;

/// The longest window of one query.
const WINDOW_MAX: Duration = Duration::from_secs(7 * 24 * 3_600);

/// A set of queries for one mesh or ingress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Template {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What the workloads of the variables are.
    pub workload: &'static str,
    /// The counter of requests, without its selectors.
    pub(crate) counter: &'static str,
    /// What selects one version's series of the counter.
    pub(crate) select: Select,
    /// What selects the failed ones among them: one matcher, of alternatives in which `.` stands for any character.
    pub(crate) failed: &'static str,
    /// Where latencies are.
    pub(crate) latency: Latency,
    /// The unit of latencies.
    pub(crate) unit: Unit,
}

/// What selects the series of both versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Select {
    /// The same matchers, with the workload filled in.
    Workload(&'static str),
    /// Different matchers for each.
    Arms {
        stable: &'static str,
        canary: &'static str,
    },
}

/// Where latencies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Latency {
    /// The histogram, without its suffixes.
    pub(crate) histogram: &'static str,
    /// Further matchers.
    pub(crate) and: &'static str,
    /// Which single number stands for it.
    shown: Shown,
}

/// Which single number stands for latency; Flagger's choice for that provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shown {
    /// The 99th percentile.
    Quantile,
    /// The mean.
    Mean,
}

/// What is filled in; names as they are, escaped where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variables {
    /// The stable workload.
    pub stable: String,
    /// The canary workload.
    pub canary: String,
    /// Over which time rates are taken; at least two scrapes.
    pub window: Duration,
    /// `namespace`, `service`, `ingress`, `route` and what else the template uses.
    pub names: BTreeMap<String, String>,
}

/// The queries of both versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// Stable's.
    pub stable: Arm,
    /// The canary's.
    pub canary: Arm,
    /// The unit of the latencies in `buckets`; `duration` is in milliseconds.
    pub unit: Unit,
}

/// The queries of one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arm {
    /// The samples of the counter of requests.
    pub requests: String,
    /// The samples of the counter of failed requests.
    pub failures: String,
    /// The samples of the latency histogram, classic.
    pub buckets: String,
    /// The same, native: whoever scrapes native histograms stores no classic ones beside them, unless it is told to.
    pub native: String,
    /// The share of requests that did not fail, in percent.
    pub success_rate: String,
    /// The 99th percentile of latency, or the mean where Flagger takes that, in milliseconds.
    pub duration: String,
}

/// Returns all templates.
#[must_use]
pub const fn list() -> &'static [Template] {
    &list::TEMPLATES
}

/// Returns the template of that name.
///
/// # Errors
/// When there is none.
pub fn find(name: &str) -> Result<&'static Template> {
    let found = list().iter().find(|template| template.name == name);
    found.ok_or_else(|| {
        let names: Vec<&str> = list().iter().map(|template| template.name).collect();
        Error::invalid(
            "the template",
            format!("expected one of {}", names.join(", ")),
        )
    })
}

/// Returns the queries of the template `name` with the variables filled in.
///
/// # Errors
/// When there is no such template, or a variable is missing or impossible.
pub fn render(name: &str, variables: &Variables) -> Result<Rendered> {
    let template = find(name)?;
    let (stable, canary) = match template.select {
        Select::Workload(select) => (select, select),
        Select::Arms { stable, canary } => (stable, canary),
    };
    Ok(Rendered {
        stable: template.arm(stable, &variables.of(&variables.stable)?)?,
        canary: template.arm(canary, &variables.of(&variables.canary)?)?,
        unit: template.unit,
    })
}

impl Template {
    /// Returns the names of the variables that it uses, besides both workloads and the window.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        let text = match self.select {
            Select::Workload(select) => select,
            Select::Arms { canary, .. } => canary,
        };
        let mut names: Vec<&str> = text
            .split("{{")
            .filter_map(|part| part.split_once("}}"))
            .map(|(name, _)| name.trim().trim_end_matches("_word"))
            .filter(|name| *name != "workload")
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether a series of `requests` counts failures, by its labels.
    ///
    /// With it both are counted from one query, as [`crate::delta`] advises.
    #[must_use]
    pub fn is_failed(&self, labels: &Labels) -> bool {
        is_matched(self.failed, labels)
    }

    fn arm(&self, select: &str, values: &BTreeMap<String, String>) -> Result<Arm> {
        let fill = |text: &str| fill(text, Language::PromQl, values);
        let (counter, failed) = (self.counter, self.failed);
        // A negative matcher (`!~"5.."` for what is fine) becomes its opposite.
        let fine = failed.replacen("=~", "!~", 1);
        let fine = if fine == failed {
            failed.replacen("=", "!=", 1)
        } else {
            fine
        };
        let requests = format!("{counter}{{{select}}}[{{{{window}}}}]");
        let failures = format!("{counter}{{{select},{failed}}}[{{{{window}}}}]");
        let success_rate = format!(
            "sum(rate({counter}{{{select},{fine}}}[{{{{window}}}}])) / sum(rate({requests})) * 100"
        );
        let to_milliseconds = match self.unit {
            Unit::Seconds => " * 1000",
            Unit::Milliseconds => "",
            Unit::Microseconds => " / 1000",
        };
        let Latency { histogram, and, .. } = self.latency;
        let select = format!("{{{select}{and}}}[{{{{window}}}}]");
        let buckets = format!("{histogram}_bucket{select}");
        let native = format!("{histogram}{select}");
        let duration = match self.latency.shown {
            Shown::Quantile => format!("histogram_quantile(0.99, sum(rate({buckets})) by (le))"),
            Shown::Mean => {
                format!("sum(rate({histogram}_sum{select})) / sum(rate({histogram}_count{select}))")
            }
        };
        Ok(Arm {
            requests: fill(&requests)?,
            failures: fill(&failures)?,
            buckets: fill(&buckets)?,
            native: fill(&native)?,
            success_rate: fill(&success_rate)?,
            duration: fill(&format!("{duration}{to_milliseconds}"))?,
        })
    }
}

impl Variables {
    /// Returns the values for one version.
    ///
    /// Names also come as `{name}_word`, with everything but letters, digits and underscores made an underscore: so Skipper writes them.
    pub(crate) fn of(&self, workload: &str) -> Result<BTreeMap<String, String>> {
        if self.window < Duration::from_secs(1) || self.window > WINDOW_MAX {
            return Err(Error::invalid("the window", "expected 1 s to 7 d"));
        }
        let mut values = self.names.clone();
        values.insert("workload".to_owned(), workload.to_owned());
        let words: Vec<(String, String)> = values
            .iter()
            .map(|(name, value)| {
                let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
                let word = value.chars().map(|c| if is_word(c) { c } else { '_' });
                (format!("{name}_word"), word.collect())
            })
            .collect();
        values.extend(words);
        let milliseconds = self.window.as_millis();
        let window = if milliseconds.is_multiple_of(1_000) {
            format!("{}s", self.window.as_secs())
        } else {
            format!("{milliseconds}ms")
        };
        values.insert("window".to_owned(), window);
        Ok(values)
    }
}

/// Whether labels fit a matcher of alternatives in which `.` stands for any character.
pub(crate) fn is_matched(matcher: &str, labels: &Labels) -> bool {
    let Some((name, pattern)) = matcher.split_once('=') else {
        return false;
    };
    let value = labels.get(name).unwrap_or_default();
    let pattern = pattern.trim_start_matches('~').trim_matches('"');
    pattern.split('|').any(|alternative| {
        let same = |(wanted, found): (char, char)| wanted == '.' || wanted == found;
        alternative.chars().count() == value.chars().count()
            && alternative.chars().zip(value.chars()).all(same)
    })
}

#[cfg(test)]
mod tests;
