//! The page for people as one HTML file: it loads nothing, from nowhere, and is whole without its script. Pure.
//!
//! Every text goes through the template's escaping; the style sheet and the script are the only parts that do not, and they are
//! this crate's own files.

mod chart;
mod reaction;
mod scale;
mod scenario;
mod series;
mod timeline;

use std::collections::BTreeMap;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use time::OffsetDateTime;
use time::macros::format_description;

use super::pinned::Pinned;
use crate::facts::{Facts, ScenarioFacts};
use crate::figures::{Figures, lines};
use crate::observe::sample::Sample;
use crate::verdict::{Outcome, ScenarioVerdict, Verdict};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("pointer.js");
/// The browser itself holds the page to its word: nothing may be loaded, not even from the folder beside it.
const POLICY: &str =
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// So many reasons are told at the top of the page; each is at its scenario, too.
const REASONS: usize = 5;

/// The whole page.
pub fn page(
    run: &Pinned,
    facts: &Facts,
    samples: &[Sample],
    verdict: &Verdict,
    figures: &BTreeMap<String, Figures>,
) -> String {
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
                (top(run, facts, verdict))
                main {
                    (summary(verdict, figures))
                    @for one in &verdict.scenarios {
                        (scenario::section(one, facts_of(facts, &one.name), samples, figures))
                    }
                    (where_the_time_went(run, facts))
                    (what_ran(run, facts, samples))
                    (again(facts))
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    page.into_string()
}

fn facts_of<'a>(facts: &'a Facts, name: &str) -> Option<&'a ScenarioFacts> {
    facts.scenarios.iter().find(|one| one.name == name)
}

fn top(run: &Pinned, facts: &Facts, verdict: &Verdict) -> Markup {
    html! {
        header {
            p.eyebrow { "Slipway, end-to-end run" }
            h1 { (badge(&verdict.outcome)) " " span.run { (facts.run.id) } }
            dl.facts {
                div { dt { "Began" } dd { (date(facts.run.began_unix)) } }
                div { dt { "Took" } dd { (duration(facts.run.seconds)) } }
                div { dt { "Seed" } dd { (facts.run.seed) } }
                div { dt { "Cluster" } dd { (facts.run.cluster) } }
                div { dt { "Host" } dd { (host(run, facts)) } }
            }
            (reasons(&verdict.outcome, REASONS))
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

fn summary(verdict: &Verdict, figures: &BTreeMap<String, Figures>) -> Markup {
    html! {
        section {
            h2 { "Scenarios" }
            table.stack {
                thead { tr { th { "Scenario" } th { "Verdict" } th { "Checks" } th { "Took" } th { "Figures and reasons" } } }
                tbody {
                    @for one in &verdict.scenarios {
                        tr {
                            td data-head="Scenario" { a href={ "#" (anchor(&one.name)) } { (one.name) } }
                            td data-head="Verdict" { (badge(&one.outcome)) }
                            td data-head="Checks" { (passed(one)) " of " (one.checks.len()) }
                            td data-head="Took" { (duration(one.seconds as f64)) }
                            td data-head="Figures and reasons" {
                                @for told in lines(figures, &one.name) { p.told { (told) } }
                                (reasons(&one.outcome, usize::MAX))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn passed(scenario: &ScenarioVerdict) -> usize {
    scenario
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Pass)
        .count()
}

/// A name as the target of a link within the page.
fn anchor(name: &str) -> String {
    let kept = |letter: char| if letter.is_alphanumeric() { letter } else { '-' };
    format!("scenario-{}", name.chars().map(kept).collect::<String>())
}

fn where_the_time_went(run: &Pinned, facts: &Facts) -> Markup {
    let scenarios = facts
        .scenarios
        .iter()
        .map(|one| (format!("scenario {}", one.name), one.ended - one.began));
    let all: Vec<(String, f64)> = run.stages.iter().cloned().chain(scenarios).collect();
    let total = all.iter().map(|(_, seconds)| seconds).sum::<f64>().max(0.1);
    let longest = all.iter().map(|(_, seconds)| *seconds).fold(0.1, f64::max);
    html! {
        section {
            h2 { "Where the time went" }
            table.bars {
                thead { tr { th { "Stage" } th.figure { "Seconds" } th.figure { "Of all" } th {} } }
                tbody {
                    @for (stage, seconds) in &all {
                        tr {
                            td { (stage) }
                            td.figure { (format!("{seconds:.1}")) }
                            td.figure { (format!("{:.0} %", 100.0 * seconds / total)) }
                            td.bar { i style={ "width:" (chart::percent(seconds / longest)) } {} }
                        }
                    }
                }
            }
        }
    }
}

fn what_ran(run: &Pinned, facts: &Facts, samples: &[Sample]) -> Markup {
    let corpus = &facts.run.corpus;
    let without = samples
        .iter()
        .filter(|sample| sample.fleet.seen().is_none())
        .count();
    html! {
        section {
            h2 { "What ran, and on what" }
            @if let Some(missing) = &run.missing { p.missing { "Pins and host are not known: " (missing) } }
            p {
                "Documents: " (corpus.used) " of " (corpus.found) " files in " code { (corpus.folder) } " ("
                (corpus.large) " above 64 KiB, " (corpus.left_out) " left out), " (corpus.bytes) " bytes, " (corpus.words) " words. "
                "Samples: " (samples.len()) ", " (without) " of them without the workers’ counts."
            }
            @if !run.adaptations.is_empty() {
                h3 { "Adapted to this host" }
                ul { @for adaptation in &run.adaptations { li { (adaptation) } } }
            }
            (pairs("Host", &run.host))
            (pairs("Pins", &run.pins))
            (pairs("Images", &run.images))
        }
    }
}

fn pairs(title: &str, pairs: &[(String, String)]) -> Markup {
    html! {
        @if !pairs.is_empty() {
            details {
                summary { (title) span.count { (pairs.len()) } }
                table.pairs { tbody { @for (name, value) in pairs { tr { th { (name) } td { (value) } } } } }
            }
        }
    }
}

fn again(facts: &Facts) -> Markup {
    let scenarios: String = facts
        .run
        .asked
        .iter()
        .map(|name| format!(" --scenario {name}"))
        .collect();
    html! {
        section {
            h2 { "Once more" }
            p { "The same load again, on a new cluster:" }
            pre { "cargo xtask e2e --seed " (facts.run.seed) (scenarios) }
            p { "This page again from the run’s folder, where " code { "figures.json" } " and " code { "verdict.json" } " have the same figures for programs:" }
            pre { "cargo run --package kind-e2e -- report --run-dir target/e2e/<run>" }
        }
    }
}

/// The host in one line, of what is known.
fn host(run: &Pinned, facts: &Facts) -> String {
    let of = |key: &str| {
        run.host
            .iter()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    };
    let memory = of("memory_bytes").and_then(|bytes| bytes.parse::<f64>().ok());
    let parts = [
        of("os").map(str::to_owned),
        of("arch").map(str::to_owned),
        Some(format!("{} cores", facts.run.cores)),
        memory.map(|bytes| format!("{:.0} GiB", bytes / f64::from(1 << 30))),
        of("cgroup")
            .filter(|version| *version != "null")
            .map(|version| format!("cgroup {version}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn date(unix: f64) -> String {
    let format = format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");
    let date = OffsetDateTime::from_unix_timestamp(unix as i64)
        .ok()
        .and_then(|date| date.format(format).ok());
    date.unwrap_or_else(|| format!("{unix:.0} s after 1970"))
}

/// Seconds as people say them.
fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match (whole / 60, whole % 60) {
        (0, seconds) => format!("{seconds} s"),
        (minutes, 0) => format!("{minutes} min"),
        (minutes, seconds) => format!("{minutes} min {seconds} s"),
    }
}

#[cfg(test)]
#[path = "page_tests.rs"]
mod tests;
