//! Whether two runs of the same loads agree within stated tolerances. Pure.
//!
//! One seed is one load: the same documents at the same times. Two runs differ by the host, and by the phases of the
//! HPA's, KEDA's and the scrapes' clocks.

use super::figures::Figures;
use std::collections::{BTreeMap, BTreeSet};

/// By how much a figure may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tolerance {
    /// By so much, in its own unit.
    Absolute(f64),
    /// By so much of the greater one, and in any case by so much in its own unit.
    Relative(f64, f64),
}

/// Seconds to the decision: an HPA's look, a reading of the depth, a scrape.
const DECISION: Tolerance = Tolerance::Absolute(2.5);
/// Seconds to the first Ready worker: a decision, and the start of a pod on a busy host.
const FIRST_READY: Tolerance = Tolerance::Absolute(3.5);
/// Seconds until all are Ready: those, the starts of several pods, and with chance in the load whether the last are
/// asked for with the burst or with the mean.
const ALL_READY: Tolerance = Tolerance::Relative(0.5, 4.0);
/// The median is of many documents.
const P50: Tolerance = Tolerance::Relative(0.2, 0.5);
/// The 99th percentile is of few, those that waited longest: by when workers came.
const P99: Tolerance = Tolerance::Relative(0.35, 2.0);
/// Workers: what is there when the HPA looks is rounded up.
const WORKERS: Tolerance = Tolerance::Absolute(2.0);
/// Seconds of workers.
const COST: Tolerance = Tolerance::Relative(0.2, 0.0);
/// Changes of direction: a load at the edge of what so many workers carry lets one go, or does not.
const TURNS: Tolerance = Tolerance::Absolute(1.0);
/// Documents are the same ones.
const SAME: Tolerance = Tolerance::Absolute(0.0);

impl Tolerance {
    fn allows(self, one: f64, other: f64) -> bool {
        (one - other).abs() <= self.of(one, other)
    }

    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Absolute(most) => most,
            Self::Relative(share, least) => (share * one.abs().max(other.abs())).max(least),
        }
    }
}

/// One figure of two runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The load and the figure.
    pub name: String,
    /// In each run; none where it did not happen.
    pub values: [Option<f64>; 2],
    /// By how much they may differ.
    tolerance: Tolerance,
}

impl Row {
    /// Whether the two agree: neither happened, or both, and alike.
    pub fn agrees(&self) -> bool {
        match self.values {
            [None, None] => true,
            [Some(one), Some(other)] => self.tolerance.allows(one, other),
            _ => false,
        }
    }

    /// A line for people.
    pub fn line(&self) -> String {
        let shown = |value: Option<f64>| value.map_or_else(|| "–".to_owned(), |value| format!("{value:.1}"));
        let [one, other] = self.values;
        let most = self.tolerance.of(one.unwrap_or(0.0), other.unwrap_or(0.0));
        let word = if self.agrees() { "agree" } else { "DIFFER" };
        format!("{word:<7} {:<44} {:>8} {:>8}   ± {most:.1}", self.name, shown(one), shown(other))
    }
}

/// Compares the figures of two runs, load by load; a load that is in one run alone is left out.
pub fn of_figures(runs: [&BTreeMap<String, Figures>; 2]) -> Vec<Row> {
    let [one, other] = runs;
    let both = one.iter().filter_map(|(load, figures)| Some((load, [figures, other.get(load)?])));
    both.flat_map(|(load, figures)| of_load(load, figures)).collect()
}

fn of_load(load: &str, figures: [&Figures; 2]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |figure: &str, tolerance, pick: &dyn Fn(&Figures) -> Option<f64>| {
        rows.push(Row { name: format!("{load}: {figure}"), values: figures.map(pick), tolerance });
    };
    row("documents due", SAME, &|figures| Some(figures.due as f64));
    row("documents stored", SAME, &|figures| Some(figures.stored as f64));
    // The first step meets the fewest workers in every run; a later one what the run before it has left.
    if figures.iter().any(|figures| !figures.reactions.is_empty()) {
        let of = |figures: &Figures| figures.reactions.first().cloned();
        row("decision, s", DECISION, &|figures| of(figures)?.decision);
        row("first Ready, s", FIRST_READY, &|figures| of(figures)?.first_poll);
        row("all Ready, s", ALL_READY, &|figures| of(figures)?.all_ready);
    }
    let phases: BTreeSet<&String> = figures.iter().flat_map(|figures| figures.latency.keys()).collect();
    for phase in phases {
        row(&format!("{phase}: p50, s"), P50, &|figures| figures.latency.get(phase)?.p50);
        row(&format!("{phase}: p99, s"), P99, &|figures| figures.latency.get(phase)?.p99);
    }
    row("most workers wanted", WORKERS, &|figures| Some(f64::from(figures.workers?.most_wanted)));
    row("worker-seconds", COST, &|figures| figures.workers?.worker_seconds);
    row("direction changes", TURNS, &|figures| Some(figures.workers?.direction_changes? as f64));
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::reaction::Reaction;
    use crate::judge::statistics::Latency;
    use crate::report::figures::Workers;

    fn figures(decision: Option<f64>, p99: f64, most_wanted: i32) -> Figures {
        let latency = Latency { count: 9, lost: 0, p50: Some(2.0), p90: Some(3.0), p99: Some(p99), max: Some(9.0) };
        Figures {
            reactions: vec![Reaction { decision, ..Reaction::default() }],
            latency: [("step".to_owned(), latency)].into(),
            due: 9,
            stored: 9,
            workers: Some(Workers {
                most_wanted,
                worker_seconds: Some(600.0),
                direction_changes: Some(0),
                ..Workers::default()
            }),
            ..Figures::default()
        }
    }

    /// The figures that differ.
    fn differing(one: &Figures, other: &Figures) -> Vec<String> {
        let rows = of_load("l", [one, other]).into_iter();
        rows.filter(|row| !row.agrees()).map(|row| row.name).collect()
    }

    #[test]
    fn each_figure_is_held_to_its_tolerance() {
        let good = figures(Some(3.0), 5.0, 9);
        let table: [(Figures, &[&str]); 6] = [
            (good.clone(), &[]),
            (figures(Some(5.5), 7.0, 11), &[]),
            (figures(Some(5.6), 5.0, 9), &["l: decision, s"]),
            (figures(None, 5.0, 9), &["l: decision, s"]),
            (figures(Some(3.0), 7.8, 9), &["l: step: p99, s"]),
            (figures(Some(3.0), 5.0, 12), &["l: most workers wanted"]),
        ];
        for (other, expected) in table {
            assert_eq!(differing(&good, &other), expected);
            assert_eq!(differing(&other, &good), expected);
        }
        let lost = Figures { stored: 8, ..good.clone() };
        assert_eq!(differing(&good, &lost), ["l: documents stored"]);
        let flaps = Figures {
            workers: good.workers.map(|workers| Workers { direction_changes: Some(2), ..workers }),
            ..good.clone()
        };
        assert_eq!(differing(&good, &flaps), ["l: direction changes"]);
    }

    #[test]
    fn a_load_that_is_in_one_run_alone_is_not_compared() {
        let one = BTreeMap::from([("a".to_owned(), Figures::default()), ("b".to_owned(), Figures::default())]);
        let other = BTreeMap::from([("b".to_owned(), Figures::default()), ("c".to_owned(), Figures::default())]);
        let rows = of_figures([&one, &other]);
        assert!(!rows.is_empty() && rows.iter().all(|row| row.name.starts_with("b: ")));
    }

    #[test]
    fn a_line_says_both_values_and_the_tolerance() {
        let row = Row { name: "l: decision, s".to_owned(), values: [Some(3.0), None], tolerance: DECISION };
        assert!(row.line().starts_with("DIFFER  l: decision, s"), "{}", row.line());
        assert!(row.line().ends_with("3.0        –   ± 2.5"), "{}", row.line());
    }
}
