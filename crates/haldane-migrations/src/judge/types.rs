//! What becomes of a column's values when its type changes.

use sqlparser::ast::{CharacterLength, DataType, EnumMember, ExactNumberInfo};

use crate::dialect::Dialect;

/// How a new type holds the values of the old one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It is the same type.
    Same,
    /// It holds all of them as they are stored.
    Wider,
    /// It holds all of them, stored in another way.
    Longer,
    /// It does not hold all of them.
    Narrower,
    /// It is another type, or the old one is not known.
    Other,
}

/// A type as far as it is compared.
#[derive(Debug, PartialEq, Eq)]
enum Shape {
    /// Characters, at most so many.
    Text(u64),
    /// Whole numbers of so many bytes.
    Whole(u8),
    /// Digits, and how many of them stand after the point.
    Decimal(u64, i64),
    /// One of these.
    OneOf(Vec<String>),
    /// Anything else.
    Other(String),
}

/// With four bytes for each character, so many need one byte for the length.
const SHORT_CHARS_MAX: u64 = 63;

/// Compares two types.
pub(super) fn change(old: Option<&DataType>, new: &DataType, dialect: Dialect) -> Change {
    let Some(old) = old else {
        return Change::Other;
    };
    match (shape(old, dialect), shape(new, dialect)) {
        (old, new) if old == new => Change::Same,
        (Shape::Text(old), Shape::Text(new)) if new < old => Change::Narrower,
        (Shape::Text(old), Shape::Text(new)) => match dialect {
            Dialect::Mysql if old <= SHORT_CHARS_MAX && new > SHORT_CHARS_MAX => Change::Longer,
            Dialect::Mysql | Dialect::Postgres => Change::Wider,
        },
        (Shape::Whole(old), Shape::Whole(new)) if new < old => Change::Narrower,
        (Shape::Decimal(old, places), Shape::Decimal(new, new_places)) => {
            let whole =
                |digits: u64, places: i64| i128::from(digits).saturating_sub(i128::from(places));
            if new_places < places || whole(new, new_places) < whole(old, places) {
                Change::Narrower
            } else if new_places == places && dialect == Dialect::Postgres {
                Change::Wider
            } else {
                Change::Other
            }
        }
        (Shape::OneOf(old), Shape::OneOf(new)) if new.starts_with(&old) => Change::Wider,
        (Shape::OneOf(_), Shape::OneOf(_)) => Change::Narrower,
        _ => Change::Other,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the types that are not compared are a hundred"
)]
fn shape(data_type: &DataType, dialect: Dialect) -> Shape {
    let is_postgres = dialect == Dialect::Postgres;
    match data_type {
        DataType::Varchar(length)
        | DataType::CharacterVarying(length)
        | DataType::CharVarying(length) => match length {
            Some(CharacterLength::IntegerLength { length, .. }) => Shape::Text(*length),
            Some(CharacterLength::Max) | None => Shape::Text(u64::MAX),
        },
        // MySQL keeps TEXT apart from the row.
        DataType::Text if is_postgres => Shape::Text(u64::MAX),
        DataType::TinyInt(_) => Shape::Whole(1),
        DataType::SmallInt(_) | DataType::Int2(_) => Shape::Whole(2),
        DataType::MediumInt(_) => Shape::Whole(3),
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => Shape::Whole(4),
        DataType::BigInt(_) | DataType::Int8(_) => Shape::Whole(8),
        DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info) => match info {
            ExactNumberInfo::None => Shape::Other("NUMERIC".to_owned()),
            ExactNumberInfo::Precision(digits) => Shape::Decimal(*digits, 0),
            ExactNumberInfo::PrecisionAndScale(digits, places) => Shape::Decimal(*digits, *places),
        },
        DataType::Enum(members, _) => Shape::OneOf(
            members
                .iter()
                .map(|member| match member {
                    EnumMember::Name(name) | EnumMember::NamedValue(name, _) => name.clone(),
                })
                .collect(),
        ),
        other => Shape::Other(other.to_string().to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use sqlparser::{
        dialect::{MySqlDialect, PostgreSqlDialect},
        parser::Parser,
    };

    use super::*;

    #[test]
    fn types_are_compared_by_what_they_hold() {
        let (postgres, mysql) = (Dialect::Postgres, Dialect::Mysql);
        for (dialect, old, new, expected) in [
            (postgres, "varchar(50)", "varchar(100)", Change::Wider),
            (postgres, "varchar(50)", "text", Change::Wider),
            (postgres, "character varying", "text", Change::Same),
            (postgres, "text", "varchar(10)", Change::Narrower),
            (postgres, "int", "integer", Change::Same),
            (postgres, "int", "bigint", Change::Other),
            (postgres, "bigint", "int", Change::Narrower),
            (postgres, "numeric(10,2)", "numeric(12,2)", Change::Wider),
            (postgres, "numeric(10,2)", "numeric(12,4)", Change::Other),
            (postgres, "numeric(10,2)", "numeric(8,2)", Change::Narrower),
            (postgres, "numeric(10,2)", "numeric(10,4)", Change::Narrower),
            (postgres, "char(5)", "char(6)", Change::Other),
            (mysql, "varchar(20)", "varchar(63)", Change::Wider),
            (mysql, "varchar(20)", "varchar(64)", Change::Longer),
            (mysql, "varchar(100)", "varchar(200)", Change::Wider),
            (mysql, "varchar(100)", "text", Change::Other),
            (mysql, "int(11)", "int", Change::Same),
            (mysql, "decimal(10,2)", "decimal(12,2)", Change::Other),
            (mysql, "enum('a')", "enum('a','b')", Change::Wider),
            (mysql, "enum('a','b')", "enum('b','a')", Change::Narrower),
        ] {
            let read = |text: &str| match dialect {
                Dialect::Postgres => Parser::new(&PostgreSqlDialect {})
                    .try_with_sql(text)
                    .unwrap()
                    .parse_data_type()
                    .unwrap(),
                Dialect::Mysql => Parser::new(&MySqlDialect {})
                    .try_with_sql(text)
                    .unwrap()
                    .parse_data_type()
                    .unwrap(),
            };
            assert_eq!(
                change(Some(&read(old)), &read(new), dialect),
                expected,
                "{old} to {new}"
            );
        }
    }
}
