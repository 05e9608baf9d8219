//! One command, run to its end: what a gate or a metric asks instead of a web service.
//!
//! Unlike a replica, a job belongs to this daemon: its output is read through a pipe, of which the end is kept, and nothing that it
//! started outlives it. Its output goes on arriving while it runs, so it never waits for a reader, however loud it is.
//!
//! **Invariant:** [`Jobs::run`] returns: a command that ignores SIGTERM is killed, and a process that keeps the pipe open isn't waited for.
//!
//! What it can't do: end a job at the moment its daemon is killed. That job runs on until the data directory is opened again: it bears
//! the directory's token, and the next daemon kills what bears the token of an earlier one's job, before it asks the gate anew.

use std::{
    collections::BTreeMap,
    io::{self, PipeReader, Read},
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::Signal,
};

use tokio::sync::watch;

use crate::{
    proc::{self, TOKEN_VARIABLE},
    process::Process,
    seen::Exit,
    spec::{LogLimits, VersionSpec},
    start::{self, StartError},
    variable::substitute,
};

/// How long after SIGTERM what is left of a job gets SIGKILL: enough to remove a lock file, too short to hold up an abort.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// How long the rest of the output is waited for once the command itself has ended.
const LINGER: Duration = Duration::from_millis(500);

/// How long a look at the job may be away: so late is a cancelled job noticed.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How much is read between two looks, so that a flood of output holds up no deadline.
const READ_BYTES_MAX: usize = 1 << 20;

/// A command to run to its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The program and its arguments, executed directly; `$NAME` and `${NAME}` are replaced for the names in `env`.
    pub argv: Vec<String>,
    /// What is set in the environment beside what the daemon has itself, except the daemon's own `HALDANE_…` variables.
    pub env: BTreeMap<String, String>,
    /// The working directory; without one it's the daemon's.
    pub dir: Option<PathBuf>,
    /// How long it may run.
    pub timeout: Duration,
    /// How much of the end of its output is kept.
    pub output_bytes_max: usize,
}

/// How a job ended.
#[derive(Debug)]
pub struct JobEnd {
    /// Why it ended.
    pub exit: JobExit,
    /// The end of what it printed to both streams, as it came; after a line that says so when there was more.
    pub output: String,
}

/// Why a job ended.
#[derive(Debug)]
pub enum JobExit {
    /// By itself.
    Ended(Exit),
    /// It was killed because its time was over.
    TimedOut,
    /// It was killed because it was cancelled.
    Cancelled,
    /// It was never there.
    NotStarted(StartError),
}

impl JobEnd {
    /// Whether the command ended by itself with exit code 0.
    #[must_use]
    pub const fn is_success(&self) -> bool {
        matches!(self.exit, JobExit::Ended(Exit::Code(0)))
    }
}

/// Runs the jobs of one daemon; clones are the same. [`Supervisor::jobs`] returns it.
///
/// [`Supervisor::jobs`]: crate::Supervisor::jobs
#[derive(Clone, Debug)]
pub struct Jobs {
    /// What the token of each job begins with.
    prefix: Arc<str>,
    /// How many run.
    running: watch::Sender<usize>,
}

impl Jobs {
    /// Returns what runs jobs of a process that has no data directory, so that nobody ends what is left of them if it is killed.
    #[must_use]
    pub fn alone() -> Self {
        Self::new("haldane-alone-")
    }

    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            prefix: prefix.into(),
            running: watch::Sender::new(0),
        }
    }

    /// Waits until no job runs; those that are to end must have been cancelled.
    pub async fn idle(&self) {
        // It can't fail: this is a sender.
        self.running
            .subscribe()
            .wait_for(|running| *running == 0)
            .await
            .ok();
    }

    /// Runs a job to its end and returns how that was; blocks meanwhile.
    ///
    /// Once `cancel` is true, the job is killed. Whatever it has started is killed when it has ended, unless that left the job's
    /// process group *and* wiped its environment.
    #[must_use]
    pub fn run(&self, job: &Job, cancel: &AtomicBool) -> JobEnd {
        let _running = Running::new(&self.running);
        if cancel.load(Ordering::Relaxed) {
            return JobEnd {
                exit: JobExit::Cancelled,
                output: String::new(),
            };
        }
        let unique = proc::unique().map_err(StartError::Token);
        match unique.and_then(|unique| start(job, format!("{}{unique}", self.prefix))) {
            Ok((process, pipe)) => attend(job, cancel, process, pipe),
            Err(error) => JobEnd {
                exit: JobExit::NotStarted(error),
                output: String::new(),
            },
        }
    }
}

/// Counts a job while it lives.
struct Running<'a>(&'a watch::Sender<usize>);

impl<'a> Running<'a> {
    fn new(running: &'a watch::Sender<usize>) -> Self {
        running.send_modify(|running| *running = running.saturating_add(1));
        Self(running)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0
            .send_modify(|running| *running = running.saturating_sub(1));
    }
}

/// What a job prints, as it comes.
#[derive(Debug)]
struct Output {
    /// None once every process has closed its end.
    pipe: Option<PipeReader>,
    tail: Vec<u8>,
    tail_bytes_max: usize,
    bytes: usize,
}

fn start(job: &Job, token: String) -> Result<(Process, PipeReader), StartError> {
    let spec = spec(job);
    let variables: BTreeMap<&str, String> = job
        .env
        .iter()
        .map(|(name, value)| (name.as_str(), value.clone()))
        .collect();
    let prepared = start::prepare(&spec)?;
    let execute = |source| StartError::Execute {
        program: prepared.program.clone(),
        source,
    };
    let (pipe, writer) = io::pipe().map_err(execute)?;
    rustix::io::ioctl_fionbio(&pipe, true).map_err(|errno| execute(errno.into()))?;
    let mut command = Command::new(&prepared.program);
    let mut argv = job
        .argv
        .iter()
        .map(|argument| substitute(argument, &variables).into_owned());
    if let Some(name) = argv.next() {
        command.arg0(name);
    }
    command.args(argv).process_group(0).stdin(Stdio::null());
    command.stderr(writer.try_clone().map_err(execute)?);
    command.stdout(writer);
    start::forget_own_variables(&mut command);
    if let Some(dir) = &job.dir {
        command.current_dir(dir);
    }
    command.envs(&job.env).env(TOKEN_VARIABLE, &token);
    let child = command.spawn().map_err(execute)?;
    // Our copies of the writing end go with `command`, so that the pipe ends with the job.
    let process = Process::started(child, token).ok_or(StartError::Vanished)?;
    Ok((process, pipe))
}

/// Returns the replica that would start like this job.
fn spec(job: &Job) -> VersionSpec {
    VersionSpec {
        argv: job.argv.clone(),
        env: job.env.clone(),
        dir: job.dir.clone(),
        user: None,
        drain_grace: Duration::ZERO,
        stop_grace: STOP_GRACE,
        start_grace: job.timeout,
        log: LogLimits::default(),
    }
}

fn attend(job: &Job, cancel: &AtomicBool, process: Process, pipe: PipeReader) -> JobEnd {
    let started = Instant::now();
    let mut output = Output {
        pipe: Some(pipe),
        tail: Vec::new(),
        tail_bytes_max: job.output_bytes_max,
        bytes: 0,
    };
    let exit = loop {
        let is_over = started.elapsed() >= job.timeout;
        if let Some(exit) = process.exit() {
            break JobExit::Ended(exit);
        } else if cancel.load(Ordering::Relaxed) {
            break JobExit::Cancelled;
        } else if is_over {
            break JobExit::TimedOut;
        }
        let rest = job.timeout.saturating_sub(started.elapsed());
        output.wait(&process, rest.min(LOOK_INTERVAL));
        output.read();
    };
    if let JobExit::Ended(_) = exit {
        let ended = Instant::now();
        output.read();
        while output.pipe.is_some() && ended.elapsed() < LINGER {
            output.wait_for_more(LOOK_INTERVAL);
            output.read();
        }
    }
    stop(&process, &mut output);
    process.reap();
    JobEnd {
        exit,
        output: output.into_text(),
    }
}

/// Ends whatever is left of the job: asks first, and kills after the grace.
fn stop(process: &Process, output: &mut Output) {
    let is_gone = || process.exit().is_some() && !process.has_followers();
    for signal in [Signal::TERM, Signal::KILL] {
        if is_gone() {
            break;
        }
        process.signal(signal);
        let signalled = Instant::now();
        while !is_gone() && signalled.elapsed() < STOP_GRACE {
            output.wait_for_more(Duration::from_millis(10));
            output.read();
        }
    }
    output.read();
}

impl Output {
    /// Waits until there is something to read, the leader has ended, or the time is over.
    fn wait(&self, process: &Process, time: Duration) {
        let mut fds = Vec::with_capacity(2);
        fds.extend(
            self.pipe
                .as_ref()
                .map(|pipe| PollFd::new(pipe, PollFlags::IN)),
        );
        fds.extend(
            process
                .pidfd()
                .map(|pidfd| PollFd::new(pidfd, PollFlags::IN)),
        );
        wait_for(&mut fds, time);
    }

    /// Waits until there is something to read or the time is over.
    fn wait_for_more(&self, time: Duration) {
        let mut fds: Vec<_> = self
            .pipe
            .iter()
            .map(|pipe| PollFd::new(pipe, PollFlags::IN))
            .collect();
        wait_for(&mut fds, time);
    }

    /// Takes what there is, without waiting.
    fn read(&mut self) {
        let mut buffer = [0; 1 << 14];
        let mut taken = 0;
        while let Some(pipe) = &mut self.pipe
            && taken < READ_BYTES_MAX
        {
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    taken += count;
                    self.take_in(buffer.get(..count).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::debug!(%error, "Output of a job can't be read");
                    self.pipe = None;
                }
            }
        }
    }

    fn take_in(&mut self, bytes: &[u8]) {
        self.bytes = self.bytes.saturating_add(bytes.len());
        self.tail.extend_from_slice(bytes);
        // Cut only when there is as much again, so that each byte is moved once and not with every read.
        if self.tail.len() > self.tail_bytes_max.saturating_mul(2) {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let surplus = self.tail.len().saturating_sub(self.tail_bytes_max);
        self.tail.drain(..surplus);
    }

    fn into_text(mut self) -> String {
        self.cut();
        let mut tail = self.tail.as_slice();
        if self.bytes == tail.len() {
            return String::from_utf8_lossy(tail).into_owned();
        }
        // The rest of a character that was cut through says nothing.
        while let [0x80..=0xBF, rest @ ..] = tail {
            tail = rest;
        }
        let left_out = self.bytes.saturating_sub(tail.len());
        let tail = String::from_utf8_lossy(tail);
        format!("[haldane: the first {left_out} bytes of output are left out]\n{tail}")
    }
}

fn wait_for(fds: &mut [PollFd<'_>], time: Duration) {
    let timeout = Timespec::try_from(time).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(errno) => {
            tracing::debug!(%errno, "Poll failed");
            // Without it the loop around would spin.
            std::thread::sleep(time);
        }
    }
}
