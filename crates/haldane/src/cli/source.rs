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
            if path == Path::new(STDIN) {
                let mut text = String::new();
                io::stdin().read_to_string(&mut text)?;
                return Ok(text);
            }
            fs::read_to_string(path)
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
