//! The page for people: one HTML file that loads nothing and needs no script. Pure.
//!
//! Every text goes through the template's escaping. The style sheet and the script, which are this crate's own files,
//! are the only parts that do not.

mod chart;
mod reaction;
mod scale;
mod scenario;
mod series;
mod timeline;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;
use time::macros::format_description;

use super::figures::lines;
use super::tables::{self, duration, passed};
use super::{Pinned, Run};
use crate::cluster::reading::Reading;
use crate::facts::Facts;
use crate::judge::table::Table;
use crate::judge::verdict::Outcome;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("pointer.js");
/// The browser refuses to load anything for this page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// So many reasons are shown at the top of the page; each is at its scenario, too.
const REASONS: usize = 5;

/// The whole page.
pub fn page(run: &Run<'_>) -> String {
    let (facts, verdict) = (run.facts, run.verdict);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                title { (verdict.outcome) ": run " (facts.run.id) }
                link rel="icon" href="data:,";
                style { (PreEscaped(STYLE)) }
            }
            body {
                (top(run))
                main {
                    (summary(run))
                    @for one in &verdict.scenarios { (scenario::section(run, one)) }
                    (where_the_time_went(run))
                    (what_ran(run))
                    (again(facts))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn top(run: &Run<'_>) -> Markup {
    let facts = &run.facts.run;
    html! {
        header {
            p.eyebrow { "Slipway, end-to-end run" }
            h1 { (badge(&run.verdict.outcome)) " " span.run { (facts.id) } }
            dl.facts {
                div { dt { "Began" } dd { (date(facts.began_unix)) } }
                div { dt { "Took" } dd { (duration(facts.seconds)) } }
                div { dt { "Seed" } dd { (facts.seed) } }
                div { dt { "Cluster" } dd { (facts.cluster) } }
                div { dt { "Host" } dd { (host(&run.pinned, run.facts)) } }
            }
            @if let Some(mutation) = &facts.mutation {
                p.missing { "The cluster was broken on purpose: mutation " code { (mutation) } "." }
            }
            @if !run.pinned.unlocked.is_empty() {
                p.missing { "Not as the bundle's locks say: " (run.pinned.unlocked.join("; ")) "." }
            }
            (reasons(&run.verdict.outcome, REASONS))
        }
    }
}

/// The style sheet's class of an outcome.
fn class(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail(_) => "fail",
        Outcome::Inconclusive(_) => "open",
    }
}

/// The verdict in a word, a sign and a colour: never by colour alone.
fn badge(outcome: &Outcome) -> Markup {
    let sign = match outcome {
        Outcome::Pass => "✓",
        Outcome::Fail(_) => "✕",
        Outcome::Inconclusive(_) => "?",
    };
    html! { span class={ "verdict " (class(outcome)) } { span aria-hidden="true" { (sign) } " " (outcome.word()) } }
}

/// The first `most` reasons, and how many there are beside them.
fn reasons(outcome: &Outcome, most: usize) -> Markup {
    let all = outcome.reasons();
    html! {
        @if !all.is_empty() {
            ul class={ "reasons " (class(outcome)) } {
                @for reason in all.iter().take(most) { li { (reason) } }
                @if all.len() > most { li { "and " (all.len() - most) " more, below" } }
            }
        }
    }
}

fn summary(run: &Run<'_>) -> Markup {
    html! {
        section {
            h2 { "Scenarios" }
            table.stack {
                thead { tr { th { "Scenario" } th { "Verdict" } th { "Checks" } th { "Took" } th { "Figures and reasons" } } }
                tbody {
                    @for one in &run.verdict.scenarios {
                        tr {
                            td data-head="Scenario" { a href={ "#" (anchor(&one.name)) } { (one.name) } }
                            td data-head="Verdict" { (badge(&one.outcome)) }
                            td data-head="Checks" { (passed(one)) " of " (one.checks.len()) }
                            td data-head="Took" { (duration(one.seconds as f64)) }
                            td data-head="Figures and reasons" {
                                @for line in lines(&run.figures, &one.name) { p.figures { (line) } }
                                (reasons(&one.outcome, usize::MAX))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A table with its title and note; from the third column on it holds figures where `figures` says so.
fn table(table: &Table, figures: bool) -> Markup {
    let class = |column: usize| if figures && column > 0 { "figure" } else { "" };
    html! {
        h3 { (table.title) }
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (column, head) in table.heads.iter().enumerate() { th class=(class(column)) { (head) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for (column, cell) in row.iter().enumerate() { td class=(class(column)) { (cell) } } }
                    }
                }
            }
        }
        @if !table.note.is_empty() { p.note { (table.note) } }
    }
}

/// A name as the target of a link within the page.
fn anchor(name: &str) -> String {
    let kept = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
    format!("scenario-{}", name.chars().map(kept).collect::<String>())
}

fn where_the_time_went(run: &Run<'_>) -> Markup {
    let stages = tables::stages(run);
    let longest = stages.iter().map(|(_, seconds)| *seconds).fold(0.1, f64::max);
    let table = tables::time(run);
    html! {
        section {
            h2 { (table.title) }
            table.bars {
                thead { tr { th { "Stage" } th.figure { "Seconds" } th.figure { "Of all" } th {} } }
                tbody {
                    @for (row, (_, seconds)) in table.rows.iter().zip(&stages) {
                        tr {
                            td { (row[0]) }
                            td.figure { (row[1]) }
                            td.figure { (row[2]) }
                            td.bar { i style={ "width:" (chart::percent(seconds / longest)) } {} }
                        }
                    }
                }
            }
        }
    }
}

fn what_ran(run: &Run<'_>) -> Markup {
    let pinned = &run.pinned;
    html! {
        section {
            h2 { "What ran, and on what" }
            @if let Some(missing) = &pinned.missing { p.missing { "Pins and host are not known: " (missing) } }
            p { (tables::loaded(run)) }
            @if !pinned.adaptations.is_empty() {
                h3 { "Adapted to this host" }
                ul { @for adaptation in &pinned.adaptations { li { (adaptation) } } }
            }
            @for table in tables::pinned(run) {
                details {
                    summary { (table.title) span.count { (table.rows.len()) } }
                    table.pairs { tbody { @for row in &table.rows { tr { th { (row[0]) } td { (row[1]) } } } } }
                }
            }
        }
    }
}

fn again(facts: &Facts) -> Markup {
    let scenarios = facts.run.asked.iter().map(|name| format!(" --scenario {name}"));
    let capacity = facts.calibration.as_ref().and_then(Reading::seen);
    let capacity = capacity.map(|found| format!(" --capacity {:.1}", found.per_second()));
    let flags: String = capacity.into_iter().chain(scenarios).collect();
    html! {
        section {
            h2 { "Once more" }
            p { "The same load again, on a new cluster:" }
            pre { "cargo xtask e2e --seed " (facts.run.seed) (flags) }
            p { "This page again from the run’s folder, where " code { "figures.json" } " and " code { "verdict.json" } " have the same figures for programs:" }
            pre { "cargo run --package kind-e2e -- report --run-dir target/e2e/<run>" }
        }
    }
}

/// The host in one line, of what is known.
fn host(run: &Pinned, facts: &Facts) -> String {
    let of = |key: &str| run.host.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
    let memory = of("memory_bytes").and_then(|bytes| bytes.parse::<f64>().ok());
    let parts = [
        of("os").map(str::to_owned),
        of("arch").map(str::to_owned),
        Some(format!("{} cores", facts.run.cores)),
        memory.map(|bytes| format!("{:.0} GiB", bytes / f64::from(1 << 30))),
        of("cgroup").filter(|version| *version != "null").map(|version| format!("cgroup {version}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn date(unix: f64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let date = OffsetDateTime::from_unix_timestamp(unix as i64).ok().and_then(|date| date.format(format).ok());
    date.unwrap_or_else(|| format!("{unix:.0} s after 1970"))
}
