//! RSVP writes through the service, the lanes and the unit of work: everything but HTTP.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convene_application::kernel::clock::SystemClock;
use convene_application::kernel::context::{Actor, Principal, RequestContext};
use convene_application::kernel::env::Env;
use convene_application::kernel::wake::Wake;
use convene_application::rsvp::{LaneOptions, RsvpService};
use convene_domain::ids::{EventId, SessionId, TypedId as _, UserId};
use convene_domain::rsvp::PartySize;
use convene_infrastructure::postgres::PgStore;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use convene_integrations::security::OsRandom;
use uuid::Uuid;

use crate::pgbench::CLIENTS;
use crate::scene::{self, EVENTS, Scene, USERS};

/// Clients of the one hot event; in production they are many.
const HOT_CLIENTS: usize = 256;

/// RSVPs per second over many events.
pub(crate) async fn spread(scene: &Scene, duration: Duration) -> Result<f64, Box<dyn Error>> {
    // Every pair of person and event once, far apart.
    let pair = |n: u64| {
        let n = u128::from(n);
        (scene::user(n / EVENTS % USERS), scene::event(n % EVENTS))
    };
    measure(scene, duration, CLIENTS, pair).await
}

/// RSVPs per second to one event.
pub(crate) async fn hot(scene: &Scene, duration: Duration) -> Result<f64, Box<dyn Error>> {
    // Beyond the last user a person comes again, to the next event; by then the time is over.
    let pair = |n: u64| {
        let n = u128::from(n);
        (scene::user(USERS - 1 - n % USERS), scene::event(n / USERS))
    };
    measure(scene, duration, HOT_CLIENTS, pair).await
}

async fn measure(
    scene: &Scene,
    duration: Duration,
    clients: usize,
    pair: impl Fn(u64) -> (Uuid, Uuid) + Copy + Send + 'static,
) -> Result<f64, Box<dyn Error>> {
    let service = service(scene)?;
    let (next, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    let tasks = (0..clients).map(|_| {
        let (service, next, done) = (service.clone(), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            while start.elapsed() < duration {
                let (user, event) = pair(next.fetch_add(1, Ordering::Relaxed));
                let principal = Principal {
                    user: UserId::from_uuid(user),
                    session: SessionId::from_uuid(user),
                };
                let context = RequestContext {
                    actor: Actor::User(principal.user),
                    session: Some(principal.session),
                    ..RequestContext::system("bench")
                };
                let event = EventId::from_uuid(event);
                let party = Ok(PartySize::ONE);
                service.attend(context, principal, event, party, None).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<(), convene_application::kernel::error::Failure>(())
        })
    });
    for task in futures::future::join_all(tasks).await {
        task??;
    }
    Ok(done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64())
}

fn service(scene: &Scene) -> Result<RsvpService, Box<dyn Error>> {
    let options = PoolOptions::new(format!("{}?sslmode=disable", scene.url).into(), CLIENTS);
    let pool = Pool::new(&options, tokio::runtime::Handle::current())?;
    let store = PgStore::new(pool, Arc::new(Wake::default()));
    let env = Env {
        clock: Arc::new(SystemClock),
        random: Arc::new(OsRandom),
        schemas: convene_contracts::SchemaBase::default(),
    };
    Ok(RsvpService::new(env, Arc::new(store.clone()), Arc::new(store), LaneOptions::default()))
}
