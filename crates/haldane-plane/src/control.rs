//! What one may ask of a running plane, over the unix socket in its directory.

use std::{io, net::SocketAddr, os::fd::OwnedFd, path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{net::UnixStream, time};

use crate::{
    fault::{Rule, RuleId, RuleReport},
    message,
};

/// The plane answers at once; only a connection to a pod may take its time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Question {
    Status,
    /// A connection to this address, made inside.
    Connect(SocketAddr),
    AddRule(Rule),
    RemoveRule(RuleId),
    Rules,
    Stop,
}

/// What is answered. An answer to [`Question::Connect`] comes with the connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    Status(Status),
    Connected,
    /// The number is the operating system's.
    NotConnected(Option<i32>),
    RuleAdded(RuleId),
    RuleRemoved(Option<RuleReport>),
    Rules(Vec<RuleReport>),
    Stopping,
    Refused(String),
}

/// What a plane says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The address of the API server, inside and outside the plane.
    pub api: SocketAddr,
    /// The address of the fault injector before it, inside and outside the plane.
    pub faults: SocketAddr,
    /// How many containers answer.
    pub containers: usize,
    /// How many rules for faults stand.
    pub rules: usize,
}

/// Why a plane can't be asked.
#[derive(Debug, Error)]
pub enum ControlError {
    /// Nothing listens there.
    #[error("no plane answers at {}", path.display())]
    Gone {
        /// The control socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It did not answer.
    #[error("the plane did not answer within {} s", ANSWER_TIMEOUT.as_secs())]
    Late,
    /// It hung up, or its answer can't be read.
    #[error("asking the plane")]
    Talk(#[source] io::Error),
    /// It said no.
    #[error("the plane refused: {0}")]
    Refused(String),
    /// It answered something else: another version of this program.
    #[error(
        "the plane answered something else than was asked; it runs another version, so take it down and start it again"
    )]
    Other,
}

/// The control socket of one plane.
#[derive(Clone, Debug)]
pub(crate) struct Control {
    path: PathBuf,
}

impl Control {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Asks one question and returns the answer, with what came with it.
    pub(crate) async fn ask(
        &self,
        question: &Question,
    ) -> Result<(Answer, Option<OwnedFd>), ControlError> {
        let stream = self.connect().await?;
        let talk = async {
            message::send(&stream, question, &[]).await?;
            message::receive(&stream).await
        };
        let answered = time::timeout(ANSWER_TIMEOUT, talk).await;
        let answered = answered.map_err(|_| ControlError::Late)?;
        match answered.map_err(ControlError::Talk)? {
            (Answer::Refused(reason), _) => Err(ControlError::Refused(reason)),
            (answer, files) => Ok((answer, files.into_iter().next())),
        }
    }

    /// Connects without asking anything; the other end is the plane's first process.
    pub(crate) async fn connect(&self) -> Result<UnixStream, ControlError> {
        let connected = UnixStream::connect(&self.path).await;
        connected.map_err(|source| ControlError::Gone {
            path: self.path.clone(),
            source,
        })
    }
}
