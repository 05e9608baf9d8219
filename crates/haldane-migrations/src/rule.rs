//! The rules: what may happen to a running service when a statement runs, why, and what does the same without harm.
//!
//! The texts are data, so that the documentation's table and what a person reads are the same. **Invariant:** a rule's id is never
//! reused, because people accept rules by id in their migrations.

use serde::Serialize;

/// How a statement gets along with two versions of a service that run beside each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Sort {
    /// Safe while both run.
    Expand,
    /// Safe only when the old version is gone.
    Contract,
    /// It blocks requests for as long as there are rows.
    Locks,
    /// There is no moment at which it is right: it must be taken apart.
    Unsafe,
    /// It could not be read, and is not taken for safe.
    Unread,
}

/// One rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    /// Its name in comments that accept it.
    pub id: &'static str,
    /// How what it is about gets along with two versions.
    pub sort: Sort,
    /// Why, in one sentence.
    pub reason: &'static str,
    /// What to do instead; empty where nothing is wrong.
    pub instead: &'static str,
}

impl Sort {
    /// Returns its name as people read it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expand => "expand",
            Self::Contract => "contract",
            Self::Locks => "locks",
            Self::Unsafe => "unsafe",
            Self::Unread => "unread",
        }
    }
}

/// Returns the rule of that id.
#[must_use]
pub(crate) fn rule(id: &str) -> Option<&'static Rule> {
    ALL.iter().copied().find(|rule| rule.id == id)
}

/// Writes the constants and the list of all of them from one table.
macro_rules! rules {
    ($($name:ident $sort:ident $id:literal $reason:literal $instead:literal)*) => {
        $(
            #[doc = $reason]
            pub(crate) const $name: Rule = Rule { id: $id, sort: Sort::$sort, reason: $reason, instead: $instead };
        )*
        /// Every rule, in the order of the documentation.
        pub const ALL: &[&Rule] = &[$(&$name),*];
    };
}

rules! {
    CREATE_OBJECT Expand "create-object"
        "Nobody uses it yet, so the old version does not notice." ""
    NEW_TABLE Expand "new-table"
        "The table is made by the same migration, so nobody reads or writes it yet." ""
    NEW_COLUMN Expand "new-column"
        "The column is made by the same migration, so the old version does not know it." ""
    ADD_COLUMN Expand "add-column"
        "The old version leaves it out, and no row is written again." ""
    INDEX_ONLINE Expand "index-online"
        "The index is built while both versions read and write." ""
    CONSTRAINT_USING_INDEX Expand "constraint-using-index"
        "The index is there already; for a primary key its columns must be NOT NULL already, too." ""
    VALIDATE_CONSTRAINT Expand "validate-constraint"
        "The rows are read under a lock that lets both versions read and write." ""
    NOT_NULL_PROVEN Expand "not-null-proven"
        "A validated CHECK says already that no row is NULL, so the table is not read and no write fails that did not fail before." ""
    LOOSEN Expand "loosen"
        "What was allowed stays allowed." ""
    SET_DEFAULT Expand "set-default"
        "Only rows that leave the column out get it." ""
    WIDEN_TYPE Expand "widen-type"
        "Each value of the old type is one of the new type, and no row is written again." ""
    ADD_ENUM_VALUE Expand "add-enum-value"
        "No row has the value yet; let it be written only after the old version, which can't read it, is gone." ""
    CREATE_TRIGGER Expand "create-trigger"
        "It runs for the writes of both versions, which is how two columns are kept in step." ""
    INSERT_ROWS Expand "insert-rows"
        "Rows that are there stay as they are." ""
    BACKFILL_BATCH Expand "backfill-batch"
        "It fills what the old version does not use, for a bounded number of rows." ""
    RENAME_INDEX Expand "rename-index"
        "Queries don't name indexes." ""
    HARMLESS Expand "harmless"
        "It changes neither rows nor what queries can say." ""

    DROP_TABLE Contract "drop-table"
        "Each query of the old version on the table fails from then on."
        "Release a version that does not use it, let it soak, then drop it."
    DROP_COLUMN Contract "drop-column"
        "The old version still reads and writes the column, if only by SELECT * or by an ORM that lists all columns."
        "Release a version that does not use it (in ORMs: ignore the column), let it soak, then drop it."
    DROP_OBJECT Contract "drop-object"
        "The old version's queries that use it fail from then on."
        "Release a version that does not use it, let it soak, then drop it."
    DROP_INDEX Contract "drop-index"
        "The old version's queries may need it to be quick, and ON CONFLICT needs a unique one to work at all."
        "Drop it after the old version is gone and nothing reads it any more (pg_stat_user_indexes, sys.schema_unused_indexes)."
    DROP_CONSTRAINT Contract "drop-constraint"
        "The old version may rely on it: ON CONFLICT needs it, and data that break it are a surprise."
        "Drop it after the old version is gone."
    DROP_DEFAULT Contract "drop-default"
        "Inserts of the old version that leave the column out get NULL, or fail."
        "Drop it after every version that runs names the column."
    DROP_TRIGGER Contract "drop-trigger"
        "The old version's writes don't have its effect any more."
        "Drop it after the old version is gone."
    DETACH_PARTITION Contract "detach-partition"
        "The old version does not see its rows any more."
        "Detach it CONCURRENTLY after nobody reads its rows any more."
    ADD_REQUIRED_COLUMN Contract "add-required-column"
        "Inserts of the old version, which does not know the column, fail; in PostgreSQL so does the statement where rows exist."
        "Add it with a constant DEFAULT, or add it without NOT NULL, fill it in batches, and set NOT NULL after the old version is gone."
    SET_NOT_NULL Contract "set-not-null"
        "Writes of the old version that leave the column NULL fail."
        "Let the new version always write it, fill the NULLs in batches, and set it after the old version is gone."
    ADD_CHECK Contract "add-check"
        "Writes of the old version that break it fail, NOT VALID or not."
        "Release a version that keeps to it first, add it after the old version is gone."
    ADD_FOREIGN_KEY Contract "add-foreign-key"
        "Writes of the old version in an order that it forbids fail, NOT VALID or not."
        "Release a version that keeps to it first, add it after the old version is gone."
    NARROW_TYPE Contract "narrow-type"
        "Values that the old version may still write do not fit any more."
        "Release a version that writes only what fits, correct the rest in batches, then change it by way of a new column."
    ROW_SECURITY Contract "row-security"
        "Rows that the old version needs may be hidden from it, and its writes refused."
        "Create the policies first, and enable them after the old version is gone."
    CHANGE_RIGHTS Contract "change-rights"
        "The old version may lose a right that it uses."
        "Take the right away after the old version is gone."

    INDEX_BLOCKS_WRITES Locks "index-blocks-writes"
        "Nothing can be written to the table until the whole index is built."
        "CREATE INDEX CONCURRENTLY, outside of a transaction; drop an index that is left INVALID, and try again."
    UNIQUE_UNDER_LOCK Locks "unique-under-lock"
        "The index is built while the table can neither be read nor written."
        "CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX."
    REWRITE_TABLE Locks "rewrite-table"
        "Every row is written again while the table can neither be read nor written."
        "Add a new column (for volatile defaults: without the default), write both, fill it in batches, read the new one, drop the old one."
    CONSTRAINT_SCAN Locks "constraint-scan"
        "Every row is checked while the table can't be written."
        "Add the constraint NOT VALID (for NOT NULL: a CHECK (column IS NOT NULL) NOT VALID), and VALIDATE it in a later transaction."
    VALIDATE_TOO_SOON Locks "validate-too-soon"
        "The transaction that added the constraint still holds its strong lock while every row is checked."
        "Validate it in a migration of its own."
    DROP_INDEX_LOCKS Locks "drop-index-locks"
        "It waits for every query on the table, and every later one waits for it."
        "DROP INDEX CONCURRENTLY, outside of a transaction."
    REINDEX_LOCKS Locks "reindex-locks"
        "Nothing can be written to the table until the index is built again."
        "REINDEX … CONCURRENTLY (PostgreSQL 12 and later)."
    REFRESH_LOCKS Locks "refresh-locks"
        "The view can't be read until it is built again."
        "REFRESH MATERIALIZED VIEW CONCURRENTLY, with a unique index on the view."
    LOCK_TABLE Locks "lock-table"
        "Requests wait for as long as the lock is held."
        "Do without the lock, or hold it for one short statement after SET lock_timeout."
    BACKFILL_AT_ONCE Locks "backfill-at-once"
        "Each row that it changes stays locked until all of them are changed and committed."
        "Change some thousand rows at a time, each batch committed by itself, outside of the migration."
    COPY_ALTER Locks "copy-alter"
        "MySQL copies the table for it, and nothing can be written until the copy is done."
        "Add a new column and fill it in batches, or use gh-ost or pt-online-schema-change; say ALGORITHM=INPLACE, LOCK=NONE to be refused instead of blocked."
    LOCK_CLAUSE Locks "lock-clause"
        "The LOCK clause asks MySQL to keep writers out until it is done."
        "LOCK=NONE, which is refused where it can't be had."
    FOREIGN_KEY_COPIES Locks "foreign-key-copies"
        "With foreign_key_checks on, MySQL copies the table to add a foreign key, and nothing can be written meanwhile."
        "Use gh-ost or pt-online-schema-change, or SET foreign_key_checks = 0 for this statement after the rows were checked."
    FULLTEXT_INDEX Locks "fulltext-index"
        "MySQL builds full-text and spatial indexes while nothing can be written."
        "Build it on a copy with pt-online-schema-change, or in a quiet hour."

    RENAME_TABLE Unsafe "rename-table"
        "The old version knows only the old name and the new one only the new name, so one of them fails at any moment."
        "Make a view of the other name (PostgreSQL: in the same transaction), and drop it after the old version is gone."
    RENAME_COLUMN Unsafe "rename-column"
        "The old version knows only the old name and the new one only the new name, so one of them fails at any moment."
        "Add the new column, write both, fill it in batches, read the new one, drop the old one."
    RENAME_OBJECT Unsafe "rename-object"
        "The old version knows only the old name and the new one only the new name, so one of them fails at any moment."
        "Make the new one beside the old one, and drop the old one after the old version is gone."
    CHANGE_TYPE Unsafe "change-type"
        "One of the versions reads and writes a type that it does not know."
        "Add a new column of the new type, write both, fill it in batches, read the new one, drop the old one."
    ADD_UNIQUE Unsafe "add-unique"
        "Both versions write these data, and a write of the old one that was right before may fail now."
        "Release a version that keeps to it first, correct what breaks it, and add it after the old version is gone."
    REWRITE_DATA Unsafe "rewrite-data"
        "It changes rows that both versions read and write."
        "Write the new form to a new column, in batches and only where it is NULL, and let the new version read that."
    TRUNCATE Unsafe "truncate"
        "Both versions lose all rows of the table, and wait for it."
        "Delete what nobody needs any more in batches."
    REPLACE_ROUTINE Unsafe "replace-routine"
        "Both versions use it, and the old one gets behavior that it was not written for."
        "Make it under a new name, and drop the old one after the old version is gone."
    CONCURRENTLY_IN_TRANSACTION Unsafe "concurrently-in-transaction"
        "PostgreSQL refuses CONCURRENTLY inside of a transaction, so that the migration fails."
        "Put it into a migration of its own without a transaction."

    UNREAD Unread "unread"
        "It could not be understood, so nothing is known of what it does."
        "Look at it yourself, and accept it with the reason why it is safe."
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_rule_is_told_whole_and_once() {
        let mut ids = BTreeSet::new();
        for rule in ALL {
            assert!(ids.insert(rule.id), "{}", rule.id);
            assert!(rule.reason.ends_with('.'), "{}", rule.id);
            assert_eq!(
                rule.instead.is_empty(),
                rule.sort == Sort::Expand,
                "{}",
                rule.id
            );
        }
    }

    #[test]
    fn the_documentation_has_each_rule_in_its_words() {
        let documentation = include_str!("../../../docs/operations/schema-changes.md");
        for rule in ALL {
            let row = format!(
                "| `{}` | {} | {} | {} |",
                rule.id,
                rule.sort.name(),
                rule.reason,
                rule.instead
            );
            assert!(documentation.contains(&row), "missing:\n{row}");
        }
    }
}
