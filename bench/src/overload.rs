//! Four times the load that the server can bear, and what becomes of those whom it serves.
//!
//! `convene-bench overload` starts private servers as the benchmarks do. The generator is open: requests are sent when they
//! are due, whether or not the server has answered the ones before. Refusing costs it as much as the server: so that it can
//! send four times what the server can bear, each of both has half of the cores. What the server can bear is measured first,
//! with the same mix, the same generator and the same cores.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use convene_application::kernel::limits::{Quota, RequestLimiter as _, Subject, Verdict};
use convene_infrastructure::redis::{RedisLimiter, RedisOptions};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;

use crate::client::{Client, percentile, request};
use crate::process::Convene;
use crate::scene::Scene;
use crate::table::{Row, markdown};
use crate::{Fault, load_average, tell};

/// The argument that starts this in the place of the benchmarks.
pub(crate) const COMMAND: &str = "overload";

const CONNECTIONS: usize = 1_024;
const CALIBRATION: Duration = Duration::from_secs(8);
const NORMAL: Duration = Duration::from_secs(10);
const OVERLOAD: Duration = Duration::from_secs(30);
const AFTERWARDS: Duration = Duration::from_secs(6);
/// What is normal, as a part of what the server can bear.
const NORMAL_PART: f64 = 0.5;
const CLIENTS: u32 = 1_000_000;
/// Who asks: as many of the seed's logins as have no common divisor with the rest of the mix.
const PEOPLE: usize = 7;
/// Whose events are asked for.
const COMMUNITIES: usize = 10;

/// Quotas that nobody meets: what is measured is what happens when nobody is to blame. And as many connections as the
/// database's part of a few cores can work for at once.
const SETTINGS: [(&str, &str); 10] = [
    ("CONVENE__DATABASE__POOL_SIZE", "3"),
    ("CONVENE__LIMITS__ENABLED", "true"),
    ("CONVENE__LIMITS__CLIENT_BURST", "1000000"),
    ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "60000000"),
    ("CONVENE__LIMITS__CLIENT_AT_ONCE", "100000"),
    ("CONVENE__LIMITS__COMMUNITY_BURST", "1000000"),
    ("CONVENE__LIMITS__COMMUNITY_PER_MINUTE", "60000000"),
    ("CONVENE__LIMITS__USER_BURST", "1000000"),
    ("CONVENE__LIMITS__USER_PER_MINUTE", "60000000"),
    ("CONVENE__LIMITS__USER_AT_ONCE", "100000"),
];

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Event,
    List,
    Rsvp,
}

/// What ten requests ask for.
struct Mix {
    name: &'static str,
    kinds: [Kind; 10],
    /// What is asked for with each list and each event.
    expand: &'static str,
}

const MIXES: [Mix; 2] = {
    use Kind::{Event, List, Rsvp};
    [
        Mix {
            name: "work: in ten 4 lists of events and 2 events, each with its availability, one's RSVP and one's \
                   membership, and 4 changed RSVPs",
            kinds: [List, Rsvp, Event, List, Rsvp, List, Rsvp, Event, List, Rsvp],
            expand: "?expand=availability,rsvp,community.membership",
        },
        Mix {
            name: "reading: in ten 6 reads of an event, out of a cache, 3 lists of events, 1 changed RSVP",
            kinds: [Event, List, Event, List, Event, Event, List, Event, Rsvp, Event],
            expand: "",
        },
    ]
};

/// One answer.
#[derive(Clone, Copy)]
struct Answer {
    kind: Kind,
    /// When its request was sent, from the beginning of the phase.
    sent: Duration,
    took: Duration,
    status: u16,
}

/// Measures, and prints a table.
#[expect(clippy::print_stdout, reason = "the table is what this is for")]
pub(crate) async fn measure() -> Result<(), Fault> {
    move_to(Half::Server)?;
    let scene = Scene::build().await?;
    tell(&format!("a million clients (load {})", load_average()));
    let mut rows = vec![million_clients(&scene).await?];
    for mix in &MIXES {
        tell(&format!("overload with {} (load {})", mix.name, load_average()));
        rows.extend(overload(&scene, mix).await?);
    }
    println!("{}", markdown(&rows));
    Ok(())
}

async fn overload(scene: &Scene, mix: &Mix) -> Result<Vec<Row>, Fault> {
    move_to(Half::Server)?;
    let convene = Convene::start_with("serve", scene, scene.large(), &SETTINGS).await?;
    move_to(Half::Generator)?;
    let requests = Arc::new(Requests::new(scene, &convene, mix).await?);
    let capacity = {
        let answers = phase(&convene, &requests, f64::INFINITY, 32, CALIBRATION).await?;
        served(&answers).len() as f64 / CALIBRATION.as_secs_f64()
    };
    tell(&format!("{capacity:.0} requests a second can be borne"));
    let normal_rate = capacity * NORMAL_PART;
    let normal = phase(&convene, &requests, normal_rate, CONNECTIONS, NORMAL).await?;
    let before = convene.memory()?.0;
    let during = phase(&convene, &requests, capacity * 4.0, CONNECTIONS, OVERLOAD).await?;
    let peak = convene.memory()?.1;
    let after = phase(&convene, &requests, normal_rate, CONNECTIONS, AFTERWARDS).await?;

    let normal_slow = percentile(&mut served(&normal), 0.99);
    let slow = percentile(&mut served(&during), 0.99);
    let mut refused = times(&during, |status| status == 503 || status == 429);
    let refused_part = refused.len() as f64 / during.len() as f64;
    let others = times(&during, |status| status >= 500 && status != 503).len();
    let (refused_half, refused_slow) =
        (percentile(&mut refused, 0.5), percentile(&mut refused, 0.99));
    let last_refused = after.iter().filter(|answer| matches!(answer.status, 429 | 500..));
    let normal_after = last_refused.map(|answer| answer.sent).max().unwrap_or_default();
    let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
    let offered = during.len() as f64 / OVERLOAD.as_secs_f64();
    let served_rate = served(&during).len() as f64 / OVERLOAD.as_secs_f64();
    Ok(vec![
        Row::number(
            "what the server can bear",
            format!("{capacity:.0} /s"),
            "",
            &format!("32 connections, as fast as they are answered; {}", mix.name),
        ),
        Row::number(
            "offered, and served",
            format!("{offered:.0} /s, {served_rate:.0} /s"),
            "",
            &format!(
                "four times as much for {} s over {CONNECTIONS} connections",
                OVERLOAD.as_secs()
            ),
        ),
        Row::number(
            "p99 of what is served, to that at half the load",
            format!(
                "{} to {} ({:.1})",
                ms(slow),
                ms(normal_slow),
                slow.as_secs_f64() / normal_slow.as_secs_f64()
            ),
            "≤ 5",
            &format!(
                "from the request to the whole answer; in half of the seconds p99 was at most {} to {}; {}",
                ms(by_second(&during)),
                ms(by_second(&normal)),
                [("events", Kind::Event), ("lists", Kind::List), ("RSVPs", Kind::Rsvp)]
                    .map(|(name, kind)| {
                        let (during, normal) = (slowest(&during, kind), slowest(&normal, kind));
                        format!("{name} {} to {}", ms(during), ms(normal))
                    })
                    .join(", ")
            ),
        ),
        Row::number(
            "answered 503 or 429",
            format!(
                "{:.0} %; p50 {}, p99 {}",
                refused_part * 100.0,
                ms(refused_half),
                ms(refused_slow)
            ),
            "",
            &format!("{others} other failures"),
        ),
        Row::number(
            "memory before, and at most",
            format!("{before:.0} MiB, {peak:.0} MiB"),
            "",
            "resident set",
        ),
        Row::number(
            "normal service after",
            format!("{:.2} s", normal_after.as_secs_f64()),
            "≤ 2 s",
            "when the last request that is refused is sent, at half the load",
        ),
    ])
}

/// Half of the machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    /// Where Convene and the servers that it uses run.
    Server,
    Generator,
}

/// Moves this process, and whatever it starts from now on, to a half of the cores.
fn move_to(half: Half) -> Result<(), Fault> {
    // Not those of this process, which may be half of them already.
    let cores = std::fs::read_to_string("/proc/cpuinfo")?.matches("processor\t").count();
    if cores < 2 {
        return Err("two cores are needed: one for the server, one for the generator".into());
    }
    let list = match half {
        Half::Server => format!("0-{}", cores / 2 - 1),
        Half::Generator => format!("{}-{}", cores / 2, cores - 1),
    };
    let id = std::process::id().to_string();
    let moved = Command::new("taskset").args(["-a", "-c", "-p", &list, &id]).output()?;
    if moved.status.success() { Ok(()) } else { Err(format!("taskset -c {list} failed").into()) }
}

/// What is sent, in turns; people, events and communities take turns as well.
struct Requests {
    all: Vec<(Kind, Vec<u8>)>,
    /// How many were sent. Each phase goes on where the one before has ended, so that RSVPs change in all of them.
    sent: AtomicU64,
}

impl Requests {
    /// Twice as many as it takes to have asked for everything: each RSVP comes again for another party.
    async fn new(scene: &Scene, convene: &Convene, mix: &Mix) -> Result<Self, Fault> {
        let mut client = Client::connect(convene.address).await?;
        let mut tokens = Vec::new();
        for person in 0..PEOPLE {
            let token = scene.token(&mut client, scene.large(), person).await?;
            for community in 0..COMMUNITIES {
                // Some are members already, and all if this is not the first run.
                let join = format!("/v1/communities/community-{community}/join");
                client.send(&request("POST", &join, &token, None)).await?;
            }
            tokens.push(token);
        }
        let list = |community: usize| format!("/v1/communities/community-{community}/events");
        let mut ids = Vec::new();
        for community in 0..COMMUNITIES {
            let page = format!("{}?limit=20", list(community));
            let page = client.call("GET", &page, &tokens[0], None).await?;
            let events = page["data"].as_array().ok_or("no list of events")?;
            ids.extend(events.iter().filter_map(|event| event["id"].as_str()).map(str::to_owned));
        }
        let round = ids.len() * PEOPLE * mix.kinds.len();
        let all = (0..2 * round).map(|place| {
            // Each goes round once for a round of the one before.
            let kind = mix.kinds[place % mix.kinds.len()];
            let turn = place / mix.kinds.len();
            let (token, id) = (&tokens[turn % PEOPLE], &ids[turn / PEOPLE % ids.len()]);
            let request = match kind {
                Kind::Event => {
                    request("GET", &format!("/v1/events/{id}{}", mix.expand), token, None)
                }
                Kind::List => {
                    let path = format!("{}{}", list(turn % COMMUNITIES), mix.expand);
                    request("GET", &path, token, None)
                }
                Kind::Rsvp => {
                    let party = serde_json::json!({"party_size": 1 + place / round});
                    request("PUT", &format!("/v1/events/{id}/rsvps/me"), token, Some(&party))
                }
            };
            (kind, request)
        });
        Ok(Self { all: all.collect(), sent: AtomicU64::new(0) })
    }

    fn get(&self, number: u64) -> &(Kind, Vec<u8>) {
        let place = number % self.all.len() as u64;
        &self.all[usize::try_from(place).unwrap_or_default()]
    }
}

/// Sends requests at a rate over so many connections; one that is due while all are busy waits for one.
async fn phase(
    convene: &Convene,
    requests: &Arc<Requests>,
    rate: f64,
    connections: usize,
    length: Duration,
) -> Result<Vec<Answer>, Fault> {
    let (address, began) = (convene.address, Instant::now());
    let first = requests.sent.load(Ordering::Relaxed);
    let senders = (0..connections).map(|_| {
        let requests = Arc::clone(requests);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            let mut kept: Option<Client> = None;
            loop {
                let number = requests.sent.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_secs_f64((number - first) as f64 / rate);
                if due.max(began.elapsed()) >= length {
                    return Ok::<_, Fault>(answers);
                }
                if due > began.elapsed() {
                    tokio::time::sleep_until((began + due).into()).await;
                }
                let (kind, request) = requests.get(number);
                let sent = began.elapsed();
                // A connection may be closed while a request is on its way into it: a client sends it again on another.
                let answered = match kept.take() {
                    Some(mut client) => {
                        client.send(request).await.ok().map(|answer| (client, answer))
                    }
                    None => None,
                };
                let (client, answer) = match answered {
                    Some(answered) => answered,
                    None => {
                        let mut client = Client::connect(address).await?;
                        let answer = client.send(request).await?;
                        (client, answer)
                    }
                };
                let (took, status) = (began.elapsed() - sent, answer.status);
                answers.push(Answer { kind: *kind, sent, took, status });
                kept = Some(client);
            }
        })
    });
    let mut answers = Vec::new();
    for sender in futures::future::join_all(senders.collect::<Vec<_>>()).await {
        answers.extend(sender??);
    }
    Ok(answers)
}

fn times(answers: &[Answer], which: impl Fn(u16) -> bool) -> Vec<Duration> {
    answers.iter().filter(|answer| which(answer.status)).map(|answer| answer.took).collect()
}

fn served(answers: &[Answer]) -> Vec<Duration> {
    times(answers, |status| status < 500 && status != 429)
}

/// The 99th percentile of those of a kind that were served.
fn slowest(answers: &[Answer], kind: Kind) -> Duration {
    let of_kind: Vec<Answer> =
        answers.iter().filter(|answer| answer.kind == kind).copied().collect();
    percentile(&mut served(&of_kind), 0.99)
}

/// The median of what was the 99th percentile in each second.
fn by_second(answers: &[Answer]) -> Duration {
    let seconds =
        answers.iter().map(|answer| answer.sent.as_secs()).max().map_or(0, |last| last + 1);
    let mut slow: Vec<Duration> = (0..seconds)
        .map(|second| {
            let of_second = answers.iter().filter(|answer| answer.sent.as_secs() == second);
            percentile(&mut served(&of_second.copied().collect::<Vec<_>>()), 0.99)
        })
        .collect();
    percentile(&mut slow, 0.5)
}

/// A million clients, none of whom comes twice, and the keys that they leave.
async fn million_clients(scene: &Scene) -> Result<Row, Fault> {
    let options = RedisOptions::new(scene.redis.clone().into(), "bench");
    let limiter = RedisLimiter::new(&options)?.of_requests(&Handle::current());
    // Small enough that Redis is asked each time.
    let quota = Quota { burst: 4, every: Duration::from_secs(600) };
    let began = Instant::now();
    for first in (0..CLIENTS).step_by(4_000) {
        let spending = (first..first + 4_000).map(|number| {
            limiter.spend(Subject::Client(IpAddr::V4(Ipv4Addr::from_bits(number))), quota, 1)
        });
        let refused = futures::future::join_all(spending).await.into_iter();
        if refused.filter(|standing| standing.verdict != Verdict::Allowed).count() > 0 {
            return Err("a client that came once was refused".into());
        }
    }
    let rate = f64::from(CLIENTS) / began.elapsed().as_secs_f64();
    let (keys, endless) = keys(&scene.redis).await?;
    Ok(Row::number(
        "keys of a million clients in Redis that never end",
        format!("{endless} of {keys}"),
        "0",
        &format!("{rate:.0} /s were asked of Redis"),
    ))
}

/// How many keys there are, and how many of them never end.
async fn keys(url: &str) -> Result<(u64, u64), Fault> {
    const COUNT: &str = "local all, endless = redis.call('KEYS', 'bench:limit:*'), 0 \
                         for _, key in ipairs(all) do \
                         if redis.call('PTTL', key) == -1 then endless = endless + 1 end end \
                         return #all .. ' ' .. endless";
    let authority = url.rsplit_once('@').map_or(url, |(_, rest)| rest);
    let address = authority.trim_start_matches("redis://").split('/').next().unwrap_or_default();
    let mut stream = TcpStream::connect(address).await?;
    let mut commands = String::new();
    if let Some(password) = url
        .rsplit_once('@')
        .and_then(|(credentials, _)| credentials.rsplit_once(':'))
        .map(|(_, password)| password)
    {
        commands = format!("*2\r\n$4\r\nAUTH\r\n${}\r\n{password}\r\n", password.len());
    }
    let wanted = 1 + usize::from(!commands.is_empty());
    commands += &format!("*3\r\n$4\r\nEVAL\r\n${}\r\n{COUNT}\r\n$1\r\n0\r\n", COUNT.len());
    stream.write_all(commands.as_bytes()).await?;
    let mut said = Vec::new();
    // `+OK` to the password, `$length` and a line to the script.
    while said.iter().filter(|byte| **byte == b'\n').count() < wanted + 1 {
        if stream.read_buf(&mut said).await? == 0 {
            return Err("Redis closed the connection".into());
        }
        if said.first() == Some(&b'-') {
            return Err(String::from_utf8_lossy(&said).into_owned().into());
        }
    }
    let said = String::from_utf8(said)?;
    let counted = said.lines().last().and_then(|line| line.split_once(' '));
    let (keys, endless) = counted.ok_or("Redis counted nothing")?;
    Ok((keys.parse()?, endless.parse()?))
}
