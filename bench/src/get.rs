//! An authenticated GET of an event, over HTTP.

use std::io::Write as _;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::client::{Client, rate, request};
use crate::process::{Convene, free_address};
use crate::scene::Scene;
use crate::table::Row;
use crate::{DURATION, Fault, bare};

const CONNECTIONS: usize = 32;

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
        Ok::<_, Fault>((ours, base))
    }
    .await;
    bare.kill()?;
    bare.wait()?;
    let (ours, base) = measured?;
    let memory = convene.memory()?;
    Ok(vec![
        Row::ratio(
            "GET of an event, authenticated",
            ours,
            base,
            "≥ 0.8",
            "32 connections; base line: a bare actix handler that verifies the token and answers the same bytes",
        ),
        Row::number(
            "peak memory of `convene serve`",
            format!("{:.0} MiB", memory.1),
            "",
            "resident set at most, over the line above",
        ),
    ])
}
