//! Schema versions and migrations, which callers can't see.

use super::{schema::Migration, *};

/// A store as the first release with schema 1 made it. It never changes: a change to the tables is a new version.
const SCHEMA_1: &str = r#"
    PRAGMA application_id = 1215063150;
    CREATE TABLE service (name TEXT PRIMARY KEY NOT NULL, body TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE rollout (sequence INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
        service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE, number INTEGER NOT NULL,
        started_at TEXT NOT NULL, ended_at TEXT, body TEXT NOT NULL, UNIQUE (service, number)) STRICT;
    CREATE INDEX rollout_live ON rollout (sequence) WHERE ended_at IS NULL;
    CREATE INDEX rollout_ended ON rollout (service, number) WHERE ended_at IS NOT NULL;
    CREATE TABLE entry (rollout TEXT NOT NULL REFERENCES rollout (id) ON DELETE CASCADE,
        number INTEGER NOT NULL, at TEXT NOT NULL, body TEXT NOT NULL,
        PRIMARY KEY (rollout, number)) STRICT, WITHOUT ROWID;
    CREATE TABLE command (sequence INTEGER PRIMARY KEY,
        service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE,
        at TEXT NOT NULL, body TEXT NOT NULL) STRICT;
    CREATE INDEX command_of_service ON command (service, sequence);
    CREATE TABLE version (sequence INTEGER PRIMARY KEY,
        service TEXT NOT NULL REFERENCES service (name) ON DELETE CASCADE, version TEXT NOT NULL,
        used_at TEXT NOT NULL, body TEXT NOT NULL, UNIQUE (service, version)) STRICT;
    CREATE INDEX version_of_service ON version (service, sequence);
    PRAGMA user_version = 1;

    INSERT INTO service VALUES ('auth', '{"stable":"v1"}');
    INSERT INTO rollout VALUES (7, 'auth-3', 'auth', 3, '2026-01-02T03:04:05.000000006Z', NULL, '{"phase":"paused"}');
    INSERT INTO entry VALUES ('auth-3', 0, '2026-01-02T03:04:06Z', '{"weight":500}');
    INSERT INTO command VALUES (1, 'auth', '2026-01-02T03:04:07Z', '{"command":"pause"}');
    INSERT INTO version VALUES (4, 'auth', 'v2', '2026-01-02T03:04:08Z', '{"run":["./auth2"]}');
"#;

/// The newest schema of this release.
const KNOWN: u32 = schema::MIGRATIONS[schema::MIGRATIONS.len() - 1].to;

/// What later releases may do, for the tests of how.
const NEXT: [Migration; 2] = [
    Migration {
        to: KNOWN + 1,
        sql: "ALTER TABLE service ADD COLUMN color TEXT NOT NULL DEFAULT 'blue'",
    },
    Migration {
        to: KNOWN + 2,
        sql: "CREATE TABLE color (name TEXT PRIMARY KEY);
            INSERT INTO color SELECT DISTINCT color FROM service",
    },
];

struct Home {
    dir: tempfile::TempDir,
    lock: DirectoryLock,
}

impl Home {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let lock = DirectoryLock::take(dir.path()).unwrap();
        Self { dir, lock }
    }

    fn with_schema_1() -> Self {
        let home = Self::new();
        let connection = Connection::open(home.path()).unwrap();
        connection.execute_batch(SCHEMA_1).unwrap();
        home
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join(DATABASE_FILE)
    }

    fn open(&self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(self.dir.path(), &self.lock)
    }

    fn migrate(&self, migrations: &[Migration]) -> Result<(), StoreError> {
        schema::migrate(&mut connect(&self.path())?, &self.path(), migrations)
    }

    /// Returns the schema version and the services' colors, if they have any, of the store or of a copy of it.
    fn state(&self, file: &str) -> (u32, Option<String>) {
        let connection = Connection::open(self.dir.path().join(file)).unwrap();
        let version = connection
            .pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap();
        let color = connection.query_row("SELECT color FROM service", [], |row| row.get(0));
        (version, color.ok())
    }
}

/// Returns the tables as they stand in the file, without regard to spaces and comments.
fn tables(path: &Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let mut statement = connection
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
        .unwrap();
    let tables = statement
        .query_map([], |row| row.get::<_, String>(0))
        .unwrap();
    let code = |line: &str| line.split("--").next().unwrap_or_default().to_owned();
    let spaceless = |sql: String| sql.lines().map(code).collect::<String>().replace(' ', "");
    tables.map(|sql| spaceless(sql.unwrap())).collect()
}

#[test]
fn a_store_of_schema_1_is_read_as_it_was_written() {
    let home = Home::with_schema_1();
    let mut store = home.open().unwrap();
    let auth: ServiceName = "auth".parse().unwrap();
    assert_eq!(store.services().unwrap()[0].body, r#"{"stable":"v1"}"#);
    let live = store.live_rollouts().unwrap();
    assert_eq!(live, store.rollouts(&auth, 9).unwrap());
    assert_eq!(live[0].id.as_str(), "auth-3");
    assert_eq!((live[0].number, live[0].ended_at), (3, None));
    assert_eq!(
        live[0].started_at,
        "2026-01-02T03:04:05.000000006Z".parse().unwrap()
    );
    let entries = store.entries(&live[0].id, 9).unwrap();
    assert_eq!(
        (entries[0].number, entries[0].body.as_str()),
        (0, r#"{"weight":500}"#)
    );
    assert_eq!(
        store.commands(&auth, 9).unwrap()[0].body,
        r#"{"command":"pause"}"#
    );
    assert_eq!(store.versions(&auth).unwrap()[0].version.as_str(), "v2");
}

#[test]
fn an_old_store_brought_up_to_date_has_the_tables_of_a_new_one() {
    let (old, new) = (Home::with_schema_1(), Home::new());
    drop(old.open().unwrap());
    drop(new.open().unwrap());
    assert_eq!(tables(&old.path()), tables(&new.path()));
    assert!(tables(&new.path()).len() >= 10);
}

#[test]
fn migrations_run_once_in_order_and_leave_a_copy() {
    let home = Home::with_schema_1();
    home.migrate(&NEXT).unwrap();
    assert_eq!(
        home.state(DATABASE_FILE),
        (KNOWN + 2, Some("blue".to_owned()))
    );
    assert_eq!(home.state("haldane.db.v1.bak"), (1, None));
    home.migrate(&NEXT).unwrap();
    let last = format!("haldane.db.v{}.bak", KNOWN + 2);
    assert!(!home.dir.path().join(last).exists());
}

#[test]
fn the_copy_is_a_store_that_opens() {
    let home = Home::with_schema_1();
    home.migrate(&NEXT).unwrap();
    let refusal = home.open().unwrap_err();
    assert!(
        matches!(
            refusal,
            StoreError::TooNew { found, known: KNOWN, .. } if found == KNOWN + 2
        ),
        "{refusal:?}"
    );
    fs::rename(home.dir.path().join("haldane.db.v1.bak"), home.path()).unwrap();
    assert_eq!(home.open().unwrap().services().unwrap().len(), 1);
}

#[test]
fn a_failed_migration_changes_nothing_and_the_next_start_goes_on_from_there() {
    let home = Home::with_schema_1();
    let broken = Migration {
        to: KNOWN + 2,
        sql: "CREATE TABLE color (name TEXT PRIMARY KEY); INSERT INTO nowhere VALUES (1)",
    };
    let error = home.migrate(&[NEXT[0], broken]).unwrap_err();
    assert!(
        matches!(
            error,
            StoreError::Io {
                doing: "migrate",
                ..
            }
        ),
        "{error:?}"
    );
    assert_eq!(
        home.state(DATABASE_FILE),
        (KNOWN + 1, Some("blue".to_owned()))
    );
    home.migrate(&NEXT).unwrap();
    assert_eq!(home.state(DATABASE_FILE).0, KNOWN + 2);
    assert_eq!(home.state("haldane.db.v1.bak").0, 1);
    let copy = format!("haldane.db.v{}.bak", KNOWN + 1);
    assert_eq!(home.state(&copy).0, KNOWN + 1);
}

/// A crash leaves what was handed to the kernel; so a copy of the files in the midst of a migration is what a crash leaves.
#[test]
fn a_crash_within_a_migration_leaves_the_version_before_and_the_next_start_goes_on_from_there() {
    let (home, crashed) = (Home::with_schema_1(), Home::new());
    let connection = connect(&home.path()).unwrap();
    set_up(&connection).unwrap();
    // One page of cache: what the migration writes goes to the log at once, long before it is committed.
    connection.pragma_update(None, "cache_size", 1).unwrap();
    connection.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection.execute_batch(NEXT[0].sql).unwrap();
    connection
        .execute_batch(
            "CREATE TABLE half (done TEXT); INSERT INTO half
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
            SELECT 'a row that takes some room' FROM n",
        )
        .unwrap();
    for path in [home.path(), log_path(&home.path())] {
        fs::copy(&path, crashed.dir.path().join(path.file_name().unwrap())).unwrap();
    }
    assert!(fs::metadata(log_path(&crashed.path())).unwrap().len() > 100_000);
    assert_eq!(crashed.state(DATABASE_FILE), (1, None));
    crashed.migrate(&NEXT).unwrap();
    assert_eq!(
        crashed.state(DATABASE_FILE),
        (KNOWN + 2, Some("blue".to_owned()))
    );
    assert_eq!(crashed.state("haldane.db.v1.bak"), (1, None));
}

#[test]
fn a_copy_that_cannot_be_made_stops_the_migration() {
    let home = Home::with_schema_1();
    fs::create_dir(home.dir.path().join("haldane.db.v1.bak")).unwrap();
    home.migrate(&NEXT).unwrap_err();
    assert_eq!(home.state(DATABASE_FILE), (1, None));
}

#[test]
fn a_crash_while_a_store_is_made_leaves_none() {
    let home = Home::new();
    for leftover in ["haldane.db.new", "haldane.db.new-journal"] {
        fs::write(home.dir.path().join(leftover), "half of it").unwrap();
    }
    assert_eq!(home.open().unwrap().services().unwrap(), []);
    assert!(!home.dir.path().join("haldane.db.new").exists());
}

#[test]
fn what_this_code_did_not_write_is_damage() {
    let home = Home::with_schema_1();
    let mut store = home.open().unwrap();
    for sql in [
        "UPDATE rollout SET started_at = 'yesterday'",
        "UPDATE rollout SET started_at = '2026-01-02T03:04:05Z', number = -1",
        "UPDATE rollout SET number = 1, id = 'Not an id'",
    ] {
        store
            .connection
            .pragma_update(None, "foreign_keys", false)
            .unwrap();
        store.connection.execute_batch(sql).unwrap();
        let error = store.live_rollouts().unwrap_err();
        assert!(
            matches!(error, StoreError::Damaged { .. }),
            "{sql}: {error:?}"
        );
    }
}
