//! Calls a server through the generated client. Usage: convene-client-call URL

use std::error::Error;

use convene_client::apis::configuration::Configuration;
use convene_client::apis::{Error as CallError, community_api, event_api};
use convene_client::models::Community;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let base_path = std::env::args().nth(1).ok_or("usage: convene-client-call URL")?;
    let server = Configuration { base_path, ..Configuration::new() };

    let page = community_api::list_communities(&server, Some(1), None, None, None).await?;
    let communities: Vec<Community> = page.data;

    let nowhere = event_api::get_event(&server, "event_01k6sw8zayf9g8yasc3mf0yjhq", None, None).await;
    let Err(CallError::ResponseError(refused)) = nowhere else {
        return Err(format!("not refused: {nowhere:?}").into());
    };
    if refused.status.as_u16() != 404 || !refused.content.contains("\"not_found\"") {
        return Err(format!("not a problem: {refused:?}").into());
    }
    println!("Rust: {} communities, has_more {}, then {}", communities.len(), page.has_more, refused.status);
    Ok(())
}
