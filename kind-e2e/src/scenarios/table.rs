//! The guide's load table: the number of workers at each of its four rows.
//!
//! A row is a rate, and a rate asks for workers by the time of a document. At the target that the autoscaler keeps
//! (70 % of the slots), the table's rows hold for documents of 1.4 s of IO. On a host that does not carry the rates,
//! each is divided and the time of a document multiplied by the same number: the slots in use stay the same.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::judge::bounds::MEAN;
use crate::judge::fleet::{percent, ready, sized, utilization};
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::context::Context;
use crate::load::sizing::{Peak, Sizing};
use crate::load::waits::fix_workers;
use crate::observe::sample::Sample;

/// Rows of the guide: documents a second that are played, least and greatest number of workers.
const ROWS: [(f64, i32, i32); 4] = [(7.0, 3, 5), (17.0, 5, 10), (32.0, 10, 15), (46.0, 15, 20)];
/// Seconds of IO a document for which the table holds at the target.
const SERVICE: f64 = 1.4;
/// Seconds of each row.
const ROW: f64 = 45.0;
/// Seconds of the first row, whose warm-up is of it.
const FIRST_ROW: f64 = 20.0;
/// Seconds between two rows, at the rate halfway, at least: the table is of loads, not of steps. Where documents take
/// long, two of them: in a shorter ramp all of the next row's documents come before the first of them ends.
const RAMP: f64 = 10.0;
/// The last seconds of a row, which are judged: by then the mean of 30 s is of this row.
const JUDGED: f64 = 15.0;
/// Workers beyond the plan's: what waits in a ramp may ask for one, and the cool-down outlasts the row.
const OVERSHOOT: i32 = 1;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 120.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LoadTable {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    loaded: Loaded,
}

impl Scenario for LoadTable {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let rows = ROWS.iter().filter_map(|(rate, least, most)| {
            let window = self.loaded.window(&name(*rate))?.last(JUDGED);
            let guide = format!("the guide's {least} to {most} workers at {rate:.0} documents/s");
            let why = self.rule(sizing);
            let guide = sized("table-guide", guide, samples, window, (*least, *most), &why);
            let (low, high) = sizing.settles(played(sizing, *rate));
            let plan = format!("the plan's workers for {:.1} documents/s", played(sizing, *rate));
            let why = "cargo xtask plan, within the HPA's tolerance; one more for what waited in the ramp before";
            let bounds = (low, (high + OVERSHOOT).min(sizing.max));
            Some([guide, sized("table-plan", plan, samples, window, bounds, why)])
        });
        rows.flatten().chain(self.loaded.checks(samples, true)).collect()
    }

    fn loads(&self) -> Vec<Part<'_>> {
        // Of loads and not of steps: what comes between two rows is a ramp.
        vec![Part { steps: Vec::new(), ..self.loaded.part(self.sizing.as_ref()) }]
    }

    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let own = self.sizing.as_ref().map(|sizing| self.table(sizing, samples));
        own.into_iter().chain(self.loaded.ending.table("table")).collect()
    }
}

impl LoadTable {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let most = ROWS.iter().map(|(rate, ..)| *rate).fold(0.0, f64::max);
        let sizing = prepare(context, "table/prepare", Peak::steady(most * SERVICE / TARGET), SERVICE).await?;
        self.sizing = Some(sizing);
        context.say(&self.rule(&sizing));
        fix_workers(context, sizing.min).await?;
        let (loaded, load) = Loaded::begin(context, "table");
        self.loaded = loaded;
        let (first, ..) = ROWS[0];
        self.loaded.warm_up(context, &load, played(&sizing, first), MEAN).await?;
        self.loaded.play(context, &load, "table", &stretches(&sizing)).await;
        self.loaded.end(context, DRAINED).await
    }

    fn rule(&self, sizing: &Sizing) -> String {
        format!(
            "the guide's table; its rates are divided by {:.2}, and the {SERVICE} s of IO a document multiplied by it, so \
             that this host carries them ({:.1}/s)",
            sizing.service / SERVICE,
            sizing.capacity
        )
    }

    /// Each row: what the guide and the plan say, and what was measured.
    fn table(&self, sizing: &Sizing, samples: &[Sample]) -> Table {
        let heads =
            ["documents/s of the guide", "played", "the guide's workers", "the plan's", "Ready", "IO slots in use"];
        let mut table = Table::new("The guide's load table", &heads, format!("{}.", self.rule(sizing)));
        for (rate, least, most) in ROWS {
            let Some(window) = self.loaded.window(&name(rate)) else {
                continue;
            };
            let window = window.last(JUDGED);
            let (low, high) = sizing.settles(played(sizing, rate));
            let unseen = |_| "not seen".to_owned();
            let counted = ready(samples, window).map(|(low, high)| format!("{low} to {high}"));
            table.rows.push(vec![
                format!("{rate:.0}"),
                format!("{:.1}/s", played(sizing, rate)),
                format!("{least} to {most}"),
                format!("{low} to {high}"),
                counted.unwrap_or_else(unseen),
                utilization(samples, window, sizing.slots).map_or_else(unseen, percent),
            ]);
        }
        table
    }
}

/// The target that the manifests ship, by which the table's rows become workers' worth of load.
const TARGET: f64 = 3.5;

/// Documents a second that are played for a rate of the guide.
fn played(sizing: &Sizing, rate: f64) -> f64 {
    rate * SERVICE / sizing.service
}

/// Each row, and before each but the first a ramp. Even arrivals: bursts are what the other scenarios have.
fn stretches(sizing: &Sizing) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut before: Option<f64> = None;
    for (rate, ..) in ROWS {
        if let Some(before) = before {
            let halfway = played(sizing, f64::midpoint(before, rate));
            stretches.push(Stretch::new(format!("to{}", name(rate)), halfway, RAMP.max(2.0 * sizing.service)).even());
        }
        let seconds = if before.is_some() { ROW } else { FIRST_ROW };
        stretches.push(Stretch::new(name(rate), played(sizing, rate), seconds).even());
        before = Some(rate);
    }
    stretches
}

fn name(rate: f64) -> String {
    format!("rps{rate:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_holds_at_the_target_for_the_time_that_it_names() {
        let sizing = Sizing { service: SERVICE, ..crate::load::sizing::tests::sizing() };
        assert_eq!(sizing.target, TARGET);
        for (rate, least, most) in ROWS {
            let workers = sizing.workers_for(rate);
            assert!((least..=most).contains(&workers), "{rate}: {workers}");
        }
        let slower = Sizing { service: 7.0, ..sizing };
        assert!((played(&slower, 46.0) - 9.2).abs() < 1e-9);
        assert_eq!(slower.in_use(played(&slower, 46.0)), sizing.in_use(46.0));
    }
}
