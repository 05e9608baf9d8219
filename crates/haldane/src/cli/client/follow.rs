//! Following services over the daemon's restarts.

use std::time::Duration;

use tokio::{sync::mpsc, task::JoinSet, time::sleep};

use super::{Client, ClientError};
use crate::cli::home::Seen;

/// How long to wait before the daemon is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Views that wait for their reader; more only make what is shown older.
const QUEUE_LEN: usize = 16;

/// Follows the events of a path until the receiver or the tasks are dropped.
pub(crate) fn follow(
    client: &Client,
    path: String,
    tasks: &mut JoinSet<()>,
) -> mpsc::Receiver<Seen> {
    let (tx, rx) = mpsc::channel(QUEUE_LEN);
    let client = client.clone();
    tasks.spawn(async move {
        loop {
            let Err(lost) = pass_on(&client, &path, &tx).await else {
                return;
            };
            let is_over = match lost {
                // The daemon said goodbye; whether it is gone shows at the next try.
                None => false,
                Some(error) => tx.send(Seen::Lost(error.into())).await.is_err(),
            };
            if is_over {
                return;
            }
            sleep(RETRY).await;
        }
    });
    rx
}

/// Passes events on until the reader is gone (`Ok`) or the stream ends (`Err`).
async fn pass_on(
    client: &Client,
    path: &str,
    tx: &mpsc::Sender<Seen>,
) -> Result<(), Option<ClientError>> {
    let mut events = client.events(path).await?;
    while let Some(view) = events.next().await? {
        if tx.send(Seen::Service(Box::new(view))).await.is_err() {
            return Ok(());
        }
    }
    Err(None)
}
