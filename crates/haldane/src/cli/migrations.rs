//! `haldane migrations`: whether changes of a schema are safe while two versions run. Needs neither daemon, cluster nor database.

use std::{
    fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use haldane_migrations::{
    Checked, Dialect, Direction, File, Finding, Judged, Phase, ServerVersion, Settings, Sort, check,
};

use super::{
    exit::{Exit, UsageError},
    globals::Globals,
    paint::Tone,
    result,
    words::{clean, count, wrap},
};

/// So many files are read; a service has fewer.
const FILES_MAX: usize = 10_000;

/// A larger file is no migration.
const BYTES_MAX: u64 = 8 << 20;

/// Directories are read this deep: tools have one directory for each migration, at most.
const DEPTH_MAX: usize = 2;

/// What the lines below a finding are indented by.
const BELOW: &str = "    ";

/// What to do with migrations.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Migrations {
    /// Sort each statement by what it does to two versions that run beside each other
    #[command(after_help = "\
Examples:
  haldane migrations check db/migrate
  haldane migrations check db/migrate --after 42       only what comes after number 42
  haldane migrations check db/migrate --phase contract
  haldane migrations check sql --dialect mysql --server-version 5.7 -o json

A statement is accepted by a comment beside it: -- haldane: accept RULE reason

Exit code 1 where a statement is not safe: contract (unless --phase contract), unsafe, locks or
unread.")]
    Check(Args),
}

/// Which migrations, and how to look at them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The directory of the migrations; - for SQL from standard input
    directory: PathBuf,
    /// Whose SQL it is; guessed where it is not told
    #[arg(long, value_enum)]
    dialect: Option<Database>,
    /// The server's version, such as 15 or 8.0.29; PostgreSQL 14 or MySQL 8.4 where it is not told
    #[arg(long, value_name = "VERSION")]
    server_version: Option<ServerVersion>,
    /// When it will run: expand, while two versions do, or contract, after the old one is gone
    #[arg(long, value_enum, default_value_t = When::Expand)]
    phase: When,
    /// Look only at what comes after this migration, as one release: its number or its file
    #[arg(long, value_name = "MIGRATION")]
    after: Option<String>,
    /// Look at the way back instead: down files and sections
    #[arg(long)]
    down: bool,
    /// Show what is safe, too
    #[arg(long)]
    all: bool,
}

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Database {
    /// PostgreSQL
    Postgres,
    /// MySQL and MariaDB
    Mysql,
}

/// When migrations run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum When {
    /// While two versions run
    Expand,
    /// After the old version is gone
    Contract,
}

/// Runs the command.
pub(crate) fn run(
    migrations: &Migrations,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<Exit> {
    let Migrations::Check(args) = migrations;
    let files = read(&args.directory)?;
    if let Some(after) = &args.after
        && !knows(&files, after)
    {
        return Err(UsageError(format!(
            "--after {after}: no file of {} has that number or name",
            args.directory.display()
        ))
        .into());
    }
    let settings = Settings {
        dialect: args.dialect.map(|dialect| match dialect {
            Database::Postgres => Dialect::Postgres,
            Database::Mysql => Dialect::Mysql,
        }),
        version: args.server_version,
        phase: match args.phase {
            When::Expand => Phase::Expand,
            When::Contract => Phase::Contract,
        },
        direction: if args.down {
            Direction::Down
        } else {
            Direction::Up
        },
        after: args.after.clone(),
    };
    let checked = check(&files, &settings);
    result::write(globals, out, &checked, |out| {
        for judged in &checked.statements {
            write_judged(judged, args.all, globals, out)?;
        }
        for advice in &checked.advice {
            let word = globals.paint.tone(Tone::Warn, "advice");
            writeln!(
                out,
                "{}:{}: {word}: {}",
                clean(&advice.file),
                advice.line,
                clean(&advice.message)
            )?;
        }
        write_sum(&checked, out)
    })?;
    Ok(if checked.is_fine() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn write_judged(
    judged: &Judged,
    all: bool,
    globals: &Globals,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let shown: Vec<&Finding> = judged
        .findings
        .iter()
        .filter(|finding| all || finding.rule.sort != Sort::Expand)
        .collect();
    for finding in &shown {
        let sort = globals.paint.tone(tone(finding), finding.rule.sort.name());
        let object = if finding.object.is_empty() {
            String::new()
        } else {
            format!(": {}", clean(&finding.object))
        };
        writeln!(
            out,
            "{}:{}: {sort}: {}{object}",
            clean(&judged.file),
            judged.line,
            finding.rule.id
        )?;
        let instead = (!finding.rule.instead.is_empty())
            .then(|| format!("Instead: {}", finding.rule.instead));
        let accepted = finding
            .accepted
            .as_ref()
            .map(|reason| format!("Accepted: {}", clean(reason)));
        let texts = match accepted {
            Some(accepted) => vec![clean(&judged.statement), accepted],
            None => [
                Some(clean(&judged.statement)),
                Some(finding.rule.reason.to_owned()),
                instead,
            ]
            .into_iter()
            .flatten()
            .collect(),
        };
        let room = globals.width.saturating_sub(BELOW.len());
        for line in texts.iter().flat_map(|text| wrap(text, room)) {
            writeln!(out, "{BELOW}{line}")?;
        }
    }
    Ok(())
}

const fn tone(finding: &Finding) -> Tone {
    match finding.rule.sort {
        Sort::Expand => Tone::Good,
        Sort::Contract | Sort::Locks | Sort::Unsafe | Sort::Unread if finding.is_meant => Tone::Dim,
        Sort::Contract => Tone::Warn,
        Sort::Locks | Sort::Unsafe | Sort::Unread => Tone::Bad,
    }
}

fn write_sum(checked: &Checked, out: &mut impl Write) -> anyhow::Result<()> {
    let sorts = [
        Sort::Expand,
        Sort::Contract,
        Sort::Locks,
        Sort::Unsafe,
        Sort::Unread,
    ];
    let counts = sorts.map(|sort| (checked.count(sort), sort.name()));
    let told: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, name)| format!("{number} {name}"))
        .collect();
    let told = if told.is_empty() {
        String::new()
    } else {
        format!(": {}", told.join(", "))
    };
    writeln!(
        out,
        "{} in {}, as {} {}{}{told}",
        count(checked.statements.len(), "statement", "statements"),
        count(checked.files, "file", "files"),
        checked.dialect.name(),
        checked.server_version,
        if checked.is_guessed {
            " (guessed; --dialect tells it)"
        } else {
            ""
        },
    )?;
    Ok(())
}

/// Whether a file has that number or that path: a mistake there would hide what is new.
fn knows(files: &[File], after: &str) -> bool {
    files.iter().any(|file| file.path == after) || haldane_migrations::is_number_of(files, after)
}

/// Reads all `*.sql`.
fn read(directory: &Path) -> anyhow::Result<Vec<File>> {
    if directory == Path::new("-") {
        let text = read_text(std::io::stdin()).context("reading standard input")?;
        return Ok(vec![File {
            path: "stdin.sql".to_owned(),
            text,
        }]);
    }
    let mut files = Vec::new();
    read_directory(directory, directory, 1, &mut files)?;
    anyhow::ensure!(!files.is_empty(), "{} holds no *.sql", directory.display());
    Ok(files)
}

fn read_directory(
    root: &Path,
    directory: &Path,
    depth: usize,
    files: &mut Vec<File>,
) -> anyhow::Result<()> {
    let reading = || format!("reading {}", directory.display());
    for entry in fs::read_dir(directory).with_context(reading)? {
        let path = entry.with_context(reading)?.path();
        if path.is_dir() {
            if depth < DEPTH_MAX {
                read_directory(root, &path, depth.saturating_add(1), files)?;
            }
            continue;
        }
        if path.extension().is_none_or(|extension| extension != "sql") {
            continue;
        }
        anyhow::ensure!(
            files.len() < FILES_MAX,
            "{} holds more than {FILES_MAX} files",
            root.display()
        );
        let reading = || format!("reading {}", path.display());
        let text = read_text(fs::File::open(&path).with_context(reading)?).with_context(reading)?;
        let relative = path.strip_prefix(root).unwrap_or(&path);
        files.push(File {
            path: relative.display().to_string(),
            text,
        });
    }
    Ok(())
}

fn read_text(input: impl Read) -> anyhow::Result<String> {
    let mut bytes = Vec::new();
    // One byte more than allowed shows that there is more.
    input
        .take(BYTES_MAX.saturating_add(1))
        .read_to_end(&mut bytes)?;
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    anyhow::ensure!(length <= BYTES_MAX, "it is larger than 8 MiB");
    String::from_utf8(bytes).context("it is not UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{exit::exit_of, testing::Daemon};

    async fn run_in(files: &[(&str, &str)], options: &str) -> (anyhow::Result<Exit>, String) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let line = format!("migrations check {}{options}", dir.path().display());
        Daemon::start([]).run(&line).await
    }

    #[tokio::test]
    async fn what_is_not_safe_fails_with_its_place_and_what_to_do() {
        let files = [
            (
                "2_b.sql",
                "-- names\nALTER TABLE users RENAME COLUMN name TO b;\n",
            ),
            ("1_a.sql", "CREATE TABLE users (name text);"),
        ];
        let (exit, out) = run_in(&files, "").await;
        let expected = "\
2_b.sql:2: unsafe: rename-column: users.name
    ALTER TABLE users RENAME COLUMN name TO b
    The old version knows only the old name and the new one only the new name,
    so one of them fails at any moment.
    Instead: Add the new column, write both, fill it in batches, read the new
    one, drop the old one.
";
        assert!(out.starts_with(expected), "{out}");
        let sum = "2 statements in 2 files, as PostgreSQL 14 (guessed; --dialect tells it): 1 expand, 1 unsafe\n";
        assert!(out.ends_with(sum), "{out}");
        assert_eq!(exit.unwrap(), Exit::Failed);
    }

    #[tokio::test]
    async fn what_is_meant_does_not_fail() {
        let drop = [("1_a/up.sql", "ALTER TABLE users DROP COLUMN name;")];
        assert_eq!(run_in(&drop, "").await.0.unwrap(), Exit::Failed);
        let (exit, out) = run_in(&drop, " --phase contract").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        assert!(
            out.starts_with("1_a/up.sql:1: contract: drop-column"),
            "{out}"
        );
        let accepted = [(
            "1.sql",
            "ALTER TABLE users DROP COLUMN name; -- haldane: accept drop-column unused",
        )];
        let (exit, out) = run_in(&accepted, " --dialect postgres").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        assert!(out.contains("    Accepted: unused\n"), "{out}");
        assert!(
            out.ends_with("1 statement in 1 file, as PostgreSQL 14: 1 contract\n"),
            "{out}"
        );
    }

    #[tokio::test]
    async fn programs_get_all_of_it() {
        let files = [("1.sql", "ALTER TABLE users ADD COLUMN b int;")];
        let (exit, out) = run_in(&files, " -o json").await;
        assert_eq!(exit.unwrap(), Exit::Done);
        let told: serde_json::Value = serde_json::from_str(&out).unwrap();
        let statement = &told["statements"][0];
        assert_eq!(
            (&told["dialect"], &told["serverVersion"]),
            (&"Postgres".into(), &"14".into())
        );
        assert_eq!(
            (&statement["file"], &statement["line"], &statement["sort"]),
            (&"1.sql".into(), &1.into(), &"Expand".into())
        );
        assert_eq!(statement["findings"][0]["id"], "add-column");
        assert_eq!(told["advice"][0]["line"], 1);
    }

    #[tokio::test]
    async fn what_ran_already_is_left_out_and_must_be_known() {
        let files = [
            ("1_a.sql", "DROP TABLE a;"),
            ("2_b.sql", "CREATE TABLE b (id int);"),
        ];
        let (exit, out) = run_in(&files, " --after 1").await;
        assert_eq!(exit.unwrap(), Exit::Done, "{out}");
        for after in ["7", "3_c.sql"] {
            let error = run_in(&files, &format!(" --after {after}"))
                .await
                .0
                .unwrap_err();
            assert_eq!(exit_of(&error), Exit::Usage, "{error:#}");
        }
    }

    #[tokio::test]
    async fn a_directory_without_migrations_is_told() {
        let error = run_in(&[("a.txt", "")], "").await.0.unwrap_err();
        assert!(error.to_string().ends_with("holds no *.sql"), "{error:#}");
        let error = Daemon::start([])
            .run("migrations check /nowhere")
            .await
            .0
            .unwrap_err();
        assert!(
            format!("{error:#}").starts_with("reading /nowhere: "),
            "{error:#}"
        );
    }
}
