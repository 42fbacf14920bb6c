//! A load that goes up and down, with three periods: the fleet follows what lasts and sits out what does not.

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::comparison::few_turns;
use super::loads::{Loaded, Stretch};
use super::{Context, fleet, prepare};
use crate::calm;
use crate::observe::sample::Sample;
use crate::sizing::Sizing;
use crate::verdict::{Check, Outcome};

/// Seconds of a document's IO: latency on the way to S3.
const SERVICE: f64 = 2.0;
/// Workers' worth of load, low and high.
const LEVELS: (f64, f64) = (2.0, 7.0);
/// Periods in seconds, how long each is played (half a period high, half low, and again), and the changes of direction that are
/// allowed.
///
/// A dip that is shorter than the cool-down (60 s) must not be followed: out, and in once, to what the mean of the load needs; out
/// again would be a flap. One of 90 s may be followed: out, in, out.
const WAVES: [(f64, f64, usize); 3] = [(20.0, 40.0, 1), (60.0, 90.0, 1), (180.0, 200.0, 2)];
/// For what still waits at the end.
const PATIENCE: f64 = 60.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the load was sized by.
    pub sizing: Option<Sizing>,
    /// The waves.
    pub waves: Vec<Wave>,
}

/// A load that swings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wave {
    /// Seconds from one high to the next.
    pub period: f64,
    /// Changes of direction that the fleet may make.
    pub turns: usize,
    /// What was played, and what became of it.
    pub loaded: Loaded,
}

/// Plays the waves.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    let sizing = prepare(context, "oscillation/prepare", SERVICE, LEVELS.1).await?;
    facts.sizing = Some(sizing);
    for (period, seconds, turns) in WAVES {
        let name = format!("oscillation/{period:.0}s");
        fleet::let_go(context, sizing.min)
            .await
            .with_context(|| format!("before {name}"))?;
        let (loaded, load) = Loaded::begin(context, &name);
        facts.waves.push(Wave {
            period,
            turns,
            loaded,
        });
        let Some(Wave { loaded, .. }) = facts.waves.last_mut() else {
            continue;
        };
        let stretches = stretches(&sizing, period, seconds);
        loaded.play(context, &load, "oscillation", &stretches).await;
        loaded.end(context, PATIENCE).await?;
    }
    Ok(())
}

/// High and low in turns, half a period each, the last of them as long as there is time.
fn stretches(sizing: &Sizing, period: f64, seconds: f64) -> Vec<Stretch> {
    let half = period / 2.0;
    let halves = (seconds / half).ceil() as usize;
    let stretch = |number: usize| {
        let (name, workers) = match number % 2 {
            0 => ("high", LEVELS.1),
            _ => ("low", LEVELS.0),
        };
        let rest = seconds - number as f64 * half;
        Stretch::new(format!("{name}{number}"), sizing.rate_of(workers), half.min(rest))
    };
    (0..halves).map(stretch).collect()
}

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let Some(sizing) = facts.sizing else {
        return Vec::new();
    };
    let mut checks = Vec::new();
    for Wave {
        period,
        turns,
        loaded,
    } in &facts.waves
    {
        let mut of_wave = loaded.checks();
        if let Some(window) = loaded.whole() {
            let why = match turns {
                1 => "a dip shorter than the cool-down of 60 s is sat out: never out again",
                _ => "a dip of 90 s may be followed, once",
            };
            of_wave.push(few_turns(samples, window, *turns, why));
            of_wave.push(calm::never_below_in_use(samples, window, sizing.slots));
        }
        checks.extend(of_wave.into_iter().map(|mut check| {
            check.name = format!("period {period:.0} s: {}", check.name);
            check
        }));
    }
    if facts.waves.len() < WAVES.len() && !facts.waves.is_empty() {
        let reason = format!("{} of {} were begun", facts.waves.len(), WAVES.len());
        checks.push(Check::new(
            "every wave was played",
            WAVES.len().to_string(),
            facts.waves.len().to_string(),
            "what was not played shows nothing",
            Outcome::inconclusive(reason),
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sizing::tests::sizing;

    #[test]
    fn a_wave_is_high_and_low_in_turns_for_as_long_as_it_is_played() {
        let played = |period, seconds| -> Vec<(String, f64)> {
            let stretches = stretches(&sizing(), period, seconds).into_iter();
            stretches.map(|stretch| (stretch.name, stretch.seconds)).collect()
        };
        let of = |name: &str, seconds| (name.to_owned(), seconds);
        assert_eq!(
            played(180.0, 200.0),
            [of("high0", 90.0), of("low1", 90.0), of("high2", 20.0)]
        );
        assert_eq!(played(20.0, 40.0).len(), 4);
    }
}
