//! A load that swings: the fleet follows what lasts longer than the cool-down, and keeps its size over shorter dips.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::judge::bounds::MEAN;
use crate::judge::fleet::{carried_out, few_turns, never_below_in_use};
use crate::judge::host::excuse;
use crate::judge::load::p99;
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::fix_workers;
use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// Workers' worth of load, low and high.
const LEVELS: (f64, f64) = (2.0, 7.0);
/// Periods in seconds, seconds for which each is played, and the changes of direction that it may cause.
///
/// Each is played for longer than the mean (30 s) and the cool-down (60 s) together, so that a scale-in can fall in
/// it. Dips of 30 s are shorter than the cool-down: out, and in once, to what the mean of the load needs. A dip of
/// 90 s may be followed: out, in, out.
const WAVES: [(f64, f64, usize); 2] = [(60.0, 120.0, 1), (180.0, 200.0, 2)];
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 90.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Oscillation {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    /// The waves.
    waves: Vec<Wave>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wave {
    /// Seconds from one high to the next.
    period: f64,
    /// Changes of direction that it may cause.
    turns: usize,
    loaded: Loaded,
}

impl Scenario for Oscillation {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let waves = self.waves.iter().flat_map(|wave| {
            let part = format!("period {:.0} s", wave.period);
            judge(wave, sizing, samples).into_iter().map(move |check| check.of_part(&part))
        });
        waves.chain(carried_out("waves", "every wave was played", self.waves.len(), WAVES.len())).collect()
    }

    fn loads(&self) -> Vec<Part<'_>> {
        let loads = self.waves.iter().map(|wave| &wave.loaded);
        loads.map(|loaded| loaded.part(self.sizing.as_ref())).collect()
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        let loads = self.waves.iter().map(|wave| &wave.loaded);
        loads.filter_map(|loaded| loaded.ending.table(&loaded.name)).collect()
    }
}

impl Oscillation {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let sizing =
            prepare(context, "oscillation/prepare", Peak::step(LEVELS.1, context.autoscaling.min), GUIDE_SERVICE)
                .await?;
        self.sizing = Some(sizing);
        for (period, seconds, turns) in WAVES {
            let name = format!("oscillation/{period:.0}s");
            fix_workers(context, sizing.min).await?;
            let (mut loaded, load) = Loaded::begin(context, &name);
            loaded.warm_up(context, &load, sizing.rate_of(LEVELS.0), MEAN).await?;
            loaded.play(context, &load, &name, &stretches(&sizing, period, seconds)).await;
            let ended = loaded.end(context, DRAINED).await;
            self.waves.push(Wave { period, turns, loaded });
            ended?;
        }
        Ok(())
    }
}

/// High and low in turns, half a period each, the last as long as there is time.
fn stretches(sizing: &Sizing, period: f64, seconds: f64) -> Vec<Stretch> {
    let half = period / 2.0;
    let wave = |number: usize| {
        let (name, workers) = match number % 2 {
            0 => ("high", LEVELS.1),
            _ => ("low", LEVELS.0),
        };
        let rest = seconds - number as f64 * half;
        Stretch::new(format!("{name}{number}"), sizing.rate_of(workers), half.min(rest))
    };
    (0..(seconds / half).ceil() as usize).map(wave).collect()
}

fn judge(wave: &Wave, sizing: &Sizing, samples: &[Sample]) -> Vec<Check> {
    let loaded = &wave.loaded;
    let Some(window) = loaded.whole() else {
        return Vec::new();
    };
    let why = match wave.turns {
        1 => "dips shorter than the cool-down of 60 s: out, and in once",
        _ => "a dip of 90 s may be followed, once",
    };
    let mut checks = loaded.checks(samples, true);
    checks.push(few_turns(samples, window, wave.turns, why));
    let scale_ins = never_below_in_use(samples, window, sizing.slots);
    // A wave that the fleet sits out has no scale-in to judge.
    checks.extend(Some(scale_ins).filter(|check| check.measured != "not seen"));
    // From the second high on the fleet has the size for it.
    let second = loaded.window("high2").map(|high| Window { from: high.from, ..window });
    if let Some(second) = second.filter(|_| wave.turns == 1) {
        let due = loaded.starts.iter().filter(|start| second.has(start.due));
        let check = p99("p99 from the second high on", due, sizing.service);
        checks.push(check.excused_by(excuse(samples, second).as_deref()));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sizing::tests::sizing;

    #[test]
    fn a_wave_is_high_and_low_in_turns_for_as_long_as_it_is_played() {
        let played: Vec<(String, f64)> =
            stretches(&sizing(), 180.0, 200.0).into_iter().map(|stretch| (stretch.name, stretch.seconds)).collect();
        let of = |name: &str, seconds| (name.to_owned(), seconds);
        assert_eq!(played, [of("high0", 90.0), of("low1", 90.0), of("high2", 20.0)]);
    }
}
