//! The platform in memory: event log, cursors, jobs and ticks, for tests of engines.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::clock::{Clock as _, SystemClock};
use convene_application::kernel::events::{
    EventLog, Lead, LoggedEvent, NewEvent, OutboxBacklog, Sequenced, Sequencer,
};
use convene_application::kernel::jobs::{
    Claim, CronStore, Duty, Fence, JobQueue, LeasedJob, NewJob, QueueBacklog, SettledAs, Settlement,
};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::wake::Wake;
use jiff::Timestamp;
use uuid::Uuid;

use super::kernel::lock;

/// A platform without a database. Cheap to clone; clones share everything. Leases run by the machine's clock.
#[derive(Clone, Default)]
pub struct FakePlatform {
    state: Arc<Mutex<State>>,
    wake: Arc<Wake>,
}

#[derive(Default)]
struct State {
    down: bool,
    outbox: Vec<NewEvent>,
    log: Vec<LoggedEvent>,
    cursors: HashMap<String, Cursor>,
    jobs: Vec<Row>,
    dead: Vec<DeadJob>,
    next_id: i64,
    ticks: HashMap<&'static str, Timestamp>,
}

struct Cursor {
    position: i64,
    epoch: i64,
    holder: Uuid,
    until: Timestamp,
}

/// A job that failed for good.
#[derive(Clone, Debug)]
pub struct DeadJob {
    /// The job.
    pub job: NewJob,
    /// Attempts made.
    pub attempt: i16,
    /// What failed last.
    pub error: String,
}

struct Row {
    id: i64,
    job: NewJob,
    attempt: i16,
    epoch: i64,
    run_at: Timestamp,
    leased_until: Option<Timestamp>,
    rerun: bool,
}

impl FakePlatform {
    /// The bells that this platform rings.
    pub fn wake(&self) -> Arc<Wake> {
        Arc::clone(&self.wake)
    }

    /// Has every call fail, as if the database were gone, or work again.
    pub fn set_down(&self, down: bool) {
        lock(&self.state).down = down;
    }

    /// Commits events to the outbox.
    pub fn record(&self, events: Vec<NewEvent>) {
        lock(&self.state).outbox.extend(events);
        self.wake.outbox.ring();
    }

    /// Puts events into the log without a sequencer.
    pub fn log(&self, events: Vec<NewEvent>) {
        lock(&self.state).append(events);
        self.wake.log.ring();
    }

    /// Jobs that wait or run.
    pub fn live_jobs(&self) -> Vec<NewJob> {
        lock(&self.state).jobs.iter().map(|row| row.job.clone()).collect()
    }

    /// Dead letters.
    pub fn dead_jobs(&self) -> Vec<DeadJob> {
        lock(&self.state).dead.clone()
    }

    /// How far a sink has got.
    pub fn cursor(&self, sink: &str) -> Option<i64> {
        lock(&self.state).cursors.get(sink).map(|cursor| cursor.position)
    }

    fn up(&self) -> Result<std::sync::MutexGuard<'_, State>, StoreError> {
        let state = lock(&self.state);
        if state.down {
            return Err(StoreError::Unavailable("the test pulled the plug".into()));
        }
        Ok(state)
    }
}

/// How long ago that was; nothing if it is still to come.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

impl State {
    fn append(&mut self, events: Vec<NewEvent>) {
        for event in events {
            let position = i64::try_from(self.log.len()).expect("a test's log is short") + 1;
            self.log.push(LoggedEvent {
                position,
                id: event.id,
                event_type: event.event_type.to_owned(),
                version: event.version,
                community: event.community,
                envelope: event.envelope,
                replay: 0,
            });
        }
    }

    fn add(&mut self, job: NewJob) {
        let run_at = job.run_at.unwrap_or_else(|| SystemClock.now());
        let same = |row: &&mut Row| {
            job.unique_key.is_some()
                && row.job.kind == job.kind
                && row.job.unique_key == job.unique_key
        };
        if let Some(row) = self.jobs.iter_mut().find(same) {
            row.rerun = row.leased_until.is_some();
            row.run_at = row.run_at.min(run_at);
            row.job.priority = row.job.priority.min(job.priority);
            return;
        }
        self.next_id += 1;
        let id = self.next_id;
        self.jobs.push(Row {
            id,
            job,
            attempt: 0,
            epoch: 0,
            run_at,
            leased_until: None,
            rerun: false,
        });
    }

    fn held(&mut self, fence: Fence) -> Option<usize> {
        self.jobs.iter().position(|row| {
            row.id == fence.job && row.epoch == fence.epoch && row.leased_until.is_some()
        })
    }

    fn bury(&mut self, place: usize, error: String) {
        let row = &self.jobs[place];
        self.dead.push(DeadJob { job: row.job.clone(), attempt: row.attempt, error });
        self.end(place);
    }

    /// Takes a job out, unless it was asked for again while it ran.
    fn end(&mut self, place: usize) {
        if self.jobs[place].rerun {
            let row = &mut self.jobs[place];
            row.attempt = 0;
            row.free(SystemClock.now());
        } else {
            self.jobs.remove(place);
        }
    }
}

impl Row {
    fn free(&mut self, run_at: Timestamp) {
        self.leased_until = None;
        self.rerun = false;
        self.run_at = run_at;
    }

    fn waits_for(&self, claim: &Claim, queue: &str) -> bool {
        self.leased_until.is_none()
            && self.job.queue == queue
            && claim.kinds.contains(&self.job.kind)
    }

    fn lease(&mut self, lease: Duration) -> LeasedJob {
        self.attempt += 1;
        self.epoch += 1;
        self.leased_until = Some(SystemClock.now() + lease);
        LeasedJob {
            id: self.id,
            kind: self.job.kind.to_owned(),
            queue: self.job.queue.to_owned(),
            payload: self.job.payload.clone(),
            attempt: self.attempt,
            max_attempts: self.job.max_attempts,
            epoch: self.epoch,
            traceparent: self.job.traceparent.clone(),
            correlation_id: self.job.correlation_id.clone(),
        }
    }
}

#[async_trait]
impl Sequencer for FakePlatform {
    async fn sequence(&self, limit: u32) -> Result<Sequenced, StoreError> {
        let mut state = self.up()?;
        let count = state.outbox.len().min(limit as usize);
        let moved: Vec<NewEvent> = state.outbox.drain(..count).collect();
        state.append(moved);
        Ok(Sequenced::Moved { events: u32::try_from(count).unwrap_or(limit), audit: 0 })
    }

    async fn backlog(&self) -> Result<OutboxBacklog, StoreError> {
        Ok(OutboxBacklog { rows: self.up()?.outbox.len() as u64, age: Duration::ZERO })
    }
}

#[async_trait]
impl EventLog for FakePlatform {
    async fn read_after(&self, position: i64, limit: u32) -> Result<Vec<LoggedEvent>, StoreError> {
        let state = self.up()?;
        let behind = state.log.iter().filter(|event| event.position > position);
        Ok(behind.take(limit as usize).cloned().collect())
    }

    async fn head(&self) -> Result<i64, StoreError> {
        Ok(self.up()?.log.last().map_or(0, |event| event.position))
    }

    async fn lead(
        &self,
        sink: &str,
        holder: Uuid,
        lease: Duration,
    ) -> Result<Option<Lead>, StoreError> {
        let mut state = self.up()?;
        let now = SystemClock.now();
        let furthest = state.cursors.values().map(|cursor| cursor.position).max().unwrap_or(0);
        let cursor = state.cursors.entry(sink.to_owned()).or_insert(Cursor {
            position: furthest,
            epoch: 0,
            holder,
            until: now,
        });
        if cursor.until > now && cursor.holder != holder {
            return Ok(None);
        }
        (cursor.holder, cursor.until) = (holder, now + lease);
        cursor.epoch += 1;
        Ok(Some(Lead { position: cursor.position, epoch: cursor.epoch }))
    }

    async fn advance(
        &self,
        sink: &str,
        lead: Lead,
        position: i64,
        lease: Duration,
    ) -> Result<bool, StoreError> {
        let mut state = self.up()?;
        let cursor = state.cursors.get_mut(sink).filter(|cursor| cursor.epoch == lead.epoch);
        Ok(cursor.is_some_and(|cursor| {
            cursor.position = cursor.position.max(position);
            cursor.until = SystemClock.now() + lease;
            true
        }))
    }

    async fn resign(&self, sink: &str, lead: Lead) -> Result<(), StoreError> {
        let mut state = self.up()?;
        if let Some(cursor) =
            state.cursors.get_mut(sink).filter(|cursor| cursor.epoch == lead.epoch)
        {
            cursor.until = SystemClock.now();
        }
        Ok(())
    }
}

#[async_trait]
impl JobQueue for FakePlatform {
    async fn claim(&self, claim: &Claim) -> Result<Vec<LeasedJob>, StoreError> {
        let mut state = self.up()?;
        let now = SystemClock.now();
        let mut leased = Vec::new();
        for (queue, free) in &claim.free {
            let mut due: Vec<&mut Row> = state
                .jobs
                .iter_mut()
                .filter(|row| row.run_at <= now && row.waits_for(claim, queue))
                .collect();
            due.sort_by_key(|row| (row.job.priority, row.run_at, row.id));
            let room = usize::try_from(*free).unwrap_or(0);
            leased.extend(due.into_iter().take(room).map(|row| row.lease(claim.lease)));
        }
        Ok(leased)
    }

    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError> {
        let state = self.up()?;
        let waits = |row: &&Row| claim.free.iter().any(|(queue, _)| row.waits_for(claim, queue));
        let next = state.jobs.iter().filter(waits).map(|row| row.run_at).min();
        Ok(next.map(|at| since(SystemClock.now(), at)))
    }

    async fn heartbeat(&self, leases: &[Fence], lease: Duration) -> Result<Vec<i64>, StoreError> {
        let mut state = self.up()?;
        let mut lost = Vec::new();
        for fence in leases {
            match state.held(*fence) {
                Some(place) => state.jobs[place].leased_until = Some(SystemClock.now() + lease),
                None => lost.push(fence.job),
            }
        }
        Ok(lost)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError> {
        let mut state = self.up()?;
        let mut settled = 0;
        for Settlement { fence, verdict } in settlements {
            let Some(place) = state.held(fence) else { continue };
            settled += 1;
            let now = SystemClock.now();
            match verdict {
                SettledAs::Done => state.end(place),
                SettledAs::Dead { error } => state.bury(place, error),
                SettledAs::Retry { after, .. } => state.jobs[place].free(now + after),
                SettledAs::Snoozed { after } => {
                    let row = &mut state.jobs[place];
                    row.attempt -= 1;
                    let wait = if row.rerun { Duration::ZERO } else { after };
                    row.free(now + wait);
                }
            }
        }
        Ok(settled)
    }

    async fn rescue(&self) -> Result<usize, StoreError> {
        let mut state = self.up()?;
        let now = SystemClock.now();
        let lost = |row: &Row| row.leased_until.is_some_and(|until| until < now);
        let ids: Vec<i64> = state.jobs.iter().filter(|row| lost(row)).map(|row| row.id).collect();
        for id in &ids {
            let Some(place) = state.jobs.iter().position(|row| row.id == *id) else { continue };
            let row = &mut state.jobs[place];
            if row.attempt < row.job.max_attempts {
                row.free(now);
            } else {
                state.bury(place, "the worker was lost during the last attempt".to_owned());
            }
        }
        Ok(ids.len())
    }

    async fn hand_back(&self, leases: &[Fence]) -> Result<(), StoreError> {
        let mut state = self.up()?;
        for fence in leases {
            if let Some(place) = state.held(*fence) {
                let row = &mut state.jobs[place];
                row.attempt -= 1;
                row.free(SystemClock.now());
            }
        }
        Ok(())
    }

    async fn enqueue(&self, jobs: Vec<NewJob>) -> Result<(), StoreError> {
        let mut state = self.up()?;
        jobs.into_iter().for_each(|job| state.add(job));
        self.wake.jobs.ring();
        Ok(())
    }

    async fn backlog(&self) -> Result<Vec<QueueBacklog>, StoreError> {
        let state = self.up()?;
        let now = SystemClock.now();
        let mut queues: HashMap<&'static str, QueueBacklog> = HashMap::new();
        let empty = |queue: &str| QueueBacklog {
            queue: queue.to_owned(),
            due: 0,
            age: Duration::ZERO,
            running: 0,
            dead: 0,
        };
        for row in &state.jobs {
            let queue = queues.entry(row.job.queue).or_insert_with(|| empty(row.job.queue));
            if row.leased_until.is_some() {
                queue.running += 1;
            } else if row.run_at <= now {
                queue.due += 1;
                queue.age = queue.age.max(since(row.run_at, now));
            }
        }
        for dead in &state.dead {
            queues.entry(dead.job.queue).or_insert_with(|| empty(dead.job.queue)).dead += 1;
        }
        Ok(queues.into_values().collect())
    }
}

#[async_trait]
impl CronStore for FakePlatform {
    async fn fire(&self, duties: &[Duty], now: Timestamp) -> Result<usize, StoreError> {
        let mut state = self.up()?;
        let mut fired = 0;
        for duty in duties {
            let tick = duty.tick(now);
            if state.ticks.get(duty.name).is_none_or(|last| *last < tick) {
                state.ticks.insert(duty.name, tick);
                state.add(duty.job.clone());
                fired += 1;
            }
        }
        self.wake.jobs.ring();
        Ok(fired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::platform::Ports;

    fn ports() -> std::future::Ready<(Ports, ())> {
        let platform = FakePlatform::default();
        let port = Arc::new(platform.clone());
        let record = move |events| {
            platform.record(events);
            Box::pin(std::future::ready(Ok(()))) as _
        };
        let ports = Ports {
            sequencer: port.clone(),
            log: port.clone(),
            queue: port.clone(),
            crons: port,
            record: Box::new(record),
        };
        std::future::ready((ports, ()))
    }

    crate::platform_contract!(ports());
}
