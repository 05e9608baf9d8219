//! From a spec to a child: who it is, where, as whom, with which environment, and what went wrong if it can't be.

use std::{
    collections::BTreeMap,
    env,
    ffi::OsString,
    fs::File,
    io,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use rustix::io::Errno;

use crate::{
    home::ReplicaKey,
    proc::TOKEN_VARIABLE,
    spec::VersionSpec,
    user::{self, User, UserError},
    variable::substitute,
};

/// What the daemon's own variables begin with; children don't inherit them, so that a replica depends on its spec alone.
const OWN_VARIABLES: &str = "HALDANE_";

/// Why a replica can't be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spec has no program.
    #[error("the command is empty")]
    Empty,
    /// The working directory isn't there.
    #[error("the working directory {} is missing", .0.display())]
    DirMissing(PathBuf),
    /// The program isn't where it should be.
    #[error("the program {} is missing", .0.display())]
    ProgramMissing(PathBuf),
    /// The program is nowhere in the search path.
    #[error("the program {program:?} is in none of the directories of PATH ({path})")]
    NotInPath {
        /// Its name.
        program: String,
        /// Where it was looked for.
        path: String,
    },
    /// The program may not be executed.
    #[error("{} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    /// The replica can't run as its user.
    #[error(transparent)]
    User(#[from] UserError),
    /// No port could be had.
    #[error("no free port on 127.0.0.1")]
    Port(#[source] io::Error),
    /// The kernel gave no token to recognize the child by.
    #[error("cannot read /proc/sys/kernel/random/uuid")]
    Token(#[source] io::Error),
    /// The program doesn't execute; for a script, its interpreter may be missing.
    #[error("cannot execute {}", program.display())]
    Execute {
        /// The program.
        program: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The child was gone before it could be looked at.
    #[error("the kernel doesn't show the child")]
    Vanished,
}

impl StartError {
    /// Whether another try can't help before somebody changes something.
    #[must_use]
    pub fn is_lasting(&self) -> bool {
        match self {
            Self::Empty
            | Self::DirMissing(_)
            | Self::ProgramMissing(_)
            | Self::NotInPath { .. }
            | Self::NotExecutable(_)
            | Self::User(_) => true,
            // A program that is just being written is busy; one that nobody can execute stays so.
            Self::Execute { source, .. } => matches!(
                source.raw_os_error().map(Errno::from_raw_os_error),
                Some(Errno::NOENT | Errno::NOEXEC | Errno::ACCESS | Errno::NOTDIR | Errno::LOOP)
            ),
            Self::Port(_) | Self::Token(_) | Self::Vanished => false,
        }
    }
}

impl VersionSpec {
    /// Looks whether a replica could be started on this machine now, without starting one.
    ///
    /// # Errors
    /// When the program, the working directory or the user is missing or not permitted.
    pub fn check(&self) -> Result<(), StartError> {
        prepare(self).map(|_| ())
    }
}

/// What one start adds to the spec.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) key: &'a ReplicaKey,
    pub(crate) port: u16,
    pub(crate) token: &'a str,
    /// Where the output goes.
    pub(crate) log: Option<File>,
}

/// Starts the replica as the leader of a group of its own.
pub(crate) fn spawn(spec: &VersionSpec, place: Place<'_>) -> Result<Child, StartError> {
    let prepared = prepare(spec)?;
    let variables = variables(place.key, place.port);
    let mut command = Command::new(&prepared.program);
    let mut argv = spec
        .argv
        .iter()
        .map(|argument| substitute(argument, &variables).into_owned());
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command.args(argv).process_group(0).stdin(Stdio::null());
    let (out, err) = output(place.log);
    command.stdout(out).stderr(err);
    forget_own_variables(&mut command);
    if let Some(dir) = &spec.dir {
        command.current_dir(dir);
    }
    if let Some(User {
        name,
        uid,
        gid,
        home,
    }) = &prepared.user
    {
        command.uid(*uid).gid(*gid);
        command
            .env("USER", name)
            .env("LOGNAME", name)
            .env("HOME", home);
    }
    for (name, value) in &spec.env {
        command.env(name, &*substitute(value, &variables));
    }
    command.envs(&variables).env(TOKEN_VARIABLE, place.token);
    command.spawn().map_err(|source| StartError::Execute {
        program: prepared.program,
        source,
    })
}

/// What was found on this machine for a spec.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) program: PathBuf,
    user: Option<User>,
}

/// Keeps the daemon's own variables from a child.
pub(crate) fn forget_own_variables(command: &mut Command) {
    let inherited = env::vars_os().map(|(name, _)| name);
    for name in inherited.filter(|name| name.to_string_lossy().starts_with(OWN_VARIABLES)) {
        command.env_remove(name);
    }
}

/// Looks for everything that a start needs.
pub(crate) fn prepare(spec: &VersionSpec) -> Result<Prepared, StartError> {
    let program = spec.argv.first().filter(|program| !program.is_empty());
    let program = program.ok_or(StartError::Empty)?;
    if let Some(dir) = spec.dir.as_ref().filter(|dir| !dir.is_dir()) {
        return Err(StartError::DirMissing(dir.clone()));
    }
    let user = spec
        .user
        .as_deref()
        .map(user::switch_to)
        .transpose()?
        .flatten();
    Ok(Prepared {
        program: resolve(program, spec)?,
        user,
    })
}

/// Finds the program as a shell in the working directory would.
fn resolve(program: &str, spec: &VersionSpec) -> Result<PathBuf, StartError> {
    let dir = spec.dir.as_deref().unwrap_or_else(|| Path::new("."));
    if program.contains('/') {
        let path = dir.join(program);
        // After the change of directory a relative path would mean another file.
        let path = std::path::absolute(&path).unwrap_or(path);
        return match path.metadata() {
            Err(_) => Err(StartError::ProgramMissing(path)),
            Ok(_) if is_executable(&path) => Ok(path),
            Ok(_) => Err(StartError::NotExecutable(path)),
        };
    }
    let path = spec
        .env
        .get("PATH")
        .map(OsString::from)
        .or_else(|| env::var_os("PATH"));
    let path = path.unwrap_or_else(|| OsString::from("/usr/local/bin:/usr/bin:/bin"));
    let mut candidates = env::split_paths(&path).map(|entry| dir.join(entry).join(program));
    candidates
        .find(|candidate| is_executable(candidate))
        .ok_or_else(|| StartError::NotInPath {
            program: program.to_owned(),
            path: path.to_string_lossy().into_owned(),
        })
}

fn is_executable(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

fn variables(key: &ReplicaKey, port: u16) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("PORT", port.to_string()),
        ("HALDANE_SERVICE", key.version.service.to_string()),
        ("HALDANE_VERSION", key.version.version.to_string()),
        ("HALDANE_REPLICA", key.index.to_string()),
    ])
}

/// Both streams go to the log; without one (a full disk, say) the output is lost, for serving matters more.
fn output(log: Option<File>) -> (Stdio, Stdio) {
    let pair = log.and_then(|out| Some((out.try_clone().ok()?, out)));
    pair.map_or_else(
        || (Stdio::null(), Stdio::null()),
        |(err, out)| (out.into(), err.into()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;

    #[track_caller]
    fn check(spec: &VersionSpec, expected: &str) {
        assert_eq!(spec.check().unwrap_err().to_string(), expected);
    }

    #[test]
    fn each_mistake_has_a_clear_message() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("text"), "").unwrap();
        let at = |argv0: &str| VersionSpec {
            dir: Some(dir.path().into()),
            ..spec(&[argv0])
        };
        let path = dir.path().display();
        check(&spec(&[]), "the command is empty");
        check(
            &at("./ghost"),
            &format!("the program {path}/ghost is missing"),
        );
        check(
            &at("./text"),
            &format!("{path}/text is not an executable file"),
        );
        let mut ghost = at("ghost");
        ghost.env.insert("PATH".into(), "/bin:/nowhere".into());
        check(
            &ghost,
            "the program \"ghost\" is in none of the directories of PATH (/bin:/nowhere)",
        );
        let nowhere = VersionSpec {
            dir: Some("/nowhere/at/all".into()),
            ..spec(&["sh"])
        };
        check(&nowhere, "the working directory /nowhere/at/all is missing");
        let user = VersionSpec {
            user: Some("no-such-user".into()),
            ..spec(&["sh"])
        };
        check(&user, "there is no user \"no-such-user\" in /etc/passwd");
        assert!(spec(&["sh"]).check().is_ok());
    }
}
