//! The CIS Kubernetes benchmark: what it asks of the control plane and the kubelets, and what was read there. The rows
//! are data (`benchmark.toml`). Only nodes of kind are read: those of others are no containers of this host.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::LazyLock;

use anyhow::Result;
use serde::Deserialize;

use crate::cluster::Fixture;
use crate::cluster::control_plane::{self, FILES, Places, SEEN};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question, faults};

/// What was read, by node. Empty in a cluster of others.
pub(super) type Found = BTreeMap<String, Places>;

/// `benchmark.toml`.
static BENCHMARK: LazyLock<Benchmark> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../benchmark.toml")).expect("benchmark.toml is compiled in, and tested")
});

type Asked = (String, Vec<String>, Want);

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Benchmark {
    /// By place and by the benchmark's number: what is asked, the keys in that place, and what they must be.
    asked: BTreeMap<String, BTreeMap<String, Asked>>,
    /// By the benchmark's number: what it asks, and why it is not asked here.
    not_asked: BTreeMap<String, (String, String)>,
}

/// What a key must be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Want {
    Set,
    Unset,
    Is(String),
    IsOrUnset(String),
    Not(String),
    /// A list with commas that has this.
    Has(String),
    /// A list with commas that has it not, or none.
    Lacks(String),
    AtLeast(i64),
    /// A file with no more rights, which is root's. Files are on some nodes only.
    Mode(String),
}

/// A row: its number, its place, and the rest.
struct Row<'a> {
    id: &'a str,
    place: &'a str,
    asks: &'a str,
    keys: &'a [String],
    want: &'a Want,
}

/// The rows in the order of the benchmark.
fn rows() -> Vec<Row<'static>> {
    let mut rows = Vec::new();
    for (place, demands) in &BENCHMARK.asked {
        rows.extend(demands.iter().map(|(id, (asks, keys, want))| Row { id, place, asks, keys, want }));
    }
    rows.sort_by_key(|row| numbers(row.id));
    rows
}

/// The numbers of the first of a row's demands: 1.2.10 comes after 1.2.9.
fn numbers(id: &str) -> Vec<u32> {
    let first = id.split([',', ' ']).next().unwrap_or_default();
    first.split('.').filter_map(|number| number.parse().ok()).collect()
}

impl Want {
    /// Whether the values of a key are what they must be.
    fn holds(&self, values: &[String]) -> bool {
        let lists = |one: &String| values.iter().any(|value| value.split(',').any(|item| item == one));
        match self {
            Self::Set => !values.is_empty(),
            Self::Unset => values.is_empty(),
            Self::Is(one) => !values.is_empty() && values.iter().all(|value| value == one),
            Self::IsOrUnset(one) => values.iter().all(|value| value == one),
            Self::Not(one) => !values.is_empty() && values.iter().all(|value| value != one),
            Self::Has(one) => lists(one),
            Self::Lacks(one) => !lists(one),
            Self::AtLeast(least) => {
                let number = |value: &String| value.parse::<i64>().is_ok_and(|number| number >= *least);
                !values.is_empty() && values.iter().all(number)
            }
            Self::Mode(most) => values.iter().all(|file| protected(file, most)),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Set => formatter.write_str("set"),
            Self::Unset => formatter.write_str("not set"),
            Self::Is(one) => write!(formatter, "`{one}`"),
            Self::IsOrUnset(one) => write!(formatter, "`{one}` or not set"),
            Self::Not(one) => write!(formatter, "not `{one}`"),
            Self::Has(one) => write!(formatter, "has `{one}`"),
            Self::Lacks(one) => write!(formatter, "has no `{one}`"),
            Self::AtLeast(least) => write!(formatter, "at least {least}"),
            Self::Mode(most) => write!(formatter, "root's, {most} at most"),
        }
    }
}

/// Whether a file, as `600 root:root NAME`, is root's and gives no right that `most` does not.
fn protected(file: &str, most: &str) -> bool {
    let (mode, owner) = file.split_once(' ').unwrap_or_default();
    let bits = |mode: &str| u32::from_str_radix(mode, 8).unwrap_or(u32::MAX);
    bits(mode) & !bits(most) == 0 && owner.starts_with("root:root ")
}

impl Row<'_> {
    /// What was read of each key, by node. Of what happens and of files, a node that has nothing of them says nothing.
    fn read<'a>(&'a self, found: &'a Found) -> Vec<(&'a str, &'a str, &'a [String])> {
        let some = [FILES, SEEN].contains(&self.place);
        let places = found.iter().filter_map(|(node, places)| Some((node, places.get(self.place)?)));
        let each = places.flat_map(|(node, place)| {
            let values = move |key: &'a String| place.get(key).map_or(&[][..], Vec::as_slice);
            self.keys.iter().map(move |key| (node.as_str(), key.as_str(), values(key)))
        });
        each.filter(|(.., values)| !some || !values.is_empty()).collect()
    }

    /// The keys that no node has shown: without them the row says nothing.
    fn unseen<'a>(&'a self, found: &'a Found) -> impl Iterator<Item = String> + 'a {
        let read = self.read(found);
        let unseen = self.keys.iter().filter(move |key| read.iter().all(|(_, seen, _)| *seen != key.as_str()));
        unseen.map(|key| format!("{}: no node shows {key} of {}", self.id, self.place))
    }

    /// What is not as it is asked.
    fn faults<'a>(&'a self, found: &'a Found) -> impl Iterator<Item = String> + 'a {
        let wrong = self.read(found).into_iter().filter(|(.., values)| !self.want.holds(values));
        wrong.map(|(node, key, values)| {
            let values = if values.is_empty() { "not set".to_owned() } else { values.join(", ") };
            format!("{} on {node}: {key} of {} is {values}, and not: {}", self.id, self.place, self.want)
        })
    }
}

/// Reads what the rows ask for.
///
/// # Errors
/// A node does not answer.
pub(super) async fn read(fixture: &Fixture) -> Result<Found> {
    if fixture.cluster.nodes.is_empty() {
        return Ok(Found::new());
    }
    let rows = rows();
    let keys = |place: &str| -> Vec<&str> {
        rows.iter().filter(|row| row.place == place).flat_map(|row| row.keys).map(String::as_str).collect()
    };
    let paths: Vec<&str> = keys(SEEN).into_iter().filter(|key| key.starts_with('/')).collect();
    control_plane::read(fixture, &keys(FILES), &paths).await
}

/// The check; none where nothing could be read.
pub(super) fn judge(found: &Found) -> Option<Check> {
    if found.is_empty() {
        return None;
    }
    let rows = rows();
    let question = Question::new(
        "benchmark",
        "the control plane and the kubelets are set as the CIS benchmark asks",
        format!("{} rows, on every node", rows.len()),
        "who reaches a node or the API server finds no way that a default left open",
    );
    let unseen: Vec<String> = rows.iter().flat_map(|row| row.unseen(found)).collect();
    let outcome = faults(rows.iter().flat_map(|row| row.faults(found)));
    Some(match (outcome.reasons().is_empty(), unseen.first()) {
        (true, Some(unseen)) => question.unseen(unseen),
        _ => question.answer(format!("{} rows", rows.len()), outcome),
    })
}

/// What was read, row by row, and what is not asked; none where nothing could be read.
pub(super) fn table(found: &Found) -> Option<Table> {
    if found.is_empty() {
        return None;
    }
    let note = "Read of running processes, the kubelets' configz and files. docs/security.md has what each must be.";
    let mut table = Table::new("CIS Kubernetes benchmark", &["row", "asks", "found"], note.to_owned());
    let asked = rows().into_iter().map(|row| {
        let wrong: Vec<String> = row.unseen(found).chain(row.faults(found)).collect();
        let answer = if wrong.is_empty() { "Pass".to_owned() } else { wrong.join("; ") };
        vec![row.id.to_owned(), row.asks.to_owned(), answer]
    });
    let not = BENCHMARK.not_asked.iter();
    let not = not.map(|(id, (asks, why))| vec![id.clone(), asks.clone(), format!("not asked: {why}")]);
    table.rows.extend(asked.chain(not));
    Some(table)
}

#[cfg(test)]
#[path = "benchmark_tests.rs"]
mod tests;
