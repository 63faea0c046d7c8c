//! The engines of the worker: sequencer, sink, consumers, jobs, scheduler.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use convene_application::kernel::consume::Intake;
use convene_application::kernel::cron::Duty;
use convene_application::kernel::events::Sink;
use convene_application::kernel::jobs::handler;
use convene_application::kernel::sweep::{self, Keep};
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::Pool;
use convene_messaging::{
    BusSink, BusStatus, RabbitConsumers, RabbitOptions, RabbitSink, Topology, declare_topology,
};
use convene_worker::{
    Canary, Heartbeats, JobRunner, JobRunnerOptions, Scheduler, SequencerEngine, SequencerOptions,
    SinkEngine, SinkOptions, Supervisor,
};
use secrecy::ExposeSecret as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Convene, Platform, webhook};
use crate::config::Config;
use crate::error::StartError;

/// How long engines may take to end.
const DRAIN: Duration = Duration::from_secs(30);

/// The running engines of a process.
pub struct Engines {
    supervisor: Supervisor,
}

impl Engines {
    /// Starts all engines on the runtime that this is called in.
    ///
    /// # Errors
    /// What could not be built.
    pub fn start(convene: &Convene, shutdown: CancellationToken) -> Result<Self, StartError> {
        let platform = &convene.platform;
        let holder = platform.env.random.uuid(platform.env.now());
        let mut supervisor = Supervisor::new(shutdown);
        let intake = intake(platform)?;
        let poll = platform.config.worker.poll_interval.0;

        let sequencer = Arc::new(SequencerEngine::new(
            Arc::new(platform.sinks.clone()),
            Arc::clone(&platform.wake),
            SequencerOptions { poll, ..SequencerOptions::default() },
        ));
        supervisor.run("sequencer", move |end| {
            let engine = Arc::clone(&sequencer);
            async move { engine.run(end).await }
        });

        let sink = publish(convene, intake.clone(), &mut supervisor);
        let sink = Arc::new(SinkEngine::new(
            Arc::new(platform.sinks.clone()),
            sink,
            Arc::clone(&platform.wake),
            holder,
            SinkOptions { poll, ..SinkOptions::default() },
        ));
        supervisor.run("sink", move |end| {
            let engine = Arc::clone(&sink);
            async move { engine.run(end).await }
        });

        let jobs = Arc::new(job_runner(convene, &intake, holder)?);
        supervisor.run("jobs", move |end| {
            let engine = Arc::clone(&jobs);
            async move { engine.run(end).await }
        });

        let scheduler = Arc::new(Scheduler::new(
            Arc::new(platform.jobs.clone()),
            Arc::clone(&platform.env.clock),
            duties(),
        ));
        supervisor.run("scheduler", move |end| {
            let engine = Arc::clone(&scheduler);
            async move { engine.run(end).await }
        });
        Ok(Self { supervisor })
    }

    /// Waits until all engines have ended after the shutdown.
    pub async fn ended(self) {
        let late = self.supervisor.drained(DRAIN).await;
        if !late.is_empty() {
            tracing::warn!(?late, "engines did not end in time");
        }
    }
}

/// All that comes back at fixed times.
pub(super) fn duties() -> Vec<Duty> {
    let mut duties = Convene::duties();
    duties.extend([Canary::duty(), sweep::duty()]);
    duties
}

/// Exactly one path feeds the consumers: RabbitMQ where it is configured, else the bus inside the process.
fn publish(convene: &Convene, intake: Intake, supervisor: &mut Supervisor) -> Arc<dyn Sink> {
    let Some(options) = rabbit(&convene.platform.config) else {
        let lanes = convene.platform.config.database.jobs_pool_size;
        return Arc::new(BusSink::new(
            intake,
            NonZeroUsize::new(lanes).unwrap_or(NonZeroUsize::MIN),
        ));
    };
    let topology = Topology::new(&options, intake.subscriptions());
    let random = Arc::clone(&convene.platform.env.random);
    let consumer =
        Arc::new(RabbitConsumers::new(options.clone(), topology.clone(), intake, random));
    let sink = Arc::new(RabbitSink::new(options, topology));
    let (fed, publishing) = (Arc::clone(&consumer), Arc::clone(&sink));
    convene
        .platform
        .bus
        .watch(move || fed.status() == BusStatus::Up && publishing.status() == BusStatus::Up);
    supervisor.run("consumers", move |end| {
        let engine = Arc::clone(&consumer);
        async move { engine.run(end).await }
    });
    sink
}

fn rabbit(config: &Config) -> Option<RabbitOptions> {
    let broker = &config.broker;
    (!broker.url.expose_secret().is_empty()).then(|| RabbitOptions {
        prefix: broker.prefix.clone(),
        in_flight: u32::try_from(broker.in_flight).unwrap_or(u32::MAX),
        ..RabbitOptions::new(broker.url.clone())
    })
}

/// The consumers of this installation.
pub(super) fn intake(platform: &Platform) -> Result<Intake, StartError> {
    Intake::new(vec![webhook::consumer(platform)], Arc::new(platform.jobs.clone())).map_err(
        |error| StartError::Other {
            what: "a consumer wants an event that does not exist",
            source: Box::new(error),
        },
    )
}

/// The broker and what has to exist there, if one is configured.
pub(crate) fn topology(
    platform: &Platform,
) -> Result<Option<(RabbitOptions, Topology)>, StartError> {
    let Some(options) = rabbit(&platform.config) else { return Ok(None) };
    let topology = Topology::new(&options, intake(platform)?.subscriptions());
    Ok(Some((options, topology)))
}

/// Declares the broker's exchanges and queues, so that whoever binds to them finds them. A broker that is down stops
/// nothing: it is declared again when it is there.
pub(crate) async fn declare(platform: &Platform) -> Result<(), StartError> {
    let Some((options, topology)) = topology(platform)? else { return Ok(()) };
    if let Err(error) = declare_topology(&options, &topology).await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "the broker's topology is not declared yet; the worker declares it when the broker is there"
        );
    }
    Ok(())
}

fn job_runner(convene: &Convene, intake: &Intake, worker: Uuid) -> Result<JobRunner, StartError> {
    let platform = &convene.platform;
    let settings = &platform.config.worker;
    let queue = Arc::new(platform.jobs.clone());
    let mut handlers = convene.handlers();
    handlers.push(intake.retries(queue.clone()));
    handlers.push(handler::<Canary, _>(Arc::new(Canary {})));
    let events = platform.config.events.keep.0;
    let keep = Keep {
        ended_jobs: settings.keep_ended_jobs.0,
        events: (!events.is_zero()).then_some(events),
    };
    handlers.push(sweep::handler(queue.clone(), keep));
    // Connections of its own, on a runtime of its own: busy handlers do not cost other jobs their leases.
    let options = platform.pool_options("heartbeats", 1);
    let wake = Arc::clone(&platform.wake);
    let heartbeats = Heartbeats::start(settings.lease.0, settings.heartbeat.0, move |runtime| {
        Ok(Arc::new(PgStore::new(Pool::new(&options, runtime)?, wake)))
    })
    .map_err(|error| StartError::Other {
        what: "the heartbeat cannot be started",
        source: Box::new(error),
    })?;
    let options = JobRunnerOptions {
        default_concurrency: settings.concurrency,
        lease: settings.lease.0,
        timeout: settings.job_timeout.0,
        poll: settings.poll_interval.0,
        ..JobRunnerOptions::default()
    };
    JobRunner::new(
        queue,
        handlers,
        Arc::new(heartbeats),
        Arc::clone(&platform.wake),
        Arc::clone(&platform.env.random),
        worker,
        options,
    )
    .map_err(|error| StartError::Other {
        what: "the job runner cannot be built",
        source: Box::new(error),
    })
}
