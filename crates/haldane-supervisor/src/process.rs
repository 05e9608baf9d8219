//! One running replica as the kernel sees it: a group leader, its group, and whoever left the group.
//!
//! Each child leads a process group of its own. A leader's process id stays reserved as the group's id while any member lives
//! (and while it is an unreaped zombie of ours), so a group whose leader we verified can be signalled as a whole. Processes that
//! left the group are found by the token in their environment and signalled one by one.
//!
//! **Invariant:** every signal is preceded by a look at the start time or token of whom it goes to.

use std::{os::fd::OwnedFd, process::Child};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::{
    proc::{self, Mark},
    seen::Exit,
};

/// The processes of one run of one replica.
#[derive(Debug)]
pub(crate) struct Process {
    mark: Mark,
    token: String,
    /// Readable once the leader has ended; none on kernels without it.
    pidfd: Option<OwnedFd>,
    /// None for a process that an earlier daemon started: the kernel tells its end to someone else.
    child: Option<Child>,
}

impl Process {
    /// Takes over a child that was just started and isn't reaped; none if the kernel doesn't show it.
    pub(crate) fn started(mut child: Child, token: String) -> Option<Self> {
        let pid = child.id().cast_signed();
        let Some(proc::Stat { mark, .. }) = proc::stat(pid) else {
            // What can't be verified later must not run on.
            child.kill().and_then(|()| child.wait()).ok();
            return None;
        };
        Some(Self {
            mark,
            token,
            pidfd: open(pid),
            child: Some(child),
        })
    }

    /// Takes over the process of `mark`, if exactly that one still runs.
    pub(crate) fn adopt(mark: Mark, token: String) -> Option<Self> {
        // Open first and look then: what the look confirms is what was opened.
        let pidfd = open(mark.pid);
        proc::is_alive(mark).then_some(Self {
            mark,
            token,
            pidfd,
            child: None,
        })
    }

    pub(crate) fn mark(&self) -> Mark {
        self.mark
    }

    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Returns what becomes readable when the leader ends.
    pub(crate) fn pidfd(&self) -> Option<&OwnedFd> {
        self.pidfd.as_ref()
    }

    /// Returns how the leader ended, if it has; it stays a zombie, so that its group's id stays reserved.
    pub(crate) fn exit(&self) -> Option<Exit> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        if self.child.is_some()
            && let Some(pid) = Pid::from_raw(self.mark.pid)
            && let Ok(status) = waitid(WaitId::Pid(pid), options)
        {
            let status = status?;
            let code = status.exit_status().map(Exit::Code);
            return code
                .or_else(|| status.terminating_signal().map(Exit::Signal))
                .or(Some(Exit::Unknown));
        }
        proc::has_ended(self.mark).then_some(Exit::Unknown)
    }

    /// Whether any process of the replica is left beside its leader; where that can't be seen, there may be.
    pub(crate) fn has_followers(&self) -> bool {
        let Ok(all) = proc::whole() else {
            return true;
        };
        let is_group_ours = self.is_group_ours();
        all.into_iter().any(|stat| {
            stat.mark != self.mark
                && ((is_group_ours && stat.group == self.mark.pid) || self.bears_token(stat.mark))
        })
    }

    /// Sends `signal` to the group and to whoever left it.
    pub(crate) fn signal(&self, signal: Signal) {
        if self.is_group_ours()
            && let Some(pid) = Pid::from_raw(self.mark.pid)
        {
            // It fails when the group is empty, and that is what the signal is for.
            kill_process_group(pid, signal).ok();
        }
        for stat in proc::all() {
            if stat.group != self.mark.pid && self.bears_token(stat.mark) {
                signal_one(stat.mark, signal);
            }
        }
    }

    /// Takes the leader's end from the kernel, after which its id may be given to someone else.
    pub(crate) fn reap(self) {
        if let Some(mut child) = self.child
            && let Err(error) = child.try_wait()
        {
            tracing::debug!(pid = self.mark.pid, %error, "Child was reaped by someone else");
        }
    }

    /// Whether the group with the leader's id is still the one it led: nobody else has got the id.
    ///
    /// The id can't pass to another process while a member lives, and an empty group is noticed by pidfd or within one check
    /// interval, long before the kernel has gone once round all ids.
    fn is_group_ours(&self) -> bool {
        proc::stat(self.mark.pid).is_none_or(|stat| stat.mark == self.mark)
    }

    fn bears_token(&self, mark: Mark) -> bool {
        proc::token(mark.pid).is_some_and(|token| token == self.token)
    }
}

/// Sends SIGKILL to each process whose token satisfies `is_doomed`, and returns how many there were.
pub(crate) fn kill_by_token(is_doomed: impl Fn(&str) -> bool) -> usize {
    let own = std::process::id().cast_signed();
    let doomed = proc::all().filter(|stat| {
        stat.mark.pid != own && proc::token(stat.mark.pid).is_some_and(|token| is_doomed(&token))
    });
    doomed
        .map(|stat| signal_one(stat.mark, Signal::KILL))
        .count()
}

/// Returns the group leader that was started with exactly this token; the oldest, for a follower may lead a group of its own.
pub(crate) fn find_by_token(token: &str) -> Option<Mark> {
    let leaders = proc::all()
        .filter(|stat| stat.group == stat.mark.pid)
        .map(|stat| stat.mark);
    let bearers = leaders.filter(|mark| proc::token(mark.pid).is_some_and(|found| found == token));
    bearers.min_by_key(|mark| mark.start_ticks)
}

fn open(pid: i32) -> Option<OwnedFd> {
    pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Signals exactly the process of `mark`; it may have ended meanwhile, and then nobody is signalled.
fn signal_one(mark: Mark, signal: Signal) {
    let Some(pid) = Pid::from_raw(mark.pid) else {
        return;
    };
    let pidfd = open(mark.pid);
    if !proc::is_alive(mark) {
        return;
    }
    let sent = match &pidfd {
        Some(pidfd) => pidfd_send_signal(pidfd, signal),
        None => kill_process(pid, signal),
    };
    if let Err(error) = sent {
        tracing::debug!(pid = mark.pid, %error, "Process wasn't signalled");
    }
}
