//! A process that migrates the schema and exits, with the rights that workers then need not have.

use std::process::ExitCode;

use anyhow::Context as _;
use tokio::time::timeout;

use super::MIGRATION_TIMEOUT;
use crate::{
    config::Config,
    external::Guards,
    metrics::Metrics,
    store::{Database, PoolSettings},
    tls,
};

/// Settings of its connection pool, which opens no connection.
const POOL: PoolSettings = PoolSettings { application: "temporal-worker-migrate", slots: 1 };

/// Migrates the schema.
///
/// # Errors
/// The database is unreachable, or the migration failed.
pub async fn migrate(config: Config) -> anyhow::Result<ExitCode> {
    tls::install_provider();
    let metrics = Metrics::new(config.service.depth_lifetime())?;
    let guards = Guards::new(&config.external, metrics.external());
    let database = Database::open(&config.database, POOL, metrics, &guards)?;
    let migrated = timeout(MIGRATION_TIMEOUT, database.prepare_schema(true)).await;
    migrated.with_context(|| format!("the migration did not end within {} s", MIGRATION_TIMEOUT.as_secs()))??;
    tracing::info!("the schema is current");
    Ok(ExitCode::SUCCESS)
}
