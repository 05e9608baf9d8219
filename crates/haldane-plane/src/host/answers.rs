//! Answers the questions of whoever uses the plane.

use std::{
    net::SocketAddr,
    os::fd::{AsFd as _, OwnedFd},
    time::Duration,
};

use tokio::{
    net::{TcpStream, UnixListener, UnixStream},
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;

use crate::{
    accept::accept,
    addon::Addon,
    control::{Answer, InstalledAddon, Question, Status},
    fault::Rules,
    host::{
        addons::{Installed, Order},
        listener,
    },
    message,
};

/// How many may ask at the same time.
const ASKERS_MAX: usize = 256;

/// How much less a question, with its answer, may take than the asker waits.
const TALK_MARGIN: Duration = Duration::from_secs(2);

/// How long a question may take to arrive.
const ASK_TIMEOUT: Duration = Duration::from_secs(8);

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(super) struct Answers {
    pub api: SocketAddr,
    pub faults: SocketAddr,
    pub rules: Rules,
    pub containers: watch::Sender<usize>,
    pub installed: watch::Sender<Installed>,
    pub orders: mpsc::Sender<Order>,
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
                    askers.spawn(async move { answers.talk(&stream).await });
                }
                Some(_) = askers.join_next() => {}
            }
        }
    }

    /// Whoever hangs up or dawdles has no answer.
    async fn talk(&self, stream: &UnixStream) {
        let question = time::timeout(ASK_TIMEOUT, message::receive::<Question>(stream)).await;
        let Ok(Ok((question, files))) = question else {
            return;
        };
        let patience = question.patience().saturating_sub(TALK_MARGIN);
        let talk = async {
            let (answer, connection) = self.answer(question, files).await;
            let files: Vec<_> = connection.iter().map(|it| it.as_fd()).collect();
            message::send(stream, &answer, &files).await
        };
        time::timeout(patience, talk).await.ok();
    }

    async fn answer(&self, question: Question, files: Vec<OwnedFd>) -> (Answer, Option<TcpStream>) {
        let answer = match question {
            Question::Status => Answer::Status(Status {
                api: self.api,
                faults: self.faults,
                containers: *self.containers.borrow(),
                rules: self.rules.reports().len(),
                addons: self.addons(),
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
            Question::Install(addon) => match self.install(addon, files).await {
                Ok(()) => Answer::Installed,
                Err(reason) => Answer::Refused(reason),
            },
            Question::Stop => {
                self.stop.cancel();
                Answer::Stopping
            }
        };
        (answer, None)
    }

    fn addons(&self) -> Vec<InstalledAddon> {
        let installed = self.installed.borrow();
        let addons = installed.iter();
        addons
            .map(|(addon, address)| InstalledAddon {
                addon: *addon,
                address: *address,
            })
            .collect()
    }

    async fn install(&self, addon: Addon, files: Vec<OwnedFd>) -> Result<(), String> {
        let outside = files.into_iter().next().map(listener).transpose();
        let outside = outside.map_err(|error| format!("{error:#}"))?;
        let (done, outcome) = oneshot::channel();
        let order = Order {
            addon,
            outside,
            done,
        };
        let gone = || "the plane is ending".to_owned();
        self.orders.send(order).await.map_err(|_| gone())?;
        outcome.await.map_err(|_| gone())?
    }
}
