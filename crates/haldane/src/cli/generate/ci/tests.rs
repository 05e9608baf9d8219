//! Every command line of a generated pipeline is taken out of it and read by the program's own reader; what asks nobody is run.

use std::{collections::BTreeSet, fs};

use clap::{CommandFactory as _, Parser as _};

use super::*;
use crate::cli::{Cli, testing::Daemon};

/// What the variables of the pipelines stand for.
const VARIABLES: [(&str, &str); 21] = [
    ("$(params.service)", "auth-service"),
    ("$(params.image)", "ghcr.io/orion/auth:v2"),
    ("$(params.namespace)", "orion"),
    ("$(params.file)", "deploy/auth.yaml"),
    ("$(context.taskRun.name)", "deliver-1"),
    ("${SERVICE}", "auth-service"),
    ("$SERVICE", "auth-service"),
    ("$IMAGE", "ghcr.io/orion/auth:v2"),
    ("$NAMESPACE", "orion"),
    ("$FILE", "deploy/auth.yaml"),
    ("$REASON", "https://ci.example/1"),
    ("$BUILD_URL", "https://ci.example/1"),
    ("$CI_PIPELINE_URL", "https://ci.example/1"),
    ("${{ inputs.service }}", "auth-service"),
    ("${{ inputs.image }}", "ghcr.io/orion/auth:v2"),
    ("${{ inputs.namespace }}", "orion"),
    ("${{ inputs.file }}", "deploy/auth.yaml"),
    ("${{ inputs.reason }}", "https://ci.example/1"),
    ("${{ github.sha }}", "0a1b2c"),
    ("$(params.haldane)", "haldane"),
    ("$CI_COMMIT_SHA", "0a1b2c"),
];

async fn generated(daemon: &Daemon, system: System) -> String {
    let line = "--service auth-service --image ghcr.io/orion/auth --manifest deploy/auth.yaml";
    let (exit, text) = daemon.run(&format!("generate ci {system} {line}")).await;
    assert_eq!(exit.unwrap(), Exit::Done);
    text
}

/// Returns the command lines of a pipeline, word by word, each with what its variables stand for.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') || line.starts_with("//") {
            continue;
        }
        // Tekton's words are a list.
        let list = line.strip_prefix("args: ");
        if let Some(list) = list.filter(|list| !list.contains("IMAGE=")) {
            found.push(filled(listed(list)));
            continue;
        }
        let command = ["- ", "run: "].iter().fold(line, |line, prefix| {
            line.strip_prefix(prefix).unwrap_or(line)
        });
        if let Some(rest) = command.strip_prefix("haldane ") {
            found.push(filled(words(rest)));
        }
    }
    found
}

fn listed(list: &str) -> Vec<String> {
    serde_json::from_str(list).unwrap_or_else(|error| panic!("{list}: {error}"))
}

fn filled(words: Vec<String>) -> Vec<String> {
    let fill = |word: String| {
        let filled = VARIABLES
            .iter()
            .fold(word, |word, (name, value)| word.replace(name, value));
        assert!(
            !filled.contains('$'),
            "a variable that nobody knows: {filled}"
        );
        filled
    };
    words.into_iter().map(fill).collect()
}

/// Takes a command apart as a shell does, up to where its output goes or another one begins.
fn words(text: &str) -> Vec<String> {
    let (mut all, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in text.chars() {
        match (quote, c) {
            (None, '|' | '>' | '&' | ';') => break,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None, ' ') => all.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    assert_eq!(quote, None, "a quote that is open: {text}");
    all.extend(word);
    all
}

/// Returns the command's name.
fn read(words: &[String]) -> String {
    let line = ["haldane".to_owned()]
        .into_iter()
        .chain(words.iter().cloned());
    Cli::try_parse_from(line).unwrap_or_else(|error| panic!("{words:?}: {error}"));
    words[0].clone()
}

#[tokio::test]
async fn every_command_of_a_pipeline_is_one_of_this_program() {
    let daemon = Daemon::start([]);
    for (system, expected) in [
        (System::Github, &["lint", "plan", "simulate", "status"][..]),
        (System::GithubAction, &["abort", "deploy"]),
        (System::GithubSetup, &[]),
        (
            System::Jenkins,
            &["abort", "deploy", "lint", "plan", "simulate", "status"],
        ),
        (System::JenkinsLibrary, &["abort", "deploy"]),
        (
            System::Gitlab,
            &["abort", "deploy", "lint", "plan", "simulate", "status"],
        ),
        (
            System::Tekton,
            &["abort", "deploy", "lint", "plan", "status"],
        ),
        (
            System::Argocd,
            &["abort", "generate", "lint", "monitor", "status"],
        ),
        (System::Flux, &["abort", "lint", "monitor", "status"]),
    ] {
        let text = generated(&daemon, system).await;
        let names: BTreeSet<String> = commands(&text).iter().map(|words| read(words)).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        assert_eq!(names, expected, "{system}");
    }
}

#[tokio::test]
async fn no_command_hides_from_that_test() {
    let daemon = Daemon::start([]);
    let root = Cli::command();
    for system in System::ALL {
        let text = generated(&daemon, system).await;
        let is_read = |line: &&str| !line.trim().starts_with(['#', '/', '`']);
        let lines: Vec<&str> = text.lines().filter(is_read).collect();
        let mut count = 0;
        for line in lines.iter().filter(|line| !line.contains('`')) {
            for name in root.get_subcommands().map(clap::Command::get_name) {
                count += line.matches(&format!("haldane {name} ")).count();
                count += line.matches(&format!("args: [\"{name}\"")).count();
            }
        }
        assert_eq!(commands(&text).len(), count, "{system}");
    }
}

#[tokio::test]
async fn what_asks_nobody_is_run() {
    let daemon = Daemon::start([]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.yaml");
    let line = "generate manifests auth-service --image ghcr.io/orion/auth:v1";
    fs::write(&file, daemon.run(line).await.1).unwrap();
    let file = file.display().to_string();
    let mut run = 0;
    for system in System::ALL {
        for words in commands(&generated(&daemon, system).await) {
            if !["lint", "plan", "simulate"].contains(&words[0].as_str()) {
                continue;
            }
            let words = words.iter().map(|word| match word.as_str() {
                "deploy/auth.yaml" => file.as_str(),
                word => word,
            });
            let (exit, out) = daemon.run_words(&words.collect::<Vec<_>>()).await;
            assert_eq!(exit.unwrap(), Exit::Done, "{out}");
            run += 1;
        }
    }
    assert!(run >= 10, "{run}");
}
