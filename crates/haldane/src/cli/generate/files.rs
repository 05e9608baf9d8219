//! Writing what was generated into a directory, without losing what a person has changed there.

use std::{fs, io::Write, path::Path};

use anyhow::Context as _;
use haldane_kit::manifests::layout::File;

use crate::cli::exit::UsageError;

/// Writes the files, and tells their names. What is there already and says something else is kept, and nothing is written, unless all is to
/// be replaced.
pub(super) fn write(
    directory: &Path,
    files: &[File],
    is_forced: bool,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let is_other = |file: &&File| {
        let found = fs::read_to_string(directory.join(&file.path));
        found.is_ok_and(|text| text != file.text)
    };
    if let (false, Some(file)) = (is_forced, files.iter().find(is_other)) {
        let path = directory.join(&file.path);
        let text = format!(
            "{} is there already and says something else; --force replaces it",
            path.display()
        );
        return Err(UsageError(text).into());
    }
    for file in files {
        let path = directory.join(&file.path);
        if let Some(parent) = path.parent() {
            let made = fs::create_dir_all(parent);
            made.with_context(|| format!("making {}", parent.display()))?;
        }
        fs::write(&path, &file.text).with_context(|| format!("writing {}", path.display()))?;
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
