//! The inputs that a plan and its faults are calculated from.

use serde::Serialize;

use crate::database::Database;
use crate::demand::Load;
use crate::settings::Settings;

/// The inputs of a plan.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inputs {
    /// The settings of the fleet.
    pub settings: Settings,
    /// The connections of its database.
    pub database: Database,
    /// Bytes of memory that the nodes have for workers; `None` means no limit.
    pub memory: Option<u64>,
    /// The load that the fleet has to carry.
    pub load: Load,
}

/// Inputs for tests: a fleet at the guide's load, on a database of 300 connections.
#[cfg(test)]
pub(crate) mod fixture {
    use std::path::Path;

    use super::*;
    use crate::database::Given;
    use crate::fixture::{MANIFESTS, settings_of};
    use crate::manifests;

    /// The fleet of these manifests, with these environment variables.
    pub(crate) fn inputs_of(manifests: &str, environment: &[(&str, u32)]) -> Inputs {
        Inputs {
            settings: settings_of(manifests, environment),
            database: Database { max_connections: 300, reserved: 3, others: 120 },
            memory: None,
            load: Load::GUIDE,
        }
    }

    /// The fleet that the repository ships, on the database that it ships.
    pub(crate) fn shipped() -> Inputs {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
        let folders = ["base", "services/postgres", "services/temporal"].map(|folder| root.join(folder));
        let manifests = manifests::read(&folders).unwrap();
        Inputs {
            settings: Settings::read(&manifests, &|_| None).unwrap(),
            database: Database::read(&manifests, Given::default()).unwrap(),
            memory: None,
            load: Load::GUIDE,
        }
    }

    /// The fleet of [`MANIFESTS`].
    pub(crate) fn inputs() -> Inputs {
        inputs_of(MANIFESTS, &[])
    }
}
