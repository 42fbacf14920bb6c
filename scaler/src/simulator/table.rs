//! The outcomes as a table for a terminal.

use super::outcome::Outcome;

const HEAD: [&str; 12] =
    ["way", "HPA", "p50", "p99", "depth", "workers", "all needed", "recovery", "hours", "cost", "turns", "below use"];

/// A table for each scenario.
pub fn table(outcomes: &[Outcome]) -> String {
    let mut text = String::new();
    let mut rest = outcomes;
    while let Some(first) = rest.first() {
        let count = rest.iter().take_while(|outcome| outcome.scenario == first.scenario).count();
        let (these, others) = rest.split_at(count);
        let rows: Vec<_> = std::iter::once(HEAD.map(str::to_owned)).chain(these.iter().map(row)).collect();
        text += &format!(
            "{}: {} documents, {:.2} hours of an oracle\n",
            first.scenario, first.documents, first.oracle_hours
        );
        text += &aligned(&rows);
        text += "\n";
        rest = others;
    }
    text
}

/// The figures of an outcome, in the order of the columns.
pub(super) fn row(outcome: &Outcome) -> [String; 12] {
    [
        outcome.way.to_owned(),
        match outcome.scrape {
            Some(scrape) => format!("{} s, scrapes {scrape} s", outcome.hpa),
            None => format!("{} s", outcome.hpa),
        },
        seconds(outcome.p50, "never"),
        seconds(outcome.p99, "never"),
        format!("{:.0}", outcome.depth),
        outcome.wanted.to_string(),
        seconds(outcome.all_needed, "-"),
        seconds(outcome.recovery, "-"),
        format!("{:.2}", outcome.worker_hours),
        format!("{:.2}", outcome.cost()),
        outcome.turns.to_string(),
        match outcome.below_use {
            0 => "0".to_owned(),
            below => format!("{below} s"),
        },
    ]
}

pub(super) fn head() -> [&'static str; 12] {
    HEAD
}

fn seconds(value: Option<f64>, none: &str) -> String {
    value.map_or(none.to_owned(), |value| format!("{value:.1} s"))
}

/// Columns as wide as their widest cell: the first two to the left, figures to the right.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:width$}"),
            _ => format!("{cell:>width$}"),
        });
        text += format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end();
        text.push('\n');
    }
    text
}
