//! Panels over one time axis, drawn as SVG. Pure: values in, markup out; it knows nothing of samples or scenarios.
//!
//! The drawing is stretched to the width there is while strokes keep theirs, and every label is HTML beside it: the
//! same markup serves a desk, a phone and paper. The lines are in [`super::series`].

use maud::{Markup, PreEscaped, html};
use serde_json::json;

use super::scale::{Scale, time_step};
use super::series::{HEIGHT, Point, Series, WIDTH, draw_series, short, swatch, y};

/// Numbers of events closer than this part of the width get a line of their own: at the width of a phone they would
/// overlap.
const NUMBER_WIDTH: f64 = 0.065;
/// A phase shorter than this part of the width is not named, but by its title.
const NAME_WIDTH: f64 = 0.06;

/// Series that share their axes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    /// What it shows.
    pub(super) title: &'static str,
    /// The unit of the axis on the left.
    pub(super) unit: &'static str,
    /// The unit of the axis on the right, if there is one.
    pub(super) right_unit: &'static str,
    /// The series, the first at the back.
    pub(super) series: Vec<Series>,
    /// A bound on the left axis with its name.
    pub(super) bound: Option<(f64, String)>,
    /// Times in which nothing was seen.
    pub(super) gaps: Vec<(f64, f64)>,
    /// Whether the left axis may be logarithmic.
    pub(super) may_be_log: bool,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Mark {
    /// When.
    pub(super) at: f64,
    /// What.
    pub(super) what: String,
}

/// A stretch of time with a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Span {
    /// Its first second.
    pub(super) from: f64,
    /// Its last second.
    pub(super) to: f64,
    /// Its name.
    pub(super) name: String,
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Chart {
    /// What it shows.
    pub(super) title: String,
    /// The first second.
    pub(super) from: f64,
    /// The last second.
    pub(super) to: f64,
    /// The second that the axis calls 0.
    pub(super) zero: f64,
    /// Phases, in order.
    pub(super) phases: Vec<Span>,
    /// Events, in order.
    pub(super) marks: Vec<Mark>,
    /// Panels, from the top.
    pub(super) panels: Vec<Panel>,
}

/// The chart as markup.
pub(super) fn draw(chart: &Chart) -> Markup {
    let time = Scale::exact(chart.from, chart.to);
    let marks: Vec<&Mark> = chart.marks.iter().filter(|mark| inside(chart, mark.at)).collect();
    html! {
        figure.chart data-from=(chart.from) data-to=(chart.to) data-zero=(chart.zero) {
            figcaption { (chart.title) }
            div.body {
                (numbers(&marks, &time))
                (phases(chart, &time))
                @for panel in &chart.panels { (draw_panel(chart, panel, &marks, &time)) }
                (axis(chart, &time))
            }
            @if !marks.is_empty() {
                ol.events {
                    @for mark in &marks { li { span.when { (signed(mark.at - chart.zero)) } " " (mark.what) } }
                }
            }
            script type="application/json" { (PreEscaped(values(chart))) }
        }
    }
}

fn inside(chart: &Chart, at: f64) -> bool {
    (chart.from..=chart.to).contains(&at)
}

/// The part of a series that lies within the chart's time.
fn within(series: &Series, chart: &Chart) -> Series {
    let points = series.points.iter().copied().filter(|(at, _)| inside(chart, *at));
    Series { points: points.collect(), ..series.clone() }
}

/// The events' numbers, each above its time, on as many lines as they need.
fn numbers(marks: &[&Mark], time: &Scale) -> Markup {
    let places: Vec<f64> = marks.iter().map(|mark| time.place(mark.at)).collect();
    let lanes = lanes(&places);
    let count = lanes.iter().max().map_or(0, |most| most + 1);
    html! {
        div.numbers style={ "height:" (format!("{:.2}", count as f64 * 1.3)) "rem" } {
            @for ((number, mark), (place, lane)) in (1..).zip(marks).zip(places.iter().zip(&lanes)) {
                span.number style={ (left(*place)) ";top:" (format!("{:.2}", *lane as f64 * 1.3)) "rem" } title=(mark.what) { (number) }
            }
        }
    }
}

/// The first line on which a number does not touch the one before it.
fn lanes(places: &[f64]) -> Vec<usize> {
    let mut ends: Vec<f64> = Vec::new();
    let mut lanes = Vec::new();
    for place in places {
        let lane = ends.iter().position(|end| place - end >= NUMBER_WIDTH).unwrap_or(ends.len());
        match ends.get_mut(lane) {
            Some(end) => *end = *place,
            None => ends.push(*place),
        }
        lanes.push(lane);
    }
    lanes
}

fn phases(chart: &Chart, time: &Scale) -> Markup {
    html! {
        div.phases {
            @for span in &chart.phases {
                @let (from, to) = (time.place(span.from), time.place(span.to));
                @if to > from {
                    span style={ (left(from)) ";width:" (percent(to - from)) } title=(span.name) {
                        @if to - from >= NAME_WIDTH { (span.name) }
                    }
                }
            }
        }
    }
}

fn draw_panel(chart: &Chart, panel: &Panel, marks: &[&Mark], time: &Scale) -> Markup {
    let (left_scale, right_scale) = scales(chart, panel);
    let seen = panel.series.iter().any(|series| series.points.iter().any(|(_, value)| value.is_some()));
    html! {
        div.panel {
            div.head {
                strong { (panel.title) }
                span.unit { (panel.unit) @if left_scale.is_log() { ", logarithmic" } }
                @if !panel.right_unit.is_empty() { span.unit { "right: " (panel.right_unit) } }
                ul.legend { @for series in &panel.series { li class=(series.color) { (swatch(series.form)) (series.name) } } }
            }
            div.plot {
                svg viewBox={ "0 0 " (WIDTH) " " (HEIGHT) } preserveAspectRatio="none" role="img" aria-label=(panel.title) {
                    @for (from, to) in &panel.gaps {
                        @let (from, to) = (time.place(*from) * WIDTH, time.place(*to) * WIDTH);
                        @if to > from { rect.gap x=(short(from)) y="0" width=(short(to - from)) height=(HEIGHT) { title { "not seen" } } }
                    }
                    @for tick in left_scale.ticks(3) { path.grid d={ "M0 " (short(y(&left_scale, tick))) "H" (WIDTH) } {} }
                    @for span in chart.phases.iter().skip(1).filter(|span| inside(chart, span.from)) {
                        path.phase d={ "M" (short(time.place(span.from) * WIDTH)) " 0V" (HEIGHT) } {}
                    }
                    @for series in &panel.series {
                        (draw_series(&within(series, chart), time, if series.right { &right_scale } else { &left_scale }))
                    }
                    @for mark in marks { path.mark d={ "M" (short(time.place(mark.at) * WIDTH)) " 0V" (HEIGHT) } {} }
                    @if let Some((value, _)) = &panel.bound { path.bound d={ "M0 " (short(y(&left_scale, *value))) "H" (WIDTH) } {} }
                }
                @for tick in left_scale.ticks(3) { span.tick style={ "top:" (percent(1.0 - left_scale.place(tick))) } { (number(tick)) } }
                @if !panel.right_unit.is_empty() {
                    @for tick in right_scale.ticks(3) {
                        span.tick.right style={ "top:" (percent(1.0 - right_scale.place(tick))) } { (number(tick)) }
                    }
                }
                @if let Some((value, name)) = &panel.bound {
                    span.bound style={ "top:" (percent(1.0 - left_scale.place(*value))) } { (name) }
                }
                @if !seen { span.unseen { "not seen" } }
            }
        }
    }
}

/// The axes on the left and on the right, of what lies within the chart's time.
fn scales(chart: &Chart, panel: &Panel) -> (Scale, Scale) {
    let values = |right: bool| {
        let series = panel.series.iter().filter(move |series| series.right == right);
        series.flat_map(|series| &series.points).filter(|(at, _)| inside(chart, *at)).filter_map(|(_, value)| *value)
    };
    let bound = panel.bound.as_ref().map(|(value, _)| *value);
    let left = match panel.may_be_log {
        true => Scale::of_positive(values(false).chain(bound)),
        false => Scale::from_zero(values(false).chain(bound).fold(0.0, f64::max)),
    };
    (left, Scale::from_zero(values(true).fold(0.0, f64::max)))
}

fn axis(chart: &Chart, time: &Scale) -> Markup {
    let step = time_step(chart.to - chart.from, 8);
    let (first, last) =
        (((chart.from - chart.zero) / step).ceil() as i64, ((chart.to - chart.zero) / step).floor() as i64);
    html! {
        div.axis {
            @for count in first..=last {
                @let at = count as f64 * step;
                span class=[(count % 2 != 0).then_some("odd")] style=(left(time.place(chart.zero + at))) { (signed(at)) }
            }
        }
    }
}

/// What the pointer reads: every series with its points. A `<` would end the element that holds it.
fn values(chart: &Chart) -> String {
    let series = |panel: &Panel| -> Vec<serde_json::Value> {
        let shown = panel.series.iter().map(|one| {
            let points = within(one, chart).points.into_iter();
            let points: Vec<Point> = points.map(|(at, value)| (round(at), value.map(round))).collect();
            json!({"name": one.name, "color": one.color, "points": points})
        });
        shown.collect()
    };
    let panels = chart.panels.iter();
    let panels: Vec<_> = panels.map(|panel| json!({"title": panel.title, "series": series(panel)})).collect();
    json!(panels).to_string().replace('<', "\\u003c")
}

fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn left(place: f64) -> String {
    format!("left:{}", percent(place))
}

/// A part of the whole, for a style.
pub(super) fn percent(part: f64) -> String {
    format!("{:.2}%", part * 100.0)
}

fn number(value: f64) -> String {
    format!("{}", round(value))
}

/// Seconds with their sign.
fn signed(seconds: f64) -> String {
    match round(seconds) == 0.0 {
        true => "0 s".to_owned(),
        false => format!("{:+} s", (seconds * 10.0).round() / 10.0).replace('-', "−"),
    }
}

#[cfg(test)]
#[path = "chart_tests.rs"]
mod tests;
