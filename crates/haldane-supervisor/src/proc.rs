//! What `/proc` tells about processes: who is who, and what they use.
//!
//! A process id alone identifies nothing, for the kernel gives it to the next process. Together with the start time (in ticks
//! since boot) and the boot's id it is unique.

use std::{fs, io, time::Duration};

use serde::{Deserialize, Serialize};

/// The environment variable that leads from a process back to its replica.
pub(crate) const TOKEN_VARIABLE: &str = "HALDANE_TOKEN";

/// A process of this boot, beyond doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Mark {
    /// The process id.
    pub(crate) pid: i32,
    /// When it was started, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// The fields of `/proc/PID/stat` that matter here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    pub(crate) mark: Mark,
    pub(crate) is_alive: bool,
    pub(crate) group: i32,
    cpu_ticks: u64,
    rss_pages: u64,
}

impl Stat {
    pub(crate) fn cpu(&self) -> Duration {
        let per_second = rustix::param::clock_ticks_per_second().max(1);
        let nanoseconds_per_tick = 1_000_000_000_u64.checked_div(per_second).unwrap_or(0);
        Duration::from_nanos(self.cpu_ticks.saturating_mul(nanoseconds_per_tick))
    }

    pub(crate) fn rss_bytes(&self) -> u64 {
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        self.rss_pages.saturating_mul(page)
    }
}

/// Linux's number for "no such process": it ended after its file was opened.
const ESRCH: i32 = 3;

/// Returns what the kernel says about `pid` now; a zombie is there, but not alive.
///
/// # Errors
/// When the kernel can't be asked, for want of a file descriptor, say: that tells nothing about the process.
fn look(pid: i32) -> io::Result<Option<Stat>> {
    match fs::read(format!("/proc/{pid}/stat")) {
        // A program may choose a name that isn't UTF-8.
        Ok(text) => Ok(parse_stat(&String::from_utf8_lossy(&text))),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(ESRCH) =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Returns what the kernel says about `pid` now, if it says anything.
pub(crate) fn stat(pid: i32) -> Option<Stat> {
    look(pid).ok().flatten()
}

/// Whether exactly the process of `mark` has ended for sure; what can't be asked about has not.
pub(crate) fn has_ended(mark: Mark) -> bool {
    look(mark.pid).is_ok_and(|stat| stat.is_none_or(|stat| stat.mark != mark || !stat.is_alive))
}

/// Whether exactly the process of `mark` still runs.
pub(crate) fn is_alive(mark: Mark) -> bool {
    stat(mark.pid).is_some_and(|stat| stat.mark == mark && stat.is_alive)
}

/// Returns every live process.
pub(crate) fn all() -> impl Iterator<Item = Stat> {
    let pid = |entry: fs::DirEntry| entry.file_name().to_str()?.parse::<i32>().ok();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(move |entry| stat(pid(entry.ok()?)?))
        .filter(|stat| stat.is_alive)
}

/// Returns every live process that may be seen.
///
/// # Errors
/// When some can't be seen for want of a file descriptor or of memory, so that one that matters may be missing.
pub(crate) fn whole() -> io::Result<Vec<Stat>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        match look(pid) {
            Ok(stat) => found.extend(stat.filter(|stat| stat.is_alive)),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Returns the token in the environment that the process was started with, if we may read it and there is one.
pub(crate) fn token(pid: i32) -> Option<String> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    environment.split(|byte| *byte == 0).find_map(|entry| {
        let value = entry
            .strip_prefix(TOKEN_VARIABLE.as_bytes())?
            .strip_prefix(b"=")?;
        Some(String::from_utf8_lossy(value).into_owned())
    })
}

/// Returns the proportional memory of `pid`, if we may read it.
pub(crate) fn pss_bytes(pid: i32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Returns a name for this boot of this machine as this process sees it: in another container the same process ids are others.
pub(crate) fn boot() -> io::Result<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id")?;
    let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
    Ok(format!("{} {}", boot.trim(), namespace.display()))
}

/// Returns a text that nobody had before.
pub(crate) fn unique() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/uuid")?
        .trim()
        .to_owned())
}

fn parse_stat(text: &str) -> Option<Stat> {
    let pid = text.split_once(' ')?.0.parse().ok()?;
    // The second field is the program's name in parentheses and may hold spaces and parentheses itself.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    // `proc(5)` counts fields from 1, and the first one here is the third there.
    let field = |number: usize| fields.get(number.checked_sub(3)?).copied();
    let number = |n: usize| field(n)?.parse::<u64>().ok();
    let cpu_ticks = [14, 15, 16, 17]
        .into_iter()
        .filter_map(number)
        .fold(0, u64::saturating_add);
    Some(Stat {
        mark: Mark {
            pid,
            start_ticks: number(22)?,
        },
        is_alive: !matches!(field(3)?, "Z" | "X" | "x"),
        group: field(5)?.parse().ok()?,
        cpu_ticks,
        rss_pages: number(24).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_may_look_like_fields() {
        let line = "42 (a) Z (b c) S 1 40 40 0 -1 4194304 5 6 0 0 10 20 3 4 20 0 1 0 7777 1000 25 \
                    18446744073709551615";
        let stat = parse_stat(line).unwrap();
        assert_eq!(
            stat.mark,
            Mark {
                pid: 42,
                start_ticks: 7777
            }
        );
        assert_eq!((stat.is_alive, stat.group), (true, 40));
        assert_eq!((stat.cpu_ticks, stat.rss_pages), (37, 25));
        assert!(!parse_stat(&line.replace(") S", ") Z")).unwrap().is_alive);
        assert_eq!(parse_stat("42 (cut"), None);
    }

    #[test]
    fn this_process_is_alive_and_another_with_its_id_is_not() {
        let pid = std::process::id().cast_signed();
        let mark = stat(pid).unwrap().mark;
        assert!(is_alive(mark));
        assert!(!is_alive(Mark {
            start_ticks: mark.start_ticks + 1,
            ..mark
        }));
        assert!(all().any(|stat| stat.mark == mark && stat.rss_bytes() > 0));
        assert!(pss_bytes(pid).unwrap() > 0);
    }
}
