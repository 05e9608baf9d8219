//! Where a plane keeps its files: one directory each, below one that is the user's own.
//!
//! A plane holds a lock on its directory for as long as any of its processes that matter lives; the kernel lets go of it however
//! they die. So a directory without a locked file belongs to a plane that is gone, and the next one to start removes it.

use std::{
    env,
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use thiserror::Error;

/// The directory of all planes; without it one in the directory for temporary files.
const VARIABLE: &str = "HALDANE_PLANE_DIR";

/// What the kernel takes as the path of a unix socket, without the zero at its end.
const SOCKET_PATH_MAX: usize = 107;

/// The directory of one plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Site {
    path: PathBuf,
}

/// Why there is no directory for a plane.
#[derive(Debug, Error)]
pub enum SiteError {
    /// A plane of this name runs.
    #[error("the plane `{0}` runs already; `cargo xtask plane down --name {0}` ends it")]
    Taken(String),
    /// The name isn't one.
    #[error("a plane's name has 1 to 30 lower-case letters, digits and dashes, not {0:?}")]
    Name(String),
    /// The path is too long for a unix socket in it.
    #[error("{} is too long for a socket; set {VARIABLE} to a shorter directory", .0.display())]
    Long(PathBuf),
    /// The directory is another user's.
    #[error("{} belongs to somebody else; set {VARIABLE} to a directory of yours", .0.display())]
    Foreign(PathBuf),
    /// The directory can't be read or written.
    #[error("using {}", path.display())]
    Io {
        /// The path in question.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Site {
    /// Returns where the plane called `name` is or would be.
    pub(crate) fn of(name: &str) -> Result<Self, SiteError> {
        Self::below(&base()?, name)
    }

    /// Returns the site at `path`.
    pub(crate) fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Removes what planes have left that are gone, makes the directory of a new one, and returns it locked.
    pub(crate) fn create(name: &str) -> Result<(Self, File), SiteError> {
        Self::create_below(&base()?, name)
    }

    /// Returns the sites of all planes that run, by name.
    pub(crate) fn all() -> Result<Vec<Self>, SiteError> {
        let base = base()?;
        if !base.exists() {
            return Ok(Vec::new());
        }
        let mut sites = sites(&base)?;
        sites.retain(Self::is_locked);
        Ok(sites)
    }

    fn below(base: &Path, name: &str) -> Result<Self, SiteError> {
        let is_fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if name.is_empty() || name.len() > 30 || !name.chars().all(is_fine) {
            return Err(SiteError::Name(name.to_owned()));
        }
        let site = Self {
            path: base.join(name),
        };
        if site.control().as_os_str().len() > SOCKET_PATH_MAX {
            return Err(SiteError::Long(site.path));
        }
        Ok(site)
    }

    fn create_below(base: &Path, name: &str) -> Result<(Self, File), SiteError> {
        let site = Self::below(base, name)?;
        let fail = |source| error(base, source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(base)
            .map_err(fail)?;
        // Nobody removes a directory that another is about to lock.
        let turn = File::create(base.join(".lock")).map_err(fail)?;
        turn.lock().map_err(fail)?;
        for old in sites(base)?.into_iter().filter(|old| !old.is_locked()) {
            old.remove()?;
        }
        if site.path.exists() {
            return Err(SiteError::Taken(name.to_owned()));
        }
        let fail = |source| error(&site.path, source);
        DirBuilder::new()
            .mode(0o700)
            .create(&site.path)
            .map_err(fail)?;
        let lock = File::create(site.lock()).map_err(fail)?;
        lock.lock().map_err(fail)?;
        Ok((site, lock))
    }

    /// Removes the directory and all in it.
    pub(crate) fn remove(&self) -> Result<(), SiteError> {
        match fs::remove_dir_all(&self.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(error(&self.path, source))
            }
            _ => Ok(()),
        }
    }

    /// Whether the plane's processes live.
    pub(crate) fn is_locked(&self) -> bool {
        let lock = File::open(self.lock());
        lock.is_ok_and(|lock| lock.try_lock().is_err())
    }

    pub(crate) fn name(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self) -> PathBuf {
        self.path.join("lock")
    }

    pub(crate) fn control(&self) -> PathBuf {
        self.path.join("control.sock")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.path.join("kubeconfig")
    }

    pub(crate) fn faults_kubeconfig(&self) -> PathBuf {
        self.path.join("faults.kubeconfig")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.path.join("certs/apiserver.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.path.join("certs/apiserver.key")
    }

    pub(crate) fn audit_log(&self) -> PathBuf {
        self.path.join("audit.log")
    }

    /// The log of one process.
    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.path.join(format!("{process}.log"))
    }
}

fn base() -> Result<PathBuf, SiteError> {
    if let Some(path) = env::var_os(VARIABLE).filter(|path| !path.is_empty()) {
        return Ok(path.into());
    }
    // A process owns its own entry.
    let uid = fs::metadata("/proc/self")
        .map_err(|source| error(Path::new("/proc/self"), source))?
        .uid();
    let base = env::temp_dir().join(format!("haldane-plane-{uid}"));
    // Everybody may write to the directory for temporary files.
    match fs::symlink_metadata(&base) {
        Ok(found) if found.uid() != uid || !found.is_dir() => Err(SiteError::Foreign(base)),
        _ => Ok(base),
    }
}

fn sites(base: &Path) -> Result<Vec<Site>, SiteError> {
    let mut sites = Vec::new();
    for entry in fs::read_dir(base).map_err(|source| error(base, source))? {
        let entry = entry.map_err(|source| error(base, source))?;
        if entry.path().is_dir() {
            sites.push(Site { path: entry.path() });
        }
    }
    sites.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(sites)
}

fn error(path: &Path, source: io::Error) -> SiteError {
    SiteError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plane_left_that_is_gone_is_removed_by_the_next() {
        let base = tempfile::tempdir().unwrap();
        let (first, first_lock) = Site::create_below(base.path(), "first").unwrap();
        let (second, _second_lock) = Site::create_below(base.path(), "second").unwrap();
        assert!(first.is_locked() && second.is_locked());
        let taken = Site::create_below(base.path(), "first").unwrap_err();
        assert!(
            taken.to_string().contains("plane down --name first"),
            "{taken}"
        );
        drop(first_lock);
        let (_third, _third_lock) = Site::create_below(base.path(), "third").unwrap();
        assert!(!first.path().exists() && second.path().exists());
    }

    #[test]
    fn a_name_stays_in_its_directory() {
        for name in ["", ".", "..", "a/b", "Upper", "a b", &"x".repeat(31)] {
            let error = Site::below(Path::new("/tmp"), name).unwrap_err();
            assert!(matches!(error, SiteError::Name(_)), "{name}");
        }
        assert!(Site::below(Path::new("/tmp"), "test-1").is_ok());
    }

    #[test]
    fn a_path_that_is_too_long_for_a_socket_is_told() {
        let base = PathBuf::from("/").join("x".repeat(100));
        let error = Site::below(&base, "a").unwrap_err().to_string();
        assert!(error.contains("HALDANE_PLANE_DIR"), "{error}");
    }
}
