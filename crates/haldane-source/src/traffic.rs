//! The requests of one version, asked for at once: how many there were, how many failed, how slow they were.
//!
//! One query answers the samples of all series that belong together, so that one scrape is never counted in parts: the counter of
//! requests by its labels, and of latency the buckets, classic or native, and the sum. [`Traffic::series`] makes them ready for
//! [`crate::delta`], and [`Traffic::counted`] tells what an increase means.
//!
//! **Invariant:** a request is counted once: where there are native histograms, classic ones of the same requests are left out.

use std::{collections::BTreeMap, time::Duration};

use haldane_analysis::Bucket;

use crate::{
    delta::{Amount, Increase},
    error::Result,
    histogram::{Unit, join_classic},
    reading::{Labels, Point, Reading, Value},
    template::{self, Language, Select, Template, Variables, fill, is_matched},
};

/// The label that holds a series' name.
const NAME: &str = "__name__";

/// Which of both versions is asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The version that serves users.
    Stable,
    /// The version on trial.
    Canary,
}

/// Where the requests of a version are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// The counter of requests, without its selectors.
    pub counter: String,
    /// The matchers that select one version's series, with placeholders.
    pub select: String,
    /// What tells the failed requests: one matcher, of alternatives in which `.` stands for any character.
    pub failed: String,
    /// Where latencies are, if they are anywhere.
    pub latency: Option<Latency>,
}

/// Where latencies are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latency {
    /// The histogram, without its suffixes.
    pub histogram: String,
    /// A label that its series must have besides, if any.
    pub and: Option<(String, String)>,
    /// The unit of its bounds.
    pub unit: Unit,
}

/// The samples of a version's series, ready to be counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    /// Those of the counter, of histograms and of sums.
    pub points: Vec<Point>,
    /// Whether the histograms are native ones.
    pub is_native: bool,
}

/// What was counted of a version's requests.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// How many there were.
    pub requests: u64,
    /// How many of them failed.
    pub failures: u64,
    /// The sum of their latencies.
    pub latency_sum_us: u64,
    /// Their latencies by bucket.
    pub latency: Vec<Bucket>,
}

impl Traffic {
    /// Returns where a template has the requests of one side.
    ///
    /// # Errors
    /// When there is no such template.
    pub fn of_template(name: &str, side: Side) -> Result<Self> {
        let Template {
            counter,
            select,
            failed,
            latency,
            unit,
            ..
        } = *template::find(name)?;
        let select = match (select, side) {
            (Select::Workload(select), _)
            | (Select::Arms { stable: select, .. }, Side::Stable)
            | (Select::Arms { canary: select, .. }, Side::Canary) => select,
        };
        let and = latency.and.trim_start_matches(',').split_once('=');
        let unquoted = |text: &str| text.trim_matches('"').to_owned();
        Ok(Self {
            counter: counter.to_owned(),
            select: select.to_owned(),
            failed: failed.to_owned(),
            latency: Some(Latency {
                histogram: latency.histogram.to_owned(),
                and: and.map(|(label, value)| (label.to_owned(), unquoted(value))),
                unit,
            }),
        })
    }

    /// Returns the query for the samples of so much time.
    ///
    /// `names` fill the placeholders besides `{{workload}}` and `{{window}}`.
    ///
    /// # Errors
    /// When a name is missing or can't stand where its placeholder does.
    pub fn query(
        &self,
        workload: &str,
        names: &BTreeMap<String, String>,
        window: Duration,
    ) -> Result<String> {
        let variables = Variables {
            stable: workload.to_owned(),
            canary: workload.to_owned(),
            window,
            names: names.clone(),
        };
        let values = variables.of(workload)?;
        // Of literal alternatives alone, Prometheus looks each up in its index.
        let series = self.names().join("|");
        let Self { select, .. } = self;
        let text = format!(r#"{{__name__=~"{series}",{select}}}[{{{{window}}}}]"#);
        fill(&text, Language::PromQl, &values)
    }

    /// Returns the samples of an answer as series that can be counted.
    #[must_use]
    pub fn series(&self, reading: Reading) -> Series {
        let mut counters = Vec::new();
        let mut classic = Vec::new();
        let mut native = Vec::new();
        for point in reading.points {
            let name = point.labels.get(NAME).unwrap_or_default();
            if name == self.counter {
                counters.push(point.clone());
            }
            let part = self.latency.as_ref().and_then(|latency| {
                let is_meant = latency.is_meant(&point.labels);
                is_meant.then(|| name.strip_prefix(latency.histogram.as_str()))?
            });
            match (part, &point.value) {
                (Some(""), Value::Histogram(_)) => native.push(point),
                (Some("_bucket" | "_sum"), _) => classic.push(point),
                (Some(_) | None, _) => {}
            }
        }
        let is_native = !native.is_empty();
        let latency = if is_native {
            native
        } else {
            join_classic(classic)
        };
        counters.extend(latency);
        Series {
            points: counters,
            is_native,
        }
    }

    /// Returns what an increase of the series means.
    #[must_use]
    pub fn counted(&self, increase: &Increase, is_native: bool) -> Counted {
        // A native histogram has no counter of its own beside it.
        let histogram = self.latency.as_ref().map(|one| one.histogram.as_str());
        let is_its_own =
            histogram.is_some_and(|one| self.counter.strip_prefix(one) == Some("_count"));
        let counter = match histogram {
            Some(histogram) if is_its_own && is_native => histogram,
            Some(_) | None => &self.counter,
        };
        let is_counter = |labels: &Labels| labels.get(NAME) == Some(counter);
        let is_failed = |labels: &Labels| is_counter(labels) && is_matched(&self.failed, labels);
        let latency = self.latency.as_ref();
        Counted {
            requests: increase.count_where(is_counter),
            failures: increase.count_where(is_failed),
            latency_sum_us: latency.map_or(0, |latency| latency.sum_us(increase)),
            latency: latency.map_or_else(Vec::new, |latency| increase.latencies(latency.unit)),
        }
    }

    /// Returns the names of all series.
    fn names(&self) -> Vec<String> {
        let mut names = vec![self.counter.clone()];
        if let Some(Latency { histogram, .. }) = &self.latency {
            names.extend(["_bucket", "_sum", ""].map(|part| format!("{histogram}{part}")));
        }
        names
    }
}

impl Latency {
    fn is_meant(&self, labels: &Labels) -> bool {
        self.and
            .as_ref()
            .is_none_or(|(label, value)| labels.get(label) == Some(value))
    }

    /// Returns the sum of all latencies of an increase: that of native histograms, or of the classic ones' own series.
    fn sum_us(&self, increase: &Increase) -> u64 {
        let sums = increase.deltas.iter().map(|delta| match &delta.amount {
            Amount::Histogram(histogram) => histogram.sum.unwrap_or_default(),
            Amount::Count(sum) => {
                let name = delta.labels.get(NAME).unwrap_or_default();
                let is_sum = name.strip_prefix(&self.histogram) == Some("_sum");
                if is_sum { *sum } else { 0.0 }
            }
        });
        self.unit.to_microseconds(sums.sum::<f64>().max(0.0))
    }
}

#[cfg(test)]
mod tests;
