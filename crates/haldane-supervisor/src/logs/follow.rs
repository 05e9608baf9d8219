//! Reading logs: the last lines, and then what is added.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::SystemTime,
};

use haldane_core::{ServiceName, VersionName};

use crate::logs::{
    rotate::{left_out, rotated},
    version_dir,
};

/// The most that is read of one replica at a time: enough for a screenful of long lines, little enough for the daemon's memory.
const READ_BYTES_MAX: u64 = 1 << 20;

/// A line longer than this is cut into several.
const LINE_BYTES_MAX: usize = 1 << 16;

/// How often a read is repeated that a rotation got in between; after that, the next poll does it.
const READ_TRIES: u32 = 5;

/// Enough of a rotated file to see the line that says what is left out.
const BEGINNING_BYTES: u64 = 64;

/// One line of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// The replica's index.
    pub replica: u32,
    /// The line without its end; what isn't UTF-8 is replaced.
    pub text: String,
}

/// Returns the last `lines` lines of each replica, replica after replica, from at most 1 MiB of each one's output.
///
/// `dir` is the supervisor's directory; no supervisor has to run.
///
/// # Errors
/// When a log can't be read. A version without logs has no lines.
pub fn tail(
    dir: &Path,
    service: &ServiceName,
    version: &VersionName,
    lines: usize,
) -> io::Result<Vec<LogLine>> {
    follow(dir, service, version, lines).map(|(last, _)| last)
}

/// Returns the last `lines` lines of each replica and a follower that goes on exactly behind them.
///
/// # Errors
/// When a log can't be read.
pub fn follow(
    dir: &Path,
    service: &ServiceName,
    version: &VersionName,
    lines: usize,
) -> io::Result<(Vec<LogLine>, Follower)> {
    let mut follower = Follower {
        dir: version_dir(dir, service, version),
        cursors: BTreeMap::new(),
    };
    let mut last = Vec::new();
    for (replica, path) in follower.files()? {
        let (cursor, texts) = last_lines(&path, lines)?;
        follower.cursors.insert(replica, cursor);
        last.extend(texts.into_iter().map(|text| LogLine { replica, text }));
    }
    Ok((last, follower))
}

/// Reads what is added to a version's logs, over rotations and new replicas.
///
/// A follower that is polled less often than the log rotates, or is more than 1 MiB behind when it does, misses lines.
#[derive(Debug)]
pub struct Follower {
    dir: PathBuf,
    cursors: BTreeMap<u32, Cursor>,
}

/// How far one log was read.
#[derive(Debug, Default)]
struct Cursor {
    offset: u64,
    /// What was read of a line that isn't complete.
    partial: Vec<u8>,
    /// Changes with each rotation.
    rotation: Option<Rotation>,
}

/// A rotated file, by its inode and when it was made.
type Rotation = (u64, Option<SystemTime>);

impl Follower {
    /// Returns the lines that were completed since the last poll, at most 1 MiB per replica; the rest comes with the next poll.
    ///
    /// # Errors
    /// When a log can't be read.
    pub fn poll(&mut self) -> io::Result<Vec<LogLine>> {
        let mut lines = Vec::new();
        for (replica, path) in self.files()? {
            let cursor = self.cursors.entry(replica).or_default();
            let texts = cursor.advance(&path)?;
            lines.extend(texts.into_iter().map(|text| LogLine { replica, text }));
        }
        Ok(lines)
    }

    /// Returns the current log of each replica; none before the first start.
    fn files(&self) -> io::Result<BTreeMap<u32, PathBuf>> {
        let entries = match fs::read_dir(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            entries => entries?,
        };
        let mut files = BTreeMap::new();
        for entry in entries {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            if let Some(Ok(replica)) = name
                .and_then(|name| name.strip_suffix(".log"))
                .map(str::parse)
            {
                files.insert(replica, path);
            }
        }
        Ok(files)
    }
}

impl Cursor {
    fn advance(&mut self, path: &Path) -> io::Result<Vec<String>> {
        for _ in 0..READ_TRIES {
            let rotation = last_rotation(path);
            let (mut added, offset) = self.behind_rotation(path, rotation)?;
            let read = read_at(path, offset, READ_BYTES_MAX)?;
            // A rotation in between gave us the beginning of one file or the middle of another.
            if rotation == last_rotation(path) {
                self.rotation = rotation;
                self.offset = offset.saturating_add(u64::try_from(read.len()).unwrap_or(0));
                added.extend(read);
                self.partial.append(&mut added);
                break;
            }
        }
        Ok(complete_lines(&mut self.partial))
    }

    /// Returns what was rotated away unread, and where to read on in the current file.
    fn behind_rotation(
        &self,
        path: &Path,
        rotation: Option<Rotation>,
    ) -> io::Result<(Vec<u8>, u64)> {
        if rotation != self.rotation {
            rest_of_rotated(path, self.offset)
        } else if length(path)? < self.offset {
            // Truncated with no copy kept.
            Ok((Vec::new(), 0))
        } else {
            Ok((Vec::new(), self.offset))
        }
    }
}

/// Returns the last lines, with a cursor behind them.
fn last_lines(path: &Path, lines: usize) -> io::Result<(Cursor, Vec<String>)> {
    let rotation = last_rotation(path);
    let end = length(path)?;
    let start = end.saturating_sub(READ_BYTES_MAX);
    let mut bytes = read_at(path, start, end.saturating_sub(start))?;
    let mut has_beginning = start == 0;
    let mut number = 0_u32;
    // A log that was just rotated is short; the lines before are in the files before.
    while has_beginning && bytes.iter().filter(|byte| **byte == b'\n').count() < lines {
        number = number.saturating_add(1);
        let before = rotated(path, number);
        let Ok(before_end) = length(&before) else {
            break;
        };
        let room = READ_BYTES_MAX.saturating_sub(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let before_start = before_end.saturating_sub(room);
        let mut joined = read_at(&before, before_start, room)?;
        joined.append(&mut bytes);
        bytes = joined;
        has_beginning = before_start == 0;
    }
    if !has_beginning && let Some(first_end) = bytes.iter().position(|byte| *byte == b'\n') {
        bytes.drain(..=first_end);
    }
    let mut complete = complete_lines(&mut bytes);
    complete.drain(..complete.len().saturating_sub(lines));
    Ok((
        Cursor {
            offset: end,
            partial: bytes,
            rotation,
        },
        complete,
    ))
}

/// Takes the complete lines from the front of `bytes`.
fn complete_lines(bytes: &mut Vec<u8>) -> Vec<String> {
    let mut lines = Vec::new();
    let mut rest = bytes.as_slice();
    loop {
        let end = rest
            .iter()
            .take(LINE_BYTES_MAX)
            .position(|byte| *byte == b'\n');
        let (line, skipped) = match end {
            Some(end) => (end, 1),
            None if rest.len() >= LINE_BYTES_MAX => (LINE_BYTES_MAX, 0),
            None => break,
        };
        let (text, behind) = rest.split_at(line);
        lines.push(String::from_utf8_lossy(text).into_owned());
        rest = behind.get(skipped..).unwrap_or_default();
    }
    *bytes = rest.to_vec();
    lines
}

/// Returns what the last rotated file has behind `offset` of the file that it was copied from, and where that goes on in the
/// current one.
fn rest_of_rotated(path: &Path, offset: u64) -> io::Result<(Vec<u8>, u64)> {
    let before = rotated(path, 1);
    let file = match File::open(&before) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        file => file?,
    };
    // Until the current file is cut, both hold the same lines.
    file.lock_shared()?;
    let beginning = read_at(&before, 0, BEGINNING_BYTES)?;
    let (skipped, line_bytes) = left_out(&String::from_utf8_lossy(&beginning));
    let copied = file.metadata()?.len().saturating_sub(line_bytes);
    let next = offset.saturating_sub(skipped.saturating_add(copied));
    let rest = match offset.checked_sub(skipped) {
        Some(into) => read_at(&before, into.saturating_add(line_bytes), READ_BYTES_MAX)?,
        // The line that was being read is cut off.
        None => [vec![b'\n'], read_at(&before, 0, READ_BYTES_MAX)?].concat(),
    };
    Ok((rest, next))
}

fn read_at(path: &Path, offset: u64, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        file => file?,
    };
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = Vec::new();
    file.take(bytes_max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn length(path: &Path) -> io::Result<u64> {
    fs::metadata(path).map(|file| file.len())
}

fn last_rotation(path: &Path) -> Option<Rotation> {
    let file = fs::metadata(rotated(path, 1)).ok()?;
    Some((file.ino(), file.created().ok()))
}
