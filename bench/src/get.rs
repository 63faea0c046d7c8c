//! An authenticated GET of an event, over HTTP.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, percentile, rate, request};
use crate::process::{Convene, free_address};
use crate::scene::Scene;
use crate::table::Row;
use crate::{DURATION, Fault, bare};

const CONNECTIONS: usize = 32;

/// Where no Redis listens.
const NOBODY: &str = "redis://127.0.0.1:1";

/// How long each answer took over four connections.
async fn latencies(address: SocketAddr, get: &[u8]) -> Result<Vec<Duration>, Fault> {
    let asking = (0..4).map(|_| async {
        let mut client = Client::connect(address).await?;
        let (mut times, began) = (Vec::new(), Instant::now());
        while began.elapsed() < DURATION / 2 {
            let asked = Instant::now();
            let answer = client.send(get).await?;
            if answer.status != 200 {
                return Err(Fault::from(format!("a GET answered {}", answer.status)));
            }
            times.push(asked.elapsed());
        }
        Ok(times)
    });
    Ok(futures::future::try_join_all(asking).await?.into_iter().flatten().collect())
}

/// The same token, the same bytes, the same generator; each server a process of its own with as many threads.
pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let convene = Convene::start("serve", scene, scene.large()).await?;
    let mut client = Client::connect(convene.address).await?;
    let token = scene.token(&mut client, scene.large(), 0).await?;
    let path = format!("/v1/events/{}", scene.open_event(&mut client).await?);
    let get = request("GET", &path, &token, None);
    let answer = client.send(&get).await?;
    if answer.status != 200 {
        return Err(format!("GET {path} answered {}", answer.status).into());
    }
    let keys = client.call("GET", "/.well-known/jwks.json", "", None).await?;
    let key = keys["keys"][0]["x"].as_str().ok_or("the key set has no key")?;

    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&answer.body)?;
    let address = free_address()?;
    let mut bare = Command::new(std::env::current_exe()?)
        .args([bare::COMMAND, &address.to_string(), key])
        .arg(file.path())
        .spawn()?;
    let measured = async {
        let started = Instant::now();
        while Client::connect(address).await.is_err() {
            if started.elapsed() > Duration::from_secs(5) {
                return Err("the bare server did not start".into());
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Both warm, then in turns, so that a noisy moment meets both.
        let short = Duration::from_secs(1);
        rate(convene.address, &get, CONNECTIONS, short).await?;
        rate(address, &get, CONNECTIONS, short).await?;
        let (mut ours, mut base) = (0.0, 0.0);
        for _ in 0..4 {
            ours += rate(convene.address, &get, CONNECTIONS, DURATION / 4).await? / 4.0;
            base += rate(address, &get, CONNECTIONS, DURATION / 4).await? / 4.0;
        }
        // A few who ask at once, so that what is measured is the server and not its queue.
        let unhurried = latencies(convene.address, &get).await?;
        let settings = [("CONVENE__REDIS__URL", NOBODY)];
        let alone = Convene::start_with("serve", scene, scene.large(), &settings).await?;
        let without = latencies(alone.address, &get).await?;
        Ok::<_, Fault>((ours, base, unhurried, without))
    }
    .await;
    bare.kill()?;
    bare.wait()?;
    let (ours, base, mut unhurried, mut without) = measured?;
    let memory = convene.memory()?;
    Ok(vec![
        Row::ratio(
            "GET of an event, authenticated",
            ours,
            base,
            "≥ 1.0",
            "32 connections; base line: a bare actix handler that verifies the token and answers the same bytes",
        ),
        Row::times(
            "GET of an event without Redis, p99",
            percentile(&mut without, 0.99).as_secs_f64(),
            percentile(&mut unhurried, 0.99).as_secs_f64(),
            "≤ 3",
            "4 connections, 4 s; the Redis that is configured refuses connections; base line: the same with Redis",
        ),
        Row::number(
            "peak memory of `convene serve`",
            format!("{:.0} MiB", memory.1),
            "",
            "resident set at most, over the line above",
        ),
    ])
}
