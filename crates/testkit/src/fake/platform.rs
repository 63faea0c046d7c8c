//! The platform in memory: event log, cursors, jobs and ticks, for tests of engines.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use convene_application::kernel::clock::{Clock as _, SystemClock};
use convene_application::kernel::cron::{CronStore, Duty, Standing};
use convene_application::kernel::events::{
    EventLog, Lead, LoggedEvent, NewEvent, OutboxBacklog, Sequenced, Sequencer, SinkLag,
};
use convene_application::kernel::jobs::{
    Beat, Claim, Fence, JobQueue, LeasedJob, NewJob, Progress, Pulse, QueueBacklog, RunControl,
    SettledAs, Settlement,
};
use convene_application::kernel::operate::queues::{GroupLimits, QueueLimits};
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
    queues: HashMap<String, Control>,
    groups: HashMap<(String, String), GroupLimits>,
    /// When a group was served last, as a count of claims.
    served: HashMap<(String, String), u64>,
    claims: u64,
    ticks: HashSet<(&'static str, Timestamp)>,
    duties: HashMap<&'static str, Known>,
}

/// What operators set about a queue, and its tokens. They are filled by [`FakePlatform::limit_queue`] alone: in a test no
/// time passes.
struct Control {
    limits: QueueLimits,
    tokens: f64,
}

/// A duty with the times that it was made known with.
struct Known {
    times: (String, String),
    standing: Standing,
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
    cancelled: bool,
    progress: Option<Progress>,
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

    /// Asks the run of a job to end. Returns whether it runs.
    pub fn cancel(&self, job: i64) -> bool {
        let mut state = lock(&self.state);
        let running = state.jobs.iter_mut().find(|row| row.id == job && row.leased_until.is_some());
        running.is_some_and(|row| {
            row.cancelled = true;
            row.rerun = false;
            true
        })
    }

    /// How far the run of a job has told that it got.
    pub fn progress(&self, job: i64) -> Option<Progress> {
        lock(&self.state).jobs.iter().find(|row| row.id == job)?.progress
    }

    /// Sets what operators set about a queue.
    pub fn limit_queue(&self, queue: &str, limits: QueueLimits) {
        let control =
            Control { limits, tokens: limits.rate.map_or(0.0, |rate| f64::from(rate.burst)) };
        lock(&self.state).queues.insert(queue.to_owned(), control);
    }

    /// Sets what operators set about a group.
    pub fn limit_group(&self, queue: &str, group: &str, limits: GroupLimits) {
        lock(&self.state).groups.insert((queue.to_owned(), group.to_owned()), limits);
    }

    /// Has the ticks of a duty pass unfired, or fires them again. Returns whether there is one.
    pub fn pause_duty(&self, name: &str, paused: bool) -> bool {
        let mut state = lock(&self.state);
        let known = state.duties.get_mut(name);
        known.is_some_and(|known| {
            known.standing.paused = paused;
            true
        })
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
            cancelled: false,
            progress: None,
        });
    }

    fn running(&self, is: impl Fn(&NewJob) -> bool) -> usize {
        self.jobs.iter().filter(|row| row.leased_until.is_some() && is(&row.job)).count()
    }

    /// How many more jobs of a queue may start.
    fn room(&self, queue: &str, free: usize) -> usize {
        let Some(Control { limits, tokens }) = self.queues.get(queue) else { return free };
        if limits.paused {
            return 0;
        }
        let at_once = limits.at_once.map_or(free, |most| {
            (most as usize).saturating_sub(self.running(|job| job.queue == queue))
        });
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a few tokens")]
        let tokens = limits.rate.map_or(free, |_| tokens.floor().max(0.0) as usize);
        free.min(at_once).min(tokens)
    }

    /// The next job of a queue: of no group before those of groups, and of the group that was served longest ago.
    fn next_of(&self, claim: &Claim, queue: &str) -> Option<usize> {
        let now = SystemClock.now();
        let of_groups = self.queues.get(queue).and_then(|control| control.limits.group_at_once);
        let open = |group: &str| {
            let key = (queue.to_owned(), group.to_owned());
            let limits = self.groups.get(&key).copied().unwrap_or_default();
            let running =
                self.running(|job| job.queue == queue && job.group.as_deref() == Some(group));
            !limits.paused
                && limits.at_once.or(of_groups).is_none_or(|most| running < most as usize)
        };
        let due = self.jobs.iter().enumerate().filter(|(_, row)| {
            row.run_at <= now
                && row.waits_for(claim, queue)
                && row.job.group.as_deref().is_none_or(open)
        });
        let turn = |group: &Option<String>| {
            let group = group.clone()?;
            Some(self.served.get(&(queue.to_owned(), group)).copied().unwrap_or(0))
        };
        due.min_by_key(|(_, row)| (turn(&row.job.group), row.job.priority, row.run_at, row.id))
            .map(|(place, _)| place)
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
        self.cancelled = false;
        self.progress = None;
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
            group: self.job.group.clone(),
            payload: self.job.payload.clone(),
            attempt: self.attempt,
            max_attempts: self.job.max_attempts,
            epoch: self.epoch,
            traceparent: self.job.traceparent.clone(),
            correlation_id: self.job.correlation_id.clone(),
            control: RunControl::default(),
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

    async fn lag(&self, sink: &str) -> Result<Option<SinkLag>, StoreError> {
        let state = self.up()?;
        let Some(cursor) = state.cursors.get(sink) else { return Ok(None) };
        let behind = state.log.iter().filter(|event| event.position > cursor.position);
        Ok(Some(SinkLag { events: behind.count() as u64, age: Duration::ZERO }))
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
        let mut leased = Vec::new();
        for (queue, free) in &claim.free {
            let room = state.room(queue, usize::try_from(*free).unwrap_or(0));
            for _ in 0..room {
                let Some(place) = state.next_of(claim, queue) else { break };
                state.claims += 1;
                let claims = state.claims;
                let row = &mut state.jobs[place];
                let group = row.job.group.clone();
                leased.push(row.lease(claim.lease));
                if let Some(group) = group {
                    state.served.insert(((*queue).to_owned(), group), claims);
                }
                if let Some(control) = state.queues.get_mut(*queue) {
                    control.tokens -= 1.0;
                }
            }
        }
        Ok(leased)
    }

    async fn next_due(&self, claim: &Claim) -> Result<Option<Duration>, StoreError> {
        let state = self.up()?;
        let waits = |row: &&Row| claim.free.iter().any(|(queue, _)| row.waits_for(claim, queue));
        let paused =
            |queue: &str| state.queues.get(queue).is_some_and(|control| control.limits.paused);
        let open = |row: &&Row| waits(row) && !paused(row.job.queue);
        let next = state.jobs.iter().filter(open).map(|row| row.run_at).min();
        Ok(next.map(|at| since(SystemClock.now(), at)))
    }

    async fn heartbeat(&self, beats: &[Beat], lease: Duration) -> Result<Pulse, StoreError> {
        let mut state = self.up()?;
        let mut pulse = Pulse::default();
        for beat in beats {
            let Some(place) = state.held(beat.fence) else {
                pulse.lost.push(beat.fence.job);
                continue;
            };
            let row = &mut state.jobs[place];
            row.leased_until = Some(SystemClock.now() + lease);
            row.progress = beat.progress.or(row.progress);
            if row.cancelled {
                pulse.cancelled.push(row.id);
            }
        }
        Ok(pulse)
    }

    async fn settle(&self, settlements: Vec<Settlement>) -> Result<usize, StoreError> {
        let mut state = self.up()?;
        let mut settled = 0;
        for Settlement { fence, verdict } in settlements {
            let Some(place) = state.held(fence) else { continue };
            settled += 1;
            let now = SystemClock.now();
            let verdict = if state.jobs[place].cancelled { SettledAs::Cancelled } else { verdict };
            match verdict {
                SettledAs::Done | SettledAs::Cancelled => state.end(place),
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

    async fn ready(&self, _: &[(String, String)]) -> Result<(), StoreError> {
        // Groups are looked at with each claim.
        self.up().map(|_| ())
    }

    async fn rescue(&self) -> Result<usize, StoreError> {
        let mut state = self.up()?;
        let now = SystemClock.now();
        let lost = |row: &Row| row.leased_until.is_some_and(|until| until < now);
        let ids: Vec<i64> = state.jobs.iter().filter(|row| lost(row)).map(|row| row.id).collect();
        for id in &ids {
            let Some(place) = state.jobs.iter().position(|row| row.id == *id) else { continue };
            let row = &mut state.jobs[place];
            if row.cancelled {
                state.end(place);
            } else if row.attempt < row.job.max_attempts {
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
                if state.jobs[place].cancelled && !state.jobs[place].rerun {
                    state.jobs.remove(place);
                    continue;
                }
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
            let times = (duty.schedule.to_string(), duty.missed.to_string());
            let known = state.duties.get(duty.name).filter(|known| known.times == times);
            let mut standing = match known {
                Some(known) => known.standing,
                None => {
                    let Some(next_tick) = duty.schedule.first_tick(now) else { continue };
                    let paused =
                        state.duties.get(duty.name).is_some_and(|known| known.standing.paused);
                    Standing { next_tick, paused }
                }
            };
            if let Some(turn) = duty.turn(standing, now, SystemClock.now()) {
                standing.next_tick = turn.next_tick;
                for tick in turn.ticks {
                    if state.ticks.insert((duty.name, tick)) {
                        state.add(duty.job_of(tick));
                        fired += 1;
                    }
                }
            }
            state.duties.insert(duty.name, Known { times, standing });
        }
        self.wake.jobs.ring();
        Ok(fired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::contract::platform::{Operating, Ports};

    #[async_trait]
    impl Operating for FakePlatform {
        async fn pause_duty(&self, name: &str, paused: bool) -> Result<bool, StoreError> {
            Ok(Self::pause_duty(self, name, paused))
        }

        async fn limit_queue(&self, queue: &str, limits: QueueLimits) -> Result<(), StoreError> {
            Self::limit_queue(self, queue, limits);
            Ok(())
        }

        async fn limit_group(
            &self,
            queue: &str,
            group: &str,
            limits: GroupLimits,
        ) -> Result<(), StoreError> {
            Self::limit_group(self, queue, group, limits);
            Ok(())
        }

        async fn cancel(&self, job: i64) -> Result<(), StoreError> {
            assert!(Self::cancel(self, job), "the job {job} runs");
            Ok(())
        }

        async fn progress(&self, job: i64) -> Result<Option<Progress>, StoreError> {
            Ok(Self::progress(self, job))
        }
    }

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
            crons: port.clone(),
            operator: port,
            record: Box::new(record),
        };
        std::future::ready((ports, ()))
    }

    crate::platform_contract!(ports());
}
