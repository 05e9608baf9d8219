//! Gates: what the judge must keep to, on so many random rollouts that chance is no excuse.
//!
//! Each gate is a scenario, a judge and what must hold. A share, a median or a mean is measured on a few thousand runs; it is refused only if
//! it lies beyond its limit by more than three standard errors. The limits are never moved to where the judge happens to be.

mod contest;

pub use self::contest::{Contest, contests};
use super::{
    Clumps, Judge, Latency, Run, Scenario, Schedule, summarize,
    table::{
        Crew, RATES, Row, changing_schedule, cold, connected, errors_name, incident,
        kinds_of_clumps, narrow, percent, slower, usual_schedule,
    },
    wald_seconds,
};

/// How many standard errors chance may take.
const STANDARD_ERRORS: f64 = 3.0;

/// The rate of false rollbacks that is promised.
const MISTAKES_MAX: f64 = 0.01;

/// A scenario, a judge, and what must hold.
#[derive(Clone, Debug)]
pub struct Gate {
    /// The scenario.
    pub row: Row,
    /// The judge.
    pub judge: Judge,
    /// What must hold.
    pub musts: Vec<Must>,
}

/// What must hold of many runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Must {
    /// At most this share is rolled back, or stopped for a person.
    StoppedAtMost(f64),
    /// At least this share is rolled back.
    RolledBackAtLeast(f64),
    /// Half are rolled back within so many seconds.
    HalfWithin(u32),
    /// Half are rolled back within this multiple of the Wald time.
    HalfWithinWald(f64),
    /// The mean of the excess errors is at most this.
    ExcessAtMost(f64),
    /// Half are promoted within so many seconds.
    HalfPromotedWithin(u32),
    /// At most this share is promoted before the schedule is over.
    PromotedEarlyAtMost(f64),
}

/// What became of one requirement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The scenario and the judge.
    pub what: String,
    /// The Wald time.
    pub wald: String,
    /// What must hold.
    pub must: String,
    /// What was found.
    pub found: String,
    /// Whether it holds.
    pub is_met: bool,
}

impl Gate {
    /// Plays the gate.
    #[must_use]
    pub fn play(&self, runs: u32, seed: u64, crew: &Crew<'_>) -> Vec<Outcome> {
        let played = self.row.play(self.judge, runs, seed, crew);
        let outcome = |must: &Must| {
            let (found, is_met) = must.check(&played, &self.row);
            Outcome {
                what: format!("{}: {}", self.judge.name(), self.row.name),
                wald: self.row.wald(),
                must: must.words(),
                found,
                is_met,
            }
        };
        self.musts.iter().map(outcome).collect()
    }
}

impl Must {
    fn words(self) -> String {
        match self {
            Self::StoppedAtMost(share) => format!("at most {} stopped", percent(share)),
            Self::RolledBackAtLeast(share) => format!("at least {} rolled back", percent(share)),
            Self::HalfWithin(seconds) => format!("half rolled back within {seconds} s"),
            Self::HalfWithinWald(times) => {
                format!("half rolled back within {times} times the Wald time")
            }
            Self::ExcessAtMost(errors) => format!("at most {errors} excess errors"),
            Self::HalfPromotedWithin(seconds) => format!("half promoted within {seconds} s"),
            Self::PromotedEarlyAtMost(share) => {
                format!("at most {} promoted on evidence", percent(share))
            }
        }
    }

    /// Returns what was found, and whether that is well.
    fn check(self, runs: &[Run], row: &Row) -> (String, bool) {
        let figures = summarize(runs);
        let share = |is: &dyn Fn(&Run) -> bool| share(runs, is);
        let half = |seconds: Option<u32>, limit: u32, of: fn(&Run) -> Option<u32>| {
            let within = share(&|run| of(run).is_some_and(|at| at <= limit));
            let found = seconds.map_or_else(|| "not half".to_owned(), |at| format!("{at} s"));
            (found, is_at_least(within, 0.5, runs))
        };
        match self {
            Self::StoppedAtMost(most) => {
                let stopped = share(&|run| run.rolled_back.or(run.paused).is_some());
                (percent(stopped), is_at_most(stopped, most, runs))
            }
            Self::RolledBackAtLeast(least) => {
                let found = figures.rollback_share;
                (percent(found), is_at_least(found, least, runs))
            }
            Self::HalfWithin(seconds) => half(figures.seconds_p50, seconds, |run| run.rolled_back),
            Self::HalfWithinWald(times) => {
                let wald = wald_seconds(&row.scenario, &row.schedule).unwrap_or_default();
                let limit = super::whole(times * f64::from(wald));
                half(figures.seconds_p50, limit, |run| run.rolled_back)
            }
            Self::ExcessAtMost(most) => {
                let (mean, error) = excess(runs);
                let is_met = mean <= most + STANDARD_ERRORS * error;
                (format!("{mean:.2}"), is_met)
            }
            Self::HalfPromotedWithin(seconds) => {
                half(figures.promoted_p50, seconds, |run| run.promoted)
            }
            Self::PromotedEarlyAtMost(most) => {
                let end = row.schedule.length();
                let early = share(&|run| run.promoted.is_some_and(|at| at < end));
                (percent(early), is_at_most(early, most, runs))
            }
        }
    }
}

/// Returns every gate of one judge.
#[must_use]
pub fn all() -> Vec<Gate> {
    let mut gates = healthy();
    gates.extend(robust());
    gates.extend(detection());
    gates.extend(latency());
    gates.extend(warming());
    gates.extend(full_weight());
    gates.extend(adaptive());
    gates
}

/// No more than 1 % of healthy canaries are stopped, at any traffic and any rate of errors, even without a margin.
fn healthy() -> Vec<Gate> {
    let few = vec![Must::StoppedAtMost(MISTAKES_MAX)];
    let mut gates = Vec::new();
    for base in [0.001, 0.01, 0.2] {
        for rps in RATES {
            for judge in [Judge::Sequential, Judge::Strict] {
                gates.push(gate(errors(base, base, rps), judge, few.clone()));
            }
        }
    }
    gates.push(gate(errors(0.001, 0.001, 100), Judge::Scraped, few));
    gates
}

/// Nor while something else is wrong.
fn robust() -> Vec<Gate> {
    let few = || vec![Must::StoppedAtMost(MISTAKES_MAX)];
    let troubled = |name: &str, schedule: Schedule, from: u32, to: u32| Row {
        name: name.to_owned(),
        scenario: Scenario {
            incident: incident(from, to),
            ..Scenario::errors(100.0, 0.001, 0.001)
        },
        schedule,
    };
    let mut gates = vec![
        gate(
            troubled("incident of both", usual_schedule(), 2, 8),
            Judge::Sequential,
            few(),
        ),
        gate(
            troubled(
                "incident of both, changing weights",
                changing_schedule(),
                2,
                8,
            ),
            Judge::Sequential,
            few(),
        ),
        gate(
            Row {
                schedule: changing_schedule(),
                ..named(errors(0.01, 0.01, 100), "changing weights")
            },
            Judge::Strict,
            few(),
        ),
    ];
    // With one failure in 100 s and less there is nothing to learn clumps from.
    for clumps in [Clumps::Of(3), Clumps::Of(10), Clumps::Geometric(3.0)] {
        for (base, rps) in [(0.0005, 10), (0.001, 10), (0.003, 10), (0.001, 100)] {
            let mut row = errors(base, base, rps);
            row.scenario.clumps = clumps;
            let name = format!("few failures, {clumps:?}");
            gates.push(gate(named(row, &name), Judge::Sequential, few()));
        }
    }
    for (kind, clumps) in kinds_of_clumps() {
        for (canary, musts) in [(0.01, few()), (0.05, vec![Must::RolledBackAtLeast(0.99)])] {
            let mut row = errors(0.01, canary, 100);
            row.scenario.clumps = clumps;
            let name = format!("failures {kind}");
            gates.push(gate(named(row, &name), Judge::Sequential, musts));
        }
    }
    gates
}

/// Bad canaries are found soon.
fn detection() -> Vec<Gate> {
    let within =
        |row: Row, judge: Judge, seconds: u32| gate(row, judge, vec![Must::HalfWithin(seconds)]);
    let mut gates = Vec::new();
    for judge in [Judge::Sequential, Judge::Scraped] {
        for (canary, limits) in [(0.01, [600, 130, 20]), (0.1, [65, 10, 5])] {
            for (rps, seconds) in RATES.into_iter().zip(limits) {
                gates.push(within(errors(0.001, canary, rps), judge, seconds));
            }
        }
    }
    gates.push(within(errors(0.001, 0.5, 100), Judge::Scraped, 5));
    gates.push(within(errors(0.001, 0.5, 100), Judge::Sequential, 2));
    gates.push(within(errors(0.01, 0.1, 10), Judge::Sequential, 105));
    gates.push(gate(
        errors(0.001, 0.01, 100),
        Judge::Sequential,
        vec![Must::HalfWithinWald(1.5), Must::ExcessAtMost(8.0)],
    ));
    gates.push(gate(
        errors(0.01, 0.1, 100),
        Judge::Sequential,
        vec![Must::HalfWithinWald(1.5)],
    ));
    let mut late = errors(0.001, 0.01, 100);
    late.scenario.onset = 420;
    gates.push(within(
        named(late, "from minute 7 on"),
        Judge::Sequential,
        500,
    ));
    gates
}

/// Slow canaries are found soon, and others are not taken for slow.
fn latency() -> Vec<Gate> {
    let row = |name: &str, scenario: Scenario| Row {
        name: name.to_owned(),
        scenario,
        schedule: usual_schedule(),
    };
    let slow = |name: &str, scale: f64, tail: f64, seconds: u32| {
        let scenario = slower(100, scale, tail, Latency::istio());
        let row = row(&format!("latency {name}, 100 rps"), scenario);
        gate(row, Judge::Sequential, vec![Must::HalfWithin(seconds)])
    };
    let few = |name: &str, scenario: Scenario, share: f64| {
        gate(
            row(name, scenario),
            Judge::Sequential,
            vec![Must::StoppedAtMost(share)],
        )
    };
    let both = Scenario {
        stable: 0.01,
        canary: 0.01,
        ..slower(100, 1.0, 0.0, Latency::istio())
    };
    vec![
        slow("× 1.2", 1.2, 0.0, 130),
        slow("× 1.5", 1.5, 0.0, 25),
        slow("× 2", 2.0, 0.0, 10),
        slow("of 2 % × 10", 1.0, 0.02, 110),
        few(
            "latency alike, 10 rps",
            slower(10, 1.0, 0.0, Latency::istio()),
            0.005,
        ),
        few("latency alike and 1 % → 1 %, 100 rps", both, 0.005),
        few(
            "latency alike, 5 requests on a connection, 100 rps",
            connected(1.0, 5),
            MISTAKES_MAX,
        ),
        few(
            "latency alike, 20 requests on a connection, 100 rps",
            connected(1.0, 20),
            MISTAKES_MAX,
        ),
        gate(
            row(
                "latency × 2, 20 requests on a connection, 100 rps",
                connected(2.0, 20),
            ),
            Judge::Sequential,
            vec![Must::RolledBackAtLeast(0.99)],
        ),
    ]
}

/// A canary that is only cold is not taken for slow, and one that is slow beyond all warming is found although it may be cold.
fn warming() -> Vec<Gate> {
    let mut gates = Vec::new();
    for latency in [Latency::usual(Latency::istio()), narrow()] {
        for rps in RATES {
            for (judge, seconds) in [(Judge::Sequential, 1.0), (Judge::Patient, 5.0)] {
                let row = cold(rps, seconds, latency.clone());
                let row = named(row, "cold");
                gates.push(gate(row, judge, vec![Must::StoppedAtMost(MISTAKES_MAX)]));
            }
        }
    }
    let slow = Latency {
        scale: 20.0,
        ..narrow()
    };
    for (rps, seconds) in RATES.into_iter().zip([35, 5, 2]) {
        let row = named(cold(rps, 1.0, slow.clone()), "and × 20");
        gates.push(gate(row, Judge::Patient, vec![Must::HalfWithin(seconds)]));
    }
    gates
}

/// At full weight there is nothing to compare: an alarm steps back, and only the comparison decides.
fn full_weight() -> Vec<Gate> {
    let mut troubled = errors(0.001, 0.001, 100);
    troubled.scenario.incident = incident(16, 18);
    let mut bad = errors(0.001, 0.01, 100);
    bad.scenario.onset = 960;
    vec![
        gate(
            named(troubled, "incident at full weight, minutes 16 to 18"),
            Judge::Sequential,
            vec![Must::StoppedAtMost(MISTAKES_MAX)],
        ),
        gate(
            named(bad, "from minute 16 on, at full weight"),
            Judge::Sequential,
            vec![Must::RolledBackAtLeast(0.99), Must::HalfWithin(1_080)],
        ),
    ]
}

/// Steps that end on evidence end soon, and hardly ever for a canary beyond the margin.
fn adaptive() -> Vec<Gate> {
    let soon = |rps: u32, seconds: u32| {
        let musts = vec![
            Must::HalfPromotedWithin(seconds),
            Must::StoppedAtMost(MISTAKES_MAX),
        ];
        gate(errors(0.001, 0.001, rps), Judge::Adaptive, musts)
    };
    let mut gates = vec![soon(1_000, 150), soon(100, 420)];
    for rps in RATES {
        // Exactly at the margin: one and a half times 0.1 %, and 0.2 % more.
        let row = errors(0.001, 0.0035, rps);
        gates.push(gate(
            row,
            Judge::Adaptive,
            vec![Must::PromotedEarlyAtMost(0.05)],
        ));
    }
    gates
}

const fn gate(row: Row, judge: Judge, musts: Vec<Must>) -> Gate {
    Gate { row, judge, musts }
}

fn named(row: Row, name: &str) -> Row {
    Row {
        name: format!("{}, {name}", row.name),
        ..row
    }
}

fn errors(stable: f64, canary: f64, rps: u32) -> Row {
    Row {
        name: errors_name(stable, canary, rps),
        scenario: Scenario::errors(f64::from(rps), stable, canary),
        schedule: usual_schedule(),
    }
}

fn share(runs: &[Run], is: &dyn Fn(&Run) -> bool) -> f64 {
    runs.iter().filter(|run| is(run)).count() as f64 / runs.len().max(1) as f64
}

/// Whether a share may be at most `most`, but for chance.
fn is_at_most(found: f64, most: f64, runs: &[Run]) -> bool {
    found <= most + chance(most, runs)
}

/// Whether a share may be at least `least`, but for chance.
fn is_at_least(found: f64, least: f64, runs: &[Run]) -> bool {
    found >= least - chance(least, runs)
}

fn chance(share: f64, runs: &[Run]) -> f64 {
    STANDARD_ERRORS * libm::sqrt(share * (1.0 - share) / runs.len().max(1) as f64)
}

/// Returns the mean of the excess errors, and its standard error.
fn excess(runs: &[Run]) -> (f64, f64) {
    let count = runs.len().max(1) as f64;
    let mean = runs.iter().map(|run| run.excess_errors).sum::<f64>() / count;
    let square = |run: &Run| (run.excess_errors - mean) * (run.excess_errors - mean);
    let variance = runs.iter().map(square).sum::<f64>() / count;
    (mean, libm::sqrt(variance / count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rolled_back: Option<u32>, excess_errors: f64) -> Run {
        Run {
            rolled_back,
            paused: None,
            promoted: rolled_back.is_none().then_some(1_200),
            excess_errors,
            canary_requests: 0,
        }
    }

    /// Of a thousand runs, so many are rolled back at 100 s with ten excess errors.
    fn runs(bad: u32) -> Vec<Run> {
        let of = |index| {
            run(
                (index < bad).then_some(100),
                if index < bad { 10.0 } else { 0.0 },
            )
        };
        (0..1_000).map(of).collect()
    }

    fn check(must: Must, bad: u32, expected: bool) {
        let row = errors(0.001, 0.01, 100);
        assert_eq!(must.check(&runs(bad), &row).1, expected, "{must:?}: {bad}");
    }

    #[test]
    fn chance_is_three_standard_errors() {
        check(Must::StoppedAtMost(0.01), 19, true);
        check(Must::StoppedAtMost(0.01), 20, false);
        check(Must::RolledBackAtLeast(0.99), 981, true);
        check(Must::RolledBackAtLeast(0.99), 980, false);
        check(Must::HalfWithin(100), 453, true);
        check(Must::HalfWithin(100), 452, false);
        check(Must::HalfWithin(99), 1_000, false);
        // The Wald time is 90 s.
        check(Must::HalfWithinWald(1.2), 1_000, true);
        check(Must::HalfWithinWald(1.1), 1_000, false);
        check(Must::ExcessAtMost(5.0), 547, true);
        check(Must::ExcessAtMost(5.0), 548, false);
        check(Must::HalfPromotedWithin(1_200), 500, true);
        check(Must::HalfPromotedWithin(1_199), 0, false);
        check(Must::PromotedEarlyAtMost(0.0), 0, true);
    }

    #[test]
    fn a_promotion_before_the_end_is_one_on_evidence() {
        let early = Run {
            promoted: Some(1_199),
            ..run(None, 0.0)
        };
        let row = errors(0.001, 0.0035, 100);
        assert!(
            !Must::PromotedEarlyAtMost(0.5)
                .check(&vec![early; 100], &row)
                .1
        );
    }
}
