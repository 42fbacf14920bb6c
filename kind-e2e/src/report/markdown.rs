//! The page as Markdown, for a CI's summary: the same tables as the HTML page, without charts. Pure.

use std::fmt::Write;

use super::{Run, tables};
use crate::judge::table::Table;

/// The whole page.
pub fn page(run: &Run<'_>) -> String {
    let (facts, verdict) = (&run.facts.run, run.verdict);
    let mut page = format!("# {}: run {}\n\n", verdict.outcome, facts.id);
    let took = tables::duration(facts.seconds);
    line(&mut page, &format!("Cluster {}, seed {}, {took}.\n", facts.cluster, facts.seed));
    if let Some(mutation) = &facts.mutation {
        line(&mut page, &format!("The cluster was broken on purpose: mutation {mutation}.\n"));
    }
    list(&mut page, verdict.outcome.reasons());
    table(&mut page, &tables::scenarios(run));
    for scenario in &verdict.scenarios {
        line(&mut page, &format!("## {}: {}\n", scenario.name, scenario.outcome));
        rows(&mut page, &tables::checks(scenario));
        let Some(found) = run.scenario(&scenario.name) else {
            continue;
        };
        for shown in found.tables(run.samples) {
            table(&mut page, &shown);
        }
        for part in found.loads() {
            let Some(figures) = run.figures.get(part.name) else {
                continue;
            };
            let load = part.name.strip_prefix(&scenario.name).unwrap_or(part.name).trim_start_matches('/');
            let shown = [tables::reactions(load, &figures.reactions), tables::latency(load, figures)];
            for shown in shown.into_iter().flatten() {
                table(&mut page, &shown);
            }
        }
    }
    table(&mut page, &tables::time(run));
    line(&mut page, "## What ran, and on what\n");
    if let Some(missing) = &run.pinned.missing {
        line(&mut page, &format!("Pins and host are not known: {missing}\n"));
    }
    line(&mut page, &format!("{}\n", tables::loaded(run)));
    list(&mut page, &run.pinned.adaptations);
    if !run.pinned.unlocked.is_empty() {
        line(&mut page, "Not as the bundle's locks say:\n");
        list(&mut page, &run.pinned.unlocked);
    }
    for shown in tables::pinned(run) {
        table(&mut page, &shown);
    }
    page
}

fn list(page: &mut String, items: &[String]) {
    for item in items {
        line(page, &format!("- {item}"));
    }
    if !items.is_empty() {
        line(page, "");
    }
}

fn table(page: &mut String, table: &Table) {
    line(page, &format!("### {}\n", table.title));
    rows(page, table);
    if !table.note.is_empty() {
        line(page, &format!("{}\n", table.note));
    }
}

fn rows(page: &mut String, table: &Table) {
    line(page, &format!("| {} |", table.heads.join(" | ")));
    line(page, &format!("|{}", "---|".repeat(table.heads.len())));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect();
        line(page, &format!("| {} |", cells.join(" | ")));
    }
    line(page, "");
}

fn line(page: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{text}");
}
