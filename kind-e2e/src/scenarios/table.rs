//! The guide's load table: the number of workers at each of its four rows.
//!
//! A row is a rate, and a rate asks for workers by the time of a document. The guide's own capacity (75 IO slots at 30
//! documents a second) has every slot in use, which leaves no room for a burst; at the target that the autoscaler keeps
//! (70 %), the table's rows hold for documents of 1.4 s of IO. On a host that cannot carry the rates, each is divided and the
//! time of a document multiplied by the same number: the slots in use, which is what the fleet is scaled by, stay the same.

use anyhow::Result;
use capacity::demand::{CEILING, FLOOR, settles_within};
use serde::{Deserialize, Serialize};

use super::loads::{Loaded, Stretch};
use super::{Context, fleet, prepare};
use crate::calm;
use crate::observe::sample::Sample;
use crate::plan::carried_by;
use crate::progress::say;
use crate::scaling::{Window, fleets};
use crate::sizing::Sizing;
use crate::table::Table;
use crate::verdict::{Check, Outcome};

/// Rows of the guide: documents a second that are played, fewest workers, most workers.
const ROWS: [(f64, i32, i32); 4] = [(7.0, 3, 5), (17.0, 5, 10), (32.0, 10, 15), (46.0, 15, 20)];
/// Seconds of IO a document for which the table holds at the target.
const SERVICE: f64 = 1.4;
/// Seconds of each row.
const ROW: f64 = 45.0;
/// Seconds of the first row, which no ramp and no scale-out comes before: the mean of 30 s is of it alone.
const FIRST_ROW: f64 = 30.0;
/// Seconds between two rows, at the rate halfway: the table is of loads, not of steps, whose overshoot would last a cool-down.
const RAMP: f64 = 10.0;
/// The last seconds of a row, which are judged: by then the mean of 30 s is of this row.
const JUDGED: f64 = 15.0;
/// Workers that what waits in a ramp may ask for beyond what the load needs.
const OVERSHOOT: i32 = 1;
/// The row after them: documents a second, to which the fleet scales in from the last row.
const BACK: f64 = 24.0;
const BACK_NAME: &str = "back";
/// Seconds of it: the mean of 30 s forgets, the cool-down of 60 s is over, and what is judged.
const BACK_SECONDS: f64 = 105.0;
/// For what still waits at the end.
const PATIENCE: f64 = 90.0;

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Facts {
    /// What the load was sized by.
    pub sizing: Option<Sizing>,
    /// By how much rates were divided and times multiplied.
    pub scale: f64,
    /// Why.
    pub rule: String,
    /// The load.
    pub loaded: Loaded,
}

impl Facts {
    /// Each row: what the guide and the plan say, and what there was.
    pub(super) fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let Some(sizing) = &self.sizing else {
            return Vec::new();
        };
        let heads = [
            "documents/s of the guide",
            "played",
            "the guide's workers",
            "the plan's",
            "Ready",
            "IO slots in use",
        ];
        let mut table = Table::new("The guide's load table", &heads, format!("{}.", self.rule));
        let guides = ROWS.map(|(rate, fewest, most)| (row(rate), rate, format!("{fewest} to {most}")));
        let back = (BACK_NAME.to_owned(), BACK, "– (after the scale-in)".to_owned());
        for (name, rate, guide) in guides.into_iter().chain([back]) {
            let Some(window) = self.loaded.window(&name).map(last) else {
                continue;
            };
            let played = rate / self.scale;
            let (fewest, most) = planned(sizing, played);
            let unseen = || "not seen".to_owned();
            let ready = ready(samples, window).map(|(low, high)| format!("{low} to {high}"));
            let used = calm::utilisation(samples, window, sizing.slots).map(percent);
            table.rows.push(vec![
                format!("{rate:.0}"),
                format!("{played:.1}/s"),
                guide,
                format!("{fewest} to {most}"),
                ready.unwrap_or_else(|_| unseen()),
                used.unwrap_or_else(|_| unseen()),
            ]);
        }
        vec![table]
    }
}

/// Plays the rows, one after the other.
pub async fn run(context: &Context, facts: &mut Facts) -> Result<()> {
    (facts.scale, facts.rule) = scale(context.cores);
    let sizing = prepare(context, "table/prepare", SERVICE * facts.scale, 0.0).await?;
    facts.sizing = Some(sizing);
    say(context.clock, &facts.rule);
    fleet::let_go(context, sizing.min).await?;
    let (loaded, load) = Loaded::begin(context, "table");
    facts.loaded = loaded;
    let stretches = stretches(facts.scale);
    facts.loaded.play(context, &load, "table", &stretches).await;
    facts.loaded.end(context, PATIENCE).await
}

/// Each row, and before each but the first a ramp; then back to a lower one. Even arrivals: the table is of loads, and bursts are
/// what the other scenarios have.
fn stretches(scale: f64) -> Vec<Stretch> {
    let mut stretches = Vec::new();
    let mut before = None;
    for (rate, ..) in ROWS {
        let mut seconds = FIRST_ROW;
        if let Some(before) = before {
            let halfway = f64::midpoint(before, rate);
            stretches.push(Stretch::new(format!("to{}", row(rate)), halfway / scale, RAMP).even());
            seconds = ROW;
        }
        stretches.push(Stretch::new(row(rate), rate / scale, seconds).even());
        before = Some(rate);
    }
    stretches.push(Stretch::new(BACK_NAME, BACK / scale, BACK_SECONDS).even());
    stretches
}

fn row(rate: f64) -> String {
    format!("rps{rate:.0}")
}

/// By how much the rates have to be divided on a host of so many cores, and why.
fn scale(cores: usize) -> (f64, String) {
    let carried = carried_by(cores);
    let most = ROWS.iter().map(|(rate, ..)| *rate).fold(0.0, f64::max);
    let scale = (most / carried).max(1.0);
    let rule = match scale > 1.0 {
        false => format!("the guide's rates as they are: {cores} cores carry {carried:.0} documents/s"),
        true => format!(
            "{cores} cores carry {carried:.0} documents/s: the guide's rates divided by {scale:.2}, \
             and the {SERVICE} s of IO a document multiplied by it, which leaves the slots in use as they are"
        ),
    };
    (scale, rule)
}

/// What the facts and the samples show.
pub(super) fn judge(facts: &Facts, samples: &[Sample]) -> Vec<Check> {
    let Some(sizing) = facts.sizing else {
        return Vec::new();
    };
    let rows = ROWS.iter().filter_map(|(rate, fewest, most)| {
        let window = facts.loaded.window(&row(*rate))?;
        let guide = within(
            samples,
            window,
            &format!("the guide's {fewest} to {most} workers at {rate:.0} documents/s"),
            (*fewest, *most),
            &facts.rule,
        );
        Some([guide, as_planned(&sizing, samples, window, rate / facts.scale)])
    });
    let mut checks: Vec<Check> = rows.flatten().collect();
    if let Some(window) = facts.loaded.window(BACK_NAME) {
        checks.push(utilised(&sizing, samples, window));
    }
    if let Some(window) = facts.loaded.whole() {
        checks.push(calm::never_below_in_use(samples, window, sizing.slots));
        checks.extend(facts.loaded.checks());
    }
    checks
}

/// The fleet has the size that `cargo xtask plan` tells for the load.
fn as_planned(sizing: &Sizing, samples: &[Sample], window: Window, rate: f64) -> Check {
    let why = format!(
        "cargo xtask plan: {rate:.1}/s × {:.1} s over {:.1} slots a worker, within the HPA's tolerance; {OVERSHOOT} more for what waited in \
         the ramp before, since the cool-down outlasts the row",
        sizing.service, sizing.target,
    );
    let (fewest, most) = planned(sizing, rate);
    let name = format!(
        "the plan's workers for {rate:.1} documents/s of {:.1} s",
        sizing.service
    );
    within(
        samples,
        window,
        &name,
        (fewest, (most + OVERSHOOT).min(sizing.max)),
        &why,
    )
}

/// The fewest and the most workers at which the HPA rests under so many documents a second, as `cargo xtask plan` has it.
fn planned(sizing: &Sizing, rate: f64) -> (i32, i32) {
    let sizes = settles_within(rate * sizing.service, sizing.target);
    let size = |size: &u32| {
        let size = i32::try_from(*size).unwrap_or(i32::MAX);
        size.clamp(sizing.min, sizing.max)
    };
    (size(sizes.start()), size(sizes.end()))
}

/// After the scale-in the workers use as much of their slots as the guide says. Even arrivals: no room for chance.
fn utilised(sizing: &Sizing, samples: &[Sample], window: Window) -> Check {
    let name = "slots in use after the scale-in";
    let bound = format!(
        "{} to {} in the row's last {JUDGED:.0} s",
        percent(FLOOR),
        percent(CEILING)
    );
    let why = "the guide's: workers that are sized by load";
    match calm::utilisation(samples, last(window), sizing.slots) {
        Err(gap) => Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
        Ok(found) => {
            let outcome = Outcome::require((FLOOR..=CEILING).contains(&found), || percent(found));
            Check::new(name, bound, percent(found), why, outcome)
        }
    }
}

fn percent(share: f64) -> String {
    format!("{:.0} %", 100.0 * share)
}

/// The end of a row, which is judged.
fn last(window: Window) -> Window {
    Window {
        from: window.to - JUDGED,
        to: window.to,
    }
}

/// The last readings of a row have between `fewest` and `most` workers Ready.
fn within(samples: &[Sample], window: Window, name: &str, (fewest, most): (i32, i32), why: &str) -> Check {
    let bound = format!("{fewest} to {most} Ready in the row's last {JUDGED:.0} s");
    let window = last(window);
    match ready(samples, window) {
        Err(gap) => Check::new(name, bound, "not seen", why, Outcome::inconclusive(gap)),
        Ok((low, high)) => {
            let told = format!("{low} to {high} Ready");
            let outcome = Outcome::require(low >= fewest && high <= most, || told.clone());
            Check::new(name, bound, told, why, outcome)
        }
    }
}

/// The fewest and the most workers that were Ready.
fn ready(samples: &[Sample], window: Window) -> Result<(i32, i32), String> {
    let readings = fleets(samples, window)?;
    let ready = || readings.iter().map(|(_, fleet)| fleet.ready);
    Ok((ready().min().unwrap_or(0), ready().max().unwrap_or(0)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::IO_QUEUE;
    use crate::observe::sample::Reading;
    use crate::scaling::tests::sample;

    #[test]
    fn rates_are_divided_only_where_the_host_is_too_small() {
        assert!((scale(2).0 - 4.6).abs() < 1e-9);
        assert!(scale(2).1.contains("divided by 4.60"), "{}", scale(2).1);
        assert_eq!(scale(10).0, 1.0);
    }

    fn sizing(service: f64) -> Sizing {
        Sizing {
            service,
            ..crate::sizing::tests::sizing()
        }
    }

    #[test]
    fn the_table_holds_at_the_target_for_the_time_that_it_names() {
        for (rate, fewest, most) in ROWS {
            let workers = sizing(SERVICE).workers_for(rate);
            assert!((fewest..=most).contains(&workers), "{rate}: {workers}");
        }
    }

    /// A minute in which so many workers are Ready in the last seconds, and another number before.
    fn row(ready: i32) -> (Vec<Sample>, Window) {
        let count = |at: f64| if at >= 40.0 { ready } else { 19 };
        let samples = (0..=60)
            .map(f64::from)
            .map(|at| sample(at, Some((count(at), count(at), count(at)))));
        (samples.collect(), Window { from: 0.0, to: 60.0 })
    }

    #[test]
    fn a_row_is_held_to_the_guides_sizes_in_its_last_seconds() {
        for (ready, word) in [(4, "Fail"), (5, "Pass"), (10, "Pass"), (11, "Fail")] {
            let (samples, window) = row(ready);
            assert_eq!(
                within(&samples, window, "n", (5, 10), "w").outcome.word(),
                word,
                "{ready}"
            );
        }
        let (samples, window) = row(5);
        assert_eq!(
            within(&samples[..50], window, "n", (5, 10), "w").outcome.word(),
            "Inconclusive"
        );
    }

    #[test]
    fn slots_in_use_after_the_scale_in_are_held_to_the_guides_share() {
        let used = |used: f64| {
            let (mut samples, window) = row(7);
            for sample in &mut samples {
                sample.slots_used = Reading::Seen([(IO_QUEUE.to_owned(), used)].into());
            }
            utilised(&sizing(SERVICE), &samples, window).outcome.word()
        };
        for (in_use, word) in [(20.0, "Fail"), (21.0, "Pass"), (28.0, "Pass"), (29.0, "Fail")] {
            assert_eq!(used(in_use), word, "{in_use}");
        }
        let (samples, window) = row(7);
        let unseen = utilised(&sizing(SERVICE), &samples, window);
        assert_eq!(unseen.outcome.word(), "Inconclusive");
    }

    #[test]
    fn a_row_is_held_to_the_plans_size() {
        // 32 documents/s of 1.4 s are 44.8 slots in use: 12.8 workers, and the HPA rests at 12 to 14; one more.
        for (ready, word) in [(11, "Fail"), (12, "Pass"), (15, "Pass"), (16, "Fail")] {
            let (samples, window) = row(ready);
            let check = as_planned(&sizing(SERVICE), &samples, window, 32.0);
            assert_eq!(check.outcome.word(), word, "{ready}: {}", check.bound);
        }
    }

    #[test]
    fn the_table_tells_each_row_beside_the_guides_and_the_plans() {
        let (mut samples, window) = row(12);
        for sample in &mut samples {
            sample.slots_used = Reading::Seen([(IO_QUEUE.to_owned(), 45.0)].into());
        }
        let facts = Facts {
            sizing: Some(sizing(SERVICE)),
            scale: 1.0,
            rule: "as they are".to_owned(),
            loaded: Loaded {
                stretches: vec![(Stretch::new("rps32", 32.0, 60.0), window)],
                ..Loaded::default()
            },
        };
        let table = facts.tables(&samples).remove(0);
        assert_eq!(
            table.rows,
            [["32", "32.0/s", "10 to 15", "12 to 14", "12 to 12", "75 %"]]
        );
        let unseen = facts.tables(&[]).remove(0);
        assert_eq!(unseen.rows[0][4..], ["not seen", "not seen"]);
    }
}
