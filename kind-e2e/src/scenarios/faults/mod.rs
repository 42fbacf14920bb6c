//! Faults, one at a time, under an open load: nothing that was acknowledged is lost, and all is well again in time.
//!
//! [`table`] has a row for each fault, [`mechanism`] the ways to break a cluster, [`invariant`] what must hold beside the
//! oracle, and [`judge`] the oracle of a fault.

mod invariant;
mod judge;
mod mechanism;
mod table;

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Result, ensure};
use capacity::table::Fleet as Plan;
use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use support::wait::{Probe, WaitError, eventually, when};
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use self::invariant::{Invariant, Seen};
use self::mechanism::{Made, Mechanism, poison};
use self::table::{FAULTS, Fault};
use super::loaded::{Loaded, Stretch};
use super::{Scenario, prepare};
use crate::cluster::switches::BAD_IMAGE;
use crate::judge::part::Part;
use crate::judge::table::Table;
use crate::judge::verdict::Check;
use crate::load::acknowledged;
use crate::load::context::Context;
use crate::load::sizing::{GUIDE_SERVICE, Peak, Sizing};
use crate::load::waits::{fix_workers, hand_over, tell};
use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// The scenario's name.
pub const NAME: &str = "faults";
/// Workers' worth of load: more than the minimum, so that a fault meets a fleet that was scaled.
const WORKERS: f64 = 4.5;
/// Workers that a rollout of these starts at once: `maxSurge` is a quarter, rounded up.
const SURGE: f64 = 2.0;
/// Seconds in which the fleet grows before the first fault.
const FIRST: f64 = 25.0;
/// Seconds before each fault in which the documents in flight are counted, when the first of its load are stored.
const USUAL: f64 = 4.0;
/// Documents that are due while all is well again: a p99 of fewer than a hundred says nothing.
const SETTLED: u64 = 105;
/// Seconds after the bound in which all may still become well, to tell a late recovery from none.
const LATE: f64 = 30.0;
/// Seconds in which the last documents of a load are stored. Without them the next fault would meet this one's rest.
const DRAINED: f64 = 240.0;
/// The longest load of a fault, in seconds.
const LONGEST: f64 = 1500.0;
/// How often invariants are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// `faults.toml`, which `cargo xtask` reads too, to know the names before anything is built.
static LIST: LazyLock<BTreeMap<String, Described>> = LazyLock::new(|| {
    toml::from_str(include_str!("../../../faults.toml")).expect("faults.toml is compiled in, and tested")
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Described {
    number: u8,
    about: String,
}

/// The names of the faults, in the order in which they are played.
pub fn names() -> impl Iterator<Item = &'static str> {
    FAULTS.iter().map(|fault| fault.name)
}

impl Fault {
    fn described(&self) -> &'static Described {
        LIST.get(self.name).expect("every fault is in faults.toml, which a test holds")
    }
}

fn by_name(name: &str) -> Option<&'static Fault> {
    FAULTS.iter().find(|fault| fault.name == name)
}

/// What the scenario found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Faults {
    sizing: Option<Sizing>,
    /// The faults that were asked for.
    asked: Vec<String>,
    played: Vec<Played>,
    /// Why the faults after the last that was played were not.
    stopped: Option<String>,
}

/// One fault and what came of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
struct Played {
    /// Which fault.
    name: String,
    /// Its load.
    loaded: Loaded,
    /// From the time at which it was made to the time at which it was undone.
    made: Option<Window>,
    /// When the queues were empty, and no more documents in flight than the load has.
    recovered: Option<f64>,
    /// The load of which the latency is judged afterwards.
    settled: Option<Window>,
    /// Connections that the plan of the fleet has for its workers.
    planned: u64,
    /// What was looked at.
    seen: Seen,
    /// Why it was not made, or not undone.
    error: Option<String>,
}

impl Scenario for Faults {
    fn run<'a>(&'a mut self, context: &'a Context) -> LocalBoxFuture<'a, Result<()>> {
        self.carry_out(context).boxed_local()
    }

    fn judge(&self, samples: &[Sample]) -> Vec<Check> {
        self.asked.iter().flat_map(|name| self.judge_one(name, samples)).collect()
    }

    fn loads(&self) -> Vec<Part<'_>> {
        let loads = self.played.iter().map(|played| &played.loaded);
        loads.map(|one| Part::new(&one.name, &one.starts, one.whole(), self.sizing.as_ref())).collect()
    }

    fn tables(&self, samples: &[Sample]) -> Vec<Table> {
        let retried = self.played.iter().filter_map(|played| played.loaded.ending.table(&played.name));
        std::iter::once(self.table(samples)).chain(retried).collect()
    }

    fn restarts(&self) -> &'static [&'static str] {
        // What is killed, and what gives up its lease while the node stands still.
        &["documents/", "temporal/", "storage/", "monitoring/", "keda/", "kube-system/", "local-path-storage/"]
    }

    fn pulls(&self) -> &'static [&'static str] {
        &[BAD_IMAGE]
    }
}

impl Faults {
    async fn carry_out(&mut self, context: &Context) -> Result<()> {
        let asked = FAULTS.iter().filter(|fault| match context.faults.as_slice() {
            [] => !fault.apart,
            named => named.iter().any(|name| name == fault.name),
        });
        self.asked = asked.map(|fault| fault.name.to_owned()).collect();
        let peak = Peak { workers: WORKERS, starting: SURGE };
        let sizing = prepare(context, "faults/prepare", peak, GUIDE_SERVICE).await?;
        self.sizing = Some(sizing);
        fix_workers(context, sizing.min).await?;
        hand_over(context).await?;
        let mut before = FIRST;
        for name in self.asked.clone() {
            let Some(fault) = by_name(&name) else { continue };
            self.played.push(Played { name, planned: planned(context), ..Played::default() });
            let Some(played) = self.played.last_mut() else { continue };
            let ended = play(context, fault, &sizing, before, played).await;
            if let Err(error) = ended {
                context.say(&format!("{}: {error:#}", fault.name));
                played.error.get_or_insert(format!("{error:#}"));
            }
            if let Some(left) = played.left() {
                self.stopped = Some(format!("after {}: {left}", fault.name));
                context.say(&format!("the other faults would meet the rest of this one: {left}"));
                break;
            }
            before = sizing.p99_bound() + USUAL;
        }
        Ok(())
    }
}

fn planned(context: &Context) -> u64 {
    Plan::of(&context.settings, context.settings.max).connections
}

/// Plays one fault: the load, the fault, the recovery, and what is stored in the end.
async fn play(context: &Context, fault: &Fault, sizing: &Sizing, before: f64, played: &mut Played) -> Result<()> {
    let name = format!("{NAME}/{}", fault.name);
    context.enter(&format!("{name}/prepare"), &fault.described().about);
    fault.mechanism.prepare(context).await?;
    if fault.invariants.contains(&Invariant::RightCount) {
        // An earlier fault may have left more workers than the load needs, which an HPA keeps for minutes.
        fix_workers(context, sizing.min).await?;
        hand_over(context).await?;
    }
    let (loaded, load) = Loaded::begin(context, &name);
    played.loaded = loaded;
    let (stop, began) = (CancellationToken::new(), context.clock.now());
    let stretch = Stretch::new("load", sizing.rate_of(WORKERS), LONGEST);
    let Played { loaded, made, recovered, settled, seen, .. } = played;
    context.enter(&format!("{name}/before"), &format!("{:.1} documents/s", stretch.rate));
    let marks = (made, recovered, settled);
    let acting = async {
        // However it ends, the load ends with it.
        let _stops = stop.clone().drop_guard();
        act(context, fault, sizing, began + before, marks, seen).await
    };
    let ((), acted) = futures::join!(loaded.play_until(context, &load, stretch, &stop), acting);
    // What could not be undone above is tried again here.
    let undone = fault.mechanism.undo(context, sizing.service).await.map(drop);
    loaded.drain(context, DRAINED).await;
    tell(context, "every workflow ended", ended(context, &loaded.prefix).await);
    loaded.read(context).await?;
    let cleaned = fault.mechanism.clean(context).await;
    acted.and(undone).and(cleaned)
}

type Marks<'a> = (&'a mut Option<Window>, &'a mut Option<f64>, &'a mut Option<Window>);

/// Makes the fault, undoes it, and waits until all is well again.
async fn act(
    context: &Context,
    fault: &Fault,
    sizing: &Sizing,
    at: f64,
    (made, recovered, settled): Marks<'_>,
    seen: &mut Seen,
) -> Result<()> {
    let name = format!("{NAME}/{}", fault.name);
    sleep_until(context.clock.instant(at)).await;
    let usual = usual(&context.board.since(at - USUAL), sizing)?;
    seen.before = Seen::pods(context).await;
    seen.look(context, fault.invariants, false).await;
    context.enter(&format!("{name}/fault"), &fault.described().about);
    let from = context.clock.now();
    let broken = looking(context, fault, seen, false, fault.mechanism.make(context, sizing, fault.lasts)).await;
    let broken = note(broken?, seen);
    let until = sleep_until(context.clock.instant(from + fault.lasts));
    looking(context, fault, seen, false, until).await;
    seen.failed_tasks = broken.failed_tasks.load(Ordering::Relaxed);
    drop(broken);
    seen.dropped = fault.mechanism.undo(context, sizing.service).await?;
    let to = context.clock.now();
    *made = Some(Window { from, to });
    context.enter(&format!("{name}/recovery"), "undone");
    let well = looking(context, fault, seen, true, stays_well(context, fault, sizing, usual)).await;
    fault.mechanism.back(context).await?;
    let from = well?;
    *recovered = Some(from);
    *settled = Some(Window { from, to: context.clock.now() });
    context.say(&format!("{}: all well since {:.1} s after it was undone", fault.name, from - to));
    seen.after = Seen::pods(context).await;
    if fault.mechanism == Mechanism::Poison {
        seen.poisoned = poisoned(context).await?;
    }
    Ok(())
}

fn note(made: Made, seen: &mut Seen) -> Made {
    seen.hit.clone_from(&made.pods);
    seen.hits.clone_from(&made.at);
    seen.sessions = made.sessions;
    seen.refusal.clone_from(&made.refusal);
    seen.temporals.clone_from(&made.temporals);
    seen.scaled_in = made.scaled_in;
    made
}

/// Does something, and looks at the fault's invariants meanwhile.
async fn looking<T>(
    context: &Context,
    fault: &Fault,
    seen: &mut Seen,
    undone: bool,
    doing: impl Future<Output = T>,
) -> T {
    let watching = async {
        let mut tick = interval(LOOK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            seen.look(context, fault.invariants, undone).await;
        }
    };
    tokio::select! {
        done = doing => done,
        () = watching => unreachable!("it looks for ever"),
    }
}

/// Documents in flight before the fault, on average, and what chance adds. By Little's law, as many again means that
/// documents take as long as before. The few seconds before the fault may have fewer by chance than the slots that the
/// load holds.
fn usual(before: &[Sample], sizing: &Sizing) -> Result<u64> {
    let flying: Vec<f64> = before.iter().filter_map(in_flight).map(|count| count as f64).collect();
    ensure!(!flying.is_empty(), "the documents in flight before the fault were not counted");
    let mean = (flying.iter().sum::<f64>() / flying.len() as f64).max(sizing.in_use(sizing.rate_of(WORKERS)));
    Ok((mean + 3.0 * mean.sqrt()).ceil() as u64)
}

/// Documents that are due and not stored, those whose start has no answer yet among them.
fn in_flight(sample: &Sample) -> Option<u64> {
    let due = sample.load.scheduled.saturating_sub(sample.load.failed);
    Some(due.saturating_sub(*sample.stored.seen()?))
}

/// Waits until all is well and stays so for [`SETTLED`] documents. Answers since when: a fault shows its effect a while
/// after it was made.
async fn stays_well(context: &Context, fault: &Fault, sizing: &Sizing, usual: u64) -> Result<f64> {
    let since = context.clock.now();
    let documents = 3.0 * SETTLED as f64 / sizing.rate_of(WORKERS);
    let limit = Duration::from_secs_f64(fault.bound(sizing) + LATE + documents);
    let mut began = None;
    let well =
        eventually("all is well again", limit, async || match is_well(context, fault, sizing, usual, since).await {
            Ok(()) => {
                let scheduled = context.board.load().scheduled;
                let (from, due) = *began.get_or_insert((context.clock.now(), scheduled + SETTLED));
                match scheduled >= due {
                    true => Probe::Ready(from),
                    false => Probe::NotYet(format!("{} documents more have to be due", due - scheduled)),
                }
            }
            Err(why) => {
                began = None;
                Probe::NotYet(why)
            }
        });
    Ok(well.await?)
}

/// Whether the queues are empty and no more documents are in flight than before the fault, or why not.
async fn is_well(context: &Context, fault: &Fault, sizing: &Sizing, usual: u64, since: f64) -> Result<(), String> {
    let sample = context.board.latest().filter(|sample| sample.at > since).ok_or("no sample yet")?;
    let flying = in_flight(&sample).ok_or_else(|| format!("documents not counted: {:?}", sample.stored))?;
    if flying > usual || sample.load.acknowledged == 0 {
        return Err(format!("{flying} documents in flight, {usual} are usual"));
    }
    if fault.invariants.contains(&Invariant::RightCount) {
        let (least, most) = sizing.right_count(sizing.rate_of(WORKERS));
        let fleet = context.board.fleet(context.clock.now())?;
        if !((least..=most).contains(&fleet.ready) && fleet.is_settled_at(fleet.ready)) {
            return Err(format!("{fleet}, {least} to {most} are right"));
        }
    }
    let backlogs = context.fixture.temporal.backlogs().await.map_err(|error| format!("{error:#}"))?;
    match backlogs.values().all(|waiting| *waiting == 0.0) {
        true => Ok(()),
        false => Err(format!("{backlogs:?}")),
    }
}

/// Waits until no workflow runs any more, also of those whose start was accepted and not acknowledged.
async fn ended(context: &Context, prefix: &str) -> Result<(), WaitError> {
    let limit = Duration::from_secs_f64(DRAINED);
    eventually("no workflow runs", limit, async || match context.fixture.temporal.count_by_status(prefix).await {
        Ok(counts) => when(!counts.contains_key("Running"), || format!("{counts:?}")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    })
    .await
}

/// The poisoned document's workflows by status, as soon as visibility has one that ended.
async fn poisoned(context: &Context) -> Result<BTreeMap<String, u64>> {
    let id = poison(context);
    let temporal = &context.fixture.temporal;
    let ended = eventually("visibility", Duration::from_secs(30), async || match temporal.count_by_status(&id).await {
        Ok(counts) if !counts.is_empty() && !counts.contains_key("Running") => Probe::Ready(counts),
        Ok(counts) => Probe::NotYet(format!("{counts:?}")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    });
    match ended.await {
        Ok(counts) => Ok(counts),
        Err(_) => temporal.count_by_status(&id).await,
    }
}

impl Played {
    /// When it was undone.
    fn undone(&self) -> Option<f64> {
        self.made.map(|window| window.to)
    }

    /// Documents a second of its load.
    fn rate(&self) -> f64 {
        self.loaded.stretches.first().map_or(0.0, |(stretch, _)| stretch.rate)
    }

    /// From the fault to the end of its load.
    fn lasted(&self, made: Window) -> Window {
        self.loaded.whole().map_or(made, |whole| Window { from: made.from, ..whole })
    }

    /// What is left of it for the next fault, if anything is.
    fn left(&self) -> Option<String> {
        let (due, kept) = (acknowledged(&self.loaded.starts), self.loaded.ending.stored.len() as u64);
        match self.loaded.drain {
            None => Some("its load was not drained".to_owned()),
            Some(_) if kept < due => Some(format!("{kept} of {due} acknowledged documents are stored")),
            Some(_) => None,
        }
    }
}

/// Undoes the fault that a run was interrupted in, which the phase names.
///
/// # Errors
/// The cluster refuses it.
pub async fn restore(context: &Context) -> Result<()> {
    let phase = context.board.phase();
    let mut names = phase.split('/');
    let fault = (names.next() == Some(NAME)).then(|| by_name(names.next()?)).flatten();
    let Some(fault) = fault else { return Ok(()) };
    fault.mechanism.undo(context, 0.0).await?;
    fault.mechanism.back(context).await?;
    fault.mechanism.clean(context).await
}

#[cfg(test)]
mod tests {
    use super::invariant::{SETTLES, between_kills};
    use super::*;
    use crate::cluster::reading::Reading;
    use crate::load::sizing::tests::sizing;

    fn flying(scheduled: u64, failed: u64, stored: u64) -> Sample {
        let mut sample = Sample { stored: Reading::Seen(stored), ..Sample::default() };
        (sample.load.scheduled, sample.load.failed) = (scheduled, failed);
        sample
    }

    #[test]
    fn as_many_in_flight_as_before_is_the_mean_and_what_chance_adds() {
        assert_eq!(in_flight(&flying(20, 2, 9)), Some(9), "a start without an answer is in flight");
        assert_eq!(in_flight(&flying(20, 0, 21)), Some(0));
        assert_eq!(in_flight(&Sample::default()), None);
        // 25 on average, and three times its root.
        assert_eq!(usual(&[flying(40, 0, 20), flying(40, 0, 10)], &sizing()).unwrap(), 40);
        // The load holds 15.75 slots.
        assert_eq!(usual(&[flying(20, 0, 17)], &sizing()).unwrap(), 28);
        assert!(usual(&[Sample::default()], &sizing()).is_err());
    }

    #[test]
    fn a_second_kill_leaves_time_for_a_p99_on_any_host() {
        let (fast, slow) = (sizing(), Sizing { service: 8.0, ..sizing() });
        for sizing in [fast, slow] {
            let counted = between_kills(&sizing) - SETTLES - sizing.p99_bound();
            assert!(counted * sizing.rate_of(WORKERS) >= SETTLED as f64 - 1e-6, "{counted} s");
        }
    }

    #[test]
    fn the_list_and_the_table_name_the_same_faults() {
        let mut listed: Vec<(&str, u8)> = LIST.iter().map(|(name, one)| (name.as_str(), one.number)).collect();
        let mut names: Vec<&str> = names().collect();
        names.sort_unstable();
        assert_eq!(listed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), names);
        listed.sort_by_key(|(_, number)| *number);
        assert!(listed.iter().map(|(_, number)| *number).eq(1..=32), "each number once: {listed:?}");
    }

    #[test]
    fn a_bound_is_the_sum_that_it_says() {
        let fault = by_name("worker-killed").unwrap();
        let half = Sizing { share: 0.5, ..sizing() };
        assert_eq!(fault.bound(&half), 15.0 + 10.0 + 10.0 + 11.5);
        let why = fault.why(&half);
        assert!(why.starts_with("15 s until Temporal misses the heartbeats; 10 s "), "{why}");
        let away = by_name("worker-cut-off").unwrap();
        assert_eq!(away.bound(&half), 50.0 + 30.0 + 11.5, "half of the host does the work of 30 s in 30 s");
        let most = away.bound(&sizing());
        assert!((most - (50.0 + 30.0 * 7.0 / 3.0 + 11.5)).abs() < 1e-6, "{most}");
    }
}
