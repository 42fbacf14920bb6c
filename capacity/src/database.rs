//! The connections that the database allows, and how many of them are left for workers.
//!
//! The figures come from the configuration of Postgres, and from that of Temporal if it uses the same server.
//! For another database, the caller can give each figure instead.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_norway::Value;

use crate::manifests::Manifests;

/// The defaults of Postgres.
const MAX_CONNECTIONS: u32 = 100;
const SUPERUSER_RESERVED: u32 = 3;

/// The connections of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Database {
    /// Maximum number of connections (`max_connections`).
    pub max_connections: u32,
    /// Connections reserved for superusers and for roles with the privilege to use reserved connections.
    pub reserved: u32,
    /// Maximum number of connections of other clients: Temporal, if it uses the same server.
    pub others: u32,
}

/// Figures that the caller gives. They replace what the manifests say.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given {
    /// Replaces [`Database::max_connections`].
    pub max_connections: Option<u32>,
    /// Replaces [`Database::others`].
    pub others: Option<u32>,
}

impl Database {
    /// Reads the figures that the caller does not give.
    ///
    /// # Errors
    /// The maximum number of connections is neither given nor in the manifests, or a configuration cannot be read.
    pub fn read(manifests: &Manifests, given: Given) -> Result<Self> {
        let postgres = manifests.postgres()?;
        if postgres.is_none() && given.max_connections.is_none() {
            bail!(
                "no postgresql.conf among the manifests: give the database's max_connections with --max-connections, \
                 and the connections of all clients but the workers with --other-connections"
            );
        }
        let conf = postgres.unwrap_or_default();
        let read = |name, default| Ok::<_, anyhow::Error>(parameter(conf, name)?.unwrap_or(default));
        let max_connections = match given.max_connections {
            Some(given) => given,
            None => read("max_connections", MAX_CONNECTIONS)?,
        };
        let others = match (given.others, manifests.temporal()?) {
            (Some(given), _) => given,
            (None, Some(config)) => temporal(config).context(
                "read the connections of Temporal from its config.yaml (or give them with --other-connections)",
            )?,
            (None, None) => 0,
        };
        Ok(Self {
            max_connections,
            reserved: read("superuser_reserved_connections", SUPERUSER_RESERVED)?
                .saturating_add(read("reserved_connections", 0)?),
            others,
        })
    }

    /// Connections that all workers together may open.
    pub fn for_workers(&self) -> u32 {
        self.max_connections.saturating_sub(self.reserved).saturating_sub(self.others)
    }
}

/// The value of a parameter in postgresql.conf. As in Postgres, the last line wins, and the equals sign is optional.
fn parameter(conf: &str, name: &str) -> Result<Option<u32>> {
    let value = conf.lines().rev().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (key, value) = line.split_once(|c: char| c == '=' || c.is_whitespace())?;
        key.eq_ignore_ascii_case(name).then(|| value.trim_matches(|c: char| c == '=' || c == '\'' || c.is_whitespace()))
    });
    let number = |value: &str| {
        value.parse().with_context(|| format!("postgresql.conf: {name} is {value:?}: it must be a whole number"))
    };
    value.map(number).transpose()
}

/// The parts of Temporal's configuration that determine how many connections it opens.
#[derive(Debug, Deserialize)]
struct Temporal {
    persistence: Persistence,
    services: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize)]
struct Persistence {
    datastores: BTreeMap<String, Datastore>,
}

#[derive(Debug, Deserialize)]
struct Datastore {
    sql: Option<Sql>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sql {
    max_conns: Option<u32>,
}

/// Maximum number of connections of Temporal. Each of its services has its own pool for each datastore.
fn temporal(config: &str) -> Result<u32> {
    let config: Temporal = serde_norway::from_str(&without_templates(config))?;
    let mut per_service = 0_u32;
    for (name, datastore) in &config.persistence.datastores {
        if let Some(sql) = &datastore.sql {
            let max_conns = sql.max_conns.with_context(|| format!("datastore {name} has no maxConns"))?;
            per_service = per_service.saturating_add(max_conns);
        }
    }
    let services = u32::try_from(config.services.len()).unwrap_or(u32::MAX);
    Ok(services.saturating_mul(per_service))
}

/// Replaces each template expression (`{{ … }}`) with a word, so that the text is YAML.
/// The Temporal server evaluates these expressions when it starts.
fn without_templates(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        plain.push_str(before);
        plain.push_str("filled-in");
        rest = after.split_once("}}").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifests::Text;

    const TEMPORAL: &str = r#"
log:
  level: {{ default "info" (env "L") }}
persistence:
  datastores:
    default:
      sql: {connectAddr: {{ env "A" | quote }}, maxConns: 25}
    visibility:
      sql: {maxConns: 5}
    search:
      elasticsearch: {}
services: {frontend: {}, history: {}, matching: {}, worker: {}}
"#;

    fn read(conf: Option<&str>, temporal: Option<&str>, given: Given) -> Result<Database> {
        let text = |(name, text): (&str, &str)| Text { name: name.into(), text: text.into() };
        let files = [conf.map(|conf| ("postgresql.conf", conf)), temporal.map(|config| ("config.yaml", config))];
        let texts: Vec<Text> = files.into_iter().flatten().map(text).collect();
        Database::read(&Manifests::parse(&texts)?, given)
    }

    #[test]
    fn workers_get_the_connections_that_superusers_and_temporal_leave() {
        let database = read(Some("max_connections = 300"), Some(TEMPORAL), Given::default()).unwrap();
        assert_eq!((database.reserved, database.others), (3, 120));
        assert_eq!(database.for_workers(), 177);
        let small = read(Some("max_connections = 100"), Some(TEMPORAL), Given::default()).unwrap();
        assert_eq!(small.for_workers(), 0);
    }

    #[test]
    fn postgres_configuration_is_read_as_postgres_reads_it() {
        for (conf, max, reserved) in [
            ("", 100, 3),
            ("max_connections = 50 # few\nMax_Connections 70", 70, 3),
            ("#max_connections = 50", 100, 3),
            ("max_connections='60'", 60, 3),
            ("superuser_reserved_connections = 5\nreserved_connections = 2", 100, 7),
            ("superuser_reserved_connections=0", 100, 0),
        ] {
            let database = read(Some(conf), None, Given::default()).unwrap();
            assert_eq!((database.max_connections, database.reserved), (max, reserved), "{conf}");
        }
        let error = read(Some("max_connections = lots"), None, Given::default()).unwrap_err();
        assert!(error.to_string().contains("max_connections is \"lots\""), "{error}");
    }

    #[test]
    fn a_given_figure_replaces_the_manifests() {
        let given = Given { max_connections: Some(500), others: Some(40) };
        let database = read(None, None, given).unwrap();
        assert_eq!(database.for_workers(), 457);
        let database = read(Some("max_connections = x"), Some("no config"), given).unwrap();
        assert_eq!(database.for_workers(), 457);
    }

    #[test]
    fn a_database_without_figures_is_refused_with_the_way_out() {
        let error = read(None, Some(TEMPORAL), Given::default()).unwrap_err().to_string();
        assert!(error.contains("--max-connections"), "{error}");
        let unlimited = TEMPORAL.replace("maxConns: 5", "maxIdleConns: 5");
        let error = read(Some(""), Some(&unlimited), Given::default()).unwrap_err();
        let error = format!("{error:#}");
        assert!(error.contains("visibility has no maxConns") && error.contains("--other-connections"), "{error}");
    }
}
