//! What the samples show of a fleet's manner: whether it turns back and forth, what it costs, and whether it ever let go of
//! workers that the work in flight needed. Pure: samples in, figures and checks out.

use crate::fixture::IO_QUEUE;
use crate::observe::sample::Sample;
use crate::scaling::{Window, fleets, seen};
use crate::verdict::{Check, Outcome};

/// How many times the number of workers wanted turned from growing to shrinking or back.
///
/// # Errors
/// The workers were not seen for too long.
pub fn turns(samples: &[Sample], window: Window) -> Result<usize, String> {
    let wanted: Vec<i32> = fleets(samples, window)?
        .iter()
        .map(|(_, fleet)| fleet.wanted)
        .collect();
    let moves: Vec<bool> = wanted
        .windows(2)
        .filter(|pair| pair[0] != pair[1])
        .map(|pair| pair[1] > pair[0])
        .collect();
    Ok(moves.windows(2).filter(|pair| pair[0] != pair[1]).count())
}

/// Seconds of workers that were there, summed over the workers.
///
/// # Errors
/// The workers were not seen for too long.
pub fn worker_seconds(samples: &[Sample], window: Window) -> Result<f64, String> {
    let readings = fleets(samples, window)?;
    let between = readings
        .windows(2)
        .map(|pair| f64::from(pair[0].1.present) * (pair[1].0 - pair[0].0));
    Ok(between.sum())
}

/// The mean share of the IO slots of Ready workers that was in use.
///
/// # Errors
/// Slots or workers were not seen for too long.
pub fn utilisation(samples: &[Sample], window: Window, slots: u32) -> Result<f64, String> {
    seen(samples, window, |sample| {
        sample.slots_used.seen().filter(|_| sample.fleet.seen().is_some())
    })?;
    // One reading of each a second. The workers' changes between two samples are left out: they would weigh as much as a second.
    let both = window
        .of(samples)
        .filter_map(|sample| Some((sample.slots_used.seen()?, sample.fleet.seen()?)));
    let (used, ready) = both.fold((0.0, 0), |(used, ready), (slots_used, fleet)| {
        let in_use = slots_used.get(IO_QUEUE).copied().unwrap_or(0.0);
        (used + in_use, ready + fleet.ready)
    });
    Ok(used / f64::from(ready.max(1)) / f64::from(slots))
}

/// Whenever fewer workers were wanted than before, those that were left had a slot for every IO task in flight.
pub fn never_below_in_use(samples: &[Sample], window: Window, slots: u32) -> Check {
    let name = "no worker was let go that the work in flight needed";
    let bound = "slots of the workers left ≥ slots in use, at every decision to let go";
    let why = "a fleet that shrinks below what it does makes the documents in flight wait for nothing";
    let readings = match fleets(samples, window) {
        Ok(readings) => readings,
        Err(gap) => return Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
    };
    let mut decisions = 0;
    let mut broken = Vec::new();
    for pair in readings
        .windows(2)
        .filter(|pair| pair[1].1.wanted < pair[0].1.wanted)
    {
        decisions += 1;
        let (at, fleet) = pair[1];
        let left = f64::from(fleet.wanted) * f64::from(slots);
        match used_at(samples, at) {
            Some(used) if used <= left => {}
            Some(used) => broken.push(format!(
                "second {at:.0}: {} workers wanted, {used:.0} slots in use",
                fleet.wanted
            )),
            None => broken.push(format!("second {at:.0}: the slots in use were not seen")),
        }
    }
    let outcome = if broken.is_empty() {
        Outcome::Pass
    } else {
        Outcome::Fail(broken)
    };
    Check::new(
        name,
        bound,
        format!("{decisions} decisions to let go"),
        why,
        outcome,
    )
}

/// IO slots in use as last seen at a second, no longer than 5 s before.
fn used_at(samples: &[Sample], at: f64) -> Option<f64> {
    let before = samples
        .iter()
        .rev()
        .filter(|sample| sample.at <= at && at - sample.at <= 5.0);
    before
        .filter_map(|sample| sample.slots_used.seen())
        .map(|used| used.get(IO_QUEUE).copied().unwrap_or(0.0))
        .next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::sample::{Fleet, Reading};
    use crate::scaling::tests::sample;
    use std::collections::BTreeMap;

    /// One sample a second: workers wanted (all there and ready), IO slots in use.
    fn run(of: &[(i32, f64)]) -> (Vec<Sample>, Window) {
        let samples = of.iter().enumerate().map(|(second, (wanted, used))| {
            let mut sample = sample(second as f64, Some((*wanted, *wanted, *wanted)));
            sample.slots_used = Reading::Seen(BTreeMap::from([(IO_QUEUE.to_owned(), *used)]));
            sample
        });
        let window = Window {
            from: 0.0,
            to: of.len() as f64 - 1.0,
        };
        (samples.collect(), window)
    }

    #[test]
    fn turns_are_changes_of_direction_not_steps() {
        let table: [(&[i32], usize); 5] = [
            (&[3, 3, 3], 0),
            (&[3, 6, 6, 9, 9], 0),
            (&[3, 9, 9, 5, 3], 1),
            (&[3, 9, 5, 9, 3], 3),
            (&[9, 3, 3, 9], 1),
        ];
        for (wanted, turned) in table {
            let of: Vec<(i32, f64)> = wanted.iter().map(|wanted| (*wanted, 0.0)).collect();
            let (samples, window) = run(&of);
            assert_eq!(turns(&samples, window), Ok(turned), "{wanted:?}");
        }
    }

    #[test]
    fn workers_cost_the_time_that_they_are_there() {
        let (samples, window) = run(&[(3, 0.0), (3, 0.0), (5, 0.0), (5, 0.0)]);
        assert_eq!(worker_seconds(&samples, window), Ok(11.0));
    }

    #[test]
    fn utilisation_is_slots_in_use_over_slots_there_are() {
        let (samples, window) = run(&[(3, 12.0), (5, 16.0)]);
        assert_eq!(utilisation(&samples, window, 5), Ok(28.0 / 40.0));

        let (mut samples, window) = run(&[(3, 12.0), (5, 16.0)]);
        samples[1].changes = vec![(
            0.5,
            Fleet {
                wanted: 4,
                present: 4,
                ready: 4,
            },
        )];
        assert_eq!(
            utilisation(&samples, window, 5),
            Ok(28.0 / 40.0),
            "a change is no second"
        );
    }

    #[test]
    fn letting_go_of_what_is_in_use_is_a_failure() {
        let (samples, window) = run(&[(6, 20.0), (4, 20.0), (3, 15.0)]);
        assert_eq!(never_below_in_use(&samples, window, 5).outcome, Outcome::Pass);
        let (samples, window) = run(&[(6, 20.0), (4, 21.0)]);
        assert_eq!(never_below_in_use(&samples, window, 5).outcome.word(), "Fail");
    }

    #[test]
    fn what_was_not_seen_cannot_be_judged() {
        let (mut samples, window) = run(&[(6, 20.0); 10]);
        for sample in &mut samples {
            sample.fleet = Reading::Gap("refused".to_owned());
        }
        assert!(turns(&samples, window).is_err());
        assert_eq!(
            never_below_in_use(&samples, window, 5).outcome.word(),
            "Inconclusive"
        );
    }
}
