//! The outcomes as one static page: tables, and plots of workers and depths. Nothing is loaded.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::outcome::{Moment, Outcome};
use super::table;
use super::ways::Way;

/// The drawing's own units; it is stretched to the width that there is.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 200.0;
/// Points of a line at most.
const POINTS: usize = 800;

/// The page of these outcomes. `command` is what made it.
pub fn page(outcomes: &[Outcome], command: &str) -> String {
    let scenarios: Vec<&[Outcome]> = outcomes.chunk_by(|one, other| one.scenario == other.scenario).collect();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Ways to scale, simulated" }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                h1 { "Ways to scale, simulated" }
                p { code { (command) } }
                p {
                    "Cost is worker-hours over those of an oracle, which has at each second the workers that the load "
                    "needs. A percentile counts documents that were not stored until the end as later than all others."
                }
                @for outcomes in &scenarios { (scenario(outcomes)) }
            }
        }
    };
    page.into_string()
}

fn scenario(outcomes: &[Outcome]) -> Markup {
    let mut periods: Vec<f64> = outcomes.iter().map(|outcome| outcome.hpa).collect();
    periods.sort_by(f64::total_cmp);
    periods.dedup();
    html! {
        h2 { (outcomes[0].scenario) }
        @if let Ok(known) = super::find(&outcomes[0].scenario) { p { (known.about) } }
        div.wide {
            table {
                thead { tr { @for name in table::head() { th { (name) } } } }
                tbody { @for outcome in outcomes { tr { @for cell in table::row(outcome) { td { (cell) } } } } }
            }
        }
        @for period in periods {
            @let these: Vec<&Outcome> = outcomes.iter().filter(|outcome| outcome.hpa == period).collect();
            h3 { "HPA every " (period) " s" }
            ul.legend {
                @for outcome in &these { li class=(color(outcome)) { (outcome.way) } }
                li.load { "oracle" }
            }
            (plot("Ready workers", &these, Some(|moment| f64::from(moment.oracle)), |moment| f64::from(moment.ready)))
            (plot("Tasks waiting", &these, None, |moment| moment.depth))
        }
    }
}

fn color(outcome: &Outcome) -> String {
    let index = Way::ALL.iter().position(|way| way.name() == outcome.way).unwrap_or(0);
    format!("c{index}")
}

fn plot(title: &str, outcomes: &[&Outcome], oracle: Option<fn(&Moment) -> f64>, value: fn(&Moment) -> f64) -> Markup {
    let end = outcomes.iter().flat_map(|outcome| outcome.course.last()).map(|last| last.at).fold(1.0, f64::max);
    let values = outcomes.iter().flat_map(|outcome| outcome.course.iter().map(value));
    let step = nice(values.fold(1.0, f64::max) / 3.0);
    let top = (outcomes.iter().flat_map(|outcome| outcome.course.iter().map(value)).fold(step, f64::max) / step).ceil()
        * step;
    let y = |value: f64| HEIGHT * (1.0 - value / top);
    let ticks = (0..=(top / step) as u32).map(|count| f64::from(count) * step);
    let second = nice(end / 7.0);
    html! {
        p { (title) }
        div.plot {
            svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(title) {
                @for tick in ticks.clone() { path.grid d={ "M0 " (short(y(tick))) "H" (WIDTH) } {} }
                @if let (Some(oracle), Some(first)) = (oracle, outcomes.first()) {
                    path.load d=(line(&first.course, end, oracle, y)) {}
                }
                @for outcome in outcomes { path class=(color(outcome)) d=(line(&outcome.course, end, value, y)) {} }
            }
            @for tick in ticks { span.tick style={ "top:" (short(100.0 * (1.0 - tick / top))) "%" } { (tick) } }
            @for count in 0..=(end / second) as u32 {
                @let at = f64::from(count) * second;
                span.time style={ "left:" (short(100.0 * at / end)) "%" } { (time(at)) }
            }
        }
    }
}

/// The highest value of each part, so that no peak is lost.
fn line(course: &[Moment], end: f64, value: fn(&Moment) -> f64, y: impl Fn(f64) -> f64) -> String {
    let mut path = String::new();
    for part in course.chunks(course.len().div_ceil(POINTS).max(1)) {
        let highest = part.iter().map(value).fold(0.0, f64::max);
        let command = if path.is_empty() { "M" } else { "L" };
        path += &format!("{command}{} {}", short(part[0].at / end * WIDTH), short(y(highest)));
    }
    path
}

fn short(value: f64) -> String {
    format!("{}", (value * 10.0).round() / 10.0)
}

/// 1, 2 or 5 times a power of ten, or of sixty.
fn nice(value: f64) -> f64 {
    let power = 10_f64.powf(value.max(1.0).log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= value).unwrap_or(power)
}

fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds >= 7200.0 => format!("{} h", short(seconds / 3600.0)),
        _ => format!("{seconds} s"),
    }
}
