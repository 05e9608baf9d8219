//! Single commands.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use haldane_supervisor::{
    Config, Exit, StartError, Supervisor,
    job::{self, Job, JobEnd, JobExit, Jobs},
};

use super::rig::{AGES, is_alive, until};

/// What the tests wait for is over in a fraction of this, and what they don't wait for lasts [`AGES`].
const SOON: Duration = Duration::from_secs(10);

fn script(script: &str) -> Job {
    Job {
        argv: ["sh", "-c", script].map(str::to_owned).into(),
        env: BTreeMap::new(),
        dir: None,
        timeout: AGES,
        output_bytes_max: 4096,
    }
}

/// Returns who runs jobs for a daemon of its own directory.
fn jobs() -> Jobs {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::open(dir.path(), Config::default()).unwrap();
    supervisor.jobs().clone()
}

/// Runs a job that nobody cancels, and checks that it ends soon.
#[track_caller]
fn run(job: &Job) -> JobEnd {
    let started = Instant::now();
    let end = jobs().run(job, &AtomicBool::new(false));
    assert!(started.elapsed() < SOON, "{:?}", started.elapsed());
    end
}

#[track_caller]
fn pid(file: &Path) -> i32 {
    until("written", || {
        let text = fs::read_to_string(file).unwrap_or_default();
        if text.ends_with('\n') {
            Ok(text.trim().parse().unwrap())
        } else {
            Err(text)
        }
    })
}

#[test]
fn a_job_tells_its_end_and_what_it_printed() {
    let end = run(&script("echo out; echo err >&2; echo again"));
    assert!(end.is_success());
    assert_eq!(end.output, "out\nerr\nagain\n");
    let end = run(&script("printf no; exit 7"));
    assert!(!end.is_success());
    assert!(matches!(end.exit, JobExit::Ended(Exit::Code(7))), "{end:?}");
    assert_eq!(end.output, "no");
    let end = run(&script("kill -KILL $$"));
    assert!(
        matches!(end.exit, JobExit::Ended(Exit::Signal(9))),
        "{end:?}"
    );
}

#[test]
fn a_job_has_its_variables_in_arguments_and_environment_and_nothing_to_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = script("echo $0 ${NAME} \"$1\"; pwd -P; cat; env | grep -c ^HALDANE_");
    job.argv
        .extend(["$NAME".to_owned(), "<${NAME}>$NAMES".to_owned()]);
    job.env.insert("NAME".to_owned(), "a b".to_owned());
    job.dir = Some(dir.path().into());
    // In the script itself it is replaced, too; between the shell's quotes it stays one argument.
    let here = fs::canonicalize(dir.path()).unwrap();
    let end = run(&job);
    // One variable: the token.
    assert_eq!(
        end.output,
        format!("a b a b <a b>$NAMES\n{}\n1\n", here.display())
    );
}

#[test]
fn a_job_that_cannot_start_says_why() {
    let mut job = script("");
    job.argv = vec!["./ghost".to_owned()];
    let end = run(&job);
    assert!(
        matches!(end.exit, JobExit::NotStarted(StartError::ProgramMissing(_))),
        "{end:?}"
    );
    job.argv = Vec::new();
    let end = run(&job);
    assert!(
        matches!(end.exit, JobExit::NotStarted(StartError::Empty)),
        "{end:?}"
    );
}

#[test]
fn a_job_is_killed_as_a_whole_when_its_time_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = script("echo begun; sh -c 'echo $$ > follower; exec sleep 1000' & sleep 1000");
    job.dir = Some(dir.path().into());
    job.timeout = Duration::from_millis(500);
    let end = run(&job);
    assert!(matches!(end.exit, JobExit::TimedOut), "{end:?}");
    assert_eq!(end.output, "begun\n");
    assert!(!is_alive(pid(&dir.path().join("follower"))));
}

#[test]
fn a_job_that_ignores_sigterm_is_killed_after_the_grace() {
    let mut job = script("trap 'echo no' TERM; while :; do sleep 0.01; done");
    job.timeout = Duration::from_millis(300);
    let started = Instant::now();
    let end = run(&job);
    assert!(matches!(end.exit, JobExit::TimedOut), "{end:?}");
    // The shell may add that its `sleep` was ended.
    assert!(end.output.ends_with("no\n"), "{end:?}");
    assert!(started.elapsed() >= job.timeout + job::STOP_GRACE);
}

#[test]
fn a_cancelled_job_may_clean_up_and_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let mut job =
        script("trap 'echo cleaned; exit 0' TERM; echo $$ > pid; while :; do sleep 0.01; done");
    job.dir = Some(dir.path().into());
    let cancel = AtomicBool::new(false);
    let (end, leader) = std::thread::scope(|scope| {
        let running = scope.spawn(|| jobs().run(&job, &cancel));
        let leader = pid(&dir.path().join("pid"));
        cancel.store(true, Ordering::Relaxed);
        (running.join().unwrap(), leader)
    });
    assert!(matches!(end.exit, JobExit::Cancelled), "{end:?}");
    assert!(end.output.ends_with("cleaned\n"), "{end:?}");
    assert!(!is_alive(leader));
}

#[test]
fn a_follower_that_keeps_the_pipe_open_holds_up_nothing_and_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    for fork in ["", "setsid "] {
        let mut job = script(&format!(
            "{fork}sh -c 'echo $$ > new; mv new follower; exec sleep 1000' & \
             while [ ! -e follower ]; do sleep 0.01; done; echo done; exit 3"
        ));
        job.dir = Some(dir.path().into());
        let end = run(&job);
        assert!(matches!(end.exit, JobExit::Ended(Exit::Code(3))), "{end:?}");
        assert_eq!(end.output, "done\n");
        let follower = dir.path().join("follower");
        assert!(!is_alive(pid(&follower)), "{fork}");
        fs::remove_file(follower).unwrap();
    }
}

#[test]
fn of_a_loud_job_the_end_is_kept() {
    let mut job = script("yes ä | head -c 30000000; printf end");
    job.output_bytes_max = 1001;
    let end = run(&job);
    assert!(end.is_success());
    let (note, tail) = end.output.split_once('\n').unwrap();
    // 1001 bytes from the end, of which the first is the second half of an `ä`.
    assert_eq!(
        note,
        "[haldane: the first 29999003 bytes of output are left out]"
    );
    assert_eq!(tail.len(), 1000);
    assert!(
        tail.starts_with("\nä") && tail.ends_with("ä\nend"),
        "{tail}"
    );
}

#[test]
fn a_job_that_never_stops_printing_is_stopped_in_time() {
    let mut job = script("exec yes flood");
    job.timeout = Duration::from_millis(500);
    let end = run(&job);
    assert!(matches!(end.exit, JobExit::TimedOut), "{end:?}");
    assert!(end.output.contains("left out") && end.output.contains("\nflood\n"));
}

#[test]
fn output_that_is_no_text_does_no_harm() {
    let end = run(&script(r"printf 'a\377b'"));
    assert_eq!(end.output, "a\u{FFFD}b");
}

#[test]
fn a_job_whose_daemon_was_killed_is_killed_by_the_next_one_and_by_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = script("setsid sh -c 'echo $$ > follower; exec sleep 1000' & exec sleep 1000");
    job.dir = Some(dir.path().into());
    let open = || Supervisor::open(&dir.path().join("home"), Config::default()).unwrap();
    let first = open();
    let cancel = AtomicBool::new(false);
    let (end, follower) = std::thread::scope(|scope| {
        let earlier = first.jobs().clone();
        let running = scope.spawn(move || earlier.run(&job, &cancel));
        let follower = pid(&dir.path().join("follower"));
        // A daemon of another directory has nothing to do with it.
        let _stranger = jobs();
        assert!(is_alive(follower));
        drop(first);
        let _next = open();
        (running.join().unwrap(), follower)
    });
    assert!(
        matches!(end.exit, JobExit::Ended(Exit::Signal(9))),
        "{end:?}"
    );
    assert!(!is_alive(follower));
}

#[test]
fn a_job_of_this_daemon_outlives_its_looks_for_strays() {
    let dir = tempfile::tempdir().unwrap();
    let supervisor = Supervisor::open(dir.path(), Config::default()).unwrap();
    // The second look comes five seconds after the start.
    let end = supervisor
        .jobs()
        .run(&script("sleep 6; echo done"), &AtomicBool::new(false));
    assert_eq!(end.output, "done\n", "{end:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_are_idle_when_the_last_one_has_left_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let mut job = script("trap '' TERM; echo $$ > pid; while :; do sleep 0.01; done");
    job.dir = Some(dir.path().into());
    let (jobs, cancel) = (jobs(), AtomicBool::new(false));
    jobs.idle().await;
    std::thread::scope(|scope| {
        scope.spawn(|| jobs.run(&job, &cancel));
        let leader = pid(&dir.path().join("pid"));
        cancel.store(true, Ordering::Relaxed);
        tokio::task::block_in_place(|| {
            tokio::runtime::Handle::current().block_on(jobs.idle());
        });
        assert!(!is_alive(leader), "it ignores SIGTERM, and is waited for");
    });
    // One that was cancelled before it began is not begun.
    fs::remove_file(dir.path().join("pid")).unwrap();
    let end = jobs.run(&job, &cancel);
    assert!(matches!(end.exit, JobExit::Cancelled), "{end:?}");
    assert!(!dir.path().join("pid").exists());
}
