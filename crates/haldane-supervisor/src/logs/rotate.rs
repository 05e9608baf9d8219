//! Rotation by copying the file and cutting off what was copied.

use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    ops::Range,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::fs::{FallocateFlags, fallocate};

use crate::spec::LogLimits;

/// Begins the line that stands for what a rotated file doesn't hold.
const LEFT_OUT: &str = "[haldane: left out bytes: ";

/// Ends a rotated file whose child wrote on before it could be truncated.
const LOST: &str = "\n[haldane: lost bytes here]\n";

/// Rotates the log if it has outgrown its limit, and says whether it had.
///
/// The files are `0.log` (current), `0.log.1` (the one before), and so on to the oldest kept.
pub(crate) fn rotate(path: &Path, limits: LogLimits) -> io::Result<bool> {
    let length = match fs::metadata(path) {
        Ok(file) => file.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    if length <= limits.file_bytes_max {
        return Ok(false);
    }
    let current = File::options().write(true).open(path)?;
    if limits.files_kept == 0 {
        current.set_len(0)?;
        return Ok(true);
    }
    for number in (2..limits.files_kept).rev() {
        let next = rotated(path, number.saturating_add(1));
        ignore_missing(fs::rename(rotated(path, number), next))?;
    }
    if limits.files_kept > 1 {
        // A reader always finds the first one: that it's another one tells of the rotation.
        let second = path.with_extension("log.second");
        ignore_missing(fs::remove_file(&second))?;
        ignore_missing(fs::hard_link(rotated(path, 1), &second))?;
        ignore_missing(fs::rename(second, rotated(path, 2)))?;
    }
    let new = path.with_extension("log.new");
    let mut copied = File::create(&new)?;
    // Whoever reads the copy waits for the cut, and so never reads a line in both.
    copied.lock()?;
    let range = copy(path, length, limits.file_bytes_max, &mut copied)?;
    fs::rename(new, rotated(path, 1))?;
    cut(&current, range, &mut copied)?;
    Ok(true)
}

/// Returns the name of the `number`th file before the current one.
pub(crate) fn rotated(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// Returns how many bytes of the original a rotated file leaves out at its beginning, and how long the line is that says so.
pub(crate) fn left_out(beginning: &str) -> (u64, u64) {
    let line = beginning.lines().next().unwrap_or_default();
    let skipped = line
        .strip_prefix(LEFT_OUT)
        .and_then(|rest| rest.strip_suffix(']')?.parse().ok());
    let line_bytes = u64::try_from(line.len()).unwrap_or(0).saturating_add(1);
    skipped.map_or((0, 0), |skipped| (skipped, line_bytes))
}

/// Copies the newest part of the log, and returns which one.
fn copy(path: &Path, length: u64, bytes_max: u64, to: &mut File) -> io::Result<Range<u64>> {
    let mut from = File::open(path)?;
    let skipped = length.saturating_sub(bytes_max.saturating_add(bytes_max / 8));
    if skipped > 0 {
        writeln!(to, "{LEFT_OUT}{skipped}]")?;
        from.seek(SeekFrom::Start(skipped))?;
    }
    // The child goes on writing meanwhile; following it for as long as it is quick would have no bound.
    let limit = bytes_max.saturating_add(bytes_max / 4);
    Ok(skipped..skipped.saturating_add(io::copy(&mut from.take(limit), to)?))
}

/// Removes what was copied, and what is before it, from the current file.
///
/// Where the file system can take whole blocks out of a file's beginning (ext4, XFS), what the child has written since stays, and
/// the copy gives back what belongs to the block that stays. Elsewhere the file is truncated, and what came since is lost.
fn cut(current: &File, Range { start, end }: Range<u64>, copied: &mut File) -> io::Result<()> {
    let block = current.metadata()?.blksize().max(1);
    // A range that reaches the end of the file is refused.
    let whole = end.saturating_sub(1) / block * block;
    if whole > start && fallocate(current, FallocateFlags::COLLAPSE_RANGE, 0, whole).is_ok() {
        let length = copied.metadata()?.len();
        return copied.set_len(length.saturating_sub(end.saturating_sub(whole)));
    }
    if current.metadata()?.len() > end {
        write!(copied, "{LOST}")?;
    }
    current.set_len(0)
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}
