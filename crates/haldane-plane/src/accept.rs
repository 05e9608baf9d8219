//! Accepting connections without spinning: a process that has no file left would fail at once, again and again.

use std::{io, time::Duration};

use tokio::time;

/// How long to wait after a failure; until then a connection has ended, perhaps.
const RETRY_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the next connection that `accept` gives.
pub(crate) async fn accept<T, F>(mut accept: impl FnMut() -> F) -> T
where
    F: Future<Output = io::Result<T>>,
{
    loop {
        match accept().await {
            Ok(accepted) => return accepted,
            Err(_) => time::sleep(RETRY_INTERVAL).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_waited_out() {
        let start = time::Instant::now();
        let mut failures = 3;
        let accepted = accept(|| {
            let result = if failures == 0 {
                Ok("connection")
            } else {
                Err(io::ErrorKind::Other.into())
            };
            failures -= 1;
            std::future::ready(result)
        })
        .await;
        assert_eq!(accepted, "connection");
        assert_eq!(start.elapsed(), RETRY_INTERVAL * 3);
    }
}
