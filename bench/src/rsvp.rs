//! RSVP writes through the service, the lanes and the unit of work: everything but HTTP. The base line has no HTTP either.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::env::Env;
use convene_application::kernel::idempotency::Reply;
use convene_application::kernel::wake::Wake;
use convene_application::rsvp::{LaneOptions, RsvpService};
use convene_domain::ids::{EventId, SessionId, TypedId as _, UserId};
use convene_domain::rsvp::PartySize;
use convene_infrastructure::postgres::PgStore;
use convene_integrations::security::OsRandom;
use uuid::Uuid;

use crate::pgbench::{self, CLIENTS};
use crate::scene::{self, EVENTS, HOT, REGULARS, Scene, USERS};
use crate::table::Row;
use crate::{DURATION, Fault};

/// Clients of the one hot event; in production they are many.
const HOT_CLIENTS: usize = 256;

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let spread = spread(scene).await?;
    let base = pgbench::spread(scene).await?;
    let mut rows = vec![Row::ratio(
        "RSVP writes over 1,000 events",
        spread,
        base,
        "≥ 0.8",
        "16 callers, in the process, without HTTP; base line: pgbench with 16 clients sends the same statements for the \
         same rows, each prepared and in a round trip of its own",
    )];
    let hot = hot(scene).await?;
    let base = pgbench::hot(scene).await?;
    rows.push(Row::ratio(
        "RSVP writes to one event",
        hot,
        base,
        "≥ 5",
        "256 callers, in the process, without HTTP; base line: the same pgbench on one event, whose row lock it waits for",
    ));
    Ok(rows)
}

/// RSVPs per second over many events.
async fn spread(scene: &Scene) -> Result<f64, Fault> {
    // Every pair of person and event once, far apart.
    let pair = |n: u64| {
        let n = u128::from(n);
        (n < EVENTS * REGULARS).then(|| (scene::user(n / EVENTS), scene::event(n % EVENTS)))
    };
    rate(scene, CLIENTS, pair).await
}

/// RSVPs per second to one event.
async fn hot(scene: &Scene) -> Result<f64, Fault> {
    let pair = |n: u64| {
        let n = u128::from(n);
        (n < USERS).then(|| (scene::user(n), scene::event(HOT)))
    };
    rate(scene, HOT_CLIENTS, pair).await
}

async fn rate(
    scene: &Scene,
    clients: usize,
    pair: impl Fn(u64) -> Option<(Uuid, Uuid)> + Copy + Send + 'static,
) -> Result<f64, Fault> {
    let service = service(&scene.store(CLIENTS, Arc::new(Wake::default()))?);
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let tasks = (0..clients).map(|_| {
        let (service, next, done) = (service.clone(), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            while start.elapsed() < DURATION {
                // A fast machine has asked everybody before the time is over.
                let Some((user, event)) = pair(next.fetch_add(1, Ordering::Relaxed)) else { break };
                attend(&service, user, event).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), Fault>(())
        })
    });
    for task in futures::future::join_all(tasks).await {
        task??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

/// One RSVP; its id.
pub(crate) async fn attend(
    service: &RsvpService,
    user: Uuid,
    event: Uuid,
) -> Result<String, Fault> {
    let principal =
        Principal { user: UserId::from_uuid(user), session: SessionId::from_uuid(user) };
    let context = RequestContext {
        actor: Actor::User(principal.user),
        session: Some(principal.session),
        ..RequestContext::system("bench")
    };
    let event = EventId::from_uuid(event);
    match service.attend(context, principal, event, Ok(PartySize::ONE), None).await? {
        Reply::Fresh(admission) => Ok(admission.rsvp.id.to_string()),
        Reply::Replayed(_) => Err("a reply was replayed".into()),
    }
}

/// The use cases over a store.
pub(crate) fn service(store: &PgStore) -> RsvpService {
    let env = Env {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        schemas: convene_contracts::SchemaBase::default(),
    };
    let (uow, reads) = (Arc::new(store.clone()), Arc::new(store.clone()));
    RsvpService::new(env, uow, reads, LaneOptions::default())
}
