//! `convene db …`

use convene_infrastructure::postgres::migrate;
use convene_infrastructure::postgres::pool::{Pool, PoolOptions};
use serde_json::json;
use tokio::runtime::Handle;

use super::{configured, print_json};
use crate::cli::Db;
use crate::config::Profile;
use crate::error::StartError;

pub(super) async fn run(command: Db, json: bool) -> Result<(), StartError> {
    let (profile, config) = configured(Profile::default())?;
    let url = config.database.url.clone();
    match command {
        Db::Migrate => {
            let report = migrate::migrate(&url).await?;
            if json {
                print_json(&json!({ "applied": report.applied, "roles": report.to_string() }))?;
            } else {
                println!("{report}");
            }
            Ok(())
        }
        Db::Seed { profile: data, scale, destructive } => {
            super::seed::run((profile, config), data, scale, destructive, json).await
        }
        Db::Status => {
            let pool = Pool::new(&PoolOptions::new(url, 1), Handle::current())
                .map_err(StartError::Database)?;
            let missing = migrate::pending(&pool).await.map_err(StartError::Database)?;
            if json {
                print_json(&json!({ "missing": missing }))?;
            } else if missing.is_empty() {
                println!("The database is up to date.");
            } else {
                println!("Missing: {}", missing.join(", "));
            }
            Ok(())
        }
    }
}
