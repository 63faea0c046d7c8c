//! What each middleware adds to an authenticated GET, in the process: no socket, no router, a handler that answers at once.

use std::sync::Arc;
use std::time::Duration;

use convene_api::config::{Environment, Profile, load};
use convene_api::wiring::{Convene as Wiring, Platform};
use convene_http::cost::{self, Cost};
use tokio_util::sync::CancellationToken;

use crate::Fault;
use crate::client::Client;
use crate::process::Convene;
use crate::scene::Scene;
use crate::table::Row;

/// How often each stack is timed.
const ROUNDS: usize = 30;
/// How long the feeds may take to become fresh, so that a token is known without asking the database.
const WARM: Duration = Duration::from_secs(1);

pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let convene = Convene::start("serve", scene, scene.large()).await?;
    let mut client = Client::connect(convene.address).await?;
    let token = scene.token(&mut client, scene.large(), 0).await?;
    let path = format!("/v1/events/{}", scene.open_event(&mut client).await?);
    drop(convene);

    // The same settings as the process that gave the token, but that no client is refused: they all come from one address.
    let settings = [
        ("CONVENE__DATABASE__URL", scene.url(scene.large())),
        ("CONVENE__REDIS__URL", scene.redis.clone()),
        ("CONVENE__BROKER__URL", String::new()),
        ("CONVENE__LIMITS__CLIENT_BURST", "60000000".to_owned()),
        ("CONVENE__LIMITS__CLIENT_PER_MINUTE", "60000000".to_owned()),
        ("CONVENE__LIMITS__USER_BURST", "60000000".to_owned()),
        ("CONVENE__LIMITS__USER_PER_MINUTE", "60000000".to_owned()),
    ];
    let environment: Environment =
        settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    let (profile, config) = load(&environment, Profile::Standard)
        .map_err(|mistakes| format!("the settings have mistakes: {mistakes:?}"))?;
    let platform = Platform::build(profile, config).await?;
    let wired = Wiring::wire(platform, Arc::new(String::new)).await?;
    let end = CancellationToken::new();
    let fresh = tokio::spawn(wired.keep_fresh(end.clone()));
    tokio::time::sleep(WARM).await;

    let http = Arc::clone(&wired.http);
    let (told, costs) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        let measured =
            actix_web::rt::System::new().block_on(cost::measure(&http, &path, &token, ROUNDS));
        // Nobody listens where the run was broken off.
        drop(told.send(measured));
    });
    let costs = costs.await??;
    end.cancel();
    fresh.await?;
    Ok(rows(&costs))
}

fn rows(costs: &[Cost]) -> Vec<Row> {
    let micros = |time: Duration| format!("{:.2} µs", time.as_secs_f64() * 1e6);
    let mut rows: Vec<Row> = costs
        .iter()
        .map(|cost| {
            let how = "added to an authenticated GET; the fastest of 30 batches of 1,000, logs off";
            Row::number(&format!("middleware `{}`", cost.name), micros(cost.adds), "", how)
        })
        .collect();
    let all: Duration = costs.iter().skip(1).map(|cost| cost.adds).sum();
    let how = "without handler, router, socket and log lines";
    rows.push(Row::number("all middlewares", micros(all), "", how));
    rows
}
