//! Where Temporal is, and the three task queues.

use serde::{Deserialize, Serialize};

use super::Faults;

/// The `[temporal]` section.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TemporalConfig {
    /// Frontend, `host:port` or a URL. Without a scheme it is plain text, or TLS where TLS is configured.
    pub address: String,
    /// Namespace; it must exist.
    pub namespace: String,
    /// Queue of the workflow tasks.
    pub workflow_queue: String,
    /// Queue of the activities that wait for a network: fetch and store.
    pub io_activity_queue: String,
    /// Queue of the activities that compute: extract.
    pub cpu_activity_queue: String,
}

impl Default for TemporalConfig {
    fn default() -> Self {
        Self {
            address: "localhost:7233".into(),
            namespace: "default".into(),
            workflow_queue: "document-workflow-queue".into(),
            io_activity_queue: "document-io-activity-queue".into(),
            cpu_activity_queue: "document-cpu-activity-queue".into(),
        }
    }
}

impl TemporalConfig {
    /// The three queues: workflow, IO, CPU.
    pub fn queues(&self) -> [&str; 3] {
        [
            &self.workflow_queue,
            &self.io_activity_queue,
            &self.cpu_activity_queue,
        ]
    }

    pub(super) fn validate(&self, faults: &mut Faults) {
        faults.require_text("temporal.address", &self.address);
        faults.require_text("temporal.namespace", &self.namespace);
        let [workflow, io, cpu] = self.queues();
        faults.require_text("temporal.workflow_queue", workflow);
        faults.require_text("temporal.io_activity_queue", io);
        faults.require_text("temporal.cpu_activity_queue", cpu);
        if io == cpu {
            faults.add(format!(
                "temporal.io_activity_queue and temporal.cpu_activity_queue are both {io:?}: activities of one would be \
                 sent to the worker of the other; give them two names"
            ));
        }
    }
}
