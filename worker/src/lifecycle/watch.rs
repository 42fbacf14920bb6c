//! A process that only watches: the depths of the queues, without work, S3, Redis or threads that compute. It shows them where
//! no worker is alive, and stands in line for the lease with the workers that are. In Kubernetes it also tells which workers are idle.

use std::process::ExitCode;

use super::Member;
use crate::{config::Config, store::Holder};

/// Its name among the database's connections, which is not the workers'; it makes one statement after the other.
const HOLDER: Holder = Holder {
    application: "temporal-queue-metrics",
    slots: 1,
};

/// Watches the queues until a signal.
///
/// # Errors
/// Something that waiting does not cure: a port taken, a setting that cannot be used.
pub async fn watch(config: Config) -> anyhow::Result<ExitCode> {
    let mut member = Member::new(config, HOLDER)?;
    member.open_port(None).await?;
    if let Some(client) = member.reach().await {
        member.watch_depths(&client);
        member.set_deletion_costs();
        member.ready_once("reading the queues", |metrics, queue| {
            metrics.depths().shows(queue)
        });
        member.leave.cancelled().await;
    }
    member.leave_the_fleet().await;
    Ok(ExitCode::SUCCESS)
}
