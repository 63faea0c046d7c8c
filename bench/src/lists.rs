//! Lists on a hundred times the rows.

use std::time::Duration;

use crate::Fault;
use crate::client::{Client, rate, request};
use crate::process::Convene;
use crate::scene::Scene;
use crate::table::Row;

/// One connection, one request after the other: the time of a request is what one over the rate is.
pub(crate) async fn measure(scene: &Scene) -> Result<Vec<Row>, Fault> {
    let mut servers = Vec::new();
    for database in [scene.small(), scene.large()] {
        let convene = Convene::start("serve", scene, database).await?;
        let mut client = Client::connect(convene.address).await?;
        let token = scene.token(&mut client, database, 0).await?;
        let event = scene.open_event(&mut client).await?;
        servers.push((convene, token, event));
    }
    let mut rows = Vec::new();
    for (what, path) in [
        // Pages of five where the small database has no twenty.
        ("communities", "/v1/communities?limit=5"),
        ("events of a community", "/v1/communities/community-0/events"),
        ("members of a community", "/v1/communities/community-0/members"),
        ("RSVPs of an event", "/v1/events/{event}/rsvps"),
        ("my communities", "/v1/users/me/communities?limit=5"),
        ("my RSVPs", "/v1/users/me/rsvps"),
    ] {
        let mut times = [0.0, 0.0];
        // In turns; the first is to warm up.
        for round in 0..5 {
            for ((convene, token, event), time) in servers.iter().zip(&mut times) {
                let get = request("GET", &path.replace("{event}", event), token, None);
                let rate = rate(convene.address, &get, 1, Duration::from_millis(400)).await?;
                *time += if round == 0 { 0.0 } else { 1.0 / rate / 4.0 };
            }
        }
        rows.push(Row::times(
            &format!("list: {what}"),
            times[1],
            times[0],
            "≤ 1.3",
            "time of a page on the whole load; base line: on a hundredth of its rows",
        ));
    }
    Ok(rows)
}
