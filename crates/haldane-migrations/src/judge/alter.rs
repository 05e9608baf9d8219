//! ALTER TABLE: what both dialects have, and PostgreSQL's locks. What only MySQL has is in [`super::modify`].

use sqlparser::ast::{
    AlterColumnOperation, AlterTable, AlterTableOperation, ColumnDef, ColumnOption, GeneratedAs,
    GeneratedExpressionMode, Ident, RenameTableNameKind, TableConstraint,
};

use super::{
    Found, Judge, columns, modify, rows,
    types::{self, Change},
};
use crate::{
    dialect::{Dialect, ServerVersion},
    known::{self, Column},
    rule::{self, Rule},
    script::{Piece, Transaction},
};

/// Since then a constant default is kept beside the rows.
const DEFAULT_WITHOUT_REWRITE: ServerVersion = ServerVersion::new(11, 0, 0);

/// Since then SET NOT NULL believes a validated CHECK.
const NOT_NULL_BY_CHECK: ServerVersion = ServerVersion::new(12, 0, 0);

impl Judge {
    /// Judges each of its operations.
    pub(super) fn alter_table(&mut self, alter: &AlterTable, piece: &Piece) -> Vec<Found> {
        let table = known::name(&alter.name);
        let is_new = self.known.is_new(&table);
        let mut found = Vec::new();
        for operation in &alter.operations {
            found.extend(match self.dialect {
                Dialect::Postgres => self.alter(&table, operation, piece),
                Dialect::Mysql => self.modify(&table, operation, piece),
            });
        }
        if is_new {
            // What is new may be altered as one likes; only what could not be read stays.
            found.retain(|one| one.rule.sort == rule::Sort::Unread);
            found.push(Found::new(&rule::NEW_TABLE, &table));
        }
        if self.dialect == Dialect::Mysql {
            modify::soften(&mut found, &alter.operations);
        }
        if found.is_empty() {
            found.push(Found::new(&rule::HARMLESS, table));
        }
        found
    }

    /// Judges what both dialects have.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "what is not named here is not judged"
    )]
    pub(super) fn alter(
        &mut self,
        table: &str,
        operation: &AlterTableOperation,
        piece: &Piece,
    ) -> Vec<Found> {
        let of = |name: &Ident| format!("{table}.{}", known::ident(name));
        let one = |rule: &'static Rule, object: String| vec![Found::new(rule, object)];
        match operation {
            AlterTableOperation::AddColumn { column_def, .. } => self.add_column(table, column_def),
            AlterTableOperation::DropColumn { column_names, .. } => column_names
                .iter()
                .map(
                    |name| match self.known.is_new_column(table, &known::ident(name)) {
                        true => Found::new(&rule::NEW_COLUMN, of(name)),
                        false => Found::new(&rule::DROP_COLUMN, of(name)),
                    },
                )
                .collect(),
            AlterTableOperation::RenameColumn {
                old_column_name, ..
            } => {
                if self
                    .known
                    .is_new_column(table, &known::ident(old_column_name))
                {
                    return one(&rule::NEW_COLUMN, of(old_column_name));
                }
                one(&rule::RENAME_COLUMN, of(old_column_name))
            }
            AlterTableOperation::RenameTable { table_name } => {
                let (RenameTableNameKind::As(new) | RenameTableNameKind::To(new)) = table_name;
                self.known.rename_table(table, &known::name(new));
                one(&rule::RENAME_TABLE, table.to_owned())
            }
            AlterTableOperation::RenameConstraint { old_name, .. } => {
                one(&rule::RENAME_OBJECT, of(old_name))
            }
            AlterTableOperation::AddConstraint {
                constraint,
                not_valid,
            } => self.add_constraint(table, constraint, *not_valid),
            AlterTableOperation::DropConstraint { name, .. } => self.drop_constraint(table, name),
            AlterTableOperation::ValidateConstraint { name } => self.validate(table, name, piece),
            AlterTableOperation::AlterColumn { column_name, op } => {
                self.alter_column(table, column_name, op)
            }
            AlterTableOperation::EnableRowLevelSecurity
            | AlterTableOperation::ForceRowLevelSecurity => {
                one(&rule::ROW_SECURITY, table.to_owned())
            }
            AlterTableOperation::DisableRowLevelSecurity
            | AlterTableOperation::NoForceRowLevelSecurity => one(&rule::LOOSEN, table.to_owned()),
            AlterTableOperation::OwnerTo { .. } => one(&rule::CHANGE_RIGHTS, table.to_owned()),
            AlterTableOperation::SetLogged | AlterTableOperation::SetUnlogged => {
                one(&rule::REWRITE_TABLE, table.to_owned())
            }
            AlterTableOperation::EnableTrigger { name }
            | AlterTableOperation::EnableAlwaysTrigger { name } => {
                one(&rule::CREATE_TRIGGER, of(name))
            }
            AlterTableOperation::DisableTrigger { name } => one(&rule::DROP_TRIGGER, of(name)),
            AlterTableOperation::ReplicaIdentity { .. }
            | AlterTableOperation::SetOptionsParens { .. } => {
                one(&rule::HARMLESS, table.to_owned())
            }
            other => one(&rule::UNREAD, format!("no rule knows {other}")),
        }
    }

    fn add_column(&mut self, table: &str, definition: &ColumnDef) -> Vec<Found> {
        let name = known::ident(&definition.name);
        let object = format!("{table}.{name}");
        let column = Column::read(definition, true);
        let options = || definition.options.iter().map(|option| &option.option);
        let is_serial = definition
            .data_type
            .to_string()
            .to_uppercase()
            .ends_with("SERIAL");
        let mut found = Vec::new();
        if column.is_required && !column.has_default && !is_serial {
            found.push(Found::new(&rule::ADD_REQUIRED_COLUMN, &object));
        }
        let rewrites = is_serial || options().any(|option| self.rewrites(option));
        if rewrites {
            found.push(Found::new(&rule::REWRITE_TABLE, &object));
        }
        if options().any(|option| {
            matches!(
                option,
                ColumnOption::Unique(_) | ColumnOption::PrimaryKey(_)
            )
        }) {
            found.push(Found::new(&rule::UNIQUE_UNDER_LOCK, &object));
        }
        // Without a default the new column is NULL everywhere, which breaks neither CHECK nor foreign key; PostgreSQL knows that of a
        // foreign key only.
        let is_checked = options().any(|option| {
            matches!(option, ColumnOption::Check(_))
                || matches!(option, ColumnOption::ForeignKey(_)) && column.has_default
        });
        if is_checked && !rewrites {
            found.push(Found::new(&rule::CONSTRAINT_SCAN, &object));
        }
        if found.is_empty() {
            found.push(Found::new(&rule::ADD_COLUMN, object));
        }
        self.known.table(table).columns.insert(name, column);
        found
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the other options leave the rows alone"
    )]
    fn rewrites(&self, option: &ColumnOption) -> bool {
        match option {
            ColumnOption::Default(value) => {
                self.version < DEFAULT_WITHOUT_REWRITE || rows::is_volatile(value)
            }
            ColumnOption::Generated {
                generated_as,
                generation_expr,
                generation_expr_mode,
                ..
            } => {
                let is_virtual =
                    matches!(generation_expr_mode, Some(GeneratedExpressionMode::Virtual));
                generation_expr.is_none()
                    || matches!(generated_as, GeneratedAs::ExpStored)
                    || !is_virtual
            }
            ColumnOption::Identity(_) => true,
            _ => false,
        }
    }

    pub(super) fn add_constraint(
        &mut self,
        table: &str,
        constraint: &TableConstraint,
        not_valid: bool,
    ) -> Vec<Found> {
        let known = known::constraint(constraint, !not_valid);
        let object = known
            .as_ref()
            .map_or_else(|| table.to_owned(), |(name, _)| format!("{table}.{name}"));
        self.known.table(table).constraints.extend(known);
        let is_new = columns(constraint).is_some_and(|columns| {
            !columns.is_empty()
                && columns
                    .iter()
                    .all(|column| self.known.is_new_column(table, column))
        });
        let (tightens, locks): (_, &'static Rule) = match constraint {
            TableConstraint::Check(_) if is_new => {
                (Some(&rule::NEW_COLUMN), &rule::CONSTRAINT_SCAN)
            }
            TableConstraint::Check(_) => (Some(&rule::ADD_CHECK), &rule::CONSTRAINT_SCAN),
            TableConstraint::ForeignKey(_) if is_new => {
                (Some(&rule::NEW_COLUMN), &rule::CONSTRAINT_SCAN)
            }
            TableConstraint::ForeignKey(_) => {
                (Some(&rule::ADD_FOREIGN_KEY), &rule::CONSTRAINT_SCAN)
            }
            TableConstraint::Unique(_)
            | TableConstraint::PrimaryKey(_)
            | TableConstraint::Exclude(_) => (Some(&rule::ADD_UNIQUE), &rule::UNIQUE_UNDER_LOCK),
            TableConstraint::UniqueUsingIndex(_) | TableConstraint::PrimaryKeyUsingIndex(_) => {
                return vec![Found::new(&rule::CONSTRAINT_USING_INDEX, object)];
            }
            TableConstraint::Index(_) => return vec![Found::new(&rule::INDEX_ONLINE, object)],
            TableConstraint::FulltextOrSpatial(_) => {
                return vec![Found::new(&rule::FULLTEXT_INDEX, object)];
            }
        };
        let mut found: Vec<Found> = tightens
            .map(|rule| Found::new(rule, &object))
            .into_iter()
            .collect();
        if !not_valid && self.dialect == Dialect::Postgres {
            found.push(Found::new(locks, object));
        }
        found
    }

    pub(super) fn drop_constraint(&mut self, table: &str, name: &Ident) -> Vec<Found> {
        let name = known::ident(name);
        let is_needed = self
            .known
            .constraint(table, &name)
            .is_none_or(|known| known.is_unique);
        self.known.table(table).constraints.remove(&name);
        let rule: &'static Rule = if is_needed {
            &rule::DROP_CONSTRAINT
        } else {
            &rule::LOOSEN
        };
        vec![Found::new(rule, format!("{table}.{name}"))]
    }

    fn validate(&mut self, table: &str, name: &Ident, piece: &Piece) -> Vec<Found> {
        let name = known::ident(name);
        let object = format!("{table}.{name}");
        let too_soon = piece.transaction != Transaction::None
            && self
                .known
                .constraint(table, &name)
                .is_some_and(|known| known.is_new);
        if let Some(known) = self.known.table(table).constraints.get_mut(&name) {
            known.is_valid = true;
        }
        let rule: &'static Rule = if too_soon {
            &rule::VALIDATE_TOO_SOON
        } else {
            &rule::VALIDATE_CONSTRAINT
        };
        vec![Found::new(rule, object)]
    }

    pub(super) fn alter_column(
        &mut self,
        table: &str,
        name: &Ident,
        operation: &AlterColumnOperation,
    ) -> Vec<Found> {
        let name = known::ident(name);
        let object = format!("{table}.{name}");
        let found = |rule: &'static Rule| vec![Found::new(rule, &object)];
        match operation {
            AlterColumnOperation::SetNotNull => self.set_not_null(table, &name),
            AlterColumnOperation::DropNotNull => found(&rule::LOOSEN),
            AlterColumnOperation::SetDefault { .. } => {
                if let Some(column) = self.known.table(table).columns.get_mut(&name) {
                    column.has_default = true;
                }
                found(&rule::SET_DEFAULT)
            }
            AlterColumnOperation::DropDefault if self.known.is_new_column(table, &name) => {
                found(&rule::NEW_COLUMN)
            }
            AlterColumnOperation::DropDefault => found(&rule::DROP_DEFAULT),
            AlterColumnOperation::SetDataType {
                data_type, using, ..
            } => {
                let old = self
                    .known
                    .column(table, &name)
                    .and_then(|column| column.data_type.as_ref());
                let change = match using {
                    Some(_) => Change::Other,
                    None => types::change(old, data_type, self.dialect),
                };
                let column = self.known.table(table).columns.entry(name).or_default();
                column.data_type = Some(data_type.clone());
                match change {
                    Change::Same => found(&rule::HARMLESS),
                    Change::Wider => found(&rule::WIDEN_TYPE),
                    Change::Narrower => vec![
                        Found::new(&rule::NARROW_TYPE, &object),
                        Found::new(&rule::REWRITE_TABLE, &object),
                    ],
                    Change::Longer | Change::Other => {
                        vec![
                            Found::new(&rule::CHANGE_TYPE, &object),
                            Found::new(&rule::REWRITE_TABLE, &object),
                        ]
                    }
                }
            }
            AlterColumnOperation::AddGenerated { generated_as, .. } => match generated_as {
                Some(GeneratedAs::ByDefault) => found(&rule::SET_DEFAULT),
                Some(GeneratedAs::Always | GeneratedAs::ExpStored) | None => {
                    vec![Found::new(
                        &rule::UNREAD,
                        format!("{object}: whether the old version still writes the column itself"),
                    )]
                }
            },
        }
    }

    fn set_not_null(&mut self, table: &str, name: &str) -> Vec<Found> {
        let object = format!("{table}.{name}");
        let proven = self.version >= NOT_NULL_BY_CHECK && self.known.is_never_null(table, name);
        let column = self
            .known
            .table(table)
            .columns
            .entry(name.to_owned())
            .or_default();
        column.is_required = true;
        if proven {
            return vec![Found::new(&rule::NOT_NULL_PROVEN, object)];
        }
        // The old version leaves a column out that it does not know, and gets the default.
        let is_filled = column.is_new && column.has_default;
        let scan = Found::new(&rule::CONSTRAINT_SCAN, &object);
        let tightens = (!is_filled).then(|| Found::new(&rule::SET_NOT_NULL, &object));
        tightens.into_iter().chain([scan]).collect()
    }
}
