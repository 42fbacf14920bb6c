//! One scenario on the page: its charts, its reactions, its latency, its own tables, and its checks. Pure.

use maud::{Markup, html};

use super::{anchor, badge, chart, passed, reaction, table, tables, timeline};
use crate::judge::part::Part;
use crate::judge::simulation::Simulated;
use crate::judge::verdict::{Check, Outcome, ScenarioVerdict};
use crate::observe::sample::Sample;
use crate::report::Run;
use crate::report::figures::{Figures, of_part};
use crate::scenarios::REGISTRY;

/// The section of a scenario, of whatever there is of it.
pub(super) fn section(run: &Run<'_>, verdict: &ScenarioVerdict) -> Markup {
    let about = REGISTRY.iter().find(|entry| entry.name == verdict.name).map(|entry| entry.about());
    html! {
        section id=(anchor(&verdict.name)) {
            h2 { (verdict.name) " " (badge(&verdict.outcome)) }
            @if let Some(about) = about { p.about { (capital(about)) "." } }
            @if let Some(scenario) = run.scenario(&verdict.name) {
                @for shown in scenario.tables(run.samples) { (table(&shown, false)) }
                @for part in scenario.loads().iter().filter(|part| !part.starts.is_empty()) {
                    @if let Some(figures) = run.figures.get(part.name) {
                        @let samples = of_part(run.samples, part);
                        @let simulated = scenario.simulated(part.name, run.samples);
                        (load(part, &verdict.name, &samples, &simulated, figures))
                    }
                }
            }
            h3 { "Checks " span.count { (passed(verdict)) " of " (verdict.checks.len()) " passed" } }
            @for one in &verdict.checks { (check(one)) }
        }
    }
}

/// A load: its reactions, its charts, its latency.
fn load(part: &Part<'_>, scenario: &str, samples: &[Sample], simulated: &[Simulated], figures: &Figures) -> Markup {
    let name = part.name.strip_prefix(scenario).unwrap_or(part.name).trim_start_matches('/');
    let heading = |what: &str| match name {
        "" => capital(what),
        name => format!("{name}: {what}"),
    };
    let whole = timeline::whole(part, samples, &figures.reactions, simulated);
    html! {
        @if whole.is_none() { p.missing { "No sample was taken of " (part.name) ": there is nothing to draw." } }
        @match figures.reactions.as_slice() {
            [] => {},
            [one] => {
                h3 { (heading("reaction to the step in load")) }
                (reaction::one(one))
                @if let Some(whole) = &whole { (chart::draw(&timeline::close(whole, one))) }
            }
            several => @if let Some(shown) = tables::reactions(name, several) { (table(&shown, true)) }
        }
        @if let Some(whole) = &whole {
            h3 { (heading("over time")) }
            (chart::draw(whole))
            p.note {
                "Shaded, and without a line: not seen. " (figures.samples.all) " samples, " (figures.samples.without_workers)
                " of them without the workers’ counts, " (figures.samples.gaps) " gaps of more than 5 s. "
                "Depth and slots as Prometheus has them; the load is smoothed over 5 s."
                @if !simulated.is_empty() { " Simulated: what cargo xtask simulate’s simulator makes of this load." }
            }
        }
        @if let Some(shown) = tables::latency(name, figures) { (table(&shown, true)) }
    }
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(char::to_uppercase).into_iter().flatten();
    first.chain(letters).collect()
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
