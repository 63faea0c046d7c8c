//! Limits and groups where many workers claim at once, crash, and store jobs at the same time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use convene_application::kernel::jobs::{
    Claim, JobQueue as _, LeasedJob, NewJob, SettledAs, Settlement,
};
use convene_application::kernel::uow::Begin;
use convene_application::user::ports::UserTx;
use convene_infrastructure::postgres::PgStore;
use convene_testkit::poll::poll_until;
use uuid::Uuid;

use super::jobs::job;
use super::{count, database, session, store, store_of};

const SOON: Duration = Duration::from_secs(5);

fn room(worker: u128, free: i32) -> Claim {
    Claim {
        worker: Uuid::from_u128(worker),
        kinds: vec!["test.job"],
        free: vec![("default", free)],
        lease: Duration::from_secs(30),
    }
}

fn of(group: &str) -> NewJob {
    job("test.job").group(group)
}

fn done(job: &LeasedJob) -> Settlement {
    Settlement { fence: job.fence(), verdict: SettledAs::Done }
}

/// Eight workers claim and end all jobs; returns how many of each group, and of all, ran at once at most.
async fn worked_off(store: &PgStore, jobs: usize) -> (usize, usize) {
    let left = Arc::new(Mutex::new(jobs));
    let running: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let most = Arc::new(Mutex::new((0, 0)));
    let workers = (0..8).map(|worker| {
        let (store, left) = (store.clone(), Arc::clone(&left));
        let (running, most) = (Arc::clone(&running), Arc::clone(&most));
        tokio::spawn(async move {
            let until = Instant::now() + Duration::from_secs(40);
            while *left.lock().unwrap() > 0 {
                assert!(Instant::now() < until, "the jobs are worked off");
                let claimed = store.claim(&room(worker, 3)).await.unwrap();
                {
                    let mut running = running.lock().unwrap();
                    for job in &claimed {
                        *running.entry(job.group.clone().unwrap_or_default()).or_default() += 1;
                    }
                    let mut most = most.lock().unwrap();
                    most.0 = running.values().copied().max().unwrap_or(0).max(most.0);
                    most.1 = running.values().sum::<usize>().max(most.1);
                }
                // What the work takes: long enough for the claims of others to fall into it.
                tokio::time::sleep(Duration::from_millis(40)).await;
                {
                    let mut running = running.lock().unwrap();
                    for job in &claimed {
                        *running.get_mut(&job.group.clone().unwrap_or_default()).unwrap() -= 1;
                    }
                }
                let ended = store.settle(claimed.iter().map(done).collect()).await.unwrap();
                let groups: Vec<_> = claimed
                    .iter()
                    .filter_map(|job| Some((job.queue.clone(), job.group.clone()?)))
                    .collect();
                store.ready(&groups).await.unwrap();
                *left.lock().unwrap() -= ended;
            }
        })
    });
    futures::future::join_all(workers).await.into_iter().for_each(|ended| ended.unwrap());
    *most.lock().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_group_has_more_running_than_its_limit_however_many_claim() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 8));
    admin
        .batch_execute("INSERT INTO job_queues (queue, group_at_once) VALUES ('default', 2)")
        .await
        .unwrap();
    let jobs: Vec<NewJob> = (0..120).map(|number| of(["a", "b", "c"][number % 3])).collect();
    store.enqueue(jobs).await.unwrap();
    let (of_a_group, _) = worked_off(&store, 120).await;
    assert_eq!(of_a_group, 2, "the limit, and all of it");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_queue_has_more_running_than_its_limit_however_many_claim() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store_of(&database, 8));
    admin
        .batch_execute("INSERT INTO job_queues (queue, at_once) VALUES ('default', 4)")
        .await
        .unwrap();
    let jobs = (0..120).map(|number| if number % 2 == 0 { of("a") } else { job("test.job") });
    store.enqueue(jobs.collect()).await.unwrap();
    let (_, of_all) = worked_off(&store, 120).await;
    assert_eq!(of_all, 4, "the limit, and all of it");
}

/// What a worker ran when it was killed counts until its lease ends, and not a moment longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_killed_worker_leaves_no_limit_used_up() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    admin
        .batch_execute(
            "INSERT INTO job_queues (queue, at_once, group_at_once) VALUES ('default', 2, 1)",
        )
        .await
        .unwrap();
    store.enqueue(vec![of("a"), of("a"), job("test.job"), job("test.job")]).await.unwrap();
    let killed = store.claim(&room(1, 9)).await.unwrap();
    assert_eq!(killed.len(), 2);
    assert!(store.claim(&room(2, 9)).await.unwrap().is_empty());
    admin.batch_execute("UPDATE jobs SET leased_until = now() - interval '1 second' WHERE leased_by IS NOT NULL").await.unwrap();
    assert_eq!(store.rescue().await.unwrap(), 2);
    let again = poll_until(SOON, "the limit is free again", async || {
        let claimed = store.claim(&room(2, 9)).await.unwrap();
        (!claimed.is_empty()).then_some(claimed)
    });
    assert!(again.await.iter().all(|job| job.epoch >= 1));
    assert_eq!(store.settle(killed.iter().map(done).collect()).await.unwrap(), 0, "it is late");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_with_much_waiting_stands_in_nobodys_way() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    admin
        .batch_execute(
            "INSERT INTO job_queues (queue, group_at_once) VALUES ('default', 1);
             INSERT INTO jobs (kind, queue, job_group, payload, priority, run_at, max_attempts)
             SELECT 'test.job', 'default', 'large', 'null', 1, now() - interval '1 hour', 5
             FROM generate_series(1, 50000);
             INSERT INTO job_groups (queue, job_group, ready_at) VALUES ('default', 'large', now());
             ANALYZE jobs",
        )
        .await
        .unwrap();
    assert_eq!(store.claim(&room(1, 5)).await.unwrap().len(), 1, "the group is full now");
    for _ in 0..3 {
        store.enqueue(vec![job("test.job"), of("small")]).await.unwrap();
        let claimed = store.claim(&room(1, 5)).await.unwrap();
        assert_eq!(claimed.len(), 2);
        store.settle(claimed.iter().map(done).collect()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_that_store_jobs_of_the_same_groups_do_not_wait_in_a_circle() {
    let database = database().await;
    let store = store_of(&database, 8);
    let storing = (0..8).map(|worker| {
        let store = store.clone();
        tokio::spawn(async move {
            for _ in 0..20 {
                let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await.unwrap();
                let mut jobs = vec![of("a"), of("b"), of("c")];
                jobs.rotate_left(worker % 3);
                tx.staged().jobs = jobs;
                tx.commit().await.unwrap();
                let claimed = store.claim(&room(worker as u128, 2)).await.unwrap();
                store.settle(claimed.iter().map(done).collect()).await.unwrap();
            }
        })
    });
    futures::future::join_all(storing).await.into_iter().for_each(|ended| ended.unwrap());
    let admin = session(&database.admin_url()).await;
    assert_eq!(count(&admin, "job_groups").await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_jobs_came_to_is_remembered_unless_their_kind_says_otherwise() {
    let database = database().await;
    let (admin, store) = (session(&database.admin_url()).await, store(&database));
    let hot = NewJob { keep: false, ..job("test.job") };
    store.enqueue(vec![job("test.job"), job("test.job"), hot.clone(), hot]).await.unwrap();
    let claimed = store.claim(&room(1, 9)).await.unwrap();
    let (fenced, settled): (Vec<_>, Vec<_>) = claimed.into_iter().partition(|job| job.id % 2 == 0);
    for job in &fenced {
        let mut tx: Box<dyn UserTx> = store.begin(Vec::new()).await.unwrap();
        tx.fence(job.fence(), true);
        tx.commit().await.unwrap();
    }
    assert_eq!(store.settle(settled.iter().map(done).collect()).await.unwrap(), 2);
    assert_eq!(count(&admin, "jobs").await, 0);
    assert_eq!(
        count(&admin, "jobs_archive WHERE outcome = 'done' AND started_at IS NOT NULL").await,
        2
    );
    assert_eq!(count(&admin, "jobs_archive_default").await, 0, "today has a partition");
}

/// Whoever looked while the run was on was told to look again later; a job that was asked for meanwhile is due at once.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_asked_for_while_it_ran_is_claimed_as_soon_as_the_run_is_recorded() {
    let database = database().await;
    let store = store(&database);
    store.enqueue(vec![of("a").unique("x")]).await.unwrap();
    let first = store.claim(&room(1, 9)).await.unwrap();
    store.enqueue(vec![of("a").unique("x")]).await.unwrap();
    assert!(store.claim(&room(1, 9)).await.unwrap().is_empty(), "it runs");

    let mut bell = store.wake().jobs.listen();
    assert_eq!(store.settle(first.iter().map(done).collect()).await.unwrap(), 1);
    store.ready(&[("default".to_owned(), "a".to_owned())]).await.unwrap();
    tokio::time::timeout(SOON, bell.rung()).await.expect("workers are told");
    assert_eq!(store.claim(&room(1, 9)).await.unwrap().len(), 1);
}
