//! The table of cases: what is said of each statement in each dialect, and what people may accept.

use super::*;

const SETTINGS: Settings = Settings {
    dialect: None,
    version: None,
    phase: Phase::Expand,
    direction: Direction::Up,
    after: None,
};

/// A table that an earlier release made.
const EARLIER: &str =
    "CREATE TABLE users (id int PRIMARY KEY, name varchar(50) NOT NULL, age int, mail text, score int DEFAULT 1, CONSTRAINT ages CHECK (age > 0));
     ALTER TABLE users ADD CONSTRAINT mails UNIQUE (mail);";

fn file(path: &str, text: &str) -> File {
    File {
        path: path.to_owned(),
        text: text.to_owned(),
    }
}

/// Returns the rules that speak of the last statement.
fn last(dialect: Dialect, version: Option<&str>, text: &str) -> Vec<&'static str> {
    let settings = Settings {
        dialect: Some(dialect),
        version: version.map(|text| text.parse().unwrap()),
        ..SETTINGS
    };
    let checked = check(
        &[file("1_a.sql", EARLIER), file("2_b.sql", text)],
        &settings,
    );
    let last = checked.statements.last().unwrap();
    assert_eq!(last.file, "2_b.sql", "{text}");
    last.findings
        .iter()
        .map(|finding| finding.rule.id)
        .collect()
}

fn check_all(dialect: Dialect, version: Option<&str>, cases: &[(&str, &[&str])]) {
    for (text, expected) in cases {
        assert_eq!(last(dialect, version, text), *expected, "{text}");
    }
}

const POSTGRES_COLUMNS: &[(&str, &[&str])] = &[
    ("ALTER TABLE users ADD COLUMN b boolean", &["add-column"]),
    (
        "ALTER TABLE public.users ADD b boolean NULL",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b boolean NOT NULL DEFAULT false",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b timestamptz DEFAULT now()",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b timestamptz DEFAULT CURRENT_TIMESTAMP",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b uuid DEFAULT gen_random_uuid()",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b timestamptz DEFAULT clock_timestamp()",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int DEFAULT own_function()",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b bigserial",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int GENERATED ALWAYS AS IDENTITY",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int GENERATED ALWAYS AS (age * 2) STORED",
        &["rewrite-table"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int NOT NULL",
        &["add-required-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int UNIQUE",
        &["unique-under-lock"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int REFERENCES teams (id)",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int DEFAULT 1 REFERENCES teams (id)",
        &["constraint-scan"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int CHECK (b > 0)",
        &["constraint-scan"],
    ),
    (
        "ALTER TABLE users ADD COLUMN a int, ADD COLUMN b int NOT NULL",
        &["add-column", "add-required-column"],
    ),
    ("ALTER TABLE users DROP COLUMN name", &["drop-column"]),
    (
        "ALTER TABLE IF EXISTS ONLY users DROP COLUMN IF EXISTS name CASCADE",
        &["drop-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int; ALTER TABLE users DROP COLUMN b",
        &["new-column"],
    ),
    (
        "ALTER TABLE users RENAME COLUMN name TO b",
        &["rename-column"],
    ),
    ("ALTER TABLE users RENAME name TO b", &["rename-column"]),
    ("ALTER TABLE users RENAME TO people", &["rename-table"]),
    ("ALTER TABLE users SET SCHEMA app", &["rename-table"]),
    (
        "ALTER TABLE users ALTER COLUMN age SET DEFAULT 1",
        &["set-default"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN score DROP DEFAULT",
        &["drop-default"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int DEFAULT 1; ALTER TABLE users ALTER COLUMN b DROP DEFAULT",
        &["new-column"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN name DROP NOT NULL",
        &["loosen"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN age SET NOT NULL",
        &["set-not-null", "constraint-scan"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int DEFAULT 1; ALTER TABLE users ALTER COLUMN b SET NOT NULL",
        &["constraint-scan"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN age SET STATISTICS 500",
        &["harmless"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN age DROP IDENTITY",
        &["drop-default"],
    ),
];

#[test]
fn postgres_columns() {
    check_all(Dialect::Postgres, None, POSTGRES_COLUMNS);
}

#[test]
fn postgres_types() {
    check_all(
        Dialect::Postgres,
        None,
        &[
            (
                "ALTER TABLE users ALTER COLUMN name TYPE varchar(100)",
                &["widen-type"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN name SET DATA TYPE text",
                &["widen-type"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN name TYPE varchar(50)",
                &["harmless"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN name TYPE varchar(10)",
                &["narrow-type", "rewrite-table"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN mail TYPE varchar(10)",
                &["narrow-type", "rewrite-table"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN age TYPE bigint",
                &["change-type", "rewrite-table"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN age TYPE smallint",
                &["narrow-type", "rewrite-table"],
            ),
            (
                "ALTER TABLE users ALTER COLUMN name TYPE int USING name::int",
                &["change-type", "rewrite-table"],
            ),
            (
                "ALTER TABLE others ALTER COLUMN a TYPE text",
                &["change-type", "rewrite-table"],
            ),
            ("ALTER TYPE mood ADD VALUE 'tired'", &["add-enum-value"]),
            (
                "ALTER TYPE mood ADD VALUE IF NOT EXISTS 'tired' BEFORE 'sad'",
                &["add-enum-value"],
            ),
            (
                "ALTER TYPE mood RENAME VALUE 'a' TO 'b'",
                &["rename-object"],
            ),
            ("ALTER TYPE mood RENAME TO moods", &["rename-object"]),
            (
                "ALTER DOMAIN d ADD CONSTRAINT c CHECK (VALUE > 0)",
                &["add-check"],
            ),
            ("ALTER DOMAIN d DROP CONSTRAINT c", &["loosen"]),
        ],
    );
}

const POSTGRES_CONSTRAINTS: &[(&str, &[&str])] = &[
    (
        "ALTER TABLE users ADD CONSTRAINT c CHECK (age < 200)",
        &["add-check", "constraint-scan"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c CHECK (age < 200) NOT VALID",
        &["add-check"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int; ALTER TABLE users ADD CONSTRAINT c CHECK (b > 0 AND b IS NOT NULL) NOT VALID",
        &["new-column"],
    ),
    (
        "ALTER TABLE users ADD FOREIGN KEY (age) REFERENCES ages (id)",
        &["add-foreign-key", "constraint-scan"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c FOREIGN KEY (age) REFERENCES ages (id) NOT VALID",
        &["add-foreign-key"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c UNIQUE (name)",
        &["add-unique", "unique-under-lock"],
    ),
    (
        "ALTER TABLE users ADD PRIMARY KEY (name)",
        &["add-unique", "unique-under-lock"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c UNIQUE USING INDEX i",
        &["constraint-using-index"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c EXCLUDE USING gist (name WITH =)",
        &["add-unique", "unique-under-lock"],
    ),
    ("ALTER TABLE users DROP CONSTRAINT ages", &["loosen"]),
    (
        "ALTER TABLE users DROP CONSTRAINT mails",
        &["drop-constraint"],
    ),
    (
        "ALTER TABLE users DROP CONSTRAINT IF EXISTS unknown",
        &["drop-constraint"],
    ),
    (
        "ALTER TABLE users RENAME CONSTRAINT ages TO c",
        &["rename-object"],
    ),
    (
        "ALTER TABLE users VALIDATE CONSTRAINT c",
        &["validate-constraint"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c CHECK (age < 200) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c",
        &["validate-too-soon"],
    ),
    (
        "-- no-transaction\nALTER TABLE users ADD CONSTRAINT c CHECK (age < 200) NOT VALID; ALTER TABLE users VALIDATE CONSTRAINT c",
        &["validate-constraint"],
    ),
    (
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY",
        &["row-security"],
    ),
    ("ALTER TABLE users DISABLE ROW LEVEL SECURITY", &["loosen"]),
    ("CREATE POLICY p ON users USING (true)", &["row-security"]),
];

#[test]
fn postgres_constraints() {
    check_all(Dialect::Postgres, None, POSTGRES_CONSTRAINTS);
}

#[test]
fn postgres_indexes() {
    check_all(
        Dialect::Postgres,
        None,
        &[
            ("CREATE INDEX i ON users (name)", &["index-blocks-writes"]),
            (
                "CREATE INDEX CONCURRENTLY i ON users (name)",
                &["index-online"],
            ),
            (
                "CREATE INDEX CONCURRENTLY IF NOT EXISTS i ON users USING gin (name)",
                &["index-online"],
            ),
            (
                "CREATE UNIQUE INDEX i ON users (name)",
                &["add-unique", "index-blocks-writes"],
            ),
            (
                "CREATE UNIQUE INDEX CONCURRENTLY i ON users (name)",
                &["add-unique"],
            ),
            (
                "BEGIN; CREATE INDEX CONCURRENTLY i ON users (name)",
                &["concurrently-in-transaction"],
            ),
            (
                "-- migrate:up\nCREATE INDEX CONCURRENTLY i ON users (name)",
                &["concurrently-in-transaction"],
            ),
            (
                "-- migrate:up transaction:false\nCREATE INDEX CONCURRENTLY i ON users (name)",
                &["index-online"],
            ),
            ("DROP INDEX i", &["drop-index", "drop-index-locks"]),
            ("DROP INDEX CONCURRENTLY IF EXISTS i", &["drop-index"]),
            ("ALTER INDEX i RENAME TO j", &["rename-index"]),
            ("REINDEX TABLE users", &["reindex-locks"]),
            ("REINDEX (VERBOSE) INDEX CONCURRENTLY i", &["index-online"]),
            ("CLUSTER users USING i", &["rewrite-table"]),
            ("VACUUM FULL users", &["rewrite-table"]),
            ("VACUUM (FULL, ANALYZE) users", &["rewrite-table"]),
            ("VACUUM ANALYZE users", &["harmless"]),
        ],
    );
}

const POSTGRES_OBJECTS: &[(&str, &[&str])] = &[
    (
        "CREATE TABLE a (id bigserial PRIMARY KEY, u int REFERENCES users)",
        &["create-object"],
    ),
    (
        "CREATE TABLE a (id int); CREATE INDEX i ON a (id)",
        &["new-table"],
    ),
    (
        "CREATE TABLE a (id int); ALTER TABLE a ADD COLUMN b int NOT NULL",
        &["new-table"],
    ),
    ("CREATE TABLE a (id int); DROP TABLE a", &["new-table"]),
    (
        "CREATE TABLE a (id int); UPDATE a SET id = 1",
        &["new-table"],
    ),
    (
        "CREATE TABLE a (id int); ALTER TABLE a RENAME TO b; CREATE INDEX i ON b (id)",
        &["new-table"],
    ),
    (
        "CREATE TABLE IF NOT EXISTS users (id int); CREATE INDEX i ON users (name)",
        &["index-blocks-writes"],
    ),
    ("DROP TABLE users", &["drop-table"]),
    (
        "DROP TABLE IF EXISTS users, others CASCADE",
        &["drop-table", "drop-table"],
    ),
    ("DROP VIEW v", &["drop-object"]),
    ("DROP MATERIALIZED VIEW v", &["drop-object"]),
    ("DROP FUNCTION f(int)", &["drop-object"]),
    ("DROP TYPE t", &["drop-object"]),
    ("DROP TRIGGER t ON users", &["drop-trigger"]),
    ("CREATE VIEW v AS SELECT 1", &["create-object"]),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", &["create-object"]),
    ("CREATE MATERIALIZED VIEW v AS SELECT 1", &["create-object"]),
    ("REFRESH MATERIALIZED VIEW v", &["refresh-locks"]),
    ("REFRESH MATERIALIZED VIEW CONCURRENTLY v", &["harmless"]),
    (
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM a; END $$",
        &["create-object"],
    ),
    (
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        &["replace-routine"],
    ),
    (
        "CREATE TRIGGER t BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION f()",
        &["create-trigger"],
    ),
    ("CREATE EXTENSION IF NOT EXISTS pg_trgm", &["create-object"]),
    ("CREATE TYPE mood AS ENUM ('sad', 'ok')", &["create-object"]),
    ("ALTER SEQUENCE s RENAME TO t", &["rename-object"]),
    ("ALTER TABLE users DISABLE TRIGGER t", &["drop-trigger"]),
    ("ALTER TABLE users OWNER TO app", &["change-rights"]),
    ("REVOKE INSERT ON users FROM app", &["change-rights"]),
    ("GRANT SELECT ON users TO app", &["harmless"]),
    (
        "COMMENT ON COLUMN users.name IS 'DROP TABLE users;'",
        &["harmless"],
    ),
    ("ALTER TABLE users SET UNLOGGED", &["rewrite-table"]),
    ("ALTER TABLE users SET TABLESPACE quick", &["rewrite-table"]),
    ("ALTER TABLE users SET (fillfactor = 70)", &["harmless"]),
    (
        "ALTER TABLE users ATTACH PARTITION p FOR VALUES IN (1)",
        &["constraint-scan"],
    ),
    (
        "ALTER TABLE users DETACH PARTITION p",
        &["detach-partition"],
    ),
    ("LOCK TABLE users IN ACCESS EXCLUSIVE MODE", &["lock-table"]),
    ("TRUNCATE TABLE users", &["truncate"]),
];

#[test]
fn postgres_objects() {
    check_all(Dialect::Postgres, None, POSTGRES_OBJECTS);
}

#[test]
fn postgres_rows() {
    check_all(
        Dialect::Postgres,
        None,
        &[
            (
                "INSERT INTO users (id, name) VALUES (1, 'a')",
                &["insert-rows"],
            ),
            (
                "UPDATE users SET age = 1",
                &["rewrite-data", "backfill-at-once"],
            ),
            ("UPDATE users SET age = 1 WHERE id = 7", &["rewrite-data"]),
            (
                "UPDATE users SET age = 1 WHERE id BETWEEN 1 AND 1000",
                &["rewrite-data"],
            ),
            (
                "UPDATE users SET age = 1 WHERE age IS NULL",
                &["backfill-at-once"],
            ),
            (
                "UPDATE users SET age = 1 WHERE age IS NULL AND id BETWEEN 1 AND 1000",
                &["backfill-batch"],
            ),
            (
                "UPDATE users SET age = 1 WHERE NOT (age IS NULL) AND id BETWEEN 1 AND 1000",
                &["rewrite-data"],
            ),
            (
                "UPDATE users SET age = 1 WHERE mail = (SELECT mail FROM users LIMIT 1)",
                &["rewrite-data", "backfill-at-once"],
            ),
            (
                "UPDATE users SET age = 1 WHERE made_at BETWEEN 1 AND 1000",
                &["rewrite-data", "backfill-at-once"],
            ),
            (
                "UPDATE users SET age = 1 WHERE age IS NULL OR id BETWEEN 1 AND 1000",
                &["rewrite-data"],
            ),
            (
                "ALTER TABLE users ADD COLUMN b int; UPDATE users SET b = age",
                &["backfill-at-once"],
            ),
            (
                "ALTER TABLE users ADD COLUMN b int; UPDATE users SET b = age WHERE id IN (SELECT id FROM users WHERE b IS NULL LIMIT 1000)",
                &["backfill-batch"],
            ),
            (
                "UPDATE users SET age = (SELECT a FROM b WHERE b.id = users.id LIMIT 1)",
                &["rewrite-data", "backfill-at-once"],
            ),
            ("DELETE FROM users", &["rewrite-data", "backfill-at-once"]),
            ("DELETE FROM users WHERE id = 7", &["rewrite-data"]),
            ("SELECT count(*) FROM users", &["harmless"]),
            ("SELECT setval('s', 7)", &["unread"]),
            (
                "WITH a AS (DELETE FROM users RETURNING *) SELECT * FROM a",
                &["unread"],
            ),
            ("COPY users FROM stdin", &["insert-rows"]),
        ],
    );
}

#[test]
fn what_is_not_understood_is_not_taken_for_safe() {
    check_all(
        Dialect::Postgres,
        None,
        &[
            (
                "DO $$ BEGIN EXECUTE 'DROP TABLE users'; END $$",
                &["unread"],
            ),
            ("CALL migrate_everything()", &["unread"]),
            ("ALTER TABLE users FROBNICATE", &["unread"]),
            (
                "ALTER TABLE users ALTER COLUMN age ADD GENERATED ALWAYS AS IDENTITY",
                &["unread"],
            ),
            (
                "ALTER TABLE users SET SCHEMA app, DROP COLUMN name",
                &["unread"],
            ),
            ("\\connect other", &["unread"]),
            (
                "MERGE INTO users u USING a ON a.id = u.id WHEN MATCHED THEN DELETE",
                &["unread"],
            ),
            ("ALTER SEQUENCE s RESTART WITH 1", &["unread"]),
            ("this is not SQL", &["unread"]),
            ("SELECT (1", &["unread"]),
            ("EXPLAIN ANALYZE DELETE FROM users", &["unread"]),
        ],
    );
    check_all(
        Dialect::Mysql,
        None,
        &[
            (
                "/*!50100 ALTER TABLE users DROP COLUMN name */",
                &["unread"],
            ),
            ("ALTER TABLE users PARTITION BY HASH (id)", &["unread"]),
        ],
    );
    let long = format!("SELECT 1{}", "+1".repeat(100_000));
    assert_eq!(last(Dialect::Postgres, None, &long), ["unread"]);
    let deep = format!("SELECT {}1{}", "(".repeat(900), ")".repeat(900));
    assert_eq!(last(Dialect::Postgres, None, &deep), ["unread"]);
}

#[test]
fn the_longest_statement_that_is_read_needs_no_more_stack_than_a_test_has() {
    let sum = "+1".repeat(980);
    let read = |text: &str| last(Dialect::Postgres, None, text);
    assert_eq!(read(&format!("SELECT 1{sum}")), ["harmless"]);
    assert_eq!(
        read(&format!(
            "UPDATE users SET age = 1{sum} WHERE age IS NULL LIMIT 1"
        )),
        ["backfill-batch"]
    );
    let part = "+1".repeat(180);
    assert_eq!(
        read(&format!(
            "ALTER TABLE users ADD COLUMN b int DEFAULT 1{part}"
        )),
        ["add-column"]
    );
}

#[test]
fn older_servers_do_less_online() {
    check_all(
        Dialect::Postgres,
        Some("10"),
        &[(
            "ALTER TABLE users ADD COLUMN b int DEFAULT 1",
            &["rewrite-table"],
        )],
    );
    let proven = "ALTER TABLE users ADD CONSTRAINT c CHECK (age IS NOT NULL); ALTER TABLE users ALTER COLUMN age SET NOT NULL";
    check_all(
        Dialect::Postgres,
        Some("11"),
        &[(proven, &["set-not-null", "constraint-scan"])],
    );
    check_all(
        Dialect::Postgres,
        Some("12"),
        &[(proven, &["not-null-proven"])],
    );
    check_all(
        Dialect::Postgres,
        Some("11"),
        &[("REINDEX INDEX CONCURRENTLY i", &["reindex-locks"])],
    );
    check_all(
        Dialect::Mysql,
        Some("5.5"),
        &[
            ("ALTER TABLE users ADD COLUMN b int", &["copy-alter"]),
            ("ALTER TABLE users ADD INDEX i (name)", &["copy-alter"]),
        ],
    );
}

#[test]
fn a_check_must_be_valid_and_about_the_column_to_prove_it() {
    let alter = |text: &str| {
        format!(
            "ALTER TABLE users ADD CONSTRAINT c CHECK ({text}); ALTER TABLE users ALTER COLUMN age SET NOT NULL"
        )
    };
    let not_valid = alter("age IS NOT NULL").replace(");", ") NOT VALID;");
    let validated = not_valid.replace(
        "; ALTER",
        "; ALTER TABLE users VALIDATE CONSTRAINT c; ALTER",
    );
    let unproven: &[&str] = &["set-not-null", "constraint-scan"];
    for (text, expected) in [
        (alter("name IS NOT NULL"), unproven),
        (alter("age IS NOT NULL OR name IS NOT NULL"), unproven),
        (not_valid, unproven),
        (validated, &["not-null-proven"]),
    ] {
        assert_eq!(last(Dialect::Postgres, None, &text), expected, "{text}");
    }
}

const MYSQL_TABLES: &[(&str, &[&str])] = &[
    (
        "ALTER TABLE `users` ADD COLUMN `b` tinyint(1) AFTER `name`",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int NOT NULL DEFAULT 0, ALGORITHM=INSTANT",
        &["add-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int NOT NULL",
        &["add-required-column"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int NOT NULL AUTO_INCREMENT",
        &["copy-alter"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b varchar(36) DEFAULT (uuid())",
        &["copy-alter"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int GENERATED ALWAYS AS (age * 2) STORED",
        &["copy-alter"],
    ),
    (
        "ALTER TABLE users ADD COLUMN b int GENERATED ALWAYS AS (age * 2) VIRTUAL",
        &["add-column"],
    ),
    ("ALTER TABLE users DROP COLUMN name", &["drop-column"]),
    (
        "ALTER TABLE users CHANGE COLUMN name b varchar(50) NOT NULL",
        &["rename-column"],
    ),
    (
        "ALTER TABLE users RENAME COLUMN name TO b",
        &["rename-column"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN name varchar(60) NOT NULL",
        &["widen-type"],
    ),
    (
        "ALTER TABLE users MODIFY name varchar(200) NOT NULL",
        &["copy-alter"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN name varchar(20) NOT NULL",
        &["narrow-type", "copy-alter"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN name varchar(50)",
        &["loosen"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN age int NOT NULL",
        &["set-not-null"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN score int",
        &["drop-default"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN age bigint",
        &["change-type", "copy-alter"],
    ),
    (
        "ALTER TABLE users MODIFY COLUMN age bigint, LOCK=NONE",
        &["change-type"],
    ),
    (
        "ALTER TABLE others MODIFY COLUMN a int",
        &["change-type", "copy-alter"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN age SET DEFAULT 1",
        &["set-default"],
    ),
    (
        "ALTER TABLE users ALTER COLUMN score DROP DEFAULT",
        &["drop-default"],
    ),
    ("ALTER TABLE users RENAME TO people", &["rename-table"]),
    (
        "RENAME TABLE users TO people, `a` TO b",
        &["rename-table", "rename-table"],
    ),
    (
        "CREATE TABLE new (id int); RENAME TABLE users TO old, new TO users",
        &["rename-table", "new-table"],
    ),
    (
        "ALTER TABLE users CONVERT TO CHARACTER SET utf8mb4",
        &["change-type", "copy-alter"],
    ),
    ("ALTER TABLE users ENGINE=InnoDB", &["copy-alter"]),
    ("ALTER TABLE users DROP COLUMN engine", &["drop-column"]),
    ("ALTER TABLE app.users ENGINE = InnoDB", &["copy-alter"]),
    (
        "ALTER TABLE users CONVERT TO CHARACTER SET utf8mb4, DROP COLUMN name",
        &["unread"],
    ),
    ("DROP TABLE users", &["drop-table"]),
    ("LOCK TABLES users WRITE", &["lock-table"]),
    ("TRUNCATE users", &["truncate"]),
];

#[test]
fn mysql_tables() {
    check_all(Dialect::Mysql, None, MYSQL_TABLES);
}

const MYSQL_INDEXES_CONSTRAINTS_AND_ROWS: &[(&str, &[&str])] = &[
    ("CREATE INDEX i ON users (name)", &["index-online"]),
    (
        "CREATE INDEX i ON users (name) ALGORITHM=COPY",
        &["copy-alter"],
    ),
    (
        "CREATE INDEX i ON users (name) LOCK=SHARED",
        &["lock-clause"],
    ),
    ("CREATE UNIQUE INDEX i ON users (name)", &["add-unique"]),
    (
        "CREATE FULLTEXT INDEX i ON users (name)",
        &["fulltext-index"],
    ),
    ("ALTER TABLE users ADD INDEX i (name)", &["index-online"]),
    (
        "ALTER TABLE users ADD KEY i (name), ALGORITHM=INPLACE, LOCK=NONE",
        &["index-online"],
    ),
    (
        "ALTER TABLE users ADD INDEX i (name), ALGORITHM=COPY",
        &["index-online", "copy-alter"],
    ),
    (
        "ALTER TABLE users ADD INDEX i (name), LOCK=EXCLUSIVE",
        &["index-online", "lock-clause"],
    ),
    ("ALTER TABLE users ADD UNIQUE KEY i (name)", &["add-unique"]),
    (
        "ALTER TABLE users ADD FULLTEXT INDEX i (name)",
        &["fulltext-index"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT f FOREIGN KEY (age) REFERENCES ages (id)",
        &["add-foreign-key", "foreign-key-copies"],
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT c CHECK (age > 0)",
        &["add-check", "copy-alter"],
    ),
    (
        "ALTER TABLE users DROP PRIMARY KEY",
        &["drop-constraint", "copy-alter"],
    ),
    ("ALTER TABLE users DROP FOREIGN KEY f", &["loosen"]),
    ("ALTER TABLE users DROP INDEX i", &["drop-index"]),
    ("ALTER TABLE users RENAME INDEX i TO j", &["rename-index"]),
    ("DROP INDEX i ON users", &["drop-index"]),
    (
        "UPDATE users SET age = 1",
        &["rewrite-data", "backfill-at-once"],
    ),
    (
        "UPDATE users SET age = 1 WHERE age IS NULL LIMIT 1000",
        &["backfill-batch"],
    ),
    ("DELETE FROM users LIMIT 1000", &["rewrite-data"]),
    ("REPLACE INTO users VALUES (1)", &["rewrite-data"]),
    ("INSERT IGNORE INTO users VALUES (1)", &["insert-rows"]),
    (
        "CREATE DEFINER = a@b TRIGGER t BEFORE INSERT ON users FOR EACH ROW SET NEW.age = 1",
        &["create-trigger"],
    ),
    ("CREATE OR REPLACE VIEW v AS SELECT 1", &["replace-routine"]),
    ("DROP PROCEDURE p", &["drop-object"]),
];

#[test]
fn mysql_indexes_constraints_and_rows() {
    check_all(Dialect::Mysql, None, MYSQL_INDEXES_CONSTRAINTS_AND_ROWS);
}

fn statements(files: &[File], settings: &Settings) -> Vec<(String, u32, Sort)> {
    let checked = check(files, settings);
    checked
        .statements
        .into_iter()
        .map(|one| (one.file, one.line, one.sort))
        .collect()
}

#[test]
fn the_seeds_example_is_taken_apart() {
    let text = "\
-- Version N: Add new column (nullable)
ALTER TABLE users ADD COLUMN new_feature_enabled BOOLEAN;
-- Version N+1: Populate new column
UPDATE users SET new_feature_enabled = FALSE;
-- Version N+3: Make column non-nullable
ALTER TABLE users ALTER COLUMN new_feature_enabled SET NOT NULL;
";
    let sorts = statements(&[file("a.sql", text)], &SETTINGS);
    assert_eq!(
        sorts,
        [
            ("a.sql".to_owned(), 2, Sort::Expand),
            ("a.sql".to_owned(), 4, Sort::Locks),
            ("a.sql".to_owned(), 6, Sort::Locks)
        ]
    );
}

#[test]
fn files_run_in_order_and_one_way() {
    let files = [
        file("2_b.up.sql", "ALTER TABLE a DROP COLUMN b;"),
        file("1_a.down.sql", "DROP TABLE a;"),
        file("1_a.up.sql", "CREATE TABLE a (id int, b int);"),
        file("2_b.down.sql", "ALTER TABLE a ADD COLUMN b int;"),
    ];
    let up = statements(&files, &SETTINGS);
    assert_eq!(
        up,
        [
            ("1_a.up.sql".to_owned(), 1, Sort::Expand),
            ("2_b.up.sql".to_owned(), 1, Sort::Contract)
        ]
    );
    let down = statements(
        &files,
        &Settings {
            direction: Direction::Down,
            ..SETTINGS
        },
    );
    assert_eq!(
        down,
        [
            ("2_b.down.sql".to_owned(), 1, Sort::Expand),
            ("1_a.down.sql".to_owned(), 1, Sort::Contract)
        ]
    );
}

#[test]
fn what_ran_already_is_known_and_not_told() {
    let files = [
        file("V1__a.sql", "CREATE TABLE a (id int); DROP TABLE z;"),
        file("V2__b.sql", "CREATE TABLE b (id int);"),
        file(
            "V3__c.sql",
            "CREATE INDEX i ON b (id); CREATE INDEX j ON a (id);",
        ),
    ];
    let alone = statements(&files, &SETTINGS);
    assert_eq!(alone.last().unwrap().2, Sort::Locks);
    assert_eq!(
        alone[3].2,
        Sort::Locks,
        "without --after a file is a release of its own"
    );
    let pending = statements(
        &files,
        &Settings {
            after: Some("1".to_owned()),
            ..SETTINGS
        },
    );
    assert_eq!(
        pending.iter().map(|one| one.2).collect::<Vec<_>>(),
        [Sort::Expand, Sort::Expand, Sort::Locks],
        "b is new with what runs together, a is not"
    );
}

#[test]
fn people_accept_with_a_reason() {
    let text = "\
-- haldane: accept drop-column nobody reads it since v7
ALTER TABLE users DROP COLUMN name;
ALTER TABLE users DROP COLUMN age; -- haldane: accept drop-column same here
-- haldane: accept drop-column
ALTER TABLE users DROP COLUMN mail;
-- haldane: accept drop-colunm typed wrong
-- haldane: accept drop-table not this
ALTER TABLE users DROP COLUMN score;
";
    let checked = check(&[file("a.sql", text)], &SETTINGS);
    let meant: Vec<bool> = checked
        .statements
        .iter()
        .map(|one| one.findings[0].is_meant)
        .collect();
    assert_eq!(meant, [true, true, false, false]);
    assert_eq!(
        checked.statements[0].findings[0].accepted.as_deref(),
        Some("nobody reads it since v7")
    );
    assert!(!checked.is_fine());
    let advice: Vec<&str> = checked
        .advice
        .iter()
        .map(|one| one.message.as_str())
        .collect();
    for expected in [
        "accepts \"drop-column\" without a reason",
        "accepts \"drop-colunm\", which is no rule",
        "accepts drop-table, which nothing says",
        "without SET lock_timeout",
    ] {
        assert!(
            advice.iter().any(|one| one.starts_with(expected)),
            "{expected}: {advice:?}"
        );
    }
}

#[test]
fn a_phase_means_its_contracts_and_nothing_else() {
    let files = [file(
        "a.sql",
        "ALTER TABLE users DROP COLUMN name; ALTER TABLE users RENAME TO people;",
    )];
    let checked = check(
        &files,
        &Settings {
            phase: Phase::Contract,
            ..SETTINGS
        },
    );
    let meant: Vec<bool> = checked
        .statements
        .iter()
        .map(|one| one.findings[0].is_meant)
        .collect();
    assert_eq!(meant, [true, false]);
}

#[test]
fn a_timeout_that_is_set_is_not_advised() {
    let alter = "ALTER TABLE users ADD COLUMN b int;";
    let advice = |text: &str| check(&[file("a.sql", text)], &SETTINGS).advice;
    assert_eq!(advice(alter).len(), 1);
    assert_eq!(
        advice(&format!("SET LOCAL lock_timeout = '3s'; {alter}")),
        []
    );
    assert_eq!(
        advice("CREATE TABLE a (id int); ALTER TABLE a ADD COLUMN b int;"),
        []
    );
}

#[test]
fn a_table_may_have_many_columns() {
    let columns: Vec<String> = (0..1_600)
        .map(|number| format!("c{number} int NOT NULL DEFAULT 1"))
        .collect();
    let text = format!("CREATE TABLE wide ({})", columns.join(", "));
    assert_eq!(last(Dialect::Postgres, None, &text), ["create-object"]);
}
