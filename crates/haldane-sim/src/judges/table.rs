//! The tables of `docs/judging.md`: many scenarios, many judges, one cell for each pair.

mod catalog;

pub(super) use self::catalog::PEERS;
pub use self::catalog::{
    RATES, all, changing_schedule, cold, connected, errors_name, incident, kinds_of_clumps, narrow,
    regressed, slower, usual_schedule,
};
use super::{Figures, Judge, Run, Scenario, Schedule, play, summarize, wald_seconds};
use crate::forecast::seed_of;

/// Plays so many runs, each by its index, on as many threads as it likes; the order of the answers is free.
pub type Crew<'a> = dyn Fn(u32, &(dyn Fn(u32) -> Run + Sync)) -> Vec<Run> + 'a;

/// Scenarios by judges.
#[derive(Clone, Debug)]
pub struct Table {
    /// By which name it is asked for.
    pub name: &'static str,
    /// What it shows, for people.
    pub title: &'static str,
    /// What a cell shows.
    pub shows: Shows,
    /// The columns.
    pub judges: Vec<Judge>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shows {
    /// How many healthy canaries were rolled back.
    Mistakes,
    /// How soon a bad canary was rolled back, and what it cost.
    Detection,
    /// How soon a canary was promoted.
    Promotion,
}

/// A scenario on a schedule.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is, for people.
    pub name: String,
    /// The versions.
    pub scenario: Scenario,
    /// The weights.
    pub schedule: Schedule,
}

impl Row {
    /// Plays the row under one judge.
    #[must_use]
    pub fn play(&self, judge: Judge, runs: u32, seed: u64, crew: &Crew<'_>) -> Vec<Run> {
        crew(runs, &|index| {
            play(judge, &self.scenario, &self.schedule, seed_of(seed, index))
        })
    }

    /// Returns the Wald time, for people.
    #[must_use]
    pub fn wald(&self) -> String {
        wald_seconds(&self.scenario, &self.schedule)
            .map_or_else(|| "–".to_owned(), |seconds| seconds.to_string())
    }
}

impl Table {
    /// Returns the title and the head, in Markdown.
    #[must_use]
    pub fn head(&self) -> String {
        let names: Vec<&str> = self.judges.iter().map(|judge| judge.name()).collect();
        let rule = "---|".repeat(names.len().saturating_add(2));
        format!(
            "### {}\n\n| scenario | Wald | {} |\n|{rule}",
            self.title,
            names.join(" | ")
        )
    }

    /// Plays a row, and returns its line in Markdown and its figures by judge.
    #[must_use]
    pub fn line(
        &self,
        row: &Row,
        runs: u32,
        seed: u64,
        crew: &Crew<'_>,
    ) -> (String, Vec<(Judge, Figures)>) {
        let played = self.judges.iter().map(|&judge| {
            let figures = summarize(&row.play(judge, runs, seed, crew));
            (judge, figures)
        });
        let figures: Vec<(Judge, Figures)> = played.collect();
        let cells: Vec<String> = figures
            .iter()
            .map(|(_, figures)| self.shows.cell(figures))
            .collect();
        let line = format!("| {} | {} | {} |", row.name, row.wald(), cells.join(" | "));
        (line, figures)
    }
}

impl Shows {
    fn cell(self, figures: &Figures) -> String {
        match self {
            Self::Mistakes => mistakes(figures),
            Self::Detection => detection(figures),
            Self::Promotion => promotion(figures),
        }
    }
}

fn mistakes(figures: &Figures) -> String {
    let mut text = percent(figures.rollback_share);
    if figures.paused_share > 0.0 {
        text.push_str(&format!(" (+ {} paused)", percent(figures.paused_share)));
    }
    text
}

fn detection(figures: &Figures) -> String {
    let paused = if figures.paused_share >= 0.005 {
        format!(", {} paused", percent(figures.paused_share))
    } else {
        String::new()
    };
    let share = percent(figures.rollback_share);
    let time = match (figures.seconds_p50, figures.seconds_p95) {
        (Some(half), Some(most)) => format!("{half}/{most}"),
        (Some(half), None) => format!("{half} ({share}{paused})"),
        (None, _) => format!("– ({share}{paused})"),
    };
    if figures.excess_errors > 0.0 {
        format!("{time} · {}", digits(figures.excess_errors))
    } else {
        time
    }
}

fn promotion(figures: &Figures) -> String {
    let time = |seconds: Option<u32>| {
        seconds.map_or_else(|| "–".to_owned(), |seconds| seconds.to_string())
    };
    format!(
        "{}/{} ({})",
        time(figures.promoted_p50),
        time(figures.promoted_p95),
        percent(figures.rollback_share)
    )
}

/// Returns a share in percent, with as many digits as say something.
pub(super) fn percent(share: f64) -> String {
    let percent = libm::round(share * 1e4) / 1e2;
    format!("{percent} %")
}

/// Returns a number with three digits or more.
fn digits(number: f64) -> String {
    let decimals = match number {
        number if number < 10.0 => 2,
        number if number < 100.0 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const FIGURES: Figures = Figures {
        runs: 1_000,
        rollback_share: 0.123,
        paused_share: 0.0,
        promoted_share: 0.5,
        seconds_p50: None,
        seconds_p95: None,
        paused_p50: None,
        promoted_p50: Some(407),
        promoted_p95: None,
        excess_errors: 0.0,
    };

    fn check(shows: Shows, figures: &Figures, expected: &str) {
        assert_eq!(shows.cell(figures), expected);
    }

    #[test]
    fn a_cell_says_what_there_is_to_say() {
        let paused = Figures {
            paused_share: 0.25,
            ..FIGURES
        };
        check(Shows::Mistakes, &FIGURES, "12.3 %");
        check(Shows::Mistakes, &paused, "12.3 % (+ 25 % paused)");
        check(Shows::Promotion, &FIGURES, "407/– (12.3 %)");
        check(Shows::Detection, &FIGURES, "– (12.3 %)");
        check(Shows::Detection, &paused, "– (12.3 %, 25 % paused)");
        let half = Figures {
            seconds_p50: Some(90),
            excess_errors: 5.678,
            ..FIGURES
        };
        check(Shows::Detection, &half, "90 (12.3 %) · 5.68");
        let most = Figures {
            seconds_p95: Some(120),
            excess_errors: 1_234.5,
            ..half
        };
        check(Shows::Detection, &most, "90/120 · 1234");
    }

    #[test]
    fn a_line_has_a_cell_for_each_judge() {
        let table = &all()[0];
        let crew: &Crew<'_> = &|runs, play| (0..runs).map(play).collect();
        let (line, figures) = table.line(&table.rows[0], 1, 1, crew);
        let bars = |text: &str| text.matches('|').count();
        assert_eq!(bars(&line), table.judges.len() + 3);
        assert!(
            table
                .head()
                .lines()
                .skip(2)
                .all(|head| bars(head) == bars(&line))
        );
        assert_eq!(figures.len(), table.judges.len());
        assert!(line.starts_with("| 0.1 % → 0.1 %, 10 rps | – | "), "{line}");
    }

    #[test]
    fn tables_and_their_rows_are_told_apart_by_name() {
        let tables = all();
        let names: BTreeSet<&str> = tables.iter().map(|table| table.name).collect();
        assert_eq!(names.len(), tables.len());
        for table in &tables {
            let rows: BTreeSet<&str> = table.rows.iter().map(|row| row.name.as_str()).collect();
            assert_eq!(rows.len(), table.rows.len(), "{}", table.name);
        }
    }
}
