//! What a program asked of the API server, from the server's own log of all calls.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Seek as _, SeekFrom},
    path::PathBuf,
};

use anyhow::Context as _;
use serde::Deserialize;

/// How the controller names itself to the server.
const CONTROLLER: &str = "haldane-controller/";

/// Calls by verb and resource, such as `patch releases/status`.
pub(super) type Calls = BTreeMap<String, u64>;

/// The log from one moment on.
#[derive(Debug)]
pub(super) struct Audit {
    path: PathBuf,
    from: u64,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    verb: String,
    #[serde(default)]
    user_agent: String,
    #[serde(default)]
    object_ref: Target,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Target {
    resource: String,
    subresource: String,
}

impl Audit {
    /// Begins now.
    pub(super) fn begin(path: PathBuf) -> anyhow::Result<Self> {
        let from = fs::metadata(&path)
            .context("looking at the audit log")?
            .len();
        Ok(Self { path, from })
    }

    /// Returns what the controller has asked since.
    pub(super) fn calls(&self) -> anyhow::Result<Calls> {
        let mut file = File::open(&self.path).context("opening the audit log")?;
        let length = file.metadata().context("looking at the audit log")?.len();
        anyhow::ensure!(length >= self.from, "the audit log was rotated meanwhile");
        file.seek(SeekFrom::Start(self.from))
            .context("reading the audit log")?;
        let mut calls = Calls::new();
        for line in BufReader::new(file).lines() {
            count(&line.context("reading the audit log")?, &mut calls);
        }
        Ok(calls)
    }
}

/// Counts a line, if it is complete and the controller's.
fn count(line: &str, calls: &mut Calls) {
    // The last line may be half written.
    let Ok(entry) = serde_json::from_str::<Entry>(line) else {
        return;
    };
    if !entry.user_agent.starts_with(CONTROLLER) {
        return;
    }
    let Target {
        resource,
        subresource,
    } = entry.object_ref;
    let slash = if subresource.is_empty() { "" } else { "/" };
    let name = format!("{} {resource}{slash}{subresource}", entry.verb);
    let calls = calls.entry(name).or_default();
    *calls = calls.saturating_add(1);
}

/// Returns how many of these are writes; those of the lease are not counted.
pub(super) fn writes(calls: &Calls) -> u64 {
    sum(
        calls,
        &["create", "update", "patch", "delete", "deletecollection"],
    )
}

/// Returns how many of these are reads of one object or of many, without the lease's.
pub(super) fn reads(calls: &Calls) -> u64 {
    sum(calls, &["get", "list"])
}

/// Returns how many calls these verbs have, without those about the lease.
pub(super) fn sum(calls: &Calls, verbs: &[&str]) -> u64 {
    let is_meant = |name: &str| {
        let (verb, resource) = name.split_once(' ').unwrap_or((name, ""));
        verbs.contains(&verb) && resource != "leases"
    };
    calls
        .iter()
        .filter(|(name, _)| is_meant(name))
        .map(|(_, count)| count)
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_controllers_calls_are_counted() {
        let mut calls = Calls::new();
        for (agent, verb, resource, sub) in [
            ("haldane-controller/0.1.0", "patch", "releases", "status"),
            ("haldane-controller/0.1.0", "patch", "releases", "status"),
            ("haldane-controller/0.1.0", "update", "leases", ""),
            ("haldane-controller/0.1.0", "watch", "pods", ""),
            ("haldane-controller/0.1.0", "list", "pods", ""),
            ("kwok", "patch", "pods", "status"),
        ] {
            let line = serde_json::json!({
                "verb": verb, "userAgent": agent,
                "objectRef": {"resource": resource, "subresource": sub, "name": "a"},
            });
            count(&line.to_string(), &mut calls);
        }
        count("{\"verb\": \"pat", &mut calls);
        assert_eq!(calls.get("patch releases/status"), Some(&2));
        assert_eq!((writes(&calls), reads(&calls)), (2, 1));
    }
}
