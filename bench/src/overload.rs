//! Four times the load that the server can bear, and what becomes of those whom it serves.
//!
//! `convene-bench overload` starts private servers as the benchmarks do. The generator is open: requests are sent when they
//! are due, whether or not the server has answered the ones before. It works on the machine that it measures, so what the
//! server can bear is measured first, with the same mix and the same generator.

use std::net::{IpAddr, Ipv4Addr};
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

/// Quotas that nobody meets: what is measured is what happens when nobody is to blame.
const SETTINGS: [(&str, &str); 9] = [
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
    let scene = Scene::build().await?;
    tell(&format!("a million clients (load {})", load_average()));
    let mut rows = vec![million_clients(&scene).await?];
    tell(&format!("overload (load {})", load_average()));
    rows.extend(overload(&scene).await?);
    println!("{}", markdown(&rows));
    Ok(())
}

async fn overload(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let convene = Convene::start_with("serve", scene, scene.large(), &SETTINGS).await?;
    let requests = Arc::new(mix(scene, &convene).await?);
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
            "32 connections, as fast as they are answered: 6 in 10 read an event, 3 a list of events, 1 changes an RSVP",
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
                "from the request to the whole answer; {}",
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

/// What is sent, in turns: six reads of an event, three lists and one RSVP in ten; the people take turns as well.
async fn mix(scene: &Scene, convene: &Convene) -> Result<Vec<(Kind, Vec<u8>)>, Fault> {
    let mut client = Client::connect(convene.address).await?;
    let mut tokens = Vec::new();
    for person in 0..PEOPLE {
        let token = scene.token(&mut client, scene.large(), person).await?;
        // The first is a member already, and so are all if this is not the first run.
        let join = request("POST", "/v1/communities/community-0/join", &token, None);
        client.send(&join).await?;
        tokens.push(token);
    }
    let list = "/v1/communities/community-0/events";
    let page = client.call("GET", &format!("{list}?limit=20"), &tokens[0], None).await?;
    let events = page["data"].as_array().ok_or("no list of events")?;
    let ids: Vec<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let one = serde_json::json!({"party_size": 1});
    let mut requests = Vec::new();
    for (place, id) in ids.iter().cycle().take(100 * PEOPLE).enumerate() {
        // Both go round, and the people have no common divisor with the events and the kinds.
        let token = &tokens[place % PEOPLE];
        requests.push(match place % 10 {
            0 | 2 | 4 | 5 | 7 | 9 => {
                (Kind::Event, request("GET", &format!("/v1/events/{id}"), token, None))
            }
            1 | 3 | 6 => (Kind::List, request("GET", list, token, None)),
            _ => (
                Kind::Rsvp,
                request("PUT", &format!("/v1/events/{id}/rsvps/me"), token, Some(&one)),
            ),
        });
    }
    Ok(requests)
}

/// Sends requests at a rate over so many connections; one that is due while all are busy waits for one.
async fn phase(
    convene: &Convene,
    requests: &Arc<Vec<(Kind, Vec<u8>)>>,
    rate: f64,
    connections: usize,
    length: Duration,
) -> Result<Vec<Answer>, Fault> {
    let (address, began, next) = (convene.address, Instant::now(), Arc::new(AtomicU64::new(0)));
    let senders = (0..connections).map(|_| {
        let (requests, next) = (Arc::clone(requests), Arc::clone(&next));
        tokio::spawn(async move {
            let mut answers = Vec::new();
            let mut kept: Option<Client> = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let due = Duration::from_secs_f64(number as f64 / rate);
                if due.max(began.elapsed()) >= length {
                    return Ok::<_, Fault>(answers);
                }
                if due > began.elapsed() {
                    tokio::time::sleep_until((began + due).into()).await;
                }
                let (kind, request) = &requests[usize::try_from(number)? % requests.len()];
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
