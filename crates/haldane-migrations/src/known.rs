//! What the migrations before a statement tell of the tables: which are new, which types columns have, which constraints hold.
//!
//! What is not known is taken for what does harm.

use std::collections::BTreeMap;

use sqlparser::ast::{
    ColumnDef, ColumnOption, DataType, Ident, ObjectName, ObjectNamePart, TableConstraint,
};

/// What is known of the schema.
#[derive(Debug, Default)]
pub(crate) struct Known {
    tables: BTreeMap<String, Table>,
    /// The table of each index.
    indexes: BTreeMap<String, String>,
}

/// What is known of a table.
#[derive(Debug, Default)]
pub(crate) struct Table {
    /// Whether what runs together with the statement made it.
    pub is_new: bool,
    /// Its columns.
    pub columns: BTreeMap<String, Column>,
    /// Its constraints by name.
    pub constraints: BTreeMap<String, Constraint>,
}

/// What is known of a column.
#[derive(Debug, Default)]
pub(crate) struct Column {
    /// Whether what runs together with the statement made it.
    pub is_new: bool,
    /// Whether rows that leave it out get a value.
    pub has_default: bool,
    /// Whether it can't be NULL.
    pub is_required: bool,
    /// Its type.
    pub data_type: Option<DataType>,
}

/// What is known of a constraint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Constraint {
    /// Whether ON CONFLICT could use it.
    pub is_unique: bool,
    /// Whether every row was checked.
    pub is_valid: bool,
    /// The column that it says is never NULL.
    pub not_null: Option<String>,
    /// Whether the same transaction may have added it.
    pub is_new: bool,
}

impl Known {
    /// Forgets what was new: another release begins.
    pub(crate) fn age(&mut self) {
        for table in self.tables.values_mut() {
            table.is_new = false;
            for column in table.columns.values_mut() {
                column.is_new = false;
            }
        }
    }

    /// Forgets which constraints are new: another transaction begins.
    pub(crate) fn commit(&mut self) {
        for table in self.tables.values_mut() {
            for constraint in table.constraints.values_mut() {
                constraint.is_new = false;
            }
        }
    }

    /// Whether the table is new.
    pub(crate) fn is_new(&self, table: &str) -> bool {
        self.tables.get(table).is_some_and(|table| table.is_new)
    }

    /// Returns a column, if it is known.
    pub(crate) fn column(&self, table: &str, column: &str) -> Option<&Column> {
        self.tables.get(table)?.columns.get(column)
    }

    /// Returns a constraint, if it is known.
    pub(crate) fn constraint(&self, table: &str, name: &str) -> Option<&Constraint> {
        self.tables.get(table)?.constraints.get(name)
    }

    /// Whether the column is new.
    pub(crate) fn is_new_column(&self, table: &str, column: &str) -> bool {
        self.column(table, column)
            .is_some_and(|column| column.is_new)
    }

    /// Whether a valid constraint says that the column is never NULL.
    pub(crate) fn is_never_null(&self, table: &str, column: &str) -> bool {
        let constraints = self
            .tables
            .get(table)
            .map(|table| table.constraints.values());
        constraints
            .into_iter()
            .flatten()
            .any(|one| one.is_valid && one.not_null.as_deref() == Some(column))
    }

    /// Returns the table of an index, if it is known.
    pub(crate) fn table_of_index(&self, index: &str) -> Option<&str> {
        self.indexes.get(index).map(String::as_str)
    }

    /// Returns the table to write down what is new in it.
    pub(crate) fn table(&mut self, table: &str) -> &mut Table {
        self.tables.entry(table.to_owned()).or_default()
    }

    /// Writes an index down.
    pub(crate) fn add_index(&mut self, index: &str, table: &str) {
        self.indexes.insert(index.to_owned(), table.to_owned());
    }

    /// Forgets a table.
    pub(crate) fn drop_table(&mut self, table: &str) {
        self.tables.remove(table);
    }

    /// Gives a table its new name.
    pub(crate) fn rename_table(&mut self, old: &str, new: &str) {
        if let Some(table) = self.tables.remove(old) {
            self.tables.insert(new.to_owned(), table);
        }
    }
}

impl Column {
    /// Reads a column's definition.
    pub(crate) fn read(definition: &ColumnDef, is_new: bool) -> Self {
        let options = || definition.options.iter().map(|option| &option.option);
        Self {
            is_new,
            has_default: options().any(|option| {
                matches!(
                    option,
                    ColumnOption::Default(_) | ColumnOption::Generated { .. }
                )
            }),
            is_required: options().any(|option| {
                matches!(option, ColumnOption::NotNull | ColumnOption::PrimaryKey(_))
            }),
            data_type: Some(definition.data_type.clone()),
        }
    }
}

/// Returns the name of a table or an index: without quotes, and without the schema that everybody has.
pub(crate) fn name(name: &ObjectName) -> String {
    let parts: Vec<String> = name
        .0
        .iter()
        .filter_map(ObjectNamePart::as_ident)
        .map(ident)
        .collect();
    plain(&parts.join("."))
}

/// Returns the name of a column or a constraint.
pub(crate) fn ident(ident: &Ident) -> String {
    match ident.quote_style {
        Some(_) => ident.value.clone(),
        None => ident.value.to_lowercase(),
    }
}

/// Returns a name without the schema that everybody has.
pub(crate) fn plain(name: &str) -> String {
    name.strip_prefix("public.").unwrap_or(name).to_owned()
}

/// Returns a constraint's name, and what is known of it.
pub(crate) fn constraint(
    constraint: &TableConstraint,
    is_valid: bool,
) -> Option<(String, Constraint)> {
    let (told, is_unique, not_null) = match constraint {
        TableConstraint::Unique(one) => (&one.name, true, None),
        TableConstraint::PrimaryKey(one) => (&one.name, true, None),
        TableConstraint::ForeignKey(one) => (&one.name, false, None),
        TableConstraint::Check(one) => (&one.name, false, never_null(&one.expr.to_string())),
        TableConstraint::UniqueUsingIndex(one) | TableConstraint::PrimaryKeyUsingIndex(one) => {
            (&one.name, true, None)
        }
        TableConstraint::Exclude(one) => (&one.name, true, None),
        TableConstraint::Index(_) | TableConstraint::FulltextOrSpatial(_) => return None,
    };
    let known = Constraint {
        is_unique,
        is_valid,
        not_null,
        is_new: true,
    };
    told.as_ref().map(|name| (ident(name), known))
}

/// Reads `column IS NOT NULL`.
fn never_null(condition: &str) -> Option<String> {
    let column = condition
        .trim_matches(['(', ')'])
        .strip_suffix(" IS NOT NULL")?;
    let is_name = column
        .chars()
        .all(|c| c.is_alphanumeric() || c == '_' || c == '"');
    is_name.then(|| column.trim_matches('"').to_lowercase())
}
