//! Statements that their first words tell, whether or not a parser knows the rest of them.

use super::{Found, Judge};
use crate::{
    dialect::{Dialect, ServerVersion},
    known,
    rule::{self, Rule},
    script::{Piece, Transaction},
};

/// Since then REINDEX can be told to let others write.
const REINDEX_CONCURRENTLY: ServerVersion = ServerVersion::new(12, 0, 0);

/// Returns the rules that speak of the statement, if its words tell them.
pub(super) fn judge(judge: &mut Judge, piece: &Piece) -> Option<Vec<Found>> {
    let words: Vec<&str> = piece.words.iter().map(String::as_str).collect();
    let one =
        |rule: &'static Rule, object: &str| Some(vec![Found::new(rule, object.to_lowercase())]);
    match *words.as_slice() {
        ["INSERT" | "COPY", ref rest @ ..] => {
            let into = rest.strip_prefix(&["INTO"]).unwrap_or(rest);
            one(&rule::INSERT_ROWS, &name(into))
        }
        ["REPLACE", ..] => one(&rule::REWRITE_DATA, "REPLACE"),
        [
            "COMMENT" | "GRANT" | "ANALYZE" | "SET" | "RESET" | "SHOW" | "NOTIFY" | "USE",
            ..,
        ]
        | [
            "BEGIN" | "START" | "COMMIT" | "END" | "ROLLBACK" | "SAVEPOINT" | "RELEASE",
            ..,
        ]
        | ["UNLOCK", "TABLES"] => one(&rule::HARMLESS, words.first()?),
        ["REVOKE", ..] => one(&rule::CHANGE_RIGHTS, "REVOKE"),
        ["LOCK", ..] => one(
            &rule::LOCK_TABLE,
            &name(skip(&words, &["LOCK", "TABLE", "TABLES", "ONLY"])),
        ),
        ["TRUNCATE", ref rest @ ..] => {
            let table = name(skip(rest, &["TABLE", "ONLY"]));
            let rule: &'static Rule = if judge.known.is_new(&table) {
                &rule::NEW_TABLE
            } else {
                &rule::TRUNCATE
            };
            one(rule, &table)
        }
        ["VACUUM", ref rest @ ..] => {
            let is_full = rest.contains(&"FULL");
            let rule: &'static Rule = if is_full {
                &rule::REWRITE_TABLE
            } else {
                &rule::HARMLESS
            };
            one(rule, "VACUUM")
        }
        ["CLUSTER", ref rest @ ..] => one(&rule::REWRITE_TABLE, &name(rest)),
        ["REINDEX", ref rest @ ..] => {
            let is_online = rest.contains(&"CONCURRENTLY") && judge.version >= REINDEX_CONCURRENTLY;
            let rule: &'static Rule = if is_online {
                &rule::INDEX_ONLINE
            } else {
                &rule::REINDEX_LOCKS
            };
            let mut found = vec![Found::new(rule, "REINDEX")];
            found.extend(concurrently(piece));
            Some(found)
        }
        ["REFRESH", "MATERIALIZED", "VIEW", ref rest @ ..] => {
            let rule: &'static Rule = if rest.first() == Some(&"CONCURRENTLY") {
                &rule::HARMLESS
            } else {
                &rule::REFRESH_LOCKS
            };
            one(rule, &name(skip(rest, &["CONCURRENTLY"])))
        }
        ["CREATE", ref rest @ ..] => create(judge.dialect, rest),
        ["DROP", ref rest @ ..] => drop(judge, rest, piece),
        ["ALTER", "TABLE", ref rest @ ..] => {
            alter_table(judge, skip(rest, &["IF", "EXISTS", "ONLY"]))
        }
        ["ALTER", ref rest @ ..] => alter(rest),
        ["RENAME", "TABLE" | "TABLES", ref rest @ ..] => rename(judge, rest),
        _ => None,
    }
}

/// CREATE of what is not a table or an index.
fn create(dialect: Dialect, words: &[&str]) -> Option<Vec<Found>> {
    let replaces = words.starts_with(&["OR", "REPLACE"]);
    let rest = skip(
        words,
        &["OR", "REPLACE", "RECURSIVE", "TRUSTED", "CONSTRAINT"],
    );
    // MySQL's DEFINER = a@b stands before the kind.
    let kind = rest
        .iter()
        .position(|word| KINDS.contains(word) || KINDS_TO_READ.contains(word))?;
    let kind_name = *rest.get(kind)?;
    let object = name(skip(
        rest.get(kind.saturating_add(1)..)?,
        &["IF", "NOT", "EXISTS", "VIEW"],
    ));
    let rule = match kind_name {
        _ if KINDS_TO_READ.contains(&kind_name) => return None,
        "FULLTEXT" | "SPATIAL" => &rule::FULLTEXT_INDEX,
        "TRIGGER" => &rule::CREATE_TRIGGER,
        "POLICY" | "RULE" => &rule::ROW_SECURITY,
        // PostgreSQL lets a view that is replaced only get more columns, at its end.
        "VIEW" if dialect == Dialect::Postgres => &rule::CREATE_OBJECT,
        _ if replaces => &rule::REPLACE_ROUTINE,
        _ => &rule::CREATE_OBJECT,
    };
    Some(vec![Found::new(rule, object)])
}

/// What a CREATE creates beside tables and indexes.
const KINDS: [&str; 24] = [
    "FUNCTION",
    "PROCEDURE",
    "AGGREGATE",
    "VIEW",
    "MATERIALIZED",
    "SEQUENCE",
    "TYPE",
    "DOMAIN",
    "SCHEMA",
    "EXTENSION",
    "ROLE",
    "USER",
    "PUBLICATION",
    "STATISTICS",
    "COLLATION",
    "CAST",
    "TRIGGER",
    "POLICY",
    "RULE",
    "FULLTEXT",
    "SPATIAL",
    "DATABASE",
    "EVENT",
    "OPERATOR",
];

/// What must be read by a parser.
const KINDS_TO_READ: [&str; 2] = ["TABLE", "INDEX"];

fn drop(judge: &mut Judge, words: &[&str], piece: &Piece) -> Option<Vec<Found>> {
    let (kind, rest) = words.split_first()?;
    let is_concurrent = rest.first() == Some(&"CONCURRENTLY");
    let rest = skip(rest, &["VIEW", "CONCURRENTLY", "IF", "EXISTS"]);
    let names = names(rest);
    let each = |rule: &'static Rule| {
        names
            .iter()
            .map(|name| Found::new(rule, name.clone()))
            .collect::<Vec<_>>()
    };
    let found = match *kind {
        "TABLE" => names
            .iter()
            .map(|name| {
                let rule: &'static Rule = if judge.known.is_new(name) {
                    &rule::NEW_TABLE
                } else {
                    &rule::DROP_TABLE
                };
                judge.known.drop_table(name);
                Found::new(rule, name.clone())
            })
            .collect(),
        "TEMPORARY" => vec![Found::new(&rule::HARMLESS, "DROP TEMPORARY TABLE")],
        "INDEX" => {
            let mut found = each(&rule::DROP_INDEX);
            let of_new = |one: &Found| {
                judge
                    .known
                    .table_of_index(&one.object)
                    .is_some_and(|table| judge.known.is_new(table))
            };
            if !found.is_empty() && found.iter().all(of_new) {
                return Some(each(&rule::NEW_TABLE));
            }
            if judge.dialect == Dialect::Postgres && !is_concurrent {
                found.extend(each(&rule::DROP_INDEX_LOCKS));
            }
            found.extend(concurrently(piece));
            found
        }
        "TRIGGER" => each(&rule::DROP_TRIGGER),
        "POLICY" | "RULE" => each(&rule::ROW_SECURITY),
        _ => each(&rule::DROP_OBJECT),
    };
    (!found.is_empty()).then_some(found)
}

/// What the parser does not know of ALTER TABLE; the rest is the parser's.
fn alter_table(judge: &Judge, words: &[&str]) -> Option<Vec<Found>> {
    let table = name(words);
    let has = |sought: &[&str]| words.windows(sought.len()).any(|window| window == sought);
    let is_new = judge.known.is_new(&table);
    let is_qualified = words.get(1) == Some(&".");
    let operation = words
        .get(if is_qualified { 3 } else { 1 }..)
        .unwrap_or_default();
    let found = |rule: &'static Rule| {
        let rule: &'static Rule = if is_new { &rule::NEW_TABLE } else { rule };
        Some(vec![Found::new(rule, table.clone())])
    };
    // With a comma there may be other operations beside it, of which nothing would be said.
    let is_single = !words.contains(&",");
    match judge.dialect {
        _ if !is_single => None,
        Dialect::Postgres if has(&["SET", "SCHEMA"]) => found(&rule::RENAME_TABLE),
        Dialect::Postgres if has(&["SET", "TABLESPACE"]) || has(&["SET", "ACCESS", "METHOD"]) => {
            found(&rule::REWRITE_TABLE)
        }
        Dialect::Postgres if has(&["ATTACH", "PARTITION"]) => found(&rule::CONSTRAINT_SCAN),
        Dialect::Postgres if has(&["DETACH", "PARTITION"]) => found(&rule::DETACH_PARTITION),
        Dialect::Postgres
            if has(&["SET", "STATISTICS"])
                || has(&["SET", "STORAGE"])
                || has(&["CLUSTER", "ON"]) =>
        {
            found(&rule::HARMLESS)
        }
        Dialect::Postgres if has(&["DROP", "IDENTITY"]) => found(&rule::DROP_DEFAULT),
        Dialect::Postgres if has(&["DROP", "EXPRESSION"]) => found(&rule::DROP_DEFAULT),
        Dialect::Mysql if has(&["CONVERT", "TO"]) => Some(vec![
            Found::new(&rule::CHANGE_TYPE, &table),
            Found::new(&rule::COPY_ALTER, &table),
        ]),
        Dialect::Mysql if operation.first() == Some(&"ENGINE") => found(&rule::COPY_ALTER),
        Dialect::Mysql if has(&["RENAME", "INDEX"]) || has(&["RENAME", "KEY"]) => {
            found(&rule::RENAME_INDEX)
        }
        Dialect::Postgres | Dialect::Mysql => None,
    }
}

/// ALTER of what is not a table.
fn alter(words: &[&str]) -> Option<Vec<Found>> {
    let (kind, rest) = words.split_first()?;
    let object = name(skip(rest, &["VIEW", "IF", "EXISTS"]));
    let has = |sought: &[&str]| rest.windows(sought.len()).any(|window| window == sought);
    let rule: &'static Rule = match *kind {
        "INDEX" if has(&["RENAME", "TO"]) => &rule::RENAME_INDEX,
        "INDEX" if has(&["SET", "TABLESPACE"]) => &rule::REINDEX_LOCKS,
        "TYPE" if has(&["ADD", "VALUE"]) => &rule::ADD_ENUM_VALUE,
        "TYPE" | "VIEW" | "MATERIALIZED" | "SEQUENCE" | "FUNCTION" | "PROCEDURE" | "SCHEMA"
        | "DOMAIN"
            if has(&["RENAME"]) || has(&["SET", "SCHEMA"]) =>
        {
            &rule::RENAME_OBJECT
        }
        _ if has(&["OWNER", "TO"]) => &rule::CHANGE_RIGHTS,
        "SEQUENCE" if !has(&["RESTART"]) => &rule::HARMLESS,
        "DOMAIN" if has(&["DROP", "NOT", "NULL"]) || has(&["DROP", "CONSTRAINT"]) => &rule::LOOSEN,
        "DOMAIN" if has(&["ADD"]) => &rule::ADD_CHECK,
        "DOMAIN" if has(&["SET", "NOT", "NULL"]) => &rule::SET_NOT_NULL,
        "DEFAULT" => &rule::HARMLESS,
        _ => return None,
    };
    Some(vec![Found::new(rule, object)])
}

/// MySQL's RENAME TABLE a TO b, c TO d.
fn rename(judge: &mut Judge, words: &[&str]) -> Option<Vec<Found>> {
    let mut found = Vec::new();
    for pair in words.split(|word| *word == ",") {
        let to = pair.iter().position(|word| *word == "TO")?;
        let (old, new) = (name(pair), name(pair.get(to.saturating_add(1)..)?));
        let rule: &'static Rule = if judge.known.is_new(&old) {
            &rule::NEW_TABLE
        } else {
            &rule::RENAME_TABLE
        };
        judge.known.rename_table(&old, &new);
        found.push(Found::new(rule, old));
    }
    Some(found)
}

/// Whether it says CONCURRENTLY where that is refused.
fn concurrently(piece: &Piece) -> Option<Found> {
    let says = piece.words.iter().any(|word| word == "CONCURRENTLY");
    (says && piece.transaction == Transaction::Told)
        .then(|| Found::new(&rule::CONCURRENTLY_IN_TRANSACTION, ""))
}

/// Returns what follows such words.
fn skip<'a, 'b>(words: &'a [&'b str], skipped: &[&str]) -> &'a [&'b str] {
    let start = words
        .iter()
        .position(|word| !skipped.contains(word))
        .unwrap_or(words.len());
    words.get(start..).unwrap_or_default()
}

/// Returns the name at the beginning, as [`known::name`] has it.
fn name(words: &[&str]) -> String {
    let mut text = String::new();
    let mut is_part = true;
    for word in words {
        match (is_part, *word) {
            (false, ".") => text.push('.'),
            (true, word) if word != "." => text.push_str(&part(word)),
            _ => break,
        }
        is_part = !is_part;
    }
    known::plain(&text)
}

/// Returns the names of a list.
fn names(words: &[&str]) -> Vec<String> {
    let lists = words.split(|word| *word == ",");
    lists.map(name).filter(|name| !name.is_empty()).collect()
}

fn part(word: &str) -> String {
    match word.strip_prefix(['"', '`']) {
        Some(quoted) => quoted.trim_end_matches(['"', '`']).to_owned(),
        None => word.to_lowercase(),
    }
}
