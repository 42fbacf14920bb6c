//! Values over time as a path of SVG. Pure. A point without a value ends a line; the next begins a new one.

use std::fmt::Write;

use maud::{Markup, html};

use super::scale::Scale;

/// The drawing's own width and height, whatever it is stretched to.
pub(super) const WIDTH: f64 = 1000.0;
pub(super) const HEIGHT: f64 = 100.0;

/// A value at a time; none where it was not seen.
pub(super) type Point = (f64, Option<f64>);

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// From point to point.
    Line,
    /// A value holds until the next.
    Steps,
    /// As steps, dashed.
    Dashed,
    /// As steps, with the ground below it filled.
    Area,
    /// Points alone.
    Dots,
}

/// Values over time.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Series {
    /// What they are.
    pub(super) name: String,
    /// The style sheet's class of its colour.
    pub(super) color: &'static str,
    /// How they are drawn.
    pub(super) form: Form,
    /// Whether they are read from the axis on the right.
    pub(super) right: bool,
    /// The values, in order of time.
    pub(super) points: Vec<Point>,
}

pub(super) fn draw_series(series: &Series, time: &Scale, scale: &Scale) -> Markup {
    let class = match series.form {
        Form::Line | Form::Steps => "line",
        Form::Dashed => "line dashed",
        Form::Area => "area",
        Form::Dots => "dots",
    };
    html! { path class={ (class) " " (series.color) } d=(outline(series, time, scale)) {} }
}

/// The path through the points: a new one after each point without a value.
fn outline(series: &Series, time: &Scale, scale: &Scale) -> String {
    let mut path = String::new();
    for run in series.points.split(|(_, value)| value.is_none()) {
        let places: Vec<(f64, f64)> =
            run.iter().filter_map(|(at, value)| Some((time.place(*at) * WIDTH, y(scale, (*value)?)))).collect();
        draw_run(&mut path, series.form, &places);
    }
    path
}

fn draw_run(path: &mut String, form: Form, places: &[(f64, f64)]) {
    let Some((first, rest)) = places.split_first() else {
        return;
    };
    // Writing to a string does not fail.
    let _ = match form {
        Form::Area => write!(path, "M{} {}V{}", short(first.0), short(HEIGHT), short(first.1)),
        // A line of no length has round ends: a dot.
        _ => write!(path, "M{} {}h0", short(first.0), short(first.1)),
    };
    let mut last = first.1;
    for (x, y) in rest {
        let _ = match form {
            Form::Line => write!(path, "L{} {}", short(*x), short(*y)),
            Form::Dots => write!(path, "M{} {}h0", short(*x), short(*y)),
            // A value that holds needs no point, but for the last.
            _ if *y == last => Ok(()),
            _ => write!(path, "H{}V{}", short(*x), short(*y)),
        };
        last = *y;
    }
    let end = places.last().map_or(first.0, |place| place.0);
    let _ = match form {
        Form::Steps | Form::Dashed => write!(path, "H{}", short(end)),
        Form::Area => write!(path, "H{}V{}Z", short(end), short(HEIGHT)),
        Form::Line | Form::Dots => Ok(()),
    };
}

pub(super) fn swatch(form: Form) -> Markup {
    let class = match form {
        Form::Line | Form::Steps => "line",
        Form::Dashed => "dashed",
        Form::Area => "area",
        Form::Dots => "dots",
    };
    html! { i class={ "swatch " (class) } {} }
}

pub(super) fn y(scale: &Scale, value: f64) -> f64 {
    (1.0 - scale.place(value)) * HEIGHT
}

pub(super) fn short(value: f64) -> String {
    format!("{}", (value * 10.0).round() / 10.0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn series(form: Form, points: &[Point]) -> Series {
        Series { name: "a".to_owned(), color: "c1", form, right: false, points: points.to_vec() }
    }

    pub(crate) const POINTS: [Point; 6] =
        [(0.0, Some(1.0)), (1.0, Some(1.0)), (2.0, Some(2.0)), (5.0, None), (8.0, Some(2.0)), (10.0, Some(0.0))];

    #[test]
    fn a_gap_ends_a_line_and_the_next_value_begins_another() {
        let (time, scale) = (Scale::exact(0.0, 10.0), Scale::exact(0.0, 2.0));
        let table = [
            (Form::Line, "M0 50h0L100 50L200 0M800 0h0L1000 100"),
            (Form::Steps, "M0 50h0H200V0H200M800 0h0H1000V100H1000"),
            (Form::Area, "M0 100V50H200V0H200V100ZM800 100V0H1000V100H1000V100Z"),
            (Form::Dots, "M0 50h0M100 50h0M200 0h0M800 0h0M1000 100h0"),
        ];
        for (form, path) in table {
            assert_eq!(outline(&series(form, &POINTS), &time, &scale), path, "{form:?}");
        }
        assert_eq!(outline(&series(Form::Line, &[(1.0, None)]), &time, &scale), "");
    }
}
