//! The connections that the database has, and how many of them are left for workers.
//!
//! Read from Postgres' own configuration and from that of Temporal beside it on the same server; for a database of one's own
//! each figure can be given instead.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use serde_norway::Value;

use crate::manifests::Manifests;

/// What Postgres takes where its configuration does not say.
const MAX_CONNECTIONS: u32 = 100;
const SUPERUSER_RESERVED: u32 = 3;

/// The connections of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Database {
    /// All that it allows.
    pub max_connections: u32,
    /// Kept for superusers and for roles with such a privilege.
    pub reserved: u32,
    /// Of everybody but the workers, at the most: Temporal, where it is on the same server, and who shows the queues' depths.
    pub others: u32,
}

/// Figures that are given, not read.
#[derive(Debug, Clone, Copy, Default)]
pub struct Given {
    /// For [`Database::max_connections`].
    pub max_connections: Option<u32>,
    /// For [`Database::others`].
    pub others: Option<u32>,
}

impl Database {
    /// Reads the figures that are not given.
    ///
    /// # Errors
    /// Nothing says how many connections there are, or what says so cannot be read.
    pub fn read(manifests: &Manifests, given: Given) -> Result<Self> {
        let postgres = manifests.postgres()?;
        if postgres.is_none() && given.max_connections.is_none() {
            bail!(
                "no postgresql.conf among the manifests: say with --max-connections how many connections the database \
                 allows, and with --other-connections how many of them others than the workers take"
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
                "read Temporal's share of the connections from its config.yaml (--other-connections gives it instead)",
            )?,
            (None, None) => 0,
        };
        let watch = match (given.others, manifests.deployment(WATCH.0)) {
            (None, Ok(_)) => WATCH.1,
            _ => 0,
        };
        Ok(Self {
            max_connections,
            reserved: read("superuser_reserved_connections", SUPERUSER_RESERVED)?
                .saturating_add(read("reserved_connections", 0)?),
            others: others.saturating_add(watch),
        })
    }

    /// Connections that workers may have together.
    pub fn for_workers(&self) -> u32 {
        self.max_connections
            .saturating_sub(self.reserved)
            .saturating_sub(self.others)
    }
}

/// The Deployment that shows the queues' depths, and what it may hold: two connections, and two of its next one in a rollout.
const WATCH: (&str, u32) = ("temporal-queue-metrics", 4);

/// A number of Postgres' configuration. As there, the last one counts, and the equals sign may be left out.
fn parameter(conf: &str, name: &str) -> Result<Option<u32>> {
    let value = conf.lines().rev().find_map(|line| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let (key, value) = line.split_once(|c: char| c == '=' || c.is_whitespace())?;
        key.eq_ignore_ascii_case(name)
            .then(|| value.trim_matches(|c: char| c == '=' || c == '\'' || c.is_whitespace()))
    });
    let number = |value: &str| {
        value
            .parse()
            .with_context(|| format!("postgresql.conf: {name} is {value:?}: it must be a whole number"))
    };
    value.map(number).transpose()
}

/// Of Temporal's configuration, the parts that say how many connections it opens.
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

/// Connections of Temporal, at the most: each of its services has pools of its own, one a datastore.
fn temporal(config: &str) -> Result<u32> {
    let config: Temporal = serde_norway::from_str(&without_templates(config))?;
    let mut each = 0_u32;
    for (name, datastore) in &config.persistence.datastores {
        if let Some(sql) = &datastore.sql {
            let most = sql
                .max_conns
                .with_context(|| format!("datastore {name} has no maxConns"))?;
            each = each.saturating_add(most);
        }
    }
    let services = u32::try_from(config.services.len()).unwrap_or(u32::MAX);
    Ok(services.saturating_mul(each))
}

/// The text with a word in place of what the server fills in when it starts (`{{ … }}`), which is no YAML.
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

    const TEMPORAL: &str = "log:\n  level: {{ default \"info\" (env \"L\") }}\npersistence:\n  datastores:\n    default:\n      sql: {connectAddr: {{ env \"A\" | quote }}, maxConns: 25}\n    visibility:\n      sql: {maxConns: 5}\n    search:\n      elasticsearch: {}\nservices: {frontend: {}, history: {}, matching: {}, worker: {}}\n";

    fn read(conf: Option<&str>, temporal: Option<&str>, given: Given) -> Result<Database> {
        let text = |(name, text): (&str, &str)| Text {
            name: name.into(),
            text: text.into(),
        };
        let files = [
            conf.map(|conf| ("postgresql.conf", conf)),
            temporal.map(|config| ("config.yaml", config)),
        ];
        let texts: Vec<Text> = files.into_iter().flatten().map(text).collect();
        Database::read(&Manifests::parse(&texts)?, given)
    }

    #[test]
    fn workers_have_what_superusers_and_temporal_leave() {
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
            (
                "superuser_reserved_connections = 5\nreserved_connections = 2",
                100,
                7,
            ),
            ("superuser_reserved_connections=0", 100, 0),
        ] {
            let database = read(Some(conf), None, Given::default()).unwrap();
            assert_eq!(
                (database.max_connections, database.reserved),
                (max, reserved),
                "{conf}"
            );
        }
        let error = read(Some("max_connections = lots"), None, Given::default()).unwrap_err();
        assert!(
            error.to_string().contains("max_connections is \"lots\""),
            "{error}"
        );
    }

    #[test]
    fn what_is_given_is_not_read() {
        let given = Given {
            max_connections: Some(500),
            others: Some(40),
        };
        let database = read(None, None, given).unwrap();
        assert_eq!(database.for_workers(), 457);
        let database = read(Some("max_connections = x"), Some("no config"), given).unwrap();
        assert_eq!(database.for_workers(), 457);
    }

    #[test]
    fn a_database_that_nothing_is_said_of_is_refused_with_the_way_out() {
        let error = read(None, Some(TEMPORAL), Given::default())
            .unwrap_err()
            .to_string();
        assert!(error.contains("--max-connections"), "{error}");
        let unlimited = TEMPORAL.replace("maxConns: 5", "maxIdleConns: 5");
        let error = read(Some(""), Some(&unlimited), Given::default()).unwrap_err();
        let error = format!("{error:#}");
        assert!(
            error.contains("visibility has no maxConns") && error.contains("--other-connections"),
            "{error}"
        );
    }
}
