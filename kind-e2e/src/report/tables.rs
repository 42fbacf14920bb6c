//! The tables of a report, as words: the same for the page and for Markdown. Pure.

use super::Run;
use super::figures::{Figures, lines};
use crate::judge::reaction::{Reaction, recovered};
use crate::judge::statistics::seconds;
use crate::judge::table::Table;
use crate::judge::verdict::{Outcome, ScenarioVerdict};

/// A row a scenario: verdict, checks, time, figures.
pub fn scenarios(run: &Run<'_>) -> Table {
    let heads = ["scenario", "verdict", "checks passed", "took", "figures"];
    let mut table = Table::new("Scenarios", &heads, String::new());
    table.rows = run
        .verdict
        .scenarios
        .iter()
        .map(|one| {
            vec![
                one.name.clone(),
                one.outcome.to_string(),
                format!("{} of {}", passed(one), one.checks.len()),
                duration(one.seconds as f64),
                lines(&run.figures, &one.name).join(" | "),
            ]
        })
        .collect();
    table
}

/// The number of checks that passed.
pub fn passed(scenario: &ScenarioVerdict) -> usize {
    let checks = scenario.checks.iter();
    checks.filter(|check| check.outcome == Outcome::Pass).count()
}

/// A row a check.
pub fn checks(scenario: &ScenarioVerdict) -> Table {
    let heads = ["check", "verdict", "measured", "bound", "why this bound"];
    let mut table = Table::new(scenario.name.clone(), &heads, String::new());
    let row = |check: &crate::judge::verdict::Check| {
        let reasons = check.outcome.reasons().join("; ");
        let verdict = match reasons.is_empty() {
            true => check.outcome.to_string(),
            false => format!("**{}**: {reasons}", check.outcome),
        };
        vec![check.name.clone(), verdict, check.measured.clone(), check.bound.clone(), check.why.clone()]
    };
    table.rows = scenario.checks.iter().map(row).collect();
    table
}

/// Latency by phase of a load; none where nothing was due.
pub fn latency(load: &str, figures: &Figures) -> Option<Table> {
    let heads = ["phase", "due", "never stored", "p50", "p90", "p99", "max"];
    let note = format!(
        "From the time at which a start was due until its document's transaction was committed. {} of {} documents are \
         stored.",
        figures.stored, figures.due
    );
    let mut table = Table::new(heading(load, "latency by phase"), &heads, note);
    table.rows = figures
        .latency
        .iter()
        .map(|(phase, found)| {
            let figures = [found.p50, found.p90, found.p99, found.max].map(seconds);
            let counts = [phase.clone(), found.count.to_string(), found.lost.to_string()];
            counts.into_iter().chain(figures).collect()
        })
        .collect();
    (!table.rows.is_empty()).then_some(table)
}

/// A row a reaction; none where the load has no step.
pub fn reactions(load: &str, reactions: &[Reaction]) -> Option<Table> {
    let heads = [
        "step in second",
        "workers before",
        "signal",
        "decision",
        "pod",
        "first poll",
        "all ready",
        "worst p99",
        "latency",
    ];
    let title = heading(load, "reaction to each step in load");
    let mut table = Table::new(title, &heads, "Seconds after each step.");
    let after = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1} s"));
    let row = |one: &Reaction| {
        let stages = [one.signal, one.decision, one.pod, one.first_poll, one.all_ready, one.worst_p99];
        let first = [format!("{:.0}", one.step), one.before.to_string()];
        let last = recovered(one.latency);
        first.into_iter().chain(stages.map(after)).chain([last]).collect()
    };
    table.rows = reactions.iter().map(row).collect();
    (!table.rows.is_empty()).then_some(table)
}

/// A table's title, with the load that it is of where its scenario has several.
fn heading(load: &str, what: &str) -> String {
    let mut letters = what.chars();
    match load {
        "" => letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default(),
        load => format!("{load}: {what}"),
    }
}

/// Where the time went: each stage with its seconds, before the scenarios and in them.
pub fn stages(run: &Run<'_>) -> Vec<(String, f64)> {
    let scenarios = run.facts.scenarios.iter();
    let scenarios = scenarios.map(|one| (format!("scenario {}", one.name), one.ended - one.began));
    run.pinned.stages.iter().cloned().chain(scenarios).collect()
}

/// The same as a table.
pub fn time(run: &Run<'_>) -> Table {
    let stages = stages(run);
    let total = stages.iter().map(|(_, seconds)| seconds).sum::<f64>().max(0.1);
    let mut table = Table::new("Where the time went", &["stage", "seconds", "of all"], String::new());
    let row = |(stage, seconds): &(String, f64)| {
        vec![stage.clone(), format!("{seconds:.1}"), format!("{:.0} %", 100.0 * seconds / total)]
    };
    table.rows = stages.iter().map(row).collect();
    table
}

/// Host, pins and images, those that are known.
pub fn pinned(run: &Run<'_>) -> Vec<Table> {
    let parts = [("Host", &run.pinned.host), ("Pins", &run.pinned.pins), ("Images", &run.pinned.images)];
    let table = |(title, pairs): (&str, &Vec<(String, String)>)| {
        let mut table = Table::new(title, &["", ""], String::new());
        table.rows = pairs.iter().map(|(name, value)| vec![name.clone(), value.clone()]).collect();
        table
    };
    parts.into_iter().filter(|(_, pairs)| !pairs.is_empty()).map(table).collect()
}

/// What was loaded and how well it was seen, in sentences.
pub fn loaded(run: &Run<'_>) -> String {
    let corpus = &run.facts.run.corpus;
    let without = run.samples.iter().filter(|sample| sample.fleet.seen().is_none()).count();
    format!(
        "Documents: {} of {} files in {} ({} left out) and {} generated ones; {} of them travel as claims; {} bytes, {} \
         words. Samples: {}, {without} of them without the workers' counts.",
        corpus.used,
        corpus.found,
        corpus.folder,
        corpus.left_out,
        corpus.generated,
        corpus.large,
        corpus.bytes,
        corpus.words,
        run.samples.len()
    )
}

/// Seconds as people say them.
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 60, whole % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}
