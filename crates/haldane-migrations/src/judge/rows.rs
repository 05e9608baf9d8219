//! Statements about rows: what they change, and how many of them at once.

use sqlparser::ast::{
    AssignmentTarget, Delete, Expr, FromTable, TableFactor, TableWithJoins, Update,
};

use super::{Found, Judge};
use crate::{
    dialect::Dialect,
    known, rule,
    script::Piece,
    token::{Kind, Lexer},
};

/// Functions that neither change anything nor give another value for each row.
const STEADY: [&str; 20] = [
    "NOW",
    "CURRENT_TIMESTAMP",
    "CURRENT_DATE",
    "LOCALTIMESTAMP",
    "TRANSACTION_TIMESTAMP",
    "STATEMENT_TIMESTAMP",
    "COUNT",
    "MAX",
    "MIN",
    "SUM",
    "COALESCE",
    "LOWER",
    "UPPER",
    "CONCAT",
    "LENGTH",
    "JSONB_BUILD_OBJECT",
    "JSON_OBJECT",
    "ARRAY",
    "TO_REGCLASS",
    "DATE_TRUNC",
];

/// Words of conditions that are no names.
const KEYWORDS: [&str; 14] = [
    "AND", "OR", "NOT", "IS", "NULL", "IN", "BETWEEN", "LIKE", "ILIKE", "TRUE", "FALSE", "ANY",
    "ARRAY", "INTERVAL",
];

impl Judge {
    /// Judges an UPDATE.
    pub(super) fn update(&self, update: &Update, piece: &Piece) -> Vec<Found> {
        let table = table(&update.table);
        if self.known.is_new(&table) {
            return vec![Found::new(&rule::NEW_TABLE, table)];
        }
        let columns = update
            .assignments
            .iter()
            .flat_map(|assignment| match &assignment.target {
                AssignmentTarget::ColumnName(name) => vec![last(&known::name(name))],
                AssignmentTarget::Tuple(names) => {
                    names.iter().map(|name| last(&known::name(name))).collect()
                }
            });
        let condition = condition(&piece.words);
        let fills = |column: &String| {
            self.known.is_new_column(&table, column) || says_null(condition, column)
        };
        let foreign: Vec<String> = columns.filter(|column| !fills(column)).collect();
        let mut found = Vec::new();
        if !foreign.is_empty() {
            found.push(Found::new(
                &rule::REWRITE_DATA,
                format!("{table}.{}", foreign.join(", ")),
            ));
        }
        if update.limit.is_none() && !is_bounded(condition) {
            found.push(Found::new(&rule::BACKFILL_AT_ONCE, &table));
        }
        if found.is_empty() {
            found.push(Found::new(&rule::BACKFILL_BATCH, table));
        }
        found
    }

    /// Judges a DELETE.
    pub(super) fn delete(&self, delete: &Delete, piece: &Piece) -> Vec<Found> {
        let tables = match &delete.from {
            FromTable::WithFromKeyword(tables) | FromTable::WithoutKeyword(tables) => tables,
        };
        let table = tables.first().map(table).unwrap_or_default();
        if self.known.is_new(&table) {
            return vec![Found::new(&rule::NEW_TABLE, table)];
        }
        let condition = condition(&piece.words);
        let mut found = vec![Found::new(&rule::REWRITE_DATA, &table)];
        if delete.limit.is_none() && !is_bounded(condition) {
            found.push(Found::new(&rule::BACKFILL_AT_ONCE, table));
        }
        found
    }
}

/// Judges a SELECT: it may call what changes anything.
pub(super) fn query(words: &[String]) -> Found {
    let changes = words
        .iter()
        .find(|word| matches!(word.as_str(), "INSERT" | "UPDATE" | "DELETE" | "MERGE"));
    if let Some(word) = changes {
        return Found::new(&rule::UNREAD, format!("{word} inside of a query"));
    }
    match unsteady(words) {
        Some(function) => Found::new(
            &rule::UNREAD,
            format!("what {}() does", function.to_lowercase()),
        ),
        None => Found::new(&rule::HARMLESS, "SELECT"),
    }
}

/// Whether an expression may give another value for each row.
pub(super) fn is_volatile(expression: &Expr) -> bool {
    unsteady(&words(&expression.to_string())).is_some()
}

/// Returns the columns of a condition, if nothing else can be meant by its words.
pub(super) fn names(condition: &Expr) -> Option<Vec<String>> {
    let words = words(&condition.to_string());
    if unsteady(&words).is_some() {
        return None;
    }
    let is_name = |word: &&String| {
        word.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '"')
            && !KEYWORDS.contains(&word.as_str())
    };
    let names = words.iter().filter(is_name);
    Some(
        names
            .map(|name| name.trim_matches('"').to_lowercase())
            .collect(),
    )
}

/// Returns the first function that is not known to be steady.
fn unsteady(words: &[String]) -> Option<&str> {
    let calls = words.iter().zip(words.iter().skip(1));
    let mut calls = calls.filter(|(name, next)| next.as_str() == "(" && is_function(name));
    calls
        .find(|(name, _)| !STEADY.contains(&name.as_str()))
        .map(|(name, _)| name.as_str())
}

fn is_function(word: &str) -> bool {
    const BEFORE: [&str; 24] = [
        "IN",
        "AND",
        "OR",
        "NOT",
        "VALUES",
        "FROM",
        "SELECT",
        "WHERE",
        "ANY",
        "ALL",
        "EXISTS",
        "AS",
        "ON",
        "VARCHAR",
        "NUMERIC",
        "DECIMAL",
        "CHAR",
        "TIMESTAMP",
        "CAST",
        "BY",
        "UNION",
        "THEN",
        "ELSE",
        "WHEN",
    ];
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && !BEFORE.contains(&word)
}

/// Returns what follows the statement's own WHERE.
fn condition(words: &[String]) -> &[String] {
    let mut depth = 0_i64;
    for (index, word) in words.iter().enumerate() {
        match word.as_str() {
            "(" => depth = depth.saturating_add(1),
            ")" => depth = depth.saturating_sub(1),
            "WHERE" if depth == 0 => {
                return words.get(index.saturating_add(1)..).unwrap_or_default();
            }
            _ => {}
        }
    }
    &[]
}

/// Whether the condition leaves a bounded number of rows: one id, a range of them, a list that has a limit, or MySQL's own LIMIT.
fn is_bounded(condition: &[String]) -> bool {
    let is_id = |word: &String| word.trim_matches(['"', '`']).to_uppercase().ends_with("ID");
    let is_one =
        matches!(condition, [id, equal, value] if is_id(id) && equal == "=" && value != "(");
    let is_range =
        |pair: &[String]| matches!(pair, [id, between] if is_id(id) && between == "BETWEEN");
    let lists = condition
        .windows(3)
        .any(|three| three == ["IN", "(", "SELECT"]);
    let limits = condition.iter().rposition(|word| word == "LIMIT");
    let is_last = |at: usize| condition.len().saturating_sub(at) == 2;
    is_one || condition.windows(2).any(is_range) || limits.is_some_and(|at| lists || is_last(at))
}

/// Whether the condition says that the column is NULL, and nothing else may hold instead.
fn says_null(condition: &[String], column: &str) -> bool {
    let is_null = |three: &[String]| match three {
        [name, is, null] => {
            name.trim_matches(['"', '`']).eq_ignore_ascii_case(column)
                && is == "IS"
                && null == "NULL"
        }
        _ => false,
    };
    let turns = |word: &String| matches!(word.as_str(), "OR" | "NOT");
    condition.windows(3).any(is_null) && !condition.iter().any(turns)
}

fn words(text: &str) -> Vec<String> {
    // What the parser writes has its quotes doubled, as PostgreSQL reads them.
    let tokens = Lexer::new(text, Dialect::Postgres);
    tokens
        .map(|token| {
            if token.kind == Kind::Word {
                token.text.to_uppercase()
            } else {
                token.text.to_owned()
            }
        })
        .collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "whatever is no table has no name"
)]
fn table(table: &TableWithJoins) -> String {
    match &table.relation {
        TableFactor::Table { name, .. } => known::name(name),
        other => other.to_string(),
    }
}

/// Returns the column of `table.column`.
fn last(name: &str) -> String {
    name.rsplit_once('.')
        .map_or(name, |(_, last)| last)
        .to_owned()
}
