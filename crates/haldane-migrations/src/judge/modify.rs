//! ALTER TABLE of MySQL: what it copies the table for, and the clauses that ask for it or forbid it.

use sqlparser::ast::{
    AlterTableAlgorithm, AlterTableLock, AlterTableOperation, ColumnDef, ColumnOption, DataType,
    GeneratedExpressionMode, Ident, TableConstraint,
};

use super::{
    Found, Judge, rows,
    types::{self, Change},
};
use crate::{
    dialect::ServerVersion,
    known::{self, Column},
    rule::{self, Rule},
    script::Piece,
};

/// Since then indexes and columns are added while the table is written.
const ONLINE: ServerVersion = ServerVersion::new(5, 6, 0);

impl Judge {
    /// Judges one operation.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not MySQL's own is as everywhere"
    )]
    pub(super) fn modify(
        &mut self,
        table: &str,
        operation: &AlterTableOperation,
        piece: &Piece,
    ) -> Vec<Found> {
        let of = |name: &Ident| format!("{table}.{}", known::ident(name));
        let mut found = match operation {
            AlterTableOperation::AddColumn { column_def, .. } => {
                self.add_column_to_mysql(table, column_def)
            }
            AlterTableOperation::AddConstraint { constraint, .. } => {
                let mut found = self.add_constraint(table, constraint, true);
                match constraint {
                    TableConstraint::ForeignKey(_) => {
                        found.push(Found::new(&rule::FOREIGN_KEY_COPIES, table))
                    }
                    TableConstraint::Check(_) => found.push(Found::new(&rule::COPY_ALTER, table)),
                    _ => {}
                }
                found
            }
            AlterTableOperation::DropPrimaryKey { .. } => {
                vec![
                    Found::new(&rule::DROP_CONSTRAINT, table),
                    Found::new(&rule::COPY_ALTER, table),
                ]
            }
            AlterTableOperation::DropForeignKey { name, .. } => {
                vec![Found::new(&rule::LOOSEN, of(name))]
            }
            AlterTableOperation::DropIndex { name } => {
                vec![Found::new(&rule::DROP_INDEX, of(name))]
            }
            AlterTableOperation::ModifyColumn {
                col_name,
                data_type,
                options,
                ..
            } => self.modify_column(table, col_name, data_type, options),
            AlterTableOperation::ChangeColumn {
                old_name,
                new_name,
                data_type,
                options,
                ..
            } => {
                let mut found = self.modify_column(table, old_name, data_type, options);
                if known::ident(old_name) != known::ident(new_name) {
                    found.retain(|one| one.rule.sort != rule::Sort::Expand);
                    found.push(Found::new(&rule::RENAME_COLUMN, of(old_name)));
                }
                found
            }
            AlterTableOperation::AutoIncrement { .. } => vec![Found::new(&rule::HARMLESS, table)],
            AlterTableOperation::Algorithm { .. } | AlterTableOperation::Lock { .. } => {
                return clauses(std::slice::from_ref(operation), table);
            }
            other => self.alter(table, other, piece),
        };
        let is_cheap =
            |one: &Found| one.rule == &rule::ADD_COLUMN || one.rule == &rule::INDEX_ONLINE;
        if self.version < ONLINE && found.iter().any(is_cheap) {
            found = vec![Found::new(&rule::COPY_ALTER, table)];
        }
        found
    }

    fn add_column_to_mysql(&mut self, table: &str, definition: &ColumnDef) -> Vec<Found> {
        let name = known::ident(&definition.name);
        let object = format!("{table}.{name}");
        let column = Column::read(definition, true);
        let options = || definition.options.iter().map(|option| &option.option);
        let counts = options().any(counts_up);
        let mut found = Vec::new();
        if column.is_required && !column.has_default && !counts {
            found.push(Found::new(&rule::ADD_REQUIRED_COLUMN, &object));
        }
        if counts || options().any(copies) {
            found.push(Found::new(&rule::COPY_ALTER, &object));
        }
        if found.is_empty() {
            found.push(Found::new(&rule::ADD_COLUMN, object));
        }
        self.known.table(table).columns.insert(name, column);
        found
    }

    fn modify_column(
        &mut self,
        table: &str,
        name: &Ident,
        data_type: &DataType,
        options: &[ColumnOption],
    ) -> Vec<Found> {
        let name = known::ident(name);
        let object = format!("{table}.{name}");
        let is_required = options
            .iter()
            .any(|option| matches!(option, ColumnOption::NotNull));
        let has_default = options
            .iter()
            .any(|option| matches!(option, ColumnOption::Default(_)));
        let known = self.known.column(table, &name);
        let change = types::change(
            known.and_then(|column| column.data_type.as_ref()),
            data_type,
            self.dialect,
        );
        let was_required = known.is_some_and(|column| column.is_required);
        let lost_default =
            known.is_some_and(|column| column.has_default && !column.is_new) && !has_default;
        let is_new = known.is_some_and(|column| column.is_new);
        let mut found = Vec::new();
        let mut say = |rule: &'static Rule| found.push(Found::new(rule, &object));
        match change {
            Change::Same => {}
            Change::Wider => say(&rule::WIDEN_TYPE),
            Change::Longer => say(&rule::COPY_ALTER),
            Change::Narrower => {
                say(&rule::NARROW_TYPE);
                say(&rule::COPY_ALTER);
            }
            Change::Other => {
                say(&rule::CHANGE_TYPE);
                say(&rule::COPY_ALTER);
            }
        }
        if is_required && !was_required && !(is_new && has_default) {
            say(&rule::SET_NOT_NULL);
        }
        if lost_default {
            say(&rule::DROP_DEFAULT);
        }
        if was_required && !is_required {
            say(&rule::LOOSEN);
        }
        if found.is_empty() {
            found.push(Found::new(&rule::HARMLESS, object));
        }
        let column = Column {
            is_new,
            has_default,
            is_required,
            data_type: Some(data_type.clone()),
        };
        self.known.table(table).columns.insert(name, column);
        found
    }
}

/// Returns what the clauses ALGORITHM and LOCK ask for.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other operations are no clauses"
)]
pub(super) fn clauses(operations: &[AlterTableOperation], table: &str) -> Vec<Found> {
    let asked = operations.iter().filter_map(|operation| match operation {
        AlterTableOperation::Algorithm {
            algorithm: AlterTableAlgorithm::Copy,
            ..
        } => Some(&rule::COPY_ALTER),
        AlterTableOperation::Lock {
            lock: AlterTableLock::Shared | AlterTableLock::Exclusive,
            ..
        } => Some(&rule::LOCK_CLAUSE),
        _ => None,
    });
    asked.map(|rule| Found::new(rule, table)).collect()
}

/// Takes back what can't happen, because the statement asks to be refused instead of blocking.
pub(super) fn soften(found: &mut Vec<Found>, operations: &[AlterTableOperation]) {
    let refuses = operations.iter().any(|operation| {
        matches!(
            operation,
            AlterTableOperation::Algorithm {
                algorithm: AlterTableAlgorithm::Instant,
                ..
            } | AlterTableOperation::Lock {
                lock: AlterTableLock::None,
                ..
            }
        )
    });
    if refuses {
        found.retain(|one| one.rule.sort != rule::Sort::Locks);
    }
}

fn counts_up(option: &ColumnOption) -> bool {
    matches!(option, ColumnOption::DialectSpecific(tokens) if tokens.iter().any(|token| token.to_string().eq_ignore_ascii_case("auto_increment")))
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the other options leave the rows alone"
)]
fn copies(option: &ColumnOption) -> bool {
    match option {
        ColumnOption::Default(value) => rows::is_volatile(value),
        ColumnOption::Generated {
            generation_expr_mode,
            ..
        } => matches!(generation_expr_mode, Some(GeneratedExpressionMode::Stored)),
        ColumnOption::Check(_) => true,
        _ => false,
    }
}
