//! A gate in the database: statements of workers wait at it until the test opens it. So a test can let things happen
//! while an attempt is at a certain point.

use std::time::Duration;

use anyhow::{Context as _, Result};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::{
    wait::{Probe, eventually, when},
    world::World,
};

/// Timeout for a statement to reach the gate.
const REACHED: Duration = Duration::from_secs(40);

/// A closed gate. It opens when it is dropped.
#[derive(Debug)]
pub(crate) struct Gate {
    connection: PgConnection,
    key: i32,
}

impl World {
    /// Closes a gate: an `INSERT` into this table waits if the condition holds. The condition is SQL, and the row is
    /// `NEW`. `nextval('at_gate')` counts the rows. A world has one gate.
    pub(crate) async fn close_gate(&self, table: &str, condition: &str) -> Result<Gate> {
        let mut connection =
            PgConnection::connect(&self.direct_database_url()).await.context("connecting for a gate")?;
        let key = self.name.trim_start_matches(char::is_alphabetic).parse().context("numbering a gate")?;
        sqlx::query("SELECT pg_advisory_lock(0, $1)").bind(key).execute(&mut connection).await?;
        let statements = format!(
            "CREATE SEQUENCE at_gate;
             CREATE FUNCTION gate() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF {condition} THEN PERFORM pg_advisory_xact_lock_shared(0, {key}); END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER gate BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION gate()"
        );
        let made = connection.execute(AssertSqlSafe(statements)).await;
        made.with_context(|| format!("closing a gate before {table}"))?;
        Ok(Gate { connection, key })
    }
}

impl Gate {
    /// Waits until a statement waits at the gate.
    pub(crate) async fn reached(&mut self) -> Result<()> {
        let query = "SELECT count(*) FROM pg_locks
                     WHERE locktype = 'advisory' AND NOT granted AND classid = 0 AND objid = $1::int::oid";
        eventually("a statement waits at the gate", REACHED, async || {
            match sqlx::query_scalar::<_, i64>(query).bind(self.key).fetch_one(&mut self.connection).await {
                Ok(waiting) => when(waiting > 0, || "none does".into()),
                Err(error) => Probe::Failed(error.into()),
            }
        })
        .await
    }

    /// Opens the gate.
    pub(crate) async fn open(self) -> Result<()> {
        self.connection.close().await.context("opening a gate")
    }
}
