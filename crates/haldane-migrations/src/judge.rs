//! One statement judged: which rules speak of it, and what it makes known for those that follow.

mod alter;
mod modify;
mod rows;
mod types;
mod words;

use sqlparser::{
    ast::{CreateIndex, CreateTable, Statement, TableConstraint},
    dialect::{Dialect as Grammar, MySqlDialect, PostgreSqlDialect},
    parser::Parser,
};

use crate::{
    dialect::{Dialect, ServerVersion},
    known::{self, Column, Known},
    rule::{self, Rule},
    script::{Piece, Transaction},
};

/// A longer statement is not read: an expression that deep would need more stack than there is. Rows to insert don't count, because
/// no parser has to read them, and values count nowhere.
const WORDS_MAX: usize = 1000;

/// The same for each column and operation of CREATE TABLE and ALTER TABLE, which are long because they have many.
const PART_WORDS_MAX: usize = 200;

/// A rule that speaks of a statement, and what of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// The rule.
    pub rule: &'static Rule,
    /// The table, column or other object; or what of the statement could not be read.
    pub object: String,
}

/// Judges statements one after the other.
#[derive(Debug)]
pub(crate) struct Judge {
    /// Whose SQL it is.
    pub dialect: Dialect,
    /// Of which server.
    pub version: ServerVersion,
    /// What the statements before have made known.
    pub known: Known,
}

impl Found {
    /// Returns a finding.
    pub(crate) fn new(rule: &'static Rule, object: impl Into<String>) -> Self {
        Self {
            rule,
            object: object.into(),
        }
    }
}

impl Judge {
    /// Returns the rules that speak of a statement: at least one.
    pub(crate) fn judge(&mut self, piece: &Piece) -> Vec<Found> {
        if piece.is_odd {
            return vec![Found::new(
                &rule::UNREAD,
                "a line or comment that the server's own client runs",
            )];
        }
        if let Some(found) = words::judge(self, piece) {
            return found;
        }
        if is_too_long(piece) {
            return vec![Found::new(&rule::UNREAD, "a statement that long")];
        }
        let found = match self.parse(&piece.text) {
            Ok(statement) => self.statement(&statement, piece),
            Err(error) => vec![Found::new(&rule::UNREAD, error)],
        };
        debug_assert!(!found.is_empty(), "nothing is said of {}", piece.text);
        found
    }

    fn parse(&self, text: &str) -> Result<Statement, String> {
        let grammar: &dyn Grammar = match self.dialect {
            Dialect::Postgres => &PostgreSqlDialect {},
            Dialect::Mysql => &MySqlDialect {},
        };
        let statements = Parser::parse_sql(grammar, text).map_err(|error| {
            let text = error.to_string();
            // The line is the statement's own, which is told with the finding.
            let text = text.strip_prefix("sql parser error: ").unwrap_or(&text);
            text.split(" at Line:")
                .next()
                .unwrap_or_default()
                .to_owned()
        })?;
        let mut statements = statements.into_iter();
        match (statements.next(), statements.next()) {
            (Some(statement), None) => Ok(statement),
            _ => Err("not one statement".to_owned()),
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "there are a hundred and more; whatever is not named here is not judged"
    )]
    fn statement(&mut self, statement: &Statement, piece: &Piece) -> Vec<Found> {
        match statement {
            Statement::CreateTable(create) => self.create_table(create),
            Statement::CreateIndex(create) => self.create_index(create, piece),
            Statement::AlterTable(alter) => self.alter_table(alter, piece),
            Statement::Update(update) => self.update(update, piece),
            Statement::Delete(delete) => self.delete(delete, piece),
            Statement::Query(_) => vec![rows::query(&piece.words)],
            other => {
                let told = other.to_string();
                let told: Vec<&str> = told.split_whitespace().take(3).collect();
                vec![Found::new(
                    &rule::UNREAD,
                    format!("no rule knows {} …", told.join(" ")),
                )]
            }
        }
    }

    fn create_table(&mut self, create: &CreateTable) -> Vec<Found> {
        let name = known::name(&create.name);
        let table = self.known.table(&name);
        // IF NOT EXISTS on a table that is known already makes nothing new.
        let exists = create.if_not_exists && !table.columns.is_empty();
        if !exists {
            table.is_new = true;
            for column in &create.columns {
                table
                    .columns
                    .insert(known::ident(&column.name), Column::read(column, true));
            }
            table.constraints.extend(
                create
                    .constraints
                    .iter()
                    .filter_map(|one| known::constraint(one, true)),
            );
        }
        vec![Found::new(&rule::CREATE_OBJECT, name)]
    }

    fn create_index(&mut self, create: &CreateIndex, piece: &Piece) -> Vec<Found> {
        let table = known::name(&create.table_name);
        if let Some(name) = &create.name {
            self.known.add_index(&known::name(name), &table);
        }
        let mut found = Vec::new();
        if create.concurrently && piece.transaction == Transaction::Told {
            found.push(Found::new(&rule::CONCURRENTLY_IN_TRANSACTION, &table));
        }
        if self.known.is_new(&table) {
            found.push(Found::new(&rule::NEW_TABLE, table));
            return found;
        }
        if create.unique {
            found.push(Found::new(&rule::ADD_UNIQUE, &table));
        }
        match self.dialect {
            Dialect::Postgres if !create.concurrently => {
                found.push(Found::new(&rule::INDEX_BLOCKS_WRITES, &table))
            }
            Dialect::Postgres => {}
            Dialect::Mysql => found.extend(modify::clauses(&create.alter_options, &table)),
        }
        if found.is_empty() {
            found.push(Found::new(&rule::INDEX_ONLINE, table));
        }
        found
    }
}

/// Whether a statement is longer than what is read.
fn is_too_long(piece: &Piece) -> bool {
    let is_value = |word: &String| word.starts_with(|c: char| c == '\'' || c.is_ascii_digit());
    let count = |words: &[String]| words.iter().filter(|word| !is_value(word)).count();
    let is_table = piece.words.get(1).is_some_and(|word| word == "TABLE");
    if is_table {
        let mut parts = piece.words.split(|word| word == ",");
        return parts.any(|part| count(part) > PART_WORDS_MAX);
    }
    count(&piece.words) > WORDS_MAX
}

/// Returns the columns that a constraint is about, as far as they can be told.
fn columns(constraint: &TableConstraint) -> Option<Vec<String>> {
    match constraint {
        TableConstraint::ForeignKey(one) => Some(one.columns.iter().map(known::ident).collect()),
        TableConstraint::Check(one) => rows::names(&one.expr),
        TableConstraint::Unique(_)
        | TableConstraint::PrimaryKey(_)
        | TableConstraint::Index(_)
        | TableConstraint::FulltextOrSpatial(_)
        | TableConstraint::PrimaryKeyUsingIndex(_)
        | TableConstraint::UniqueUsingIndex(_)
        | TableConstraint::Exclude(_) => None,
    }
}
