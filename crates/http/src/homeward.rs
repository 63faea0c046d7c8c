//! How the outcome of a use case comes back to the thread whose request asked for it.
//!
//! A server thread looks at what other threads wake only once in 31 turns (tokio's `LocalSet`), so that on a busy one each
//! use case that ran elsewhere would wait for many requests that came after it. Here one task of the thread, woken once
//! for all that has come meanwhile, hands out the outcomes: those who wait for them are woken by their own thread.

use std::cell::RefCell;
use std::panic::AssertUnwindSafe;

use futures::FutureExt as _;
use tokio::sync::{mpsc, oneshot};

use crate::middleware::panic_message;

/// Hands an outcome to who waits for it.
type Delivery = Box<dyn FnOnce() + Send>;

/// Why there is no outcome.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// The work panicked, and said this.
    #[error("a use case panicked: {0}")]
    Panicked(String),
    /// What was to run it has ended.
    #[error("the runtime of the use cases has ended")]
    Ended,
}

/// The way home to a server thread.
#[derive(Clone)]
pub(crate) struct Homeward(mpsc::UnboundedSender<Delivery>);

impl Homeward {
    /// The way to this thread.
    pub(crate) fn here() -> Self {
        thread_local! {
            static HERE: RefCell<Option<Homeward>> = const { RefCell::new(None) };
        }
        HERE.with_borrow_mut(|here| match here {
            Some(homeward) if !homeward.0.is_closed() => homeward.clone(),
            // The first request of this thread, or of another runtime on it.
            _ => here.insert(Self::open()).clone(),
        })
    }

    fn open() -> Self {
        let (sender, mut receiver) = mpsc::unbounded_channel::<Delivery>();
        actix_web::rt::spawn(async move {
            while let Some(deliver) = receiver.recv().await {
                deliver();
            }
        });
        Self(sender)
    }

    /// Splits work: what is to run elsewhere, to its end whether or not anybody waits; and what tells here how it ended.
    pub(crate) fn bring<T: Send + 'static>(
        self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> (impl Future<Output = ()> + Send + 'static, impl Future<Output = Result<T, Lost>>) {
        let (answer, answered) = oneshot::channel();
        let work = async move {
            let outcome = AssertUnwindSafe(work).catch_unwind().await;
            // The client may have gone, and with the server's end the thread: nobody is told then.
            let deliver = Box::new(move || drop(answer.send(outcome)));
            let _ = self.0.send(deliver);
        };
        let outcome = async move {
            match answered.await {
                Ok(outcome) => {
                    outcome.map_err(|panic| Lost::Panicked(panic_message(&*panic).into()))
                }
                Err(_) => Err(Lost::Ended),
            }
        };
        (work, outcome)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Poll;

    use super::*;

    fn elsewhere() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap()
    }

    #[test]
    fn an_outcome_does_not_wait_for_what_comes_after_it() {
        /// Keeps a thread busy: each turn asks for the next.
        async fn chatter(turns: Arc<AtomicUsize>) {
            loop {
                turns.fetch_add(1, Ordering::Relaxed);
                // Unlike `yield_now`, which lets the whole thread look around first.
                let mut again = true;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    if std::mem::take(&mut again) { Poll::Pending } else { Poll::Ready(()) }
                })
                .await;
            }
        }
        const ASKED: usize = 100;
        let other = elsewhere();
        actix_web::rt::System::new().block_on(async {
            let turns = Arc::new(AtomicUsize::new(0));
            let ended = Arc::new(AtomicUsize::new(0));
            let outcomes: Vec<_> = (0..ASKED)
                .map(|_| {
                    let ended = Arc::clone(&ended);
                    let (work, outcome) = Homeward::here().bring(async {});
                    other.spawn(work.map(move |()| ended.fetch_add(1, Ordering::Relaxed)));
                    actix_web::rt::spawn(outcome)
                })
                .collect();
            for _ in 0..50 {
                actix_web::rt::spawn(chatter(Arc::clone(&turns)));
            }
            while ended.load(Ordering::Relaxed) < ASKED {
                std::thread::yield_now();
            }
            let before = turns.load(Ordering::Relaxed);
            for outcome in outcomes {
                outcome.await.unwrap().unwrap();
            }
            let waited = turns.load(Ordering::Relaxed) - before;
            // Woken one by one from elsewhere, 100 outcomes take 3,100 turns.
            assert!(waited < 1_000, "{waited} turns of others");
        });
        other.shutdown_background();
    }

    #[actix_web::test]
    async fn a_panic_is_told_where_the_work_was_asked_for() {
        let other = elsewhere();
        let (work, outcome) = Homeward::here().bring(async { panic!("a defect") });
        other.spawn(work);
        let outcome: Result<(), Lost> = outcome.await;
        assert_eq!(outcome, Err(Lost::Panicked("a defect".into())));
        other.shutdown_background();
    }

    #[actix_web::test]
    async fn work_that_its_runtime_drops_is_told() {
        let other = elsewhere();
        let (work, outcome) = Homeward::here().bring(std::future::pending::<()>());
        other.spawn(work);
        other.shutdown_background();
        assert_eq!(outcome.await, Err(Lost::Ended));
    }

    #[test]
    fn the_next_runtime_of_a_thread_has_a_way_of_its_own() {
        let other = elsewhere();
        for _ in 0..2 {
            let brought = actix_web::rt::System::new().block_on(async {
                let (work, outcome) = Homeward::here().bring(async { 7 });
                other.spawn(work);
                outcome.await.unwrap()
            });
            assert_eq!(brought, 7);
        }
        other.shutdown_background();
    }
}
