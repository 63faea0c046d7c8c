//! A limiter of requests that counts over all processes and hardly ever asks Redis on the way of one.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::limits::{Quota, RequestLimiter, Standing, Subject};
use deadpool_redis::redis::{Pipeline, pipe};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::lease::{Lease, Step};
use super::link::{Ask, Grant, Link, NoAnswer, Reply, TIMEOUT};
use crate::memory::ledger::Ledger;

/// The most subjects that are remembered.
const MAX_SUBJECTS: usize = 200_000;
/// The most questions that wait for Redis; with more it is as good as lost.
const WAITING: usize = 8_192;
/// The most questions in one round trip.
const BATCH: usize = 256;

/// Takes parts of large quotas ahead, so that requests are decided in the process. Questions go to Redis in the background,
/// those that came meanwhile in one round trip. Without Redis each process counts by its share of the quotas.
pub struct LeasingLimiter {
    shared: Arc<Shared>,
    questions: mpsc::Sender<Question>,
}

struct Shared {
    link: Arc<Link>,
    leases: Ledger<Subject, Lease>,
}

/// What the background is to ask Redis.
struct Question {
    subject: Subject,
    quota: Quota,
    ask: Ask,
    asked_at: Duration,
    then: Then,
}

/// Whom the answer is for.
enum Then {
    /// The subject's lease.
    Refill,
    /// Nobody: it was a charge, or asked to find out whether Redis is back.
    Forget,
    /// A request that waits, and its cost.
    Tell(u32, oneshot::Sender<Standing>),
}

impl LeasingLimiter {
    /// A limiter whose background works on `runtime`, until the limiter is dropped.
    pub(super) fn start(link: Arc<Link>, runtime: &Handle) -> Self {
        let (questions, asked) = mpsc::channel(WAITING);
        let shared = Arc::new(Shared { link, leases: Ledger::with_capacity(MAX_SUBJECTS) });
        runtime.spawn(Arc::clone(&shared).answer(asked));
        Self { shared, questions }
    }

    /// Gives the background a question; gives it back if too many wait.
    fn put(&self, question: Question) -> Result<(), Question> {
        self.questions.try_send(question).map_err(mpsc::error::TrySendError::into_inner)
    }

    /// What this process decides without Redis.
    fn alone(&self, subject: Subject, quota: Quota, cost: u32) -> Standing {
        metrics::counter!("convene_limiter_stand_in_total").increment(1);
        let share = quota.share(self.shared.link.instances);
        let now = self.shared.leases.now();
        self.shared.leases.with(&subject, now, |lease| lease.spend_alone(share, cost, now))
    }

    /// The next step, if Redis is there.
    fn step(&self, subject: Subject, quota: Quota, cost: u32) -> Step {
        let link = &self.shared.link;
        let now = self.shared.leases.now();
        if link.is_lost() {
            if link.is_worth_asking() {
                let ask = Ask { owed: 0, needed: 0, wanted: 0 };
                let probe = Question { subject, quota, ask, asked_at: now, then: Then::Forget };
                // With too many questions waiting the next second's will do.
                drop(self.put(probe));
            }
            return Step::Decided(self.alone(subject, quota, cost), None);
        }
        let step = self.shared.leases.with(&subject, now, |lease| lease.spend(quota, cost, now));
        if let Step::Decided(_, Some(ask)) = step {
            let question = Question { subject, quota, ask, asked_at: now, then: Then::Refill };
            if self.put(question).is_err() {
                self.shared.leases.with(&subject, now, Lease::unanswered);
            }
        }
        step
    }
}

#[async_trait]
impl RequestLimiter for LeasingLimiter {
    fn try_spend(&self, subject: Subject, quota: Quota, cost: u32) -> Option<Standing> {
        match self.step(subject, quota, cost) {
            Step::Decided(standing, _) => Some(standing),
            Step::Wait(_) => None,
        }
    }

    async fn spend(&self, subject: Subject, quota: Quota, cost: u32) -> Standing {
        let ask = match self.step(subject, quota, cost) {
            Step::Decided(standing, _) => return standing,
            Step::Wait(ask) => ask,
        };
        let (tell, told) = oneshot::channel();
        let asked_at = self.shared.leases.now();
        let then = Then::Tell(cost.min(quota.burst), tell);
        if self.put(Question { subject, quota, ask, asked_at, then }).is_ok()
            && let Ok(Ok(standing)) = timeout(TIMEOUT, told).await
        {
            return standing;
        }
        self.alone(subject, quota, cost)
    }

    fn charge(&self, subject: Subject, quota: Quota, cost: u32) {
        let now = self.shared.leases.now();
        let ask = self.shared.leases.with(&subject, now, |lease| lease.charge(quota, cost, now));
        if let Some(ask) = ask {
            let then = Then::Forget;
            let question = Question { subject, quota, ask, asked_at: now, then };
            if self.put(question).is_err() {
                metrics::counter!("convene_limiter_charges_lost_total").increment(1);
            }
        }
    }
}

impl Shared {
    /// Answers questions until nobody can ask any more.
    async fn answer(self: Arc<Self>, mut asked: mpsc::Receiver<Question>) {
        let mut questions = Vec::with_capacity(BATCH);
        while asked.recv_many(&mut questions, BATCH).await > 0 {
            let grants = if self.may_ask(&questions) { self.ask(&questions).await } else { None };
            match grants {
                Some(grants) => {
                    for (question, grant) in questions.drain(..).zip(grants) {
                        self.settle(question, grant);
                    }
                }
                None => questions.drain(..).for_each(|question| self.give_up(&question)),
            }
        }
    }

    /// While Redis is lost, only a question that is to find out whether it is back.
    fn may_ask(&self, questions: &[Question]) -> bool {
        !self.link.is_lost()
            || questions.iter().any(|question| matches!(question.then, Then::Forget))
    }

    async fn ask(&self, questions: &[Question]) -> Option<Vec<Grant>> {
        let answer = timeout(TIMEOUT, self.ask_redis(questions)).await;
        match answer.unwrap_or_else(|elapsed| Err(elapsed.into())) {
            Ok(grants) => {
                self.link.found();
                Some(grants)
            }
            Err(reason) => {
                self.link.lost(&reason);
                None
            }
        }
    }

    async fn ask_redis(&self, questions: &[Question]) -> Result<Vec<Grant>, NoAnswer> {
        let mut calls: Pipeline = pipe();
        for Question { subject, quota, ask, .. } in questions {
            calls.add_command(self.link.call(subject, *quota, *ask));
        }
        let mut connection = self.link.pool.get().await?;
        let mut replies = calls.query_async::<Vec<Reply>>(&mut connection).await;
        if replies.as_ref().is_err_and(super::is_unknown_script) {
            self.link.script.prepare_invoke().load_async(&mut connection).await?;
            replies = calls.query_async(&mut connection).await;
        }
        Ok(replies?.into_iter().map(Grant::from).collect())
    }

    fn settle(&self, question: Question, grant: Grant) {
        let Question { subject, quota, asked_at, then, .. } = question;
        let now = self.leases.now();
        match then {
            Then::Refill => {
                self.leases.with(&subject, now, |lease| lease.refilled(grant, asked_at));
            }
            Then::Forget => {}
            Then::Tell(cost, tell) => {
                let used = if grant.wait.is_zero() && !tell.is_closed() { cost } else { 0 };
                let standing = self
                    .leases
                    .with(&subject, now, |lease| lease.answered(quota, grant, used, asked_at, now));
                // Who went away just now was answered without Redis: its cost is spent twice.
                let _ = tell.send(standing);
            }
        }
    }

    fn give_up(&self, question: &Question) {
        if let Then::Refill = question.then {
            self.leases.with(&question.subject, self.leases.now(), Lease::unanswered);
        }
    }
}

impl std::fmt::Debug for LeasingLimiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeasingLimiter").finish_non_exhaustive()
    }
}
