//! The scheduler's duties: a row each, which whoever fires a tick locks and moves on, with the job in the same transaction.

use std::collections::HashSet;

use async_trait::async_trait;
use convene_application::kernel::cron::{CronStore, Duty, Standing, Turn};
use convene_application::kernel::store::StoreError;
use convene_application::kernel::uow::Tx as _;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Text, Timestamptz};
use jiff::Timestamp;

use super::PgStore;
use super::sql::{Sql, sql};
use super::tx::PgTx;

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    schedule: String,
    #[diesel(sql_type = Text)]
    missed: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    next_tick: Timestamp,
    #[diesel(sql_type = Bool)]
    paused: bool,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    shared: Timestamp,
}

#[derive(QueryableByName)]
struct Fired {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Timestamptz, deserialize_as = jiff_diesel::Timestamp)]
    tick: Timestamp,
}

#[async_trait]
impl CronStore for PgStore {
    /// Most looks find nothing to do, and are one read that locks nothing.
    async fn fire(&self, duties: &[Duty], now: Timestamp) -> Result<usize, StoreError> {
        let names: Vec<&'static str> = duties.iter().map(|duty| duty.name).collect();
        let rows: Vec<Row> = {
            let connection = self.connection().await?;
            standing(names).rows(&connection).await?
        };
        let (mut unknown, mut due) = (Vec::new(), Vec::new());
        for duty in duties {
            match rows.iter().find(|row| row.name == duty.name) {
                Some(row) if row.is_of(duty) => {
                    if row.turn(duty, now).is_some() {
                        due.push(duty);
                    }
                }
                _ => unknown.push(duty),
            }
        }
        if unknown.is_empty() && due.is_empty() {
            return Ok(0);
        }
        let mut tx = self.tx(Vec::new()).await?;
        if !unknown.is_empty() {
            make_known(&mut tx, &unknown, now).await?;
            due.append(&mut unknown);
        }
        let fired = take_turns(&mut tx, &due, now).await?;
        tx.commit().await?;
        Ok(fired)
    }
}

impl Row {
    fn is_of(&self, duty: &Duty) -> bool {
        self.schedule == duty.schedule.to_string() && self.missed == duty.missed.to_string()
    }

    fn turn(&self, duty: &Duty, now: Timestamp) -> Option<Turn> {
        let standing = Standing { next_tick: self.next_tick, paused: self.paused };
        duty.turn(standing, now, self.shared)
    }
}

fn standing(names: Vec<&'static str>) -> Sql {
    sql("SELECT name, schedule, missed, next_tick, paused, clock_timestamp() AS shared
         FROM cron_duties WHERE name = ANY ($1)")
    .bind(names)
}

/// The same of those that nobody else is firing, locked.
fn locked(names: Vec<&'static str>) -> Sql {
    sql("SELECT name, schedule, missed, next_tick, paused, clock_timestamp() AS shared
         FROM cron_duties WHERE name = ANY ($1) ORDER BY name FOR UPDATE SKIP LOCKED")
    .bind(names)
}

/// Stores duties that are new, or that this release has at other times. One that was paused stays so.
async fn make_known(tx: &mut PgTx, duties: &[&Duty], now: Timestamp) -> Result<(), StoreError> {
    let (mut names, mut schedules, mut missed, mut first) = (vec![], vec![], vec![], vec![]);
    for duty in duties {
        let Some(tick) = duty.schedule.first_tick(now) else { continue };
        names.push(duty.name);
        schedules.push(duty.schedule.to_string());
        missed.push(duty.missed.to_string());
        first.push(tick);
    }
    let upsert = sql("INSERT INTO cron_duties AS known (name, schedule, missed, next_tick)
         SELECT name, schedule, missed, next_tick
         FROM unnest($1::text[], $2::text[], $3::text[], $4::timestamptz[])
              AS duty(name, schedule, missed, next_tick)
         ORDER BY name
         ON CONFLICT (name) DO UPDATE
             SET schedule = excluded.schedule, missed = excluded.missed, next_tick = excluded.next_tick
             WHERE (known.schedule, known.missed) <> (excluded.schedule, excluded.missed)")
    .bind(names)
    .bind(schedules)
    .bind(missed)
    .bind(first);
    tx.flight(|connection| upsert.run(connection)).await?;
    Ok(())
}

/// Fires what is due of the duties that nobody else is firing.
async fn take_turns(tx: &mut PgTx, duties: &[&Duty], now: Timestamp) -> Result<usize, StoreError> {
    let names = duties.iter().map(|duty| duty.name).collect();
    let rows: Vec<Row> = {
        let lock = locked(names);
        tx.flight(|connection| lock.rows(connection)).await?
    };
    let (mut moved, mut next_ticks) = (Vec::new(), Vec::new());
    let (mut names, mut ticks) = (Vec::new(), Vec::new());
    for row in &rows {
        let turn = duties
            .iter()
            .filter(|duty| duty.name == row.name)
            .find_map(|duty| Some((duty.name, row.turn(duty, now)?)));
        let Some((name, turn)) = turn else { continue };
        moved.push(name);
        next_ticks.push(turn.next_tick);
        names.extend(turn.ticks.iter().map(|_| name));
        ticks.extend(turn.ticks);
    }
    if moved.is_empty() {
        return Ok(0);
    }
    let fire = sql("WITH fired AS (
            INSERT INTO cron_ticks (name, tick) SELECT * FROM unnest($3::text[], $4::timestamptz[])
            ON CONFLICT DO NOTHING RETURNING name, tick
         ), moved AS (
            UPDATE cron_duties SET next_tick = turn.next_tick,
                last_tick = coalesce((SELECT max(tick) FROM fired WHERE fired.name = turn.name), last_tick),
                last_fired_at = CASE WHEN EXISTS (SELECT FROM fired WHERE fired.name = turn.name)
                                     THEN clock_timestamp() ELSE last_fired_at END
            FROM unnest($1::text[], $2::timestamptz[]) AS turn(name, next_tick)
            WHERE cron_duties.name = turn.name
         )
         SELECT name, tick FROM fired ORDER BY tick, name")
    .bind(moved)
    .bind(next_ticks)
    .bind(names)
    .bind(ticks);
    let fired: Vec<Fired> = tx.flight(|connection| fire.rows(connection)).await?;
    // Postgres keeps microseconds, as the clock does: a tick comes back as it was sent.
    let fired: HashSet<(String, Timestamp)> =
        fired.into_iter().map(|fired| (fired.name, fired.tick)).collect();
    for duty in duties {
        let mut ticks: Vec<Timestamp> =
            fired.iter().filter(|(name, _)| name == duty.name).map(|(_, tick)| *tick).collect();
        ticks.sort_unstable();
        tx.staged().jobs.extend(ticks.into_iter().map(|tick| duty.job_of(tick)));
    }
    Ok(fired.len())
}
