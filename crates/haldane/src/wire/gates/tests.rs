//! Tests of `gates`.

use std::{path::Path, sync::Mutex};

use haldane_supervisor::{Config, Supervisor};
use jiff::Timestamp;

use super::*;
use crate::wire::web::server::{Act, Server, say, until};

/// Longer than any test.
const AGES: Duration = Duration::from_secs(600);

/// A keeper with quick retries, and the answers that its driver took.
struct Rig {
    keeper: GateKeeper,
    answers: Arc<Mutex<Vec<GateAnswer>>>,
    entered: Timestamp,
}

impl Rig {
    fn new() -> Self {
        let answers: Arc<Mutex<Vec<GateAnswer>>> = Arc::default();
        let taken = Arc::clone(&answers);
        let dir = tempfile::tempdir().unwrap();
        let supervisor = Supervisor::open(dir.path(), Config::default()).unwrap();
        let jobs = supervisor.jobs().clone();
        let mut keeper = GateKeeper::new(&Handle::current(), jobs, move |answer| {
            taken.lock().unwrap().push(answer);
            true
        });
        keeper.web = Web::new(Duration::from_secs(1));
        keeper.pace = Pace {
            first: Duration::from_millis(10),
            max: Duration::from_millis(50),
        };
        Self {
            keeper,
            answers,
            entered: Timestamp::now(),
        }
    }

    fn key(&self, rollout: &str, step: u32) -> GateKey {
        GateKey {
            rollout: rollout.parse().unwrap(),
            step,
            entered: self.entered,
        }
    }

    fn ask(&mut self, step: u32, gate: &Gate) {
        self.keeper.ask(&self.key("auth-1", step), gate, &subject());
    }

    /// Asks, and returns the one answer.
    async fn answer(&mut self, gate: &Gate) -> GateAnswer {
        self.ask(3, gate);
        let answer = until(|| self.answers.lock().unwrap().first().cloned()).await;
        assert_eq!(answer.key, self.key("auth-1", 3));
        answer
    }

    async fn settled(&self) {
        until(|| self.keeper.tasks.is_empty().then_some(())).await;
    }

    fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }
}

fn subject() -> GateSubject {
    GateSubject {
        service: "auth".parse().unwrap(),
        stable: "v1".parse().unwrap(),
        canary: "v2".parse().unwrap(),
        stable_url: Some("http://127.0.0.1:1001".to_owned()),
        canary_url: None,
        dir: None,
        why: Some("aborted by ann".to_owned()),
    }
}

fn hook(url: String, timeout: Duration) -> Gate {
    Gate {
        name: "hook".to_owned(),
        ask: Ask::Webhook { url },
        timeout,
    }
}

fn command(script: &str, timeout: Duration) -> Gate {
    let argv = ["sh", "-c", script].map(str::to_owned).into();
    Gate {
        name: "smoke".to_owned(),
        ask: Ask::Run { argv },
        timeout,
    }
}

/// Asks a server that acts like this, and returns whether the gate opened, what was said, and how often it was asked.
async fn ask_server(acts: &[Act], timeout: Duration) -> (bool, String, usize) {
    let server = Server::start(acts).await;
    let answer = Rig::new().answer(&hook(server.url(), timeout)).await;
    (answer.is_open, answer.said, server.seen().len())
}

#[track_caller]
fn check((is_open, said, asked): (bool, String, usize), expected: (bool, &str, usize)) {
    assert_eq!((is_open, said.as_str(), asked), expected);
}

#[tokio::test]
async fn a_hook_is_told_everything_and_asked_once_per_key() {
    let server = Server::start([say(200, "", "")]).await;
    let mut rig = Rig::new();
    let gate = hook(server.url(), AGES);
    rig.ask(3, &gate);
    let answer = rig.answer(&gate).await;
    assert!(answer.is_open);
    assert_eq!(answer.said, "HTTP 200 OK");
    rig.settled().await;
    rig.ask(3, &gate);
    rig.settled().await;
    assert_eq!(rig.count(), 1);
    let question = serde_json::json!({
        "rollout": "auth-1", "step": 3, "service": "auth", "stable": "v1", "canary": "v2",
        "stableUrl": "http://127.0.0.1:1001", "canaryUrl": null,
        "gate": "hook", "why": "aborted by ann", "key": format!("auth-1/3/{}", rig.entered),
    });
    assert_eq!(server.seen(), [question]);
    // A later visit of the same step is another question.
    rig.entered += Duration::from_nanos(1);
    rig.ask(3, &gate);
    assert_eq!(server.requests(2).await.len(), 2);
}

#[tokio::test]
async fn a_hook_that_is_unwell_is_asked_again() {
    let acts = [say(503, "", ""), Act::Close, Act::Hang, say(200, "", "")];
    check(ask_server(&acts, AGES).await, (true, "HTTP 200 OK", 4));
    let acts = [
        say(500, "", ""),
        say(403, "", r#"{"message": "frozen"}"#),
        say(200, "", ""),
    ];
    check(
        ask_server(&acts, AGES).await,
        (false, "HTTP 403 Forbidden: frozen", 2),
    );
}

#[tokio::test]
async fn a_hook_that_is_undecided_is_asked_again() {
    let undecided = say(
        200,
        "",
        r#"{"status": "InProgress", "retryAfterSeconds": 1}"#,
    );
    let acts = [
        undecided,
        say(
            200,
            "",
            r#"{"status": "Succeeded", "message": "all green"}"#,
        ),
    ];
    check(
        ask_server(&acts, AGES).await,
        (true, "HTTP 200 OK: all green", 2),
    );
}

#[tokio::test]
async fn what_is_refused_is_asked_once() {
    let redirect = say(302, "location: http://169.254.169.254/latest/\r\n", "");
    let said = "HTTP 302 Found, and redirects are not followed";
    check(ask_server(&[redirect], AGES).await, (false, said, 1));
    let broken = say(200, "content-type: application/json\r\n", r#"{"status":"#);
    let said = "HTTP 200 OK, but its body should be JSON and isn't";
    check(ask_server(&[broken], AGES).await, (false, said, 1));
    let said = "the answer has more than 65536 bytes";
    let (is_open, large, _) = ask_server(&[Act::Flood(100_000_000, true)], AGES).await;
    // How often it was asked isn't told: on a busy machine the first try may have been too slow.
    assert_eq!((is_open, large.as_str()), (false, said));
    let metadata = hook("http://169.254.169.254/latest/".to_owned(), AGES);
    let answer = Rig::new().answer(&metadata).await;
    assert!(
        !answer.is_open && answer.said.contains("never asked"),
        "{}",
        answer.said
    );
}

#[tokio::test]
async fn silence_closes_the_gate_with_the_last_word() {
    let last_word = async |act: Act| {
        let server = Server::start([act]).await;
        let mut rig = Rig::new();
        rig.keeper.web = Web::new(Duration::from_millis(200));
        let gate = hook(server.url(), Duration::from_secs(2));
        let answer = rig.answer(&gate).await;
        assert!(!answer.is_open && server.seen().len() > 1);
        let (what, word) = answer.said.split_once("; ").unwrap();
        assert_eq!(what, "no answer in time");
        word.to_owned()
    };
    let slow = "the last word: no whole answer within 200 ms";
    assert_eq!(last_word(Act::Hang).await, slow);
    assert_eq!(last_word(Act::Drip).await, slow);
    let unwell = last_word(say(503, "", "")).await;
    assert_eq!(unwell, "the last word: HTTP 503 Service Unavailable");
}

#[tokio::test]
async fn the_time_runs_from_the_entry_of_the_step() {
    let server = Server::start([Act::Hang]).await;
    let mut rig = Rig::new();
    rig.entered -= AGES;
    let answer = rig.answer(&hook(server.url(), AGES)).await;
    assert!(!answer.is_open);
    assert_eq!(
        answer.said,
        "no answer in time; the last word: nothing was said"
    );
    let key = rig.key("auth-1", 0);
    let later = GateKey {
        entered: Timestamp::now() + AGES,
        ..key
    };
    assert_eq!(
        time_left(&later, Duration::from_secs(5)),
        Duration::from_secs(5)
    );
}

#[tokio::test]
async fn a_forgotten_or_replaced_gate_is_asked_no_more() {
    let server = Server::start([say(503, "", "")]).await;
    let mut rig = Rig::new();
    rig.ask(3, &hook(server.url(), AGES));
    server.requests(2).await;
    rig.keeper.forget(&"auth-0".parse().unwrap());
    let more = server.seen().len() + 2;
    server.requests(more).await;
    rig.keeper.forget(&"auth-1".parse().unwrap());
    rig.settled().await;

    rig.ask(4, &hook(server.url(), AGES));
    rig.ask(5, &hook("http://169.254.169.254/".to_owned(), AGES));
    rig.settled().await;
    let answers = rig.answers.lock().unwrap().clone();
    assert_eq!(
        answers
            .iter()
            .map(|answer| answer.key.step)
            .collect::<Vec<_>>(),
        [5]
    );

    rig.ask(6, &hook(server.url(), AGES));
    let tasks = rig.keeper.tasks.clone();
    drop(rig);
    until(|| tasks.is_empty().then_some(())).await;
}

#[tokio::test]
async fn a_person_is_not_asked_here() {
    let mut rig = Rig::new();
    rig.ask(
        3,
        &Gate {
            name: "go".to_owned(),
            ask: Ask::Approval,
            timeout: AGES,
        },
    );
    assert!(rig.keeper.asked.is_empty() && rig.keeper.tasks.is_empty());
}

#[tokio::test]
async fn an_answer_is_offered_until_it_is_taken() {
    let offers: Arc<Mutex<u32>> = Arc::default();
    let offered = Arc::clone(&offers);
    let mut rig = Rig::new();
    rig.keeper.answer = Arc::new(move |_| {
        let mut offers = offered.lock().unwrap();
        *offers += 1;
        *offers == 3
    });
    rig.ask(3, &command("true", AGES));
    rig.settled().await;
    assert_eq!(*offers.lock().unwrap(), 3);
}

#[tokio::test]
async fn a_command_says_by_its_exit_code_whether_to_go_on() {
    let answer = Rig::new().answer(&command("echo fine", AGES)).await;
    assert!(answer.is_open);
    assert_eq!(answer.said, "exit code 0\nfine");
    let answer = Rig::new()
        .answer(&command("printf '\\033[31mbad\\n' >&2; exit 2", AGES))
        .await;
    assert!(!answer.is_open);
    assert_eq!(answer.said, "exit code 2\n[31mbad");
    let ghost = Gate {
        ask: Ask::Run {
            argv: vec!["/no/such/file".to_owned()],
        },
        ..command("", AGES)
    };
    let answer = Rig::new().answer(&ghost).await;
    assert!(!answer.is_open);
    assert_eq!(answer.said, "the program /no/such/file is missing");
}

/// What is asked about once the canary answers at that port.
fn ready(port: u16) -> GateSubject {
    let canary_url = Some(format!("http://127.0.0.1:{port}"));
    GateSubject {
        canary_url,
        ..subject()
    }
}

#[tokio::test]
async fn a_hook_is_told_the_addresses_of_the_moment() {
    let server = Server::start([say(503, "", "")]).await;
    let mut rig = Rig::new();
    let (key, gate) = (rig.key("auth-1", 3), hook(server.url(), AGES));
    rig.ask(3, &gate);
    for port in [1002, 1003] {
        rig.keeper.ask(&key, &gate, &ready(port));
        let url = format!("http://127.0.0.1:{port}");
        until(|| (server.seen().last()?["canaryUrl"] == *url).then_some(())).await;
    }
}

#[tokio::test]
async fn a_command_knows_the_addresses_and_waits_for_those_that_it_needs() {
    let mut rig = Rig::new();
    let script =
        "echo $CANARY_URL ${STABLE_URL}; env | grep -E '^(CANARY_URL|STABLE_URL|VERSION)=' | sort";
    let gate = command(script, AGES);
    rig.ask(3, &gate);
    rig.keeper.ask(&rig.key("auth-1", 3), &gate, &ready(1002));
    let answer = until(|| rig.answers.lock().unwrap().first().cloned()).await;
    let expected = "exit code 0\nhttp://127.0.0.1:1002 http://127.0.0.1:1001\n\
                    CANARY_URL=http://127.0.0.1:1002\nSTABLE_URL=http://127.0.0.1:1001\nVERSION=v2";
    assert_eq!(answer.said, expected);
    let answer = Rig::new()
        .answer(&command("echo $VERSION ${CANARY_UR}", AGES))
        .await;
    assert_eq!(answer.said, "exit code 0\nv2");
    let answer = Rig::new()
        .answer(&command("curl $CANARY_URL", Duration::from_millis(500)))
        .await;
    assert!(!answer.is_open);
    assert_eq!(
        answer.said,
        "no replica that the command asks for was ready in time"
    );
}

#[tokio::test]
async fn a_slow_command_is_killed_and_heard() {
    let gate = command("echo begun; sleep 1000", Duration::from_secs(5));
    let answer = Rig::new().answer(&gate).await;
    assert!(!answer.is_open);
    let said = "killed because its time was over\nbegun";
    assert!(answer.said.starts_with(said), "{}", answer.said);
}

#[tokio::test]
async fn a_stubborn_command_is_not_waited_for() {
    let script = "trap '' TERM; while :; do sleep 0.01; done";
    let gate = command(script, Duration::from_secs(1));
    let answer = Rig::new().answer(&gate).await;
    assert!(!answer.is_open);
    let said = "its time was over, and it does not end when told to";
    assert_eq!(answer.said, said);
}

#[tokio::test]
async fn a_command_that_forks_holds_up_nothing() {
    let answer = Rig::new()
        .answer(&command("sleep 1000 & echo done", AGES))
        .await;
    assert!(answer.is_open);
    assert_eq!(answer.said, "exit code 0\ndone");
}

#[tokio::test]
async fn of_a_loud_command_the_end_is_kept() {
    let answer = Rig::new()
        .answer(&command("yes | head -c 10000000; echo end; exit 1", AGES))
        .await;
    assert!(!answer.is_open);
    assert!(
        answer
            .said
            .starts_with("exit code 1\n[haldane: the first 9995908 bytes"),
        "{}",
        answer.said
    );
    assert!(answer.said.ends_with("y\nend") && answer.said.len() < OUTPUT_AND_NOTE_BYTES_MAX);
}

/// The output that is kept, and two short lines.
const OUTPUT_AND_NOTE_BYTES_MAX: usize = (4 << 10) + 100;

#[tokio::test]
async fn the_command_of_a_forgotten_gate_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pid");
    let mut rig = Rig::new();
    rig.ask(
        3,
        &command(
            &format!(
                "echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000",
                file.display()
            ),
            AGES,
        ),
    );
    let pid = until(|| std::fs::read_to_string(&file).ok()).await;
    let process = Path::new("/proc").join(pid.trim());
    assert!(process.exists());
    rig.keeper.forget(&"auth-1".parse().unwrap());
    until(|| (!process.exists()).then_some(())).await;
    assert_eq!(rig.count(), 0);
}
