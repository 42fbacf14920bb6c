//! One scenario on the page: its charts, its reactions, its latency, what it tells beside, and its checks. Pure.

use maud::{Markup, html};

use super::{anchor, badge, chart, passed, reaction, timeline};
use crate::facts::ScenarioFacts;
use crate::figures::{Figures, of_scenario};
use crate::observe::sample::Sample;
use crate::scenarios::ALL;
use crate::table::Table;
use crate::verdict::{Check, Outcome, ScenarioVerdict};

/// The section of a scenario, of whatever there is of it.
pub(super) fn section(
    verdict: &ScenarioVerdict,
    facts: Option<&ScenarioFacts>,
    samples: &[Sample],
    figures: Option<&Figures>,
) -> Markup {
    let about = ALL
        .iter()
        .find(|scenario| scenario.name() == verdict.name)
        .map(|scenario| scenario.about());
    html! {
        section id=(anchor(&verdict.name)) {
            h2 { (verdict.name) " " (badge(&verdict.outcome)) }
            @if let Some(about) = about { p.about { "It " (about) "." } }
            @if let (Some(facts), Some(figures)) = (facts, figures) {
                (over_time(facts, &of_scenario(samples, &facts.name), figures))
                (latency(figures))
                @for table in facts.detail.tables() { (told(&table)) }
            }
            h3 { "Checks " span.count { (passed(verdict)) " of " (verdict.checks.len()) " passed" } }
            @for one in &verdict.checks { (check(one)) }
        }
    }
}

/// The reactions and the charts of a scenario that loads.
fn over_time(facts: &ScenarioFacts, samples: &[Sample], figures: &Figures) -> Markup {
    let loads = !facts.detail.starts().is_empty();
    let whole = timeline::whole(facts, samples, &figures.reactions).filter(|_| loads);
    html! {
        @if loads && whole.is_none() { p.missing { "No sample was taken of this scenario: there is nothing to draw." } }
        @for (number, found) in (1..).zip(&figures.reactions) {
            (reaction::section(found, (figures.reactions.len() > 1).then_some(number)))
            @if let Some(whole) = &whole { (chart::draw(&timeline::close(whole, found))) }
        }
        @if let Some(whole) = &whole {
            h3 { "The whole scenario" }
            (chart::draw(whole))
            p.note {
                "Shaded, and without a line: not seen. " (figures.samples.all) " samples, " (figures.samples.without_workers)
                " of them without the workers’ counts, " (figures.samples.gaps) " gaps of more than 5 s. "
                "Depth and slots as Prometheus has them; the load is smoothed over 5 s."
            }
        }
    }
}

fn latency(figures: &Figures) -> Markup {
    html! {
        @if !figures.latency.is_empty() {
            h3 { "Latency by phase" }
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
