//! Waiting for a condition, instead of sleeping for a time.

use std::{panic::Location, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// Asks `probe` again and again until it answers `Some`, and returns that answer.
///
/// ```no_run
/// # async fn example(mails: Vec<String>) {
/// # use std::time::Duration;
/// use convene_testkit::poll::poll_until;
///
/// let mail = poll_until(Duration::from_secs(5), "a mail arrives", || async {
///     mails.first().cloned()
/// })
/// .await;
/// # }
/// ```
///
/// # Panics
/// At the deadline, naming `what` was waited for and the place of the call; a probe that hangs is
/// given up then too.
#[track_caller]
pub fn poll_until<T>(
    deadline: Duration,
    what: &str,
    mut probe: impl AsyncFnMut() -> Option<T>,
) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let end = Instant::now() + deadline;
        let mut pause = FIRST_PAUSE;
        let mut probes = 0_u32;
        loop {
            match timeout_at(end, probe()).await {
                Ok(Some(answer)) => return answer,
                Ok(None) => probes += 1,
                Err(_) => panic!(
                    "{caller}: not within {deadline:?}: {what} (the probe that followed {probes} \
                     others did not return)"
                ),
            }
            assert!(
                Instant::now() < end,
                "{caller}: not within {deadline:?}: {what} ({probes} probes)"
            );
            sleep(pause.min(end - Instant::now())).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future, panic::AssertUnwindSafe};

    use futures::FutureExt;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    async fn message_of(polling: impl Future<Output = ()>) -> String {
        let panic = AssertUnwindSafe(polling).catch_unwind().await.unwrap_err();
        *panic.downcast::<String>().unwrap()
    }

    #[tokio::test]
    async fn the_first_answer_is_returned() {
        let mut calls = 0;
        let answer = poll_until(Duration::from_secs(10), "three calls", async || {
            calls += 1;
            (calls == 3).then_some(calls)
        });
        assert_eq!(answer.await, 3);
    }

    #[tokio::test]
    async fn the_deadline_names_what_was_waited_for_and_where() {
        let begun = Instant::now();
        let never = || async { None };
        let message = message_of(poll_until(SHORT, "the moon", never)).await;
        assert!(message.contains("poll.rs"), "{message}");
        assert!(message.contains("not within 30ms: the moon"), "{message}");
        assert!(begun.elapsed() >= SHORT);
    }

    #[tokio::test]
    async fn a_probe_that_hangs_is_given_up_at_the_deadline() {
        let message = message_of(poll_until(SHORT, "a reply", future::pending)).await;
        assert!(message.contains("a reply"), "{message}");
        assert!(message.contains("did not return"), "{message}");
    }
}
