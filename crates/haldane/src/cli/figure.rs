//! The figures that a monitor shows of a version, and whether each is well.
//!
//! Where the plan guards a metric, the guard says so; elsewhere the limits that operators of canaries start with do.

use haldane_api::http::{FiguresView, GuardView, RolloutView, VersionView};
use haldane_core::{
    guard::{Metric, Severity, Unit},
    verdict::Verdict,
};

use super::{
    paint::Tone,
    words::{NOTHING, bps},
};

/// One figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Share of requests that failed.
    ErrorRate,
    /// Requests per second.
    RequestRate,
    /// Median latency.
    P50,
    /// 95th percentile of latency.
    P95,
    /// 99th percentile of latency.
    P99,
    /// Share of requests that did not fail.
    SuccessRate,
    /// Processor use per replica.
    Cpu,
    /// Memory per replica.
    Memory,
    /// Replicas that are ready.
    Ready,
    /// Share of the service's traffic.
    TrafficShare,
}

/// Whether a figure is well; worse ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Status {
    /// There is nothing to tell, or too little.
    NoData,
    /// It is well.
    Ok,
    /// Worth a look.
    Warning,
    /// Wrong.
    Critical,
}

/// What a figure is held against where the plan has no guard: the value, and the status beyond it.
struct Threshold {
    limit: u64,
    beyond: Status,
    text: &'static str,
}

impl Figure {
    /// Every figure, in the order in which they are shown.
    pub(crate) const ALL: [Self; 10] = [
        Self::ErrorRate,
        Self::RequestRate,
        Self::P50,
        Self::P95,
        Self::P99,
        Self::SuccessRate,
        Self::Cpu,
        Self::Memory,
        Self::Ready,
        Self::TrafficShare,
    ];

    /// Returns the name for people.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::ErrorRate => "error rate",
            Self::RequestRate => "request rate",
            Self::P50 => "p50 latency",
            Self::P95 => "p95 latency",
            Self::P99 => "p99 latency",
            Self::SuccessRate => "success rate",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Ready => "ready",
            Self::TrafficShare => "traffic share",
        }
    }

    /// Returns the value for people.
    pub(crate) fn show(self, version: &VersionView) -> String {
        let VersionView {
            replicas_ready,
            replicas_wanted,
            ..
        } = version;
        if self == Self::Ready {
            return format!("{replicas_ready}/{replicas_wanted}");
        }
        let Some(value) = self.value(&version.figures) else {
            return NOTHING.to_owned();
        };
        match self {
            Self::ErrorRate | Self::SuccessRate => Unit::Share.show(value),
            Self::Cpu => Unit::Processor.show(value),
            Self::P50 | Self::P95 | Self::P99 => Unit::Micros.show(value),
            Self::Memory => Unit::Bytes.show(value),
            Self::RequestRate => format!("{}.{}/s", value / 1_000, value % 1_000 / 100),
            Self::TrafficShare => bps(value),
            Self::Ready => value.to_string(),
        }
    }

    /// Returns the value, in the unit of its field.
    pub(crate) const fn value(self, figures: &FiguresView) -> Option<u64> {
        match self {
            Self::ErrorRate => figures.error_rate_ppm,
            Self::RequestRate => figures.request_rate_milli,
            Self::P50 => figures.p50_us,
            Self::P95 => figures.p95_us,
            Self::P99 => figures.p99_us,
            Self::SuccessRate => figures.success_rate_ppm,
            Self::Cpu => figures.cpu_ppm,
            Self::Memory => figures.memory_bytes,
            Self::Ready => figures.ready_ppm,
            Self::TrafficShare => figures.traffic_share_bps,
        }
    }

    /// Returns whether the figure of stable is well.
    pub(crate) fn stable_status(self, version: &VersionView) -> Status {
        self.held_against_threshold(version)
    }

    /// Returns whether the figure of the canary is well.
    pub(crate) fn canary_status(
        self,
        version: &VersionView,
        rollout: Option<&RolloutView>,
    ) -> Status {
        let should_have_traffic =
            rollout.is_some_and(|rollout| rollout.is_applied && !rollout.weight_bps.is_zero());
        if self == Self::TrafficShare
            && should_have_traffic
            && self.value(&version.figures) == Some(0)
        {
            return Status::Warning;
        }
        let guards = self.guards(rollout);
        guards
            .map(status_of_guard)
            .max()
            .unwrap_or_else(|| self.held_against_threshold(version))
    }

    /// Returns the limit for people; empty where there is none.
    pub(crate) fn limit(self, rollout: Option<&RolloutView>) -> String {
        if let (Self::TrafficShare, Some(rollout)) = (self, rollout) {
            return format!("{} decided", rollout.weight_bps);
        }
        let limits: Vec<&str> = self
            .guards(rollout)
            .map(|guard| guard.limit.as_str())
            .collect();
        if !limits.is_empty() {
            return limits.join(", ");
        }
        self.threshold()
            .map_or_else(String::new, |threshold| threshold.text.to_owned())
    }

    fn guards(self, rollout: Option<&RolloutView>) -> impl Iterator<Item = &GuardView> {
        let metric = self.metric().map(Metric::name);
        let judgement = rollout.and_then(|rollout| rollout.judgement.as_ref());
        let guards = judgement
            .map(|judgement| judgement.guards.iter())
            .unwrap_or_default();
        guards.filter(move |guard| metric == Some(guard.metric.as_str()))
    }

    const fn metric(self) -> Option<Metric> {
        match self {
            Self::ErrorRate => Some(Metric::ErrorRate),
            Self::P50 => Some(Metric::P50),
            Self::P95 => Some(Metric::P95),
            Self::P99 => Some(Metric::P99),
            Self::SuccessRate => Some(Metric::SuccessRate),
            Self::Cpu => Some(Metric::Cpu),
            Self::Memory => Some(Metric::Memory),
            Self::Ready => Some(Metric::Ready),
            Self::RequestRate | Self::TrafficShare => None,
        }
    }

    fn held_against_threshold(self, version: &VersionView) -> Status {
        let Some(value) = self.value(&version.figures) else {
            return Status::NoData;
        };
        let Some(threshold) = self.threshold() else {
            return Status::Ok;
        };
        let is_beyond = match self {
            Self::SuccessRate | Self::Ready => value < threshold.limit,
            Self::ErrorRate
            | Self::RequestRate
            | Self::P50
            | Self::P95
            | Self::P99
            | Self::Cpu
            | Self::Memory
            | Self::TrafficShare => value > threshold.limit,
        };
        if is_beyond {
            threshold.beyond
        } else {
            Status::Ok
        }
    }

    /// The limits of the deploy script's monitor.
    const fn threshold(self) -> Option<Threshold> {
        let (limit, beyond, text) = match self {
            Self::ErrorRate => (50_000, Status::Critical, "at most 5%"),
            Self::P95 => (500_000, Status::Warning, "at most 500ms"),
            Self::P99 => (1_000_000, Status::Critical, "at most 1s"),
            Self::SuccessRate => (950_000, Status::Critical, "at least 95%"),
            Self::Cpu => (800_000, Status::Warning, "at most 80%"),
            Self::Ready => (1_000_000, Status::Warning, "all"),
            Self::RequestRate | Self::P50 | Self::Memory | Self::TrafficShare => return None,
        };
        Some(Threshold {
            limit,
            beyond,
            text,
        })
    }
}

impl Status {
    /// Returns the word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::NoData => "NO DATA",
            Self::Ok => "OK",
            Self::Warning => "WARNING",
            Self::Critical => "CRITICAL",
        }
    }

    /// Returns how it is meant.
    pub(crate) const fn tone(self) -> Tone {
        match self {
            Self::NoData => Tone::Dim,
            Self::Ok => Tone::Good,
            Self::Warning => Tone::Warn,
            Self::Critical => Tone::Bad,
        }
    }
}

fn status_of_guard(guard: &GuardView) -> Status {
    match guard.verdict {
        Verdict::Pass => Status::Ok,
        Verdict::NoData => Status::NoData,
        Verdict::Inconclusive => Status::Warning,
        Verdict::Fail => match guard.severity {
            Severity::Warn => Status::Warning,
            Severity::Critical => Status::Critical,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::testing::service;

    #[test]
    fn guards_decide_where_there_are_any_and_thresholds_elsewhere() {
        let auth = service("Progressing");
        let rollout = auth.rollout.as_ref();
        let mut canary = auth.canary.clone().unwrap();
        let of = |figure: Figure, canary: &VersionView| figure.canary_status(canary, rollout);
        assert_eq!(
            of(Figure::ErrorRate, &canary),
            Status::Critical,
            "the guard fails"
        );
        // The guard on p95 passes, whatever the threshold says; p99 has no guard.
        canary.figures.p95_us = Some(9_000_000);
        canary.figures.p99_us = Some(9_000_000);
        assert_eq!(of(Figure::P95, &canary), Status::Ok);
        assert_eq!(of(Figure::P99, &canary), Status::Critical);
        canary.figures.success_rate_ppm = Some(949_999);
        canary.figures.cpu_ppm = Some(800_001);
        canary.figures.ready_ppm = Some(500_000);
        assert_eq!(of(Figure::SuccessRate, &canary), Status::Critical);
        assert_eq!(of(Figure::Cpu, &canary), Status::Warning);
        assert_eq!(of(Figure::Ready, &canary), Status::Warning);
        canary.figures.p50_us = None;
        assert_eq!(
            of(Figure::P50, &canary),
            Status::NoData,
            "nothing measured is not well"
        );
        canary.figures.traffic_share_bps = Some(0);
        assert_eq!(
            of(Figure::TrafficShare, &canary),
            Status::Warning,
            "25% are decided, and nothing comes"
        );
        assert_eq!(
            Figure::TrafficShare.canary_status(&canary, None),
            Status::Ok
        );
    }

    #[test]
    fn a_value_at_its_threshold_is_well() {
        let mut stable = service("Progressing").stable;
        stable.figures.error_rate_ppm = Some(50_000);
        stable.figures.success_rate_ppm = Some(950_000);
        assert_eq!(Figure::ErrorRate.stable_status(&stable), Status::Ok);
        assert_eq!(Figure::SuccessRate.stable_status(&stable), Status::Ok);
        stable.figures.error_rate_ppm = Some(50_001);
        assert_eq!(Figure::ErrorRate.stable_status(&stable), Status::Critical);
    }

    #[test]
    fn values_have_their_units() {
        let canary = service("Progressing").canary.unwrap();
        let shown = Figure::ALL.map(|figure| figure.show(&canary));
        let expected = [
            "6.2%", "100.0/s", "12.3ms", "42ms", "88.1ms", "93.8%", "3.2%", "12.3MiB", "1/1", "25%",
        ];
        assert_eq!(shown, expected);
    }
}
