//! Declarations: which metrics are judged, against what, and how sure one must be.
//!
//! [`Settings`] are what is written and stored; a [`Config`] is settings without mistakes, with the numbers that the formulas need.

use std::{fmt, time::Duration};

use haldane_core::plan::Sequential;
pub use haldane_core::plan::metric::{Direction, Kind};
use serde::{Deserialize, Serialize};

use super::{
    count::Edge,
    real::{of_ppm, real},
    warming::{COLD, Leeway},
};

/// The most metrics of one rollout: each takes up to 3 KiB of its state.
pub const METRICS_MAX: usize = 16;

/// The longest name of a metric, in bytes.
pub const NAME_BYTES_MAX: usize = 72;

/// How the sequential judge judges.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Settings {
    /// The chance to roll a healthy canary back, over the whole rollout and all metrics, in parts per million.
    pub alpha_ppm: u32,
    /// The chance to pass a canary that is beyond the margin of a metric, in parts per million.
    pub beta_ppm: u32,
    /// No step passes before it was watched for this long.
    pub soak: Duration,
    /// How long the rollout is planned to last. Faults that begin late are found best within this time.
    pub horizon: Duration,
    /// Data older than this is no data.
    pub stale_after: Duration,
    /// Whether the evidence for passing begins anew at each higher weight, against faults that come with load.
    pub fresh: bool,
    /// By how much the canary's latencies may be above a bound without counting as slower.
    #[serde(default)]
    pub leeway: Leeway,
    /// How long a canary may be cold.
    #[serde(default = "Settings::warm_up_default")]
    pub warm_up: Duration,
    /// The metrics.
    pub metrics: Vec<Metric>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metric {
    /// Its name, unlike any other's.
    pub name: String,
    /// Where its data comes from.
    pub source: Source,
    /// What it is.
    pub kind: Kind,
    /// Which way is worse.
    pub direction: Direction,
    /// What the canary is compared with.
    pub against: Against,
    /// Its share of `alpha_ppm`, relative to the other critical metrics.
    pub weight: u32,
    /// Whether harm rolls back. Else it holds the rollout.
    pub critical: bool,
    /// Whether a pass needs its data, and its evidence where it can give any.
    pub required: bool,
    /// In clumps of how many its events come at least, in thousandths; 1000 if they are independent. What stable shows may raise it.
    pub clumping_milli: u32,
    /// Whether its events come in later batches than their exposures, so that the events of a batch are not some of its exposures.
    #[serde(default)]
    pub late: bool,
    /// Overrides [`Settings::stale_after`] for a slower source.
    pub stale_after: Option<Duration>,
}

/// Where the data of a metric comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The requests of each [`Batch`](crate::Batch): their failures for a ratio, their latencies for a latency.
    Requests,
    /// What the host gives under the metric's name, as [`Observed`](super::Observed).
    Observed,
}

/// What the canary is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Against {
    /// Stable at the same time.
    Stable(Margin),
    /// A limit of its own: parts per million of the exposure, of a gauge thousandths of its unit.
    Limit(u64),
}

/// How much worse than stable is still fine. "Ratio" is the canary's rate by stable's; both in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Margin {
    /// Harm is what lies beyond this ratio: 1100000 for a tenth more.
    pub harm_ratio_ppm: u32,
    /// And this much of the exposure besides.
    pub harm_slack_ppm: u32,
    /// A pass needs evidence that the canary keeps to this ratio.
    pub pass_ratio_ppm: u32,
    /// And this much of the exposure besides.
    pub pass_slack_ppm: u32,
}

/// Settings without mistakes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Config {
    settings: Settings,
}

/// What is wrong with settings, all of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Problems(pub Vec<Problem>);

/// One mistake in settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it is: a field, with the metric's name before it.
    pub field: String,
    /// What was expected, and what was found.
    pub message: String,
}

impl Settings {
    /// Returns the settings for errors and latency: one rollback in a hundred healthy rollouts.
    #[must_use]
    pub fn standard() -> Self {
        Self {
            alpha_ppm: 10_000,
            beta_ppm: 50_000,
            soak: Duration::from_secs(30),
            horizon: Duration::from_secs(20 * 60),
            stale_after: Duration::from_secs(15),
            fresh: false,
            leeway: Leeway::default(),
            warm_up: Self::warm_up_default(),
            metrics: vec![Metric::errors(), Metric::latency()],
        }
    }
}

impl Settings {
    fn warm_up_default() -> Duration {
        Sequential::default().warm_up
    }
}

impl Metric {
    /// Returns the failed requests: a tenth more than stable's are harm; half as many more, and two in a thousand, are accepted for a pass.
    #[must_use]
    pub fn errors() -> Self {
        Self {
            source: Source::Requests,
            kind: Kind::Ratio,
            weight: 40,
            ..Self::observed("errors", Margin::EVENTS)
        }
    }

    /// Returns the latencies of requests.
    #[must_use]
    pub fn latency() -> Self {
        Self {
            source: Source::Requests,
            kind: Kind::Latency,
            weight: 30,
            ..Self::observed("latency", Margin::LATENCY)
        }
    }

    /// Returns a conversion rate: a fiftieth fewer is harm.
    #[must_use]
    pub fn conversion(name: &str) -> Self {
        Self {
            kind: Kind::Conversion,
            direction: Direction::LowerIsWorse,
            required: false,
            ..Self::observed(name, Margin::CONVERSION)
        }
    }

    /// Returns events in time.
    #[must_use]
    pub fn counter(name: &str) -> Self {
        Self {
            kind: Kind::Counter,
            required: false,
            ..Self::observed(name, Margin::EVENTS)
        }
    }

    /// Returns what pods use; harm only holds.
    #[must_use]
    pub fn gauge(name: &str) -> Self {
        Self {
            kind: Kind::Gauge,
            critical: false,
            required: false,
            ..Self::observed(name, Margin::GAUGE)
        }
    }

    fn observed(name: &str, margin: Margin) -> Self {
        Self {
            name: name.to_owned(),
            source: Source::Observed,
            kind: Kind::Ratio,
            direction: Direction::HigherIsWorse,
            against: Against::Stable(margin),
            weight: 15,
            critical: true,
            required: true,
            clumping_milli: 1_000,
            late: false,
            stale_after: None,
        }
    }

    /// Whether its data can ever show that the canary is fine.
    #[must_use]
    pub const fn can_pass(&self) -> bool {
        match (self.kind, self.against) {
            (Kind::Gauge, _) | (_, Against::Limit(_)) => false,
            (
                Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Conversion,
                Against::Stable(_),
            ) => true,
        }
    }

    /// Whether a step back can be asked for by it: a share that is not rare has its own rate at full weight.
    pub(crate) const fn can_fall_back(&self) -> bool {
        !matches!(self.kind, Kind::Conversion)
    }

    /// Returns the least dispersion.
    pub(crate) fn clumping(&self) -> f64 {
        f64::from(self.clumping_milli) / 1e3
    }

    /// Returns the margin of harm; of a limit, the limit as slack.
    pub(crate) fn harm(&self) -> Edge {
        match self.against {
            Against::Stable(margin) => Edge {
                ratio: of_ppm(margin.harm_ratio_ppm),
                slack: of_ppm(margin.harm_slack_ppm),
            },
            Against::Limit(limit_ppm) => Edge {
                ratio: 0.0,
                slack: real(limit_ppm) / 1e6,
            },
        }
    }

    /// Returns the margin of a pass, `None` where nothing can pass by it.
    pub(crate) fn pass(&self) -> Option<Edge> {
        match self.against {
            Against::Stable(margin) if self.can_pass() => Some(Edge {
                ratio: of_ppm(margin.pass_ratio_ppm),
                slack: of_ppm(margin.pass_slack_ppm),
            }),
            Against::Stable(_) | Against::Limit(_) => None,
        }
    }
}

impl Margin {
    const EVENTS: Self = Self {
        harm_ratio_ppm: 1_100_000,
        harm_slack_ppm: 0,
        pass_ratio_ppm: 1_500_000,
        pass_slack_ppm: 2_000,
    };
    const LATENCY: Self = Self {
        harm_ratio_ppm: 1_100_000,
        harm_slack_ppm: 0,
        pass_ratio_ppm: 1_500_000,
        pass_slack_ppm: 5_000,
    };
    const CONVERSION: Self = Self {
        harm_ratio_ppm: 980_000,
        harm_slack_ppm: 0,
        pass_ratio_ppm: 900_000,
        pass_slack_ppm: 0,
    };
    const GAUGE: Self = Self {
        harm_ratio_ppm: 1_150_000,
        harm_slack_ppm: 0,
        pass_ratio_ppm: 1_150_000,
        pass_slack_ppm: 0,
    };
}

impl Config {
    /// Checks settings.
    ///
    /// # Errors
    /// With all mistakes at once.
    pub fn try_new(settings: Settings) -> Result<Self, Problems> {
        let mut found = Found::default();
        found.check(&settings);
        if found.0.is_empty() {
            Ok(Self { settings })
        } else {
            Err(Problems(found.0))
        }
    }

    /// Returns the settings.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Returns the metrics.
    pub(crate) fn metrics(&self) -> &[Metric] {
        &self.settings.metrics
    }

    /// Returns the chance of a false rollback.
    pub(crate) fn alpha(&self) -> f64 {
        of_ppm(self.settings.alpha_ppm)
    }

    /// Returns the chance of a false pass.
    pub(crate) fn beta(&self) -> f64 {
        of_ppm(self.settings.beta_ppm)
    }

    /// Returns the metric's share of the chance of a false rollback: of all critical metrics together it is 1, and of one that only holds, too.
    pub(crate) fn share(&self, metric: &Metric) -> f64 {
        let all: f64 = self
            .metrics()
            .iter()
            .filter(|metric| metric.critical)
            .map(|metric| f64::from(metric.weight))
            .sum();
        if metric.critical {
            f64::from(metric.weight) / all
        } else {
            1.0
        }
    }

    /// Returns the leeway of a canary that is cold; never less than that of a warm one.
    pub(crate) fn cold_leeway(&self) -> Leeway {
        let Leeway { share_ppm, least } = self.settings.leeway;
        Leeway {
            share_ppm: share_ppm.max(COLD.share_ppm),
            least: least.max(COLD.least),
        }
    }

    /// Returns the planned length in seconds.
    pub(crate) fn horizon_seconds(&self) -> f64 {
        self.settings.horizon.as_secs_f64()
    }

    /// Returns after which time data of the metric is none.
    pub(crate) fn stale_after(&self, metric: &Metric) -> Duration {
        metric.stale_after.unwrap_or(self.settings.stale_after)
    }
}

impl TryFrom<Settings> for Config {
    type Error = Problems;

    fn try_from(settings: Settings) -> Result<Self, Problems> {
        Self::try_new(settings)
    }
}

impl From<Config> for Settings {
    fn from(config: Config) -> Self {
        config.settings
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = self.0.iter().map(ToString::to_string);
        f.write_str(&problems.collect::<Vec<_>>().join("; "))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Parts per million of a whole.
const WHOLE: u32 = 1_000_000;

/// The largest ratio of a margin: beyond a hundredfold nothing is judged.
const RATIO_MAX_PPM: u32 = 100 * WHOLE;

/// The mistakes found so far.
#[derive(Default)]
struct Found(Vec<Problem>);

impl Found {
    fn add(&mut self, field: &str, message: String) {
        self.0.push(Problem {
            field: field.to_owned(),
            message,
        });
    }

    fn check(&mut self, settings: &Settings) {
        for (field, ppm) in [
            ("alphaPpm", settings.alpha_ppm),
            ("betaPpm", settings.beta_ppm),
        ] {
            if !(1..=500_000).contains(&ppm) {
                self.add(field, format!("expected 1 to 500000, found {ppm}"));
            }
        }
        for (field, duration) in [
            ("horizon", settings.horizon),
            ("staleAfter", settings.stale_after),
        ] {
            if duration.is_zero() {
                self.add(field, "expected more than no time".to_owned());
            }
        }
        let metrics = &settings.metrics;
        if metrics.len() > METRICS_MAX {
            let found = metrics.len();
            self.add(
                "metrics",
                format!("expected at most {METRICS_MAX}, found {found}"),
            );
        }
        if !metrics.iter().any(|metric| metric.critical) {
            self.add(
                "metrics",
                "no metric is critical, so nothing would ever roll back".to_owned(),
            );
        }
        if !metrics
            .iter()
            .any(|metric| metric.required && metric.can_pass())
        {
            self.add(
                "metrics",
                "no required metric can show that the canary is fine, so nothing would ever pass"
                    .to_owned(),
            );
        }
        for (index, metric) in metrics.iter().enumerate() {
            if metrics
                .iter()
                .take(index)
                .any(|other| other.name == metric.name)
            {
                self.add(
                    "metrics",
                    format!("{:?} is declared more than once", metric.name),
                );
            }
            self.check_metric(metric);
        }
    }

    fn check_metric(&mut self, metric: &Metric) {
        let Metric {
            name,
            source,
            kind,
            direction,
            against,
            ..
        } = metric;
        let field = |part: &str| format!("metrics.{name}.{part}");
        if name.is_empty() || name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
            let message = format!(
                "expected 1 to {NAME_BYTES_MAX} printable characters, found {}",
                name.len()
            );
            self.add(&field("name"), message);
        }
        if metric.critical && metric.weight == 0 {
            let message = "a critical metric needs a share of alpha; expected 1 or more".to_owned();
            self.add(&field("weight"), message);
        }
        if !(1_000..=1_000_000).contains(&metric.clumping_milli) {
            let message = format!("expected 1000 to 1000000, found {}", metric.clumping_milli);
            self.add(&field("clumpingMilli"), message);
        }
        if *source == Source::Requests && !matches!(kind, Kind::Ratio | Kind::Latency) {
            let message = "requests have failures (Ratio) and latencies (Latency) only; give other kinds as Observed";
            self.add(&field("source"), message.to_owned());
        }
        let is_lower = *direction == Direction::LowerIsWorse;
        if is_lower && !matches!(kind, Kind::Ratio | Kind::Conversion) {
            let message = "LowerIsWorse is for Ratio and Conversion only".to_owned();
            self.add(&field("direction"), message);
        }
        match against {
            Against::Stable(margin) => self.check_margin(metric, *margin),
            Against::Limit(_) if *kind == Kind::Latency => {
                let message = "a limit is not for Latency".to_owned();
                self.add(&field("against"), message);
            }
            Against::Limit(limit) => {
                let is_share = *kind != Kind::Gauge;
                if *limit == 0 || (is_share && *limit >= u64::from(WHOLE)) {
                    let message = format!(
                        "expected 1 to 999999 parts per million, of a gauge more than 0; found {limit}"
                    );
                    self.add(&field("against"), message);
                }
            }
        }
    }

    fn check_margin(&mut self, metric: &Metric, margin: Margin) {
        let Margin {
            harm_ratio_ppm: harm,
            pass_ratio_ppm: pass,
            ..
        } = margin;
        let field = format!("metrics.{}.against", metric.name);
        // A ratio of which less is worse is judged by its complement, of which more is.
        let falls = metric.direction == Direction::LowerIsWorse && metric.kind == Kind::Conversion;
        let is_range = if falls {
            (1..=WHOLE).contains(&harm)
        } else {
            (WHOLE..=RATIO_MAX_PPM).contains(&harm)
        };
        if !is_range {
            let expected = if falls {
                "1 to 1000000"
            } else {
                "1000000 to 100000000"
            };
            let message = format!("expected harmRatioPpm of {expected}, found {harm}");
            self.add(&field, message);
        }
        let is_wider = match metric.kind {
            Kind::Gauge => true,
            Kind::Ratio | Kind::Counter | Kind::Latency | Kind::Conversion => {
                let is_slack = margin.pass_slack_ppm > margin.harm_slack_ppm;
                let (near, far) = if falls { (pass, harm) } else { (harm, pass) };
                (1..=RATIO_MAX_PPM).contains(&pass) && (near < far || (near == far && is_slack))
            }
        };
        if !is_wider {
            let message = format!(
                "a pass accepts more than harm begins with: expected passRatioPpm beyond {harm}, found {pass}"
            );
            self.add(&field, message);
        }
        let is_shares = matches!(metric.kind, Kind::Conversion | Kind::Latency);
        if is_shares && margin.harm_slack_ppm > 0 {
            let message = "harmSlackPpm is for Ratio and Counter only; expected 0".to_owned();
            self.add(&field, message);
        }
        if falls && margin.pass_slack_ppm > 0 {
            let message = "passSlackPpm is not for LowerIsWorse; expected 0".to_owned();
            self.add(&field, message);
        }
        if margin.harm_slack_ppm.max(margin.pass_slack_ppm) >= WHOLE {
            self.add(&field, "a slack is less than 1000000".to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(change: impl FnOnce(&mut Settings), expected: &str) {
        let mut settings = Settings::standard();
        change(&mut settings);
        let problems = Config::try_new(settings).unwrap_err();
        assert_eq!(problems.to_string(), expected);
    }

    fn margin(change: impl FnOnce(&mut Margin)) -> impl FnOnce(&mut Settings) {
        |settings| {
            let Against::Stable(margin) = &mut settings.metrics[0].against else {
                panic!("against stable");
            };
            change(margin);
        }
    }

    #[test]
    fn the_standard_is_without_mistakes() {
        let config = Config::try_new(Settings::standard()).unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn margins_that_make_no_sense_are_told() {
        check(
            margin(|margin| margin.harm_ratio_ppm = 900_000),
            "metrics.errors.against: expected harmRatioPpm of 1000000 to 100000000, found 900000",
        );
        check(
            margin(|margin| margin.pass_ratio_ppm = 1_050_000),
            "metrics.errors.against: a pass accepts more than harm begins with: expected passRatioPpm beyond 1100000, found 1050000",
        );
        check(
            margin(|margin| margin.pass_slack_ppm = 1_000_000),
            "metrics.errors.against: a slack is less than 1000000",
        );
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        check(
            |settings| {
                settings.alpha_ppm = 0;
                settings.metrics[1].weight = 0;
                settings.metrics.push(Metric::errors());
            },
            "alphaPpm: expected 1 to 500000, found 0; metrics.latency.weight: a critical metric needs a share of alpha; expected 1 or more; \
             metrics: \"errors\" is declared more than once",
        );
    }

    #[test]
    fn metrics_that_can_decide_nothing_are_told() {
        check(
            |settings| settings.metrics = vec![Metric::gauge("cpu")],
            "metrics: no metric is critical, so nothing would ever roll back; \
             metrics: no required metric can show that the canary is fine, so nothing would ever pass",
        );
        check(
            |settings| settings.metrics[0].kind = Kind::Counter,
            "metrics.errors.source: requests have failures (Ratio) and latencies (Latency) only; give other kinds as Observed",
        );
    }

    #[test]
    fn shares_of_alpha_that_nobody_uses_go_to_the_others() {
        let share = |settings: Settings| {
            let config = Config::try_new(settings).unwrap();
            config
                .metrics()
                .iter()
                .map(|metric| config.share(metric))
                .collect::<Vec<_>>()
        };
        assert_eq!(share(Settings::standard()), [4.0 / 7.0, 3.0 / 7.0]);
        let alone = Settings {
            metrics: vec![Metric::errors()],
            ..Settings::standard()
        };
        assert_eq!(share(alone), [1.0]);
    }
}
