//! The asker of the Kubernetes home: gates of releases, each release with a keeper of its own, and one client for all.
//!
//! **Invariant:** no command runs here: whoever may write a release is not who runs the controller.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use haldane_controller::{
    asker::{Asker, Subject},
    turn::Key,
};
use haldane_core::{
    RolloutId,
    plan::{Ask, Gate},
    rollout::{GateAnswer, GateKey},
};
use haldane_engine::port::{GateSubject, Gates as _};
use haldane_supervisor::job::Jobs;
use tokio::runtime::Handle;

use super::{
    gates::GateKeeper,
    web::{REQUEST_TIMEOUT, Web},
};

/// How many answers of a release wait for the host at most; it stands at one gate at a time.
const ANSWERS_MAX: usize = 16;

/// Asks the gates of releases.
#[derive(Debug)]
pub(crate) struct ClusterAsker {
    runtime: Handle,
    web: Web,
    asked: Mutex<BTreeMap<Key, Kept>>,
}

/// The gates of one release.
#[derive(Debug)]
struct Kept {
    keeper: GateKeeper,
    answers: Answers,
    /// The last gate that was refused.
    refused: Option<GateKey>,
}

/// The answers that wait for the host.
#[derive(Clone, Debug, Default)]
struct Answers(Arc<Mutex<VecDeque<GateAnswer>>>);

impl ClusterAsker {
    /// Returns an asker whose tasks run on this runtime.
    pub(crate) fn new(runtime: &Handle) -> Self {
        Self {
            runtime: runtime.clone(),
            web: Web::new(REQUEST_TIMEOUT),
            asked: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Key, Kept>> {
        // What a panicking holder left is still the last thing that was known.
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Kept {
        let answers = Answers::default();
        let taken = answers.clone();
        let answer = move |answer| {
            taken.push(answer);
            true
        };
        Kept {
            keeper: GateKeeper::sharing(self.web.clone(), &self.runtime, Jobs::alone(), answer),
            answers,
            refused: None,
        }
    }
}

impl Asker for ClusterAsker {
    fn ask(&self, key: &Key, gate_key: &GateKey, gate: &Gate, subject: &Subject) {
        let mut asked = self.lock();
        let kept = asked.entry(key.clone()).or_insert_with(|| self.kept());
        if let Ask::Run { .. } = &gate.ask {
            kept.refuse(gate_key);
            return;
        }
        let Subject {
            service,
            stable,
            canary,
            stable_url,
            canary_url,
            why,
        } = subject.clone();
        let subject = GateSubject {
            service,
            stable,
            canary,
            stable_url,
            canary_url,
            dir: None,
            why,
        };
        kept.keeper.ask(gate_key, gate, &subject);
    }

    fn answers(&self, key: &Key) -> Vec<GateAnswer> {
        let asked = self.lock();
        asked
            .get(key)
            .map_or_else(Vec::new, |kept| kept.answers.take())
    }

    fn forget(&self, key: &Key, rollout: &RolloutId) {
        if let Some(kept) = self.lock().get_mut(key) {
            kept.keeper.forget(rollout);
        }
    }

    fn remove(&self, key: &Key) {
        self.lock().remove(key);
    }
}

impl Kept {
    /// Answers for a gate that is a command, once.
    fn refuse(&mut self, key: &GateKey) {
        if self.refused.as_ref() == Some(key) {
            return;
        }
        self.refused = Some(key.clone());
        self.answers.push(GateAnswer {
            key: key.clone(),
            is_open: false,
            said: "the controller runs no commands".to_owned(),
        });
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, VecDeque<GateAnswer>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, answer: GateAnswer) {
        let mut answers = self.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.pop_front();
        }
        answers.push_back(answer);
    }

    fn take(&self) -> Vec<GateAnswer> {
        self.lock().drain(..).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::wire::web::server::{Server, say, until};

    fn key(namespace: &str) -> Key {
        Key {
            namespace: namespace.to_owned(),
            name: "shop".to_owned(),
        }
    }

    fn gate_key(step: u32, entered: Timestamp) -> GateKey {
        GateKey {
            rollout: "shop-1".parse().unwrap(),
            step,
            entered,
        }
    }

    fn gate(ask: Ask) -> Gate {
        Gate {
            name: "smoke".to_owned(),
            ask,
            timeout: Duration::from_secs(600),
        }
    }

    fn subject() -> Subject {
        Subject {
            service: "shop".parse().unwrap(),
            stable: "v1".parse().unwrap(),
            canary: "v2".parse().unwrap(),
            stable_url: None,
            canary_url: Some("http://shop-canary.test:80".to_owned()),
            why: None,
        }
    }

    #[tokio::test]
    async fn releases_of_one_name_in_two_namespaces_are_asked_about_apart() {
        let asker = ClusterAsker::new(&Handle::current());
        let entered = Timestamp::now();
        let bodies = [r#"{"status": "Succeeded"}"#, r#"{"hookStatus": "FAILED"}"#];
        for (namespace, body) in ["one", "two"].into_iter().zip(bodies) {
            let server = Server::start([say(200, "", body)]).await;
            let gate = gate(Ask::Webhook { url: server.url() });
            for _ in 0..3 {
                asker.ask(&key(namespace), &gate_key(2, entered), &gate, &subject());
            }
            let answers = until(|| {
                let answers = asker.answers(&key(namespace));
                (!answers.is_empty()).then_some(answers)
            });
            let answers = answers.await;
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].is_open, namespace == "one", "{answers:?}");
            assert_eq!(server.seen().len(), 1);
            assert_eq!(server.seen()[0]["canaryUrl"], "http://shop-canary.test:80");
        }
        assert_eq!(asker.answers(&key("one")), []);
        asker.remove(&key("one"));
        asker.forget(&key("two"), &"shop-1".parse().unwrap());
        assert_eq!(asker.lock().len(), 1);
    }

    #[tokio::test]
    async fn no_command_is_run_and_that_is_told_once() {
        let asker = ClusterAsker::new(&Handle::current());
        let entered = Timestamp::now();
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("was-run");
        let argv = vec!["touch".to_owned(), file.display().to_string()];
        let gate = gate(Ask::Run { argv });
        for _ in 0..3 {
            asker.ask(&key("one"), &gate_key(2, entered), &gate, &subject());
        }
        let answers = asker.answers(&key("one"));
        assert_eq!(answers.len(), 1);
        assert!(!answers[0].is_open);
        asker.ask(&key("one"), &gate_key(3, entered), &gate, &subject());
        assert_eq!(asker.answers(&key("one")).len(), 1);
        assert!(!file.exists());
    }

    #[test]
    fn the_newest_answers_wait_for_the_host() {
        let answers = Answers::default();
        for step in 0..100 {
            answers.push(GateAnswer {
                key: gate_key(step, Timestamp::UNIX_EPOCH),
                is_open: true,
                said: String::new(),
            });
        }
        let steps: Vec<u32> = answers
            .take()
            .iter()
            .map(|answer| answer.key.step)
            .collect();
        assert_eq!((steps.len(), steps[0]), (ANSWERS_MAX, 84));
    }
}
