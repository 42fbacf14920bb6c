//! A load that swings: the fleet keeps its size over a dip that is shorter than the cool-down, and follows a fall that
//! lasts longer.

use anyhow::Result;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};

use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::cluster::hpa_sync;
use crate::judge::bounds::{COOL_DOWN, MEAN};
use crate::judge::fleet::{back, cost, few_turns, never_below_in_use, timed};
use crate::judge::host::excuse;
use crate::judge::load::p99;
use crate::judge::part::Part;
use crate::judge::reaction::{Expected, reaction};
use crate::judge::table::Table;
use crate::judge::verdict::{Check, Question};
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::fix_workers;
use crate::observe::sample::Sample;
use crate::observe::window::{Window, fleets};

/// Workers' worth of load of the highs, and of the dip between them.
const HIGH: f64 = 7.0;
const DIP: f64 = 2.0;
/// Seconds of each high and of the dip: longer than the reaction of an HPA that looks every 15 s, and much shorter than the
/// cool-down.
const TURN: f64 = 25.0;
/// Workers' worth of load after the second high: what one halving leads to, which is all that the HPA may remove within
/// a minute.
const FALL: f64 = 4.2;
/// Seconds of the fall: twice the cool-down, in which the fleet has to be back at the right number, and a look.
const FALLEN: f64 = 2.0 * COOL_DOWN + 2.0;
/// Out at the first high, and in after the second: so many changes of direction.
const TURNS: usize = 1;
/// From a step up in load until all needed workers are Ready, in seconds, with the HPA's default period of 15 s.
const ALL_NEEDED: f64 = 20.0;
/// The last documents are stored within this time, in seconds.
const DRAINED: f64 = 90.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Oscillation {
    /// The fleet and its documents.
    sizing: Option<Sizing>,
    /// The HPA's period, in seconds.
    #[serde(default)]
    hpa_sync: f64,
    /// The waves.
    #[serde(default)]
    loaded: Option<Loaded>,
}

impl Scenario for Oscillation {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.play(context, "oscillation", context.fixture.cluster.hpa_sync).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        match (&self.sizing, &self.loaded) {
            (Some(sizing), Some(loaded)) => judge(sizing, self.hpa_sync, loaded, samples),
            _ => Vec::new(),
        }
    }

    fn loads(&self) -> Vec<Part<'_>> {
        self.loaded.iter().map(|loaded| loaded.part(self.sizing.as_ref())).collect()
    }

    fn tables(&self, _samples: &[Sample]) -> Vec<Table> {
        self.loaded.iter().filter_map(|loaded| loaded.ending.table(&loaded.name)).collect()
    }
}

impl Oscillation {
    /// Plays the waves for a scenario of this name with this period of the HPA, in seconds.
    pub(super) async fn play(&mut self, context: &Context, scenario: &str, period: u8) -> Result<()> {
        let name = format!("{scenario}/waves");
        let peak = Peak::step(HIGH, context.autoscaling.min);
        let sizing = prepare(context, &format!("{scenario}/prepare"), peak, GUIDE_SERVICE).await?;
        self.sizing = Some(sizing);
        self.hpa_sync = f64::from(period);
        fix_workers(context, sizing.min).await?;
        hpa_sync::set_hpa_sync(&context.fixture, period).await?;
        let (mut loaded, load) = Loaded::begin(context, &name);
        loaded.warm_up(context, &load, sizing.rate_of(DIP), MEAN).await?;
        // One load, whatever the period.
        loaded.play(context, &load, "waves", &stretches(&sizing)).await;
        let ended = loaded.end(context, DRAINED).await;
        self.loaded = Some(loaded);
        ended
    }
}

/// High, a dip, high, and a fall. Arrivals of the fall are even: the way back is measured, and not the draw.
fn stretches(sizing: &Sizing) -> [Stretch; 4] {
    let turn = |name: &str, workers: f64| Stretch::new(name, sizing.rate_of(workers), TURN);
    let fall = Stretch::new("fall", sizing.rate_of(FALL), FALLEN).even();
    [turn("high0", HIGH), turn("dip1", DIP), turn("high2", HIGH), fall]
}

fn judge(sizing: &Sizing, hpa_sync: f64, loaded: &Loaded, samples: &[Sample]) -> Vec<Check> {
    let Some(window) = loaded.whole() else {
        return Vec::new();
    };
    let mut checks = loaded.checks(samples, true);
    let why = format!("the dip is shorter than the cool-down of {COOL_DOWN:.0} s: out once, and in once");
    checks.push(few_turns(samples, window, TURNS, &why));
    checks.push(never_below_in_use(samples, window, sizing.slots));
    checks.push(cost(samples, window, &loaded.needed(sizing), sizing.min));
    if hpa_sync > 2.0 {
        checks.extend(loaded.window("high0").map(|high| all_needed(sizing, loaded, high, samples)));
    }
    // From the second high on the fleet has the size for it.
    if let Some(high) = loaded.window("high2") {
        let second = Window { from: high.from, ..window };
        let due = loaded.starts.iter().filter(|start| second.has(start.due));
        let check = p99("p99 from the second high on", due, sizing.service);
        checks.push(check.excused_by(excuse(samples, second).as_deref()));
    }
    let (_, most) = sizing.settles(sizing.rate_of(FALL));
    checks.extend(loaded.window("fall").map(|fall| back(samples, fall, most)));
    checks
}

/// All workers that the first high needs are Ready in time. What comes sooner is judged at the period of the cluster, by
/// the scenarios `step` and `comparison`.
fn all_needed(sizing: &Sizing, loaded: &Loaded, high: Window, samples: &[Sample]) -> Check {
    let found = reaction(samples, &loaded.starts, high, &Expected::of(sizing, sizing.rate_of(HIGH)));
    let question = Question::new(
        "all-needed",
        format!("all {} workers that the load needs Ready", found.needed),
        format!("≤ {ALL_NEEDED:.0} s after the step"),
        "the HPA looks within 15 s; 5 s are for the signal and the start of the workers",
    );
    let gap = fleets(samples, high).err();
    let never = || format!("{} Ready at most", found.most_ready);
    let check = timed(question, found.all_ready, ALL_NEEDED, gap.as_deref(), never);
    check.excused_by(excuse(samples, high).as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::IO_QUEUE;
    use crate::cluster::kubernetes::Fleet;
    use crate::cluster::reading::Reading;
    use crate::load::sizing::tests::sizing;
    use crate::load::tests::start;

    /// The checks that a fleet does not pass which has 3 workers, and others from a second of the waves on.
    fn broken(fleet: &[(f64, i32)]) -> Vec<String> {
        let sizing = sizing();
        let mut loaded = Loaded::default();
        let mut from = 0.0;
        for stretch in stretches(&sizing) {
            let window = Window { from, to: from + stretch.seconds };
            let count = (stretch.rate * stretch.seconds) as u32;
            let due = |number: u32| from + f64::from(number) / stretch.rate;
            loaded.starts.extend((0..count).map(|number| start(due(number), Some(due(number) + 2.1))));
            from = window.to;
            loaded.stretches.push((stretch, window));
        }
        let sample = |second: i32| {
            let at = f64::from(second);
            let count = fleet.iter().rfind(|(from, _)| *from <= at).map_or(3, |(_, count)| *count);
            Sample {
                at,
                fleet: Reading::Seen(Fleet { wanted: count, present: count, ready: count }),
                slots_used: Reading::Seen([(IO_QUEUE.to_owned(), 16.0)].into()),
                ..Sample::default()
            }
        };
        let samples: Vec<Sample> = (0..=from as i32).map(sample).collect();
        // What is stored is judged by the oracle.
        let oracle = loaded.checks(&samples, true).len();
        let checks = judge(&sizing, 15.0, &loaded, &samples).split_off(oracle);
        assert_eq!(checks.len(), 6);
        let broken = checks.into_iter().filter(|check| check.outcome.word() != "Pass");
        broken.map(|check| check.id).collect()
    }

    #[test]
    fn a_fleet_that_goes_out_once_and_comes_back_in_time_passes() {
        assert_eq!(broken(&[(18.0, 8), (190.0, 4)]), [""; 0]);
        assert_eq!(broken(&[(25.0, 8), (190.0, 4)]), ["all-needed"]);
        assert_eq!(broken(&[(18.0, 8)]), ["scale-in-in-use", "back"]);
        assert_eq!(broken(&[(18.0, 8), (190.0, 3)]), ["scale-in-in-use"]);
        assert_eq!(broken(&[(18.0, 13), (190.0, 5)]), ["cost"]);
        assert_eq!(broken(&[(18.0, 8), (60.0, 4), (65.0, 8), (190.0, 4)]), ["smooth"]);
    }

    #[test]
    fn one_halving_leads_from_the_high_to_the_number_of_the_fall() {
        let sizing = sizing();
        let most = |workers: f64| sizing.settles(sizing.rate_of(workers)).1;
        // The HPA rounds what may stay downwards; the fleet may have outgrown its plan by two.
        for high in most(HIGH)..=most(HIGH) + 2 {
            assert!(high / 2 <= most(FALL), "{high} workers");
        }
        assert!(sizing.needed_for(sizing.rate_of(FALL)) <= most(FALL));
    }
}
