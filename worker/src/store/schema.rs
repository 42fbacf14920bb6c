//! The schema of the database, which the binary embeds (`migrations/`): its check and its migration.
//!
//! A process checks the schema first, and migrates only an old one. So no process needs the right to change a current
//! schema, and many may start at once.
//!
//! All pending migrations are one transaction under a lock of that transaction. A lock of the session would stay behind
//! on the server's connection if a PgBouncer in transaction mode gave the unlocking statement another one.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use sqlx::{
    AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _, SqlSafeStr as _,
    migrate::{Migration, Migrator},
};
use tracing::info;

use super::{Database, pool::query};

/// Key of the lock on migrations, among the advisory locks of the database.
const LOCK: i64 = 0x0073_6c69_7077_6179;

/// Removes the statements that sqlx has prepared by name for its own use. They belong to the server's connection, and a
/// PgBouncer in transaction mode may give that to another client, which uses the same names.
const FORGET_STATEMENTS: &str = "DEALLOCATE ALL";

/// The embedded migrations. They only add, or drop what no step needs. So an older version runs on a newer schema, while
/// a fleet is updated and after a rollback.
///
/// Only comments have characters beyond ASCII, and a database of another encoding than UTF-8 would refuse those. The
/// checksums stay, because they are of the files.
fn migrations() -> Migrator {
    let mut migrations = sqlx::migrate!("./migrations");
    for migration in migrations.migrations.to_mut() {
        let ascii = migration.sql.as_str().replace(|character: char| !character.is_ascii(), "?");
        migration.sql = AssertSqlSafe(ascii).into_sql_str();
    }
    migrations.set_ignore_missing(true).set_locking(false);
    migrations
}

impl Database {
    /// Checks the schema, and migrates an old one if `migrate` is true.
    ///
    /// The connection is outside the pool: the pool would hide why it cannot connect, and its statement timeout could
    /// end a migration.
    ///
    /// # Errors
    /// The database is unreachable, an applied migration has changed, or the schema is old and `migrate` is false.
    pub async fn prepare_schema(&self, migrate: bool) -> anyhow::Result<()> {
        let mut connection = self.pool.connect().await.context("connecting to the database")?;
        let migrations = migrations();
        let pending = pending(&mut connection, &migrations).await.context("reading the schema's migrations")?;
        if !pending.is_empty() {
            let pending = pending.iter().map(|migration| migration.version.to_string()).collect::<Vec<_>>().join(", ");
            if !migrate {
                bail!(
                    "the schema lacks migration {pending}: run `temporal-worker migrate` with a user that may change \
                     the schema, or set DB_MIGRATE_AT_START=true"
                );
            }
            apply(&mut connection, &migrations).await.context("migrating the database")?;
            info!(migrations = pending, "the schema is migrated");
        }
        connection.close().await.context("closing the connection of the schema's check")
    }
}

/// The migrations that the database lacks.
async fn pending<'a>(connection: &mut PgConnection, migrations: &'a Migrator) -> anyhow::Result<Vec<&'a Migration>> {
    let mut transaction = connection.begin().await?;
    let exists = query("SELECT to_regclass('_sqlx_migrations') IS NOT NULL AS found");
    let exists: bool = exists.fetch_one(&mut *transaction).await?.try_get("found")?;
    let mut applied = BTreeMap::new();
    if exists {
        let rows = query("SELECT version, checksum FROM _sqlx_migrations WHERE success");
        for row in rows.fetch_all(&mut *transaction).await? {
            applied.insert(row.try_get::<i64, _>("version")?, row.try_get::<Vec<u8>, _>("checksum")?);
        }
    }
    transaction.commit().await?;
    let mut pending = Vec::new();
    for migration in migrations.iter() {
        match applied.get(&migration.version) {
            None => pending.push(migration),
            Some(checksum) if **checksum == *migration.checksum => {}
            Some(_) => bail!(
                "migration {} was applied in another form: this program belongs to another schema",
                migration.version
            ),
        }
    }
    Ok(pending)
}

/// Applies what is pending once the lock is free. Another process may have applied it in the meantime.
async fn apply(connection: &mut PgConnection, migrations: &Migrator) -> anyhow::Result<()> {
    let mut transaction = connection.begin().await?;
    transaction.execute(FORGET_STATEMENTS).await?;
    query("SELECT pg_advisory_xact_lock($1)").bind(LOCK).execute(&mut *transaction).await?;
    migrations.run_direct(None, &mut *transaction, false).await?;
    transaction.execute(FORGET_STATEMENTS).await?;
    transaction.commit().await?;
    Ok(())
}
