//! What one may ask of a running plane, over the unix socket in its directory.

use std::{
    io,
    net::SocketAddr,
    os::fd::{BorrowedFd, OwnedFd},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::{net::UnixStream, time};

use crate::{
    addon::Addon,
    fault::{Rule, RuleId, RuleReport},
    host, message,
};

/// The plane answers most questions at once; only a connection to a pod may take its time.
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
    /// With it comes what listens outside for an add-on that takes requests.
    Install(Addon),
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
    Installed,
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
    /// What was added.
    #[serde(default)]
    pub addons: Vec<InstalledAddon>,
}

/// An add-on that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InstalledAddon {
    /// Which.
    pub addon: Addon,
    /// Where it takes requests, inside and outside the plane.
    pub address: Option<SocketAddr>,
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
    #[error("the plane did not answer within {} s", .0.as_secs())]
    Late(Duration),
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

impl Question {
    /// How long to wait for its answer.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            // Somebody else's may have its turn before.
            Self::Install(_) => host::INSTALL_TIMEOUT.saturating_mul(2),
            Self::Status
            | Self::Connect(_)
            | Self::AddRule(_)
            | Self::RemoveRule(_)
            | Self::Rules
            | Self::Stop => ANSWER_TIMEOUT,
        }
    }
}

impl Control {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Asks one question, with which `files` go, and returns the answer, with what came with it.
    pub(crate) async fn ask(
        &self,
        question: &Question,
        files: &[BorrowedFd<'_>],
    ) -> Result<(Answer, Option<OwnedFd>), ControlError> {
        let stream = self.connect().await?;
        let talk = async {
            message::send(&stream, question, files).await?;
            message::receive(&stream).await
        };
        let patience = question.patience();
        let answered = time::timeout(patience, talk).await;
        let answered = answered.map_err(|_| ControlError::Late(patience))?;
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
