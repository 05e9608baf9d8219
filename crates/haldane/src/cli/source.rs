//! Reading a release file that was named on the command line, and telling its mistakes with its name.

use std::{
    fs, io,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::Context;
use haldane_api::file::{self, File, Problem};

/// The name that means standard input.
const STDIN: &str = "-";

/// The largest input: a week of seconds with a hundred columns.
const BYTES_MAX: u64 = 256 << 20;

/// A release file as text.
#[derive(Debug)]
pub(crate) struct Source {
    path: PathBuf,
    /// The text.
    pub text: String,
}

impl Source {
    /// Reads the file, or standard input for `-`.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Self> {
        let read = || -> io::Result<String> {
            let input: Box<dyn Read> = if path == Path::new(STDIN) {
                Box::new(io::stdin())
            } else {
                Box::new(fs::File::open(path)?)
            };
            let mut text = String::new();
            // One byte more than allowed shows that there is more.
            let read = input.take(BYTES_MAX + 1).read_to_string(&mut text)?;
            if u64::try_from(read).unwrap_or(u64::MAX) > BYTES_MAX {
                let error = "it is larger than 256 MiB";
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, error));
            }
            Ok(text)
        };
        let text = read().with_context(|| format!("reading {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }

    /// Returns what is in the file, or its mistakes, each with the file's name.
    pub(crate) fn parse(&self) -> Result<File, Vec<String>> {
        let named = |problem: Problem| format!("{}:{problem}", self.path.display());
        file::parse(&self.text).map_err(|problems| problems.into_iter().map(named).collect())
    }

    /// Returns the file's name.
    pub(crate) fn name(&self) -> String {
        self.path.display().to_string()
    }

    /// Returns the directory that relative paths in the file start from.
    pub(crate) fn base_dir(&self) -> anyhow::Result<PathBuf> {
        let here = std::env::current_dir().context("finding the current directory")?;
        let parent = self.path.parent().unwrap_or_else(|| Path::new(""));
        Ok(if parent.as_os_str().is_empty() {
            here
        } else {
            here.join(parent)
        })
    }
}
