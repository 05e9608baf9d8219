//! Nothing of a plane is left at its end, however it comes.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use haldane_plane::Plane;

use crate::smoke::rig::{eventually, networks, pids, processes};

const PROGRAM: &str = env!("CARGO_BIN_EXE_haldane-plane");

/// What there was of a plane.
#[derive(Debug)]
struct Traces {
    directory: PathBuf,
    network: String,
}

impl Traces {
    fn of(directory: &Path) -> Self {
        let running = processes(directory);
        let own = networks(&[std::process::id()]);
        let networks = networks(&running);
        let network = networks.into_iter().find(|network| !own.contains(network));
        // The process before the namespace, the one in it, etcd, API server, controllers, scheduler and KWOK.
        assert!(running.len() >= 7, "{running:?}");
        Self {
            directory: directory.to_owned(),
            network: network.unwrap(),
        }
    }

    async fn vanish(self) {
        eventually("no process, namespace or file of the plane", async || {
            let is_gone = processes(&self.directory).is_empty()
                && !networks(&pids()).contains(&self.network)
                && !self.directory.exists();
            is_gone.then_some(())
        })
        .await;
    }
}

#[tokio::test]
async fn ending_a_plane_leaves_nothing() {
    let plane = Plane::start().await.unwrap();
    let traces = Traces::of(plane.directory());
    plane.stop().await.unwrap();
    assert!(!traces.directory.exists());
    traces.vanish().await;
}

#[tokio::test]
async fn dropping_a_plane_leaves_nothing() {
    let plane = Plane::start().await.unwrap();
    let traces = Traces::of(plane.directory());
    drop(plane);
    traces.vanish().await;
}

#[tokio::test]
async fn a_plane_whose_program_dies_ends_and_says_why() {
    let plane = Plane::start().await.unwrap();
    let traces = Traces::of(plane.directory());
    let scheduler = processes(plane.directory()).into_iter().find(|pid| {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
        program.ends_with("kube-scheduler")
    });
    kill(scheduler.unwrap());
    traces.vanish().await;
    let error = plane.stop().await.unwrap_err().to_string();
    assert!(error.contains("kube-scheduler ended (signal: 9"), "{error}");
}

#[tokio::test]
async fn killing_who_started_a_plane_leaves_nothing() {
    let name = format!("killed-{}", std::process::id());
    let mut starter = Command::new(PROGRAM)
        .args(["up", "--foreground", "--name", &name])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let directory = told_directory(&mut starter);
    let traces = Traces::of(&directory);
    starter.kill().unwrap(); // SIGKILL
    starter.wait().unwrap();
    traces.vanish().await;
}

#[tokio::test]
async fn a_plane_that_is_up_lives_until_it_is_taken_down() {
    let name = format!("person-{}", std::process::id());
    let run = |args: &[&str]| {
        let output = Command::new(PROGRAM).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    run(&["up", "--name", &name]);
    let kubeconfig = PathBuf::from(run(&["kubeconfig", "--name", &name]).trim());
    let directory = kubeconfig.parent().unwrap();
    let traces = Traces::of(directory);
    assert!(run(&["status"]).contains(&format!("{name}: API server 127.0.0.1:")));
    let again = Command::new(PROGRAM)
        .args(["up", "--name", &name])
        .output()
        .unwrap();
    assert!(
        String::from_utf8(again.stderr)
            .unwrap()
            .contains("runs already")
    );
    let rule = r#"{"fault": {"refuse": "conflict"}, "times": 1}"#;
    let id = run(&["fault", "add", "--name", &name, rule]);
    assert!(run(&["fault", "list", "--name", &name]).starts_with(&format!("{}: ", id.trim())));
    run(&["exec", "--name", &name, "--", "true"]);
    run(&["down", "--name", &name]);
    assert!(!directory.exists());
    traces.vanish().await;
}

fn kill(pid: u32) {
    let pid = pid.to_string();
    let status = Command::new("kill").args(["-KILL", &pid]).status();
    assert!(status.unwrap().success());
}

/// Reads the line that tells where the kubeconfig is.
fn told_directory(starter: &mut Child) -> PathBuf {
    let lines = BufReader::new(starter.stdout.take().unwrap()).lines();
    let path = lines.map_while(Result::ok).find_map(|line| {
        let (_, path) = line.split_once("KUBECONFIG=")?;
        Some(PathBuf::from(path))
    });
    path.unwrap().parent().unwrap().to_owned()
}
