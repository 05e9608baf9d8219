//! What the controller counts of itself, as Prometheus reads it.
//!
//! Labels are kinds, verbs and fixed words: their number is bounded by the code.

use std::{
    collections::BTreeMap,
    fmt::{self, Display, Write as _},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::api::Verb;

/// The usual bounds of a latency histogram, in milliseconds.
const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 10_000];

/// The counters.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    counters: Mutex<Counters>,
}

/// What is looked up when somebody asks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gauges {
    pub is_leader: bool,
    pub is_ready: bool,
    /// Releases that wait for a worker, and writes that wait for their time.
    pub waiting_turns: usize,
    pub waiting_writes: usize,
    /// Kind, objects and bytes.
    pub kept: Vec<(&'static str, usize, usize)>,
}

#[derive(Debug, Default)]
struct Counters {
    turns: BTreeMap<&'static str, u64>,
    reads: BTreeMap<(&'static str, Verb), u64>,
    writes: BTreeMap<(&'static str, Verb, &'static str), u64>,
    shadow: BTreeMap<(&'static str, Verb), u64>,
    watch_ends: BTreeMap<(&'static str, &'static str), u64>,
    events_dropped: BTreeMap<&'static str, u64>,
    latency: [u64; BOUNDS_MS.len()],
    latency_count: u64,
    latency_sum: Duration,
}

impl Metrics {
    pub(crate) fn count_turn(&self, result: &'static str) {
        add(self.counters().turns.entry(result).or_default());
    }

    pub(crate) fn count_read(&self, kind: &'static str, verb: Verb) {
        add(self.counters().reads.entry((kind, verb)).or_default());
    }

    pub(crate) fn count_write(
        &self,
        kind: &'static str,
        verb: Verb,
        result: &'static str,
        took: Duration,
    ) {
        let mut counters = self.counters();
        add(counters.writes.entry((kind, verb, result)).or_default());
        add(&mut counters.latency_count);
        counters.latency_sum = counters.latency_sum.saturating_add(took);
        let bounds = BOUNDS_MS.map(Duration::from_millis);
        let within = counters.latency.iter_mut().zip(bounds);
        within
            .filter(|(_, bound)| took <= *bound)
            .for_each(|(count, _)| add(count));
    }

    pub(crate) fn count_shadow(&self, kind: &'static str, verb: Verb) {
        add(self.counters().shadow.entry((kind, verb)).or_default());
    }

    pub(crate) fn count_watch_end(&self, kind: &'static str, reason: &'static str) {
        add(self
            .counters()
            .watch_ends
            .entry((kind, reason))
            .or_default());
    }

    pub(crate) fn count_dropped_event(&self, reason: &'static str) {
        add(self.counters().events_dropped.entry(reason).or_default());
    }

    /// Writes everything in the text format of Prometheus.
    pub(crate) fn render(&self, gauges: &Gauges) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        self.counters().write(&mut text).unwrap_or_default();
        gauges.write(&mut text).unwrap_or_default();
        text
    }

    fn counters(&self) -> MutexGuard<'_, Counters> {
        // Nothing panics while it holds the lock.
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counters {
    fn write(&self, out: &mut String) -> fmt::Result {
        let turns = self.turns.iter();
        family(
            out,
            "turns_total",
            "Turns by what became of them.",
            turns.map(|(result, count)| (format!("result=\"{result}\""), *count)),
        )?;
        let reads = self.reads.iter();
        family(
            out,
            "reads_total",
            "Requests that read, by kind and verb.",
            reads.map(|((kind, verb), count)| (of(kind, *verb), *count)),
        )?;
        let writes = self.writes.iter();
        family(
            out,
            "writes_total",
            "Requests that write, by kind, verb and answer.",
            writes.map(|((kind, verb, result), count)| {
                (format!("{},result=\"{result}\"", of(kind, *verb)), *count)
            }),
        )?;
        let shadow = self.shadow.iter();
        family(
            out,
            "shadow_writes_total",
            "Writes that would have been made.",
            shadow.map(|((kind, verb), count)| (of(kind, *verb), *count)),
        )?;
        let ends = self.watch_ends.iter();
        family(
            out,
            "watch_restarts_total",
            "Watches that began anew, by why the last one ended.",
            ends.map(|((kind, reason), count)| {
                (format!("kind=\"{kind}\",reason=\"{reason}\""), *count)
            }),
        )?;
        let dropped = self.events_dropped.iter();
        family(
            out,
            "events_dropped_total",
            "Events that nobody was told of.",
            dropped.map(|(reason, count)| (format!("reason=\"{reason}\""), *count)),
        )?;
        self.write_latency(out)
    }

    fn write_latency(&self, out: &mut String) -> fmt::Result {
        let name = "haldane_controller_write_duration_seconds";
        writeln!(out, "# HELP {name} Time from a write to its answer.")?;
        writeln!(out, "# TYPE {name} histogram")?;
        for (bound, count) in BOUNDS_MS
            .map(Duration::from_millis)
            .iter()
            .zip(self.latency)
        {
            writeln!(out, "{name}_bucket{{le=\"{}\"}} {count}", Seconds(*bound))?;
        }
        writeln!(out, "{name}_bucket{{le=\"+Inf\"}} {}", self.latency_count)?;
        writeln!(out, "{name}_sum {}", Seconds(self.latency_sum))?;
        writeln!(out, "{name}_count {}", self.latency_count)
    }
}

impl Gauges {
    fn write(&self, out: &mut String) -> fmt::Result {
        let single: [(&str, &str, usize); 4] = [
            (
                "leader",
                "Whether this controller leads.",
                usize::from(self.is_leader),
            ),
            (
                "ready",
                "Whether all watches have told what there is.",
                usize::from(self.is_ready),
            ),
            (
                "queue_depth",
                "Releases that wait for their turn.",
                self.waiting_turns,
            ),
            (
                "writes_waiting",
                "Writes that wait for their time.",
                self.waiting_writes,
            ),
        ];
        for (name, help, value) in single {
            head(out, name, "gauge", help)?;
            writeln!(out, "haldane_controller_{name} {value}")?;
        }
        head(out, "objects", "gauge", "Objects that are kept, by kind.")?;
        for (kind, objects, _) in &self.kept {
            writeln!(
                out,
                "haldane_controller_objects{{kind=\"{kind}\"}} {objects}"
            )?;
        }
        head(
            out,
            "objects_bytes",
            "gauge",
            "Bytes of the objects that are kept, by kind.",
        )?;
        for (kind, _, bytes) in &self.kept {
            writeln!(
                out,
                "haldane_controller_objects_bytes{{kind=\"{kind}\"}} {bytes}"
            )?;
        }
        Ok(())
    }
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
}

fn of(kind: &str, verb: Verb) -> String {
    format!("kind=\"{kind}\",verb=\"{}\"", verb.as_str())
}

fn family<L: Display>(
    out: &mut String,
    name: &str,
    help: &str,
    lines: impl Iterator<Item = (L, u64)>,
) -> fmt::Result {
    head(out, name, "counter", help)?;
    for (labels, count) in lines {
        writeln!(out, "haldane_controller_{name}{{{labels}}} {count}")?;
    }
    Ok(())
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) -> fmt::Result {
    writeln!(out, "# HELP haldane_controller_{name} {help}")?;
    writeln!(out, "# TYPE haldane_controller_{name} {kind}")
}

/// A duration in seconds, without a float.
struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = format!("{:06}", self.0.subsec_micros());
        match micros.trim_end_matches('0') {
            "" => write!(f, "{}", self.0.as_secs()),
            digits => write!(f, "{}.{digits}", self.0.as_secs()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_has_its_line() {
        let metrics = Metrics::default();
        metrics.count_turn("rest");
        metrics.count_read("Deployment", Verb::List);
        metrics.count_write("Lease", Verb::Patch, "done", Duration::from_micros(1_500));
        metrics.count_write("Lease", Verb::Patch, "done", Duration::from_secs(30));
        metrics.count_shadow("Deployment", Verb::Create);
        metrics.count_watch_end("Pod", "expired");
        metrics.count_dropped_event("full");
        let gauges = Gauges {
            is_leader: true,
            is_ready: false,
            waiting_turns: 3,
            waiting_writes: 4,
            kept: vec![("Pod", 2, 900)],
        };
        let text = metrics.render(&gauges);
        for line in [
            r#"haldane_controller_turns_total{result="rest"} 1"#,
            r#"haldane_controller_reads_total{kind="Deployment",verb="list"} 1"#,
            r#"haldane_controller_writes_total{kind="Lease",verb="patch",result="done"} 2"#,
            r#"haldane_controller_shadow_writes_total{kind="Deployment",verb="create"} 1"#,
            r#"haldane_controller_watch_restarts_total{kind="Pod",reason="expired"} 1"#,
            r#"haldane_controller_events_dropped_total{reason="full"} 1"#,
            r#"haldane_controller_write_duration_seconds_bucket{le="0.001"} 0"#,
            r#"haldane_controller_write_duration_seconds_bucket{le="0.002"} 1"#,
            r#"haldane_controller_write_duration_seconds_bucket{le="+Inf"} 2"#,
            "haldane_controller_write_duration_seconds_sum 30.0015",
            "haldane_controller_leader 1",
            "haldane_controller_ready 0",
            "haldane_controller_queue_depth 3",
            "haldane_controller_writes_waiting 4",
            r#"haldane_controller_objects{kind="Pod"} 2"#,
            r#"haldane_controller_objects_bytes{kind="Pod"} 900"#,
        ] {
            assert!(
                text.lines().any(|other| other == line),
                "{line} is not in\n{text}"
            );
        }
    }
}
