//! People for load tests.

use convene_application::kernel::store::StoreError;
use diesel::QueryableByName;
use diesel::sql_types::Bool;

use crate::postgres::load::{Kind, Load, id_sql};
use crate::postgres::pool::Connection;
use crate::postgres::sql::{Sql, sql};

#[derive(QueryableByName)]
struct Found {
    #[diesel(sql_type = Bool)]
    found: bool,
}

/// Whether there is anybody.
pub(in crate::postgres) async fn anybody(connection: &Connection) -> Result<bool, StoreError> {
    let row: Option<Found> =
        sql("SELECT EXISTS (SELECT FROM users) AS found").row(connection).await?;
    Ok(row.is_some_and(|row| row.found))
}

pub(in crate::postgres) fn statements(load: &Load) -> Vec<Sql> {
    vec![
        sql(format!(
            "INSERT INTO users (id, email, email_verified_at, display_name, handle, time_zone, version, created_at,
                                updated_at)
             SELECT {id}, 'person' || n || '@load.example', made, 'Person ' || n, 'person_' || n,
                    (ARRAY['UTC', 'Europe/Berlin', 'America/New_York', 'Asia/Tokyo'])[n % 4 + 1], 1, made, made
             FROM (SELECT n, $1 - interval '400 days' + make_interval(mins => n) AS made
                   FROM generate_series(0, {last}) AS n) AS person",
            id = id_sql(Kind::User, "n"),
            last = load.users() - 1,
        ))
        .bind(load.now()),
    ]
}
