//! One scenario on the page: its charts, its reactions, its latency, what it tells beside, and its checks. Pure.

use std::collections::BTreeMap;

use maud::{Markup, html};

use super::{anchor, badge, chart, passed, reaction, timeline};
use crate::facts::ScenarioFacts;
use crate::figures::{Figures, of_part};
use crate::observe::sample::Sample;
use crate::scenarios::{ALL, Part};
use crate::table::Table;
use crate::verdict::{Check, Outcome, ScenarioVerdict};

/// The section of a scenario, of whatever there is of it.
pub(super) fn section(
    verdict: &ScenarioVerdict,
    facts: Option<&ScenarioFacts>,
    samples: &[Sample],
    figures: &BTreeMap<String, Figures>,
) -> Markup {
    let about = ALL
        .iter()
        .find(|scenario| scenario.name() == verdict.name)
        .map(|scenario| scenario.about());
    html! {
        section id=(anchor(&verdict.name)) {
            h2 { (verdict.name) " " (badge(&verdict.outcome)) }
            @if let Some(about) = about { p.about { (capital(about)) "." } }
            @if let Some(facts) = facts {
                @for table in facts.detail.tables(samples) { (told(&table)) }
                @for part in facts.detail.parts().iter().filter(|part| !part.starts.is_empty()) {
                    @if let Some(figures) = figures.get(part.name) { (load(part, &verdict.name, &of_part(samples, part), figures)) }
                }
            }
            h3 { "Checks " span.count { (passed(verdict)) " of " (verdict.checks.len()) " passed" } }
            @for one in &verdict.checks { (check(one)) }
        }
    }
}

/// A load: its reactions, its charts, its latency.
fn load(part: &Part<'_>, scenario: &str, samples: &[Sample], figures: &Figures) -> Markup {
    let heading = |what: &str| match part
        .name
        .strip_prefix(scenario)
        .unwrap_or(part.name)
        .trim_start_matches('/')
    {
        "" => capital(what),
        load => format!("{load}: {what}"),
    };
    let whole = timeline::whole(part, samples, &figures.reactions);
    html! {
        @if whole.is_none() { p.missing { "No sample was taken of " (part.name) ": there is nothing to draw." } }
        @match figures.reactions.as_slice() {
            [] => {},
            [one] => {
                h3 { (heading("reaction to the step in load")) }
                (reaction::one(one))
                @if let Some(whole) = &whole { (chart::draw(&timeline::close(whole, one))) }
            }
            several => {
                h3 { (heading("reactions to the steps in load")) }
                (reaction::several(several))
            }
        }
        @if let Some(whole) = &whole {
            h3 { (heading("over time")) }
            (chart::draw(whole))
            p.note {
                "Shaded, and without a line: not seen. " (figures.samples.all) " samples, " (figures.samples.without_workers)
                " of them without the workers’ counts, " (figures.samples.gaps) " gaps of more than 5 s. "
                "Depth and slots as Prometheus has them; the load is smoothed over 5 s."
            }
        }
        @if !figures.latency.is_empty() {
            h3 { (heading("latency by phase")) }
            (latency(figures))
        }
    }
}

fn latency(figures: &Figures) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { th { "Phase" } @for head in ["Stored", "p50", "p90", "p99", "max"] { th.figure { (head) } } } }
                tbody {
                    @for (phase, found) in &figures.latency {
                        tr {
                            td { (phase) }
                            td.figure { (found.count) }
                            @for seconds in [found.p50, found.p90, found.p99, found.max] { td.figure { (format!("{seconds:.2} s")) } }
                        }
                    }
                }
            }
        }
        p.note {
            "From the time that a start was due until its row was there. " (figures.stored) " of " (figures.due) " documents stored."
        }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).collect()
}

fn told(table: &Table) -> Markup {
    html! {
        h3 { (table.title) }
        div.scroll tabindex="0" {
            table {
                thead { tr { @for head in &table.heads { th { (head) } } } }
                tbody { @for row in &table.rows { tr { @for cell in row { td { (cell) } } } } }
            }
        }
        p.note { (table.note) }
    }
}

/// A check in a line, and everything about it below; what did not pass is open.
fn check(check: &Check) -> Markup {
    html! {
        details.check open[check.outcome != Outcome::Pass] {
            summary { (badge(&check.outcome)) span.name { (check.name) } span.measured { (check.measured) } }
            dl {
                @for reason in check.outcome.reasons() { dt { "Reason" } dd.reason { (reason) } }
                dt { "Measured" } dd { (check.measured) }
                dt { "Bound" } dd { (check.bound) }
                dt { "Why this bound" } dd { (check.why) }
            }
        }
    }
}
