//! All files of a directory judged in order, and what people have accepted.

use serde::Serialize;

use crate::{
    dialect::{Dialect, ServerVersion},
    judge::{Found, Judge},
    known::Known,
    naming::{self, Naming},
    rule::{self, Rule, Sort},
    script::{self, Direction, Piece},
};

/// What begins a comment that accepts rules.
const ACCEPT: &str = "haldane: accept";

/// So many characters of a statement are told.
const TOLD_CHARS: usize = 120;

/// A file of migrations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its path relative to the directory, with `/` between.
    pub path: String,
    /// What is in it.
    pub text: String,
}

/// How to look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose SQL it is; guessed where it is not told.
    pub dialect: Option<Dialect>,
    /// Of which server; a version still cared for where it is not told.
    pub version: Option<ServerVersion>,
    /// When it will run.
    pub phase: Phase,
    /// Which way.
    pub direction: Direction,
    /// What ran already: the number or the path of the last one.
    pub after: Option<String>,
}

/// When migrations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Phase {
    /// While two versions run: before the canary.
    Expand,
    /// After the old version is gone.
    Contract,
}

/// What was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checked {
    /// Whose SQL it is taken for.
    pub dialect: Dialect,
    /// Whether that was guessed.
    pub is_guessed: bool,
    /// Of which server.
    pub server_version: String,
    /// When it will run.
    pub phase: Phase,
    /// How many files were looked at.
    pub files: usize,
    /// The statements in order.
    pub statements: Vec<Judged>,
    /// What is worth knowing, but wrong.
    pub advice: Vec<Advice>,
}

/// A statement and what is said of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// Its file.
    pub file: String,
    /// The line in which it begins.
    pub line: u32,
    /// Its beginning, on one line.
    pub statement: String,
    /// The worst of what is said of it.
    pub sort: Sort,
    /// What is said of it.
    pub findings: Vec<Finding>,
}

/// One thing said of a statement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// The rule.
    #[serde(flatten)]
    pub rule: &'static Rule,
    /// The table, column or other object, or what could not be read.
    pub object: String,
    /// Why somebody accepted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<String>,
    /// Whether it is meant: safe, accepted, or a contract in its phase.
    pub is_meant: bool,
}

/// Something worth knowing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// The file.
    pub file: String,
    /// The line.
    pub line: u32,
    /// What, in a sentence.
    pub message: String,
}

impl Checked {
    /// Whether everything is meant.
    #[must_use]
    pub fn is_fine(&self) -> bool {
        self.statements
            .iter()
            .flat_map(|one| &one.findings)
            .all(|finding| finding.is_meant)
    }

    /// Returns how many statements are of a sort.
    #[must_use]
    pub fn count(&self, sort: Sort) -> usize {
        self.statements
            .iter()
            .filter(|one| one.sort == sort)
            .count()
    }
}

/// Judges all statements.
///
/// ```
/// use haldane_migrations::{Direction, File, Phase, Settings, Sort, check};
///
/// let file = File { path: "1_x.sql".to_owned(), text: "ALTER TABLE users DROP COLUMN name;".to_owned() };
/// let settings =
///     Settings { dialect: None, version: None, phase: Phase::Expand, direction: Direction::Up, after: None };
/// let checked = check(&[file], &settings);
/// assert_eq!(checked.statements[0].sort, Sort::Contract);
/// assert!(!checked.is_fine());
/// ```
#[must_use]
pub fn check(files: &[File], settings: &Settings) -> Checked {
    let dialect = settings
        .dialect
        .unwrap_or_else(|| Dialect::guess(files.iter().map(|file| file.text.as_str())));
    let version = settings.version.unwrap_or_else(|| dialect.version());
    let mut sorted: Vec<(Naming, &File)> = files
        .iter()
        .map(|file| (naming::read(&file.path), file))
        .collect();
    sorted.sort_by(|(one, a), (other, b)| one.cmp(other).then_with(|| a.path.cmp(&b.path)));
    if settings.direction == Direction::Down {
        sorted.reverse();
    }
    let mut run = Run {
        judge: Judge {
            dialect,
            version,
            known: Known::default(),
        },
        phase: settings.phase,
        files: 0,
        statements: Vec::new(),
        advice: Vec::new(),
    };
    for (naming, file) in sorted {
        let ran = settings
            .after
            .as_deref()
            .is_some_and(|after| naming.is_within(&file.path, after));
        run.file(file, naming.direction, settings, ran);
    }
    Checked {
        dialect,
        is_guessed: settings.dialect.is_none(),
        server_version: version.to_string(),
        phase: settings.phase,
        files: run.files,
        statements: run.statements,
        advice: run.advice,
    }
}

struct Run {
    judge: Judge,
    phase: Phase,
    files: usize,
    statements: Vec<Judged>,
    advice: Vec<Advice>,
}

impl Run {
    fn file(&mut self, file: &File, direction: Direction, settings: &Settings, ran: bool) {
        let pieces = script::split(&file.text, direction, self.judge.dialect);
        let pieces: Vec<Piece> = pieces
            .into_iter()
            .filter(|piece| piece.direction == settings.direction)
            .collect();
        if pieces.is_empty() {
            return;
        }
        self.judge.known.commit();
        // Without --after each file may have been a release of its own.
        if ran || settings.after.is_none() {
            self.judge.known.age();
        }
        if ran {
            for piece in &pieces {
                self.judge.judge(piece);
            }
            self.judge.known.age();
            return;
        }
        self.files = self.files.saturating_add(1);
        let from = self.statements.len();
        for piece in &pieces {
            let found = self.judge.judge(piece);
            self.statement(&file.path, piece, found);
        }
        self.advise_timeout(&file.path, &pieces, from);
    }

    fn statement(&mut self, file: &str, piece: &Piece, found: Vec<Found>) {
        let mut accepted = self.accepted(file, piece);
        let mut findings = Vec::new();
        for one in found {
            let reason = accepted
                .iter_mut()
                .find(|accept| accept.rule == one.rule.id);
            let reason = reason.map(|accept| {
                accept.is_used = true;
                accept.reason.clone()
            });
            let is_phase = self.phase == Phase::Contract && one.rule.sort == Sort::Contract;
            let is_safe = one.rule.sort == Sort::Expand;
            let finding = Finding {
                rule: one.rule,
                object: one.object,
                is_meant: is_safe || is_phase || reason.is_some(),
                accepted: reason,
            };
            if !findings.contains(&finding) {
                findings.push(finding);
            }
        }
        for accept in accepted.iter().filter(|accept| !accept.is_used) {
            let message = match rule::rule(&accept.rule) {
                Some(_) => format!(
                    "accepts {}, which nothing says of this statement",
                    accept.rule
                ),
                None => format!("accepts {:?}, which is no rule", accept.rule),
            };
            self.advice.push(Advice {
                file: file.to_owned(),
                line: accept.line,
                message,
            });
        }
        let statement: Vec<&str> = piece.text.split_whitespace().collect();
        let statement: String = statement.join(" ");
        let told: String = statement.chars().take(TOLD_CHARS).collect();
        self.statements.push(Judged {
            file: file.to_owned(),
            line: piece.line,
            statement: if told.len() < statement.len() {
                format!("{told} …")
            } else {
                told
            },
            sort: findings
                .iter()
                .map(|finding| finding.rule.sort)
                .max()
                .unwrap_or(Sort::Unread),
            findings,
        });
    }

    /// Reads `haldane: accept RULE reason`; without a reason nothing is accepted.
    fn accepted(&mut self, file: &str, piece: &Piece) -> Vec<Accept> {
        let mut accepted = Vec::new();
        for comment in &piece.comments {
            let Some(rest) = comment.text.strip_prefix(ACCEPT) else {
                continue;
            };
            let (rule, reason) = rest
                .trim()
                .split_once(char::is_whitespace)
                .unwrap_or_else(|| (rest.trim(), ""));
            if reason.trim().is_empty() {
                let message = format!(
                    "accepts {rule:?} without a reason, so it does not: write `-- {ACCEPT} RULE reason`"
                );
                self.advice.push(Advice {
                    file: file.to_owned(),
                    line: comment.line,
                    message,
                });
                continue;
            }
            accepted.push(Accept {
                rule: rule.to_owned(),
                reason: reason.trim().to_owned(),
                line: comment.line,
                is_used: false,
            });
        }
        accepted
    }

    /// A lock that is held for an instant still waits for the longest query, and everybody waits behind it.
    fn advise_timeout(&mut self, file: &str, pieces: &[Piece], from: usize) {
        let setting = match self.judge.dialect {
            Dialect::Postgres => "lock_timeout",
            Dialect::Mysql => "lock_wait_timeout",
        };
        let is_set = |piece: &Piece| {
            piece.words.first().is_some_and(|word| word == "SET")
                && piece.text.to_lowercase().contains(setting)
        };
        if pieces.iter().any(is_set) {
            return;
        }
        let waits = |judged: &&Judged| {
            let is_alter = judged
                .statement
                .get(..11)
                .is_some_and(|head| head.eq_ignore_ascii_case("ALTER TABLE"));
            is_alter
                && judged
                    .findings
                    .iter()
                    .any(|finding| finding.rule != &rule::NEW_TABLE)
        };
        let Some(first) = self.statements.iter().skip(from).find(waits) else {
            return;
        };
        let message = format!(
            "without SET {setting} it waits for the longest query on the table, and every later query waits behind it; \
             set it to a few seconds and try again when it is over"
        );
        self.advice.push(Advice {
            file: file.to_owned(),
            line: first.line,
            message,
        });
    }
}

struct Accept {
    rule: String,
    reason: String,
    line: u32,
    is_used: bool,
}

#[cfg(test)]
mod tests;
