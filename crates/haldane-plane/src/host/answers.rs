//! Answers the questions of whoever uses the plane.

use std::{net::SocketAddr, os::fd::AsFd as _, time::Duration};

use tokio::{
    net::{TcpStream, UnixListener, UnixStream},
    sync::watch,
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    accept::accept,
    control::{Answer, Question, Status},
    fault::Rules,
    message,
};

/// How many may ask at the same time.
const ASKERS_MAX: usize = 256;

/// How long a question, with its answer, may take: less than the asker waits.
const TALK_TIMEOUT: Duration = Duration::from_secs(8);

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub api: SocketAddr,
    pub faults: SocketAddr,
    pub rules: Rules,
    pub containers: watch::Sender<usize>,
    pub stop: CancellationToken,
}

impl Answers {
    /// Answers for as long as it is polled.
    pub(super) async fn serve(&self, listener: &UnixListener) {
        let mut askers = JoinSet::new();
        loop {
            tokio::select! {
                (stream, _) = accept(|| listener.accept()), if askers.len() < ASKERS_MAX => {
                    let answers = self.clone();
                    askers.spawn(async move {
                        // Whoever hangs up or dawdles has no answer.
                        time::timeout(TALK_TIMEOUT, answers.talk(&stream)).await.ok();
                    });
                }
                Some(_) = askers.join_next() => {}
            }
        }
    }

    async fn talk(&self, stream: &UnixStream) {
        let Ok((question, _)) = message::receive::<Question>(stream).await else {
            return;
        };
        let (answer, connection) = self.answer(question).await;
        let files: Vec<_> = connection
            .iter()
            .map(|connection| connection.as_fd())
            .collect();
        // Whoever hung up does not want to know.
        message::send(stream, &answer, &files).await.ok();
    }

    async fn answer(&self, question: Question) -> (Answer, Option<TcpStream>) {
        let answer = match question {
            Question::Status => Answer::Status(Status {
                api: self.api,
                faults: self.faults,
                containers: *self.containers.borrow(),
                rules: self.rules.reports().len(),
            }),
            Question::Connect(address) => match TcpStream::connect(address).await {
                Ok(stream) => return (Answer::Connected, Some(stream)),
                Err(error) => Answer::NotConnected(error.raw_os_error()),
            },
            Question::AddRule(rule) => match self.rules.add(rule) {
                Some(id) => Answer::RuleAdded(id),
                None => Answer::Refused("there are too many rules".to_owned()),
            },
            Question::RemoveRule(id) => Answer::RuleRemoved(self.rules.remove(id)),
            Question::Rules => Answer::Rules(self.rules.reports()),
            Question::Stop => {
                self.stop.cancel();
                Answer::Stopping
            }
        };
        (answer, None)
    }
}
