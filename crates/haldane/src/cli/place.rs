//! Where a daemon lives: its data directory, and the socket in it.
//!
//! The daemon and everything that talks to it must find the same place from the same options, so the rule stands here alone.

use std::path::{Path, PathBuf};

/// The socket's name in the data directory.
const SOCKET_NAME: &str = "haldane.sock";

/// The options that say where the daemon lives.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct PlaceArgs {
    /// The daemon's unix socket; by default `haldane.sock` in the data directory
    #[arg(long, value_name = "PATH", env = "HALDANE_SOCKET", global = true)]
    pub socket: Option<PathBuf>,
    /// The daemon's data directory; by default `$XDG_STATE_HOME/haldane` or `~/.local/state/haldane`, and `/var/lib/haldane` for root
    #[arg(long, value_name = "DIR", env = "HALDANE_DATA_DIR", global = true)]
    pub data_dir: Option<PathBuf>,
}

/// Where the daemon lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The data directory.
    pub data_dir: PathBuf,
    /// The socket.
    pub socket: PathBuf,
}

/// What the default depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// Whether the user is root.
    pub is_root: bool,
    /// `$XDG_STATE_HOME`.
    pub state_home: Option<PathBuf>,
    /// `$HOME`.
    pub home: Option<PathBuf>,
}

/// Something else is where the data directory should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the data directory cannot be {}: {} is no directory; give another with --data-dir", data_dir.display(), wrong.display())]
pub(crate) struct NotDirectory {
    data_dir: PathBuf,
    wrong: PathBuf,
}

/// There is no directory to fall back on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no home directory to keep data in; give --data-dir")]
pub(crate) struct NoHome;

impl Place {
    /// Returns the place that the options mean.
    pub(crate) fn try_new(args: &PlaceArgs, surroundings: &Surroundings) -> Result<Self, NoHome> {
        let given = args.data_dir.clone();
        let data_dir = given.or_else(|| surroundings.data_dir()).ok_or(NoHome)?;
        let socket = args.socket.clone();
        let socket = socket.unwrap_or_else(|| data_dir.join(SOCKET_NAME));
        Ok(Self { data_dir, socket })
    }

    /// Checks that the data directory is one, or can become one, before a daemon is started in it.
    pub(crate) fn check(&self) -> Result<(), NotDirectory> {
        let there = self.data_dir.ancestors().find(|path| path.exists());
        match there.filter(|path| !path.is_dir()) {
            Some(wrong) => Err(NotDirectory {
                data_dir: self.data_dir.clone(),
                wrong: wrong.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

impl Surroundings {
    /// Reads them from this process.
    pub(crate) fn of_process() -> Self {
        let path = |name| std::env::var_os(name).map(PathBuf::from);
        Self {
            is_root: rustix::process::geteuid().is_root(),
            state_home: path("XDG_STATE_HOME"),
            home: path("HOME"),
        }
    }

    fn data_dir(&self) -> Option<PathBuf> {
        let absolute = |path: &Option<PathBuf>| path.clone().filter(|path| path.is_absolute());
        if let Some(state) = absolute(&self.state_home) {
            return Some(state.join("haldane"));
        }
        if self.is_root {
            return Some(Path::new("/var/lib/haldane").to_owned());
        }
        absolute(&self.home).map(|home| home.join(".local/state/haldane"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(
        args: [Option<&str>; 2],
        around: (bool, Option<&str>, Option<&str>),
    ) -> Result<[String; 2], NoHome> {
        let [socket, data_dir] = args.map(|path| path.map(PathBuf::from));
        let (is_root, state_home, home) = around;
        let surroundings = Surroundings {
            is_root,
            state_home: state_home.map(PathBuf::from),
            home: home.map(PathBuf::from),
        };
        let place = Place::try_new(&PlaceArgs { socket, data_dir }, &surroundings)?;
        Ok([place.data_dir, place.socket].map(|path| path.display().to_string()))
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let check = |data_dir: PathBuf| {
            let socket = data_dir.join(SOCKET_NAME);
            Place { data_dir, socket }.check()
        };
        assert_eq!(check(dir.path().to_owned()), Ok(()));
        assert_eq!(check(dir.path().join("new/one")), Ok(()));
        let told = check(file.clone()).unwrap_err().to_string();
        let name = file.display();
        let expected = format!(
            "the data directory cannot be {name}: {name} is no directory; give another with --data-dir"
        );
        assert_eq!(told, expected);
        assert!(check(file.join("in")).is_err());
    }

    #[test]
    fn options_win_over_the_state_directory_over_root_over_home() {
        let none = [None, None];
        for (args, around, data_dir, socket) in [
            (
                [None, Some("/d")],
                (true, Some("/s"), Some("/h")),
                "/d",
                "/d/haldane.sock",
            ),
            (
                [Some("/x.sock"), None],
                (false, Some("/s"), None),
                "/s/haldane",
                "/x.sock",
            ),
            (
                none,
                (true, None, Some("/root")),
                "/var/lib/haldane",
                "/var/lib/haldane/haldane.sock",
            ),
            (
                none,
                (false, Some("relative"), Some("/h")),
                "/h/.local/state/haldane",
                "/h/.local/state/haldane/haldane.sock",
            ),
        ] {
            assert_eq!(
                place(args, around),
                Ok([data_dir.to_owned(), socket.to_owned()])
            );
        }
        assert_eq!(place(none, (false, None, None)), Err(NoHome));
    }
}
