//! Waiting with a deadline, and an error that says for what.

use std::time::Duration;

use tokio::time::{self, Instant};

const INTERVAL: Duration = Duration::from_millis(20);

/// Returns what `look` sees first; an error when it sees nothing in time, or fails.
pub(super) async fn until<T>(
    what: &str,
    most: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    loop {
        if let Some(seen) = look().await? {
            return Ok(seen);
        }
        anyhow::ensure!(
            start.elapsed() < most,
            "waited {} s in vain for {what}",
            most.as_secs()
        );
        time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_never_comes_is_told() {
        let waited = until("rain", Duration::from_secs(3), async || Ok(None::<()>)).await;
        assert_eq!(
            waited.unwrap_err().to_string(),
            "waited 3 s in vain for rain"
        );
        let mut left = 3;
        let seen = until("rain", Duration::from_secs(3), async || {
            left -= 1;
            Ok((left == 0).then_some("rain"))
        });
        assert_eq!(seen.await.unwrap(), "rain");
    }
}
