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
/// Periods in seconds, how many halves of each are played (high, low, high …), and the changes of direction that are allowed.
///
/// A dip that is shorter than the cool-down (60 s) must not be followed: out once, and no more. One of 90 s may be: out, in, out.
const WAVES: [(f64, usize, usize); 3] = [(20.0, 8, 0), (60.0, 4, 0), (180.0, 3, 2)];
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
    for (period, halves, turns) in WAVES {
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
        let stretches: Vec<Stretch> = (0..halves)
            .map(|half| match half % 2 {
                0 => Stretch::new(format!("high{half}"), sizing.rate_of(LEVELS.1), period / 2.0),
                _ => Stretch::new(format!("low{half}"), sizing.rate_of(LEVELS.0), period / 2.0),
            })
            .collect();
        loaded.play(context, &load, "oscillation", &stretches).await;
        loaded.end(context, PATIENCE).await?;
    }
    Ok(())
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
                0 => "a dip shorter than the cool-down of 60 s is sat out",
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
