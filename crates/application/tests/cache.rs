//! The cache of the platform over fakes and a clock that the test moves: one loading for many, what is believed when, and
//! that no loading that overlaps a change is believed by anybody.

#![expect(clippy::unwrap_used, reason = "a failed assumption in a test is a failed test")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use convene_application::kernel::cache::{
    Cached, Caches, Generations, Invalidation, InvalidationFeed, Invalidations, Key, Load, News,
    Policy, Record, SharedLayer, Stale,
};
use convene_application::kernel::clock::Monotonic;
use convene_application::kernel::error::Code;
use convene_application::kernel::feed::Follow as _;
use convene_application::kernel::store::StoreError;
use convene_application::kernel::wake::Wake;
use convene_testkit::fake::SeededRandom;
use jiff::Timestamp;
use proptest::prelude::*;
use tokio::sync::Semaphore;
use uuid::Uuid;

/// The one key; there could be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Number(u128);

impl Key for Number {
    fn stale(&self) -> Stale {
        Stale::of("number", Uuid::from_u128(self.0))
    }
}

/// The value is its version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Version(u64);

impl Record for Version {
    const FORM: &'static str = "version.v1";

    fn encode(&self) -> Option<Vec<u8>> {
        Some(self.0.to_be_bytes().to_vec())
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
    }

    fn weight(&self) -> u32 {
        8
    }
}

/// Time that stands still until the test moves it.
#[derive(Debug)]
struct Hand(Instant, Mutex<Duration>);

impl Hand {
    fn advance(&self, by: Duration) {
        *self.1.lock().unwrap() += by;
    }
}

impl Monotonic for Hand {
    fn now(&self) -> Instant {
        self.0 + *self.1.lock().unwrap()
    }
}

/// A database with one row, whose time is the test's.
struct Database {
    clock: Arc<Hand>,
    /// How far its clock was set back.
    behind: Mutex<Duration>,
    row: Mutex<Option<u64>>,
    invalidations: Mutex<Vec<Invalidation>>,
    loads: AtomicUsize,
    fault: Mutex<Option<fn() -> StoreError>>,
    /// Where loadings wait after they have read.
    gate: Semaphore,
    gated: AtomicBool,
}

impl Database {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            clock: Arc::new(Hand(Instant::now(), Mutex::default())),
            behind: Mutex::default(),
            row: Mutex::new(Some(1)),
            invalidations: Mutex::default(),
            loads: AtomicUsize::new(0),
            fault: Mutex::default(),
            gate: Semaphore::new(0),
            gated: AtomicBool::new(false),
        })
    }

    fn now(&self) -> Timestamp {
        let passed = *self.clock.1.lock().unwrap();
        Timestamp::from_second(1_800_000_000).unwrap() + passed - *self.behind.lock().unwrap()
    }

    fn loads(&self) -> usize {
        self.loads.load(Ordering::SeqCst)
    }

    fn row(&self) -> Option<u64> {
        *self.row.lock().unwrap()
    }

    /// A change that was written at one time and is seen from now on.
    fn commit(&self, row: Option<u64>, written_at: Timestamp) {
        *self.row.lock().unwrap() = row;
        let mut invalidations = self.invalidations.lock().unwrap();
        let number = i64::try_from(invalidations.len()).unwrap();
        let Stale { kind, subject, part } = KEY.stale();
        let key = Stale { kind: kind.to_owned(), subject, part };
        invalidations.push(Invalidation { number, key, at: written_at });
    }

    fn check(&self) -> Result<(), StoreError> {
        let fault = *self.fault.lock().unwrap();
        fault.map_or(Ok(()), |fault| Err(fault()))
    }

    fn fail_with(&self, fault: Option<fn() -> StoreError>) {
        *self.fault.lock().unwrap() = fault;
    }
}

#[async_trait]
impl Load<Number, Version> for Database {
    async fn load(&self, _: &Number) -> Result<Option<Version>, StoreError> {
        self.loads.fetch_add(1, Ordering::SeqCst);
        self.check()?;
        let row = self.row();
        if self.gated.load(Ordering::SeqCst) {
            self.gate.acquire().await.unwrap().forget();
        }
        Ok(row.map(Version))
    }
}

#[async_trait]
impl Invalidations for Database {
    async fn invalidated_since(
        &self,
        since: Option<Timestamp>,
        most: usize,
    ) -> Result<News, StoreError> {
        self.check()?;
        let as_of = self.now();
        let all = self.invalidations.lock().unwrap();
        let recent = all.iter().filter(|one| since.is_none_or(|since| one.at >= since));
        let invalidations = recent.take(most).cloned().collect();
        Ok(News { invalidations, as_of, epoch: Uuid::from_u128(7) })
    }
}

/// What processes share, which can be lost.
#[derive(Default)]
struct Shared {
    kept: Mutex<HashMap<String, Bytes>>,
    gone: AtomicBool,
}

#[async_trait]
impl SharedLayer for Shared {
    async fn get(&self, key: &str) -> Option<Bytes> {
        tokio::task::yield_now().await;
        let kept = self.kept.lock().unwrap();
        kept.get(key).filter(|_| !self.gone.load(Ordering::SeqCst)).cloned()
    }

    async fn put(&self, key: &str, bytes: Bytes, keep: Duration) {
        assert!((54..=66).contains(&keep.as_secs()), "a minute, more or less a tenth: {keep:?}");
        tokio::task::yield_now().await;
        self.kept.lock().unwrap().insert(key.to_owned(), bytes);
    }
}

const KEY: Number = Number(5);

/// One process.
struct Process {
    generations: Arc<Generations>,
    feed: InvalidationFeed,
    cache: Cached<Number, Version>,
}

impl Process {
    fn new(database: &Arc<Database>, shared: Option<&Arc<Shared>>) -> Self {
        let generations = Arc::new(Generations::new(database.clock.clone()));
        let wake = Arc::new(Wake::default());
        let feed = InvalidationFeed::new(database.clone(), wake, Arc::clone(&generations));
        let shared = shared.map(|shared| Arc::clone(shared) as Arc<dyn SharedLayer>);
        let epoch: Arc<OnceLock<Uuid>> = feed.epoch();
        let random = Arc::new(SeededRandom::default());
        let caches = Caches::new(Arc::clone(&generations), epoch, shared, random);
        let cache = caches.of(Policy::new("number", 1 << 20), database.clone());
        Self { generations, feed, cache }
    }

    async fn ready(database: &Arc<Database>, shared: Option<&Arc<Shared>>) -> Self {
        let process = Self::new(database, shared);
        process.feed.read().await.unwrap();
        process
    }

    async fn get(&self) -> Option<u64> {
        self.cache.get(&KEY).await.unwrap().map(|held| held.0)
    }

    fn peek(&self) -> Option<Option<u64>> {
        self.cache.peek(&KEY).map(|found| found.map(|held| held.0))
    }

    /// What a commit of this process does after it.
    fn changed(&self) {
        self.generations.changed_here(&[KEY.stale()]);
    }
}

#[tokio::test]
async fn a_thousand_who_miss_at_once_cost_one_loading() {
    let database = Database::new();
    database.gated.store(true, Ordering::SeqCst);
    let process = Arc::new(Process::ready(&database, None).await);
    let asked: Vec<_> = (0..1_000)
        .map(|_| {
            let process = Arc::clone(&process);
            tokio::spawn(async move { process.get().await })
        })
        .collect();
    while database.loads() == 0 {
        tokio::task::yield_now().await;
    }
    database.gate.add_permits(1_000);
    for asked in asked {
        assert_eq!(asked.await.unwrap(), Some(1));
    }
    assert_eq!(database.loads(), 1);
    assert_eq!((process.get().await, process.peek()), (Some(1), Some(Some(1))));
    assert_eq!(database.loads(), 1, "what is there is not loaded again");
}

#[tokio::test]
async fn a_value_is_loaded_anew_before_its_time_is_over_while_it_is_served() {
    let database = Database::new();
    let process = Process::ready(&database, None).await;
    assert_eq!(process.get().await, Some(1));
    *database.row.lock().unwrap() = Some(2);
    // Four fifths of 4.5 s, more or less a tenth, and no earlier than all of it less a tenth.
    for _ in 0..4 {
        database.clock.advance(Duration::from_millis(990));
        process.feed.read().await.unwrap();
    }
    assert_eq!((process.peek(), database.loads()), (None, 1), "somebody has to refresh it");
    assert_eq!(process.get().await, Some(1), "nobody waits for that");
    while process.peek() != Some(Some(2)) {
        tokio::task::yield_now().await;
    }
    assert_eq!(database.loads(), 2);
}

#[tokio::test]
async fn that_there_is_nothing_is_remembered_for_a_shorter_time_and_not_shared() {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    *database.row.lock().unwrap() = None;
    let process = Process::ready(&database, Some(&shared)).await;
    assert_eq!((process.get().await, process.peek()), (None, Some(None)));
    assert!(shared.kept.lock().unwrap().is_empty());
    database.clock.advance(Duration::from_millis(900));
    process.feed.read().await.unwrap();
    assert_eq!(process.peek(), Some(None));
    database.clock.advance(Duration::from_millis(900));
    process.feed.read().await.unwrap();
    database.clock.advance(Duration::from_millis(500));
    assert_eq!(process.peek(), None);

    // And what is made is found at once.
    *database.row.lock().unwrap() = Some(1);
    process.changed();
    assert_eq!(process.get().await, Some(1));
}

#[tokio::test]
async fn a_feed_that_is_stale_vouches_for_nothing() {
    let database = Database::new();
    let process = Process::new(&database, None);
    assert_eq!((process.get().await, process.peek()), (Some(1), None));
    process.feed.read().await.unwrap();
    assert_eq!((process.get().await, process.peek()), (Some(1), Some(Some(1))));
    assert_eq!(database.loads(), 2);
    *database.row.lock().unwrap() = Some(2);
    database.clock.advance(Duration::from_secs(1));
    assert_eq!((process.peek(), process.get().await), (None, Some(2)));
}

#[tokio::test]
async fn another_process_reads_what_is_shared_until_it_has_changed() {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    let [one, other] = [
        Process::ready(&database, Some(&shared)).await,
        Process::ready(&database, Some(&shared)).await,
    ];
    assert_eq!(one.get().await, Some(1));
    while shared.kept.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.get().await, Some(1));
    assert_eq!(database.loads(), 1, "the second was shared");

    database.commit(Some(2), database.now());
    one.changed();
    assert_eq!(one.get().await, Some(2), "at once in the process that wrote");
    other.feed.read().await.unwrap();
    assert_eq!(other.get().await, Some(2), "elsewhere with the next reading of the feed");

    // A process that begins now reads of the change, too.
    let newcomer = Process::ready(&database, Some(&shared)).await;
    assert_eq!(newcomer.get().await, Some(2));
}

/// The change bears an earlier time than what was shared before it, and than where the feed would be read on from.
#[tokio::test]
async fn a_clock_that_is_set_back_hides_no_change() {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    let [one, other] = [
        Process::ready(&database, Some(&shared)).await,
        Process::ready(&database, Some(&shared)).await,
    ];
    assert_eq!(one.get().await, Some(1));
    while shared.kept.lock().unwrap().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(other.get().await, Some(1));

    *database.behind.lock().unwrap() = Duration::from_secs(40);
    database.clock.advance(Duration::from_millis(250));
    database.commit(Some(2), database.now());
    let newcomer = Process::ready(&database, Some(&shared)).await;
    assert_eq!(newcomer.get().await, Some(2), "what was shared is from a time to come");
    for process in [&one, &other] {
        process.feed.read().await.unwrap();
        assert_eq!(process.get().await, Some(2), "the reading finds the change");
    }
}

#[tokio::test]
async fn a_loading_that_began_before_a_change_is_kept_from_all() {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    let [one, other] = [
        Arc::new(Process::ready(&database, Some(&shared)).await),
        Arc::new(Process::ready(&database, Some(&shared)).await),
    ];
    database.gated.store(true, Ordering::SeqCst);
    let slow = tokio::spawn({
        let other = Arc::clone(&other);
        async move { other.get().await }
    });
    while database.loads() == 0 {
        tokio::task::yield_now().await;
    }
    // It has read the old row, and has not returned.
    database.commit(Some(2), database.now());
    one.changed();
    let fast = tokio::spawn({
        let one = Arc::clone(&one);
        async move { one.get().await }
    });
    database.gate.add_permits(1);
    assert_eq!(slow.await.unwrap(), Some(1), "who asked before the change may get the old value");
    database.gate.add_permits(1);
    assert_eq!(fast.await.unwrap(), Some(2), "what the other has shared is not believed");
    other.feed.read().await.unwrap();
    assert_eq!(other.peek(), None);
    database.gate.add_permits(9);
    assert_eq!(other.get().await, Some(2));
}

#[tokio::test]
async fn who_knows_of_a_change_does_not_wait_for_a_loading_from_before_it() {
    let database = Database::new();
    database.gated.store(true, Ordering::SeqCst);
    let process = Arc::new(Process::ready(&database, None).await);
    let ask = || {
        let process = Arc::clone(&process);
        tokio::spawn(async move { process.get().await })
    };
    let before = ask();
    while database.loads() < 1 {
        tokio::task::yield_now().await;
    }
    database.commit(Some(2), database.now());
    process.changed();
    let after = ask();
    while database.loads() < 2 {
        tokio::task::yield_now().await;
    }
    database.gate.add_permits(2);
    assert_eq!((before.await.unwrap(), after.await.unwrap()), (Some(1), Some(2)));
    assert_eq!(process.peek(), Some(Some(2)), "whichever landed last");
}

async fn outlives(fault: fn() -> StoreError, code: Code) {
    let database = Database::new();
    let process = Process::ready(&database, None).await;
    assert_eq!(process.get().await, Some(1));
    let mut served = 0;
    for second in 0..60 {
        // The feed's connections have no fault.
        database.fail_with(None);
        process.feed.read().await.unwrap();
        database.fail_with(Some(fault));
        match process.cache.get(&KEY).await {
            Ok(found) => {
                assert_eq!(found.map(|held| held.0), Some(1));
                served = second;
            }
            Err(failure) => assert_eq!(failure.code, code),
        }
        database.clock.advance(Duration::from_millis(990));
    }
    assert!((30..40).contains(&served), "for half a minute past its time, not {served} s");

    // What is known to have changed is not served.
    database.fail_with(None);
    process.feed.read().await.unwrap();
    assert_eq!(process.get().await, Some(1));
    process.changed();
    database.fail_with(Some(fault));
    assert_eq!(process.cache.get(&KEY).await.unwrap_err().code, code);
    assert!(process.cache.last_known(&KEY).is_none());
}

#[tokio::test]
async fn a_value_that_is_vouched_for_outlives_a_failing_store() {
    outlives(|| StoreError::Unavailable("planted".into()), Code::Unavailable).await;
}

#[tokio::test]
async fn a_value_that_is_vouched_for_outlives_a_store_with_too_much_to_do() {
    outlives(|| StoreError::Overloaded, Code::Overloaded).await;
}

#[tokio::test]
async fn what_was_known_last_is_there_for_a_moment_when_nobody_vouches_for_it() {
    let database = Database::new();
    let process = Process::ready(&database, None).await;
    assert_eq!(process.get().await, Some(1));
    database.clock.advance(Duration::from_millis(3_900));
    assert_eq!(process.peek(), None);
    assert_eq!(process.cache.last_known(&KEY).map(|held| held.0), Some(1));
    database.clock.advance(Duration::from_millis(200));
    assert!(process.cache.last_known(&KEY).is_none());
}

#[tokio::test]
async fn losing_what_is_shared_costs_one_loading_for_each_process() {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    let processes = [
        Arc::new(Process::ready(&database, Some(&shared)).await),
        Arc::new(Process::ready(&database, Some(&shared)).await),
    ];
    for process in &processes {
        assert_eq!(process.get().await, Some(1));
    }
    shared.kept.lock().unwrap().clear();
    shared.gone.store(true, Ordering::SeqCst);
    let before = database.loads();
    database.clock.advance(Duration::from_secs(6));
    for process in &processes {
        process.feed.read().await.unwrap();
        let asked: Vec<_> = (0..500)
            .map(|_| {
                let process = Arc::clone(process);
                tokio::spawn(async move { process.get().await })
            })
            .collect();
        for asked in asked {
            assert_eq!(asked.await.unwrap(), Some(1));
        }
    }
    assert_eq!(database.loads(), before + 2);
}

#[tokio::test]
async fn more_changes_than_a_reading_takes_make_everything_void() {
    let database = Database::new();
    let process = Process::ready(&database, None).await;
    assert_eq!(process.get().await, Some(1));
    for number in 0..20_000 {
        let key = Stale { kind: "other".to_owned(), subject: Uuid::from_u128(number), part: None };
        let number = i64::try_from(number).unwrap();
        let at = database.now();
        database.invalidations.lock().unwrap().push(Invalidation { number, key, at });
    }
    *database.row.lock().unwrap() = Some(2);
    process.feed.read().await.unwrap();
    assert_eq!((process.peek(), process.get().await), (None, Some(2)));
}

/// What happens next in a made-up history.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A process begins to ask.
    Ask(usize),
    /// A transaction of a process writes its invalidation, and commits later.
    Write(usize),
    /// The oldest of those that wrote commits.
    Commit,
    /// A loading that has read returns.
    Release,
    /// A process reads its feed.
    Read(usize),
    /// Tasks go on for a bit.
    Run(u8),
    /// Time passes, in milliseconds.
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let process = 0..2_usize;
    let step = prop_oneof![
        4 => process.clone().prop_map(Step::Ask),
        2 => process.clone().prop_map(Step::Write),
        2 => Just(Step::Commit),
        3 => Just(Step::Release),
        3 => process.prop_map(Step::Read),
        4 => (1..6_u8).prop_map(Step::Run),
        2 => prop_oneof![1..400_u64, 900..1_200_u64, 3_000..6_000_u64].prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 1..80)
}

/// Nobody gets a value that is older than the newest that the process has written itself when the question begins, nor
/// than what was committed when the last reading of its feed that is still believed began.
async fn nothing_is_older_than_promised(steps: Vec<Step>) {
    let (database, shared) = (Database::new(), Arc::new(Shared::default()));
    database.gated.store(true, Ordering::SeqCst);
    let processes = [
        Arc::new(Process::ready(&database, Some(&shared)).await),
        Arc::new(Process::ready(&database, Some(&shared)).await),
    ];
    let mut floors = [1, 1];
    let mut writing = std::collections::VecDeque::new();
    let mut asked = Vec::new();
    let mut next = 2;
    for step in steps {
        match step {
            Step::Ask(number) => {
                let (process, floor) = (Arc::clone(&processes[number]), floors[number]);
                let task = tokio::spawn(async move { (floor, process.cache.get(&KEY).await) });
                asked.push(task);
                if let Some(Some(seen)) = processes[number].peek() {
                    assert!(seen >= floor, "peeked {seen}, promised {floor}");
                }
            }
            Step::Write(number) => {
                writing.push_back((number, next, database.now(), database.clock.now()));
            }
            Step::Commit => {
                let Some((number, version, written_at, began)) = writing.pop_front() else {
                    continue;
                };
                // No transaction lies longer between its last statement and its commit.
                if database.clock.now() - began < Duration::from_secs(10) {
                    let version = version.max(next);
                    next = version + 1;
                    database.commit(Some(version), written_at);
                    processes[number].changed();
                    floors[number] = version;
                }
            }
            Step::Release => database.gate.add_permits(1),
            Step::Read(number) => {
                let row = database.row().unwrap();
                processes[number].feed.read().await.unwrap();
                floors[number] = floors[number].max(row);
            }
            Step::Run(turns) => {
                for _ in 0..turns {
                    tokio::task::yield_now().await;
                }
            }
            Step::Pass(millis) => database.clock.advance(Duration::from_millis(millis)),
        }
    }
    database.gate.add_permits(10_000);
    for task in asked {
        let (floor, seen) = task.await.unwrap();
        // Who found no place among the loadings in time got nothing, which is not too old.
        let Ok(seen) = seen else { continue };
        let seen = seen.unwrap().0;
        assert!(seen >= floor, "got {seen}, promised {floor}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_interleaving_serves_what_is_older_than_promised(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .unwrap();
        runtime.block_on(nothing_is_older_than_promised(steps));
    }
}
