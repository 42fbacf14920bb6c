//! A load in stretches, each with a rate of its own, and what became of it. The same for every scenario that loads.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore as _};
use serde::{Deserialize, Serialize};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use crate::cluster::prometheus;
use crate::cluster::reading::Reading;
use crate::judge::host::excuse;
use crate::judge::load::{few_errors, kept_schedule};
use crate::judge::part::{Part, Step};
use crate::judge::reaction::Expected;
use crate::judge::verdict::Check;
use crate::load::arrivals::{even, generator, poisson};
use crate::load::context::Context;
use crate::load::corpus::{CLAIMS, Document, INLINE, claim_key};
use crate::load::sizing::Sizing;
use crate::load::waits::{hand_over, stored, tell};
use crate::load::{Load, Start, acknowledged};
use crate::observe::rows;
use crate::observe::sample::Sample;
use crate::observe::window::Window;
use crate::oracle::ending::{Beyond, Ending, STEPS};
use crate::oracle::{attempts, stored as stored_of};
use support::wait::{Probe, eventually};

/// Temporal's visibility has every ended workflow within this time.
const VISIBILITY: Duration = Duration::from_secs(45);
/// Histories are read of so many retried steps at most.
const REASONS: usize = 20;
/// Calls to an LLM by all workers; 0 where none was ever made.
const LLM_CALLS: &str = r#"sum(observed_document_external_calls_total{service="llm"}) or vector(0)"#;

/// A stretch of a load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stretch {
    /// Its name, of letters and digits; the documents' ids and the samples' phases have it.
    pub name: String,
    /// Documents a second.
    pub rate: f64,
    /// Seconds.
    pub seconds: f64,
    /// Whether every second has as many documents as the next; else they come as a Poisson process.
    pub even: bool,
}

impl Stretch {
    /// Poisson arrivals.
    pub fn new(name: impl Into<String>, rate: f64, seconds: f64) -> Self {
        Self { name: name.into(), rate, seconds, even: false }
    }

    /// The same with as many documents in every second.
    #[must_use]
    pub fn even(self) -> Self {
        Self { even: true, ..self }
    }
}

/// A load and what became of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Loaded {
    /// The scenario, or the part of it, that loaded.
    pub name: String,
    /// The beginning of the documents' ids.
    pub prefix: String,
    /// What was played, and when.
    pub stretches: Vec<(Stretch, Window)>,
    /// Every start.
    pub starts: Vec<Start>,
    /// From the end of the last stretch to the end of the wait for its documents.
    pub drain: Option<Window>,
    /// What is stored of it.
    pub ending: Ending,
}

impl Loaded {
    /// Begins a load called `name`, which is the beginning of its samples' phases.
    pub fn begin(context: &Context, name: &str) -> (Self, Load) {
        let load = Load::begin(context, name);
        let loaded = Self { name: name.to_owned(), prefix: load.prefix.clone(), ..Self::default() };
        (loaded, load)
    }

    /// Plays stretches one after the other. Documents and times follow from the seed, `purpose` and the stretch's
    /// name alone, so that two loads of one purpose are the same load.
    pub async fn play(&mut self, context: &Context, load: &Load, purpose: &str, stretches: &[Stretch]) {
        for stretch in stretches {
            let what = format!("{:.1} documents/s for {:.0} s", stretch.rate, stretch.seconds);
            context.enter(&format!("{}/{}", self.name, stretch.name), &what);
            let mut rng = generator(context.seed, &format!("{purpose}/{}", stretch.name));
            let length = Duration::from_secs_f64(stretch.seconds);
            let draw = if stretch.even { even } else { poisson };
            let arrivals = draw(stretch.rate, length, context.documents.len(), &mut rng);
            let from = context.clock.now();
            let window = Window { from, to: from + stretch.seconds };
            self.stretches.push((stretch.clone(), window));
            load.play(&stretch.name, &arrivals, &mut self.starts).await;
            sleep_until(context.clock.instant(window.to)).await;
        }
    }

    /// Plays Poisson arrivals until `stop`, for at most `stretch.seconds`. The window ends when the load does.
    pub async fn play_until(&mut self, context: &Context, load: &Load, stretch: Stretch, stop: &CancellationToken) {
        let mut rng = generator(context.seed, &self.name);
        let length = Duration::from_secs_f64(stretch.seconds);
        let arrivals = poisson(stretch.rate, length, context.documents.len(), &mut rng);
        let from = context.clock.now();
        let (name, index) = (stretch.name.clone(), self.stretches.len());
        self.stretches.push((stretch, Window { from, to: from }));
        load.play_until(&name, &arrivals, &mut self.starts, stop).await;
        let (stretch, window) = &mut self.stretches[index];
        window.to = context.clock.now();
        stretch.seconds = window.seconds();
    }

    /// Plays an even load for `seconds` with the minimum of workers fixed, then gives them to the autoscaler.
    ///
    /// `temporal-scaler` takes the mean of [`MEAN`](crate::judge::bounds::MEAN) seconds. A load before this one must
    /// not be in it.
    ///
    /// # Errors
    /// The number of workers cannot be fixed, or KEDA does not take over.
    pub async fn warm_up(&mut self, context: &Context, load: &Load, rate: f64, seconds: f64) -> Result<()> {
        let before = [Stretch::new("before", rate, seconds).even()];
        let purpose = self.name.clone();
        self.play(context, load, &purpose, &before).await;
        hand_over(context).await.with_context(|| format!("before {purpose}"))
    }

    /// Waits until everything that was acknowledged is stored, for at most `patience` seconds.
    pub async fn drain(&mut self, context: &Context, patience: f64) {
        context.enter(&format!("{}/drain", self.name), "no load: the queues drain");
        let from = context.clock.now();
        let drained = stored(context, &self.prefix, acknowledged(&self.starts), patience).await;
        tell(context, "every document is stored", drained);
        let to = context.clock.now();
        self.drain = Some(Window { from, to });
    }

    /// Drains, and reads what Temporal, Postgres and the bucket hold of the load.
    ///
    /// # Errors
    /// Temporal or Postgres cannot be read.
    pub async fn end(&mut self, context: &Context, patience: f64) -> Result<()> {
        self.drain(context, patience).await;
        self.read(context).await
    }

    /// Reads what Temporal, Postgres and the bucket hold of the load.
    ///
    /// # Errors
    /// Temporal or Postgres cannot be read.
    pub async fn read(&mut self, context: &Context) -> Result<()> {
        let statuses = statuses(context, &self.prefix, acknowledged(&self.starts)).await?;
        let rows = rows::read(&context.fixture.postgres, &self.prefix).await?;
        self.note_stored(context, &rows.documents);
        let keys: BTreeSet<&str> = self.starts.iter().map(|start| start.key.as_str()).collect();
        let documents = || context.documents.iter().filter(|document| keys.contains(document.key.as_str()));
        let began = context.clock.began_unix();
        let samples = context.board.samples();
        let mut retried = attempts::retried(&rows.attempts, &samples, began);
        for one in retried.iter_mut().take(REASONS) {
            let reasons = context.fixture.temporal.retries(&one.workflow_id).await;
            one.reason = match reasons {
                Ok(mut reasons) => reasons.remove(&one.step).unwrap_or_default(),
                Err(error) => format!("not read: {error:#}"),
            };
        }
        let large: Vec<&Document> = documents().filter(|document| document.trips > 1).collect();
        let (claims_missing, claims_beyond) = match claims(context).await {
            Ok(claims) => (Reading::Seen(missing(&claims, &large)), Reading::Seen(beyond(context, claims))),
            Err(error) => (Reading::Gap(format!("{error:#}")), Reading::Gap(format!("{error:#}"))),
        };
        self.ending = Ending {
            expected: documents().map(|one| (one.key.clone(), (&one.expected).into())).collect(),
            root: context.fixture.source(""),
            stored: stored_of(&rows),
            statuses,
            steps: rows.documents.len() * STEPS.len(),
            workers: self.lasted().map_or(0, |window| attempts::workers(&samples, window).len()),
            retried,
            claims: large.len(),
            claims_missing,
            claims_beyond: Some(claims_beyond),
            llm_calls: llm_calls(context).await.into(),
        };
        Ok(())
    }

    fn note_stored(&mut self, context: &Context, documents: &[rows::Document]) {
        let stored: BTreeMap<&str, f64> =
            documents.iter().map(|row| (row.document_id.as_str(), row.committed)).collect();
        for start in &mut self.starts {
            let committed = stored.get(start.id.as_str());
            start.stored = committed.map(|unix| context.clock.from_unix(*unix));
        }
    }

    /// When a stretch was played.
    pub fn window(&self, name: &str) -> Option<Window> {
        let found = self.stretches.iter().find(|(stretch, _)| stretch.name == name);
        found.map(|(_, window)| *window)
    }

    /// From the beginning of the first stretch to the end of the last, without the warm-up.
    pub fn whole(&self) -> Option<Window> {
        let mut stretches = self.stretches.iter().filter(|(stretch, _)| stretch.name != "before");
        let first = stretches.next()?.1;
        Some(stretches.next_back().map_or(first, |(_, last)| first.until(*last)))
    }

    /// That the load was the planned one, and that nothing of it was lost. `faultless`: no fault was injected.
    ///
    /// A starved worker misses heartbeats, so the host may excuse attempts that were lost.
    pub fn checks(&self, samples: &[Sample], faultless: bool) -> Vec<Check> {
        let Some(window) = self.whole() else {
            return Vec::new();
        };
        let mut checks = vec![kept_schedule(&self.starts), few_errors(&self.starts)];
        checks.extend(self.ending.checks(&self.starts));
        if faultless {
            let excuse = excuse(samples, window);
            checks.push(self.ending.first_attempts().excused_by(excuse.as_deref()));
        }
        checks
    }

    /// From the beginning of the first stretch, a warm-up too, to the end of the wait for the documents.
    fn lasted(&self) -> Option<Window> {
        let (first, last) = (self.stretches.first()?.1, self.stretches.last()?.1);
        Some(first.until(self.drain.unwrap_or(last)))
    }

    /// The workers that each stretch needs, at the guide's 80 % of their slots.
    pub fn needed(&self, sizing: &Sizing) -> Vec<(Window, i32)> {
        let stretches = self.stretches.iter();
        stretches.map(|(stretch, window)| (*window, sizing.needed_for(stretch.rate))).collect()
    }

    /// The load for the report, with a step for each stretch that needs more workers than the one before.
    pub fn part(&self, sizing: Option<&Sizing>) -> Part<'_> {
        let part = Part::new(&self.name, &self.starts, self.whole(), sizing);
        let steps = sizing.map_or_else(Vec::new, |sizing| self.steps(sizing));
        Part { steps, ..part }
    }

    fn steps(&self, sizing: &Sizing) -> Vec<Step> {
        let mut before = sizing.min;
        let mut steps = Vec::new();
        for (stretch, window) in &self.stretches {
            let needed = sizing.workers_for(stretch.rate);
            if needed > before {
                steps.push(Step { at: window.from, expected: Expected::of(sizing, stretch.rate) });
            }
            before = needed;
        }
        steps
    }
}

/// Workflows by status: as soon as enough are completed, or as they are when the wait is over.
async fn statuses(context: &Context, prefix: &str, due: u64) -> Result<BTreeMap<String, u64>> {
    let temporal = &context.fixture.temporal;
    let settled = eventually("visibility", VISIBILITY, async || match temporal.count_by_status(prefix).await {
        Ok(counts) if counts.get("Completed").copied().unwrap_or(0) >= due => Probe::Ready(counts),
        Ok(counts) => Probe::NotYet(format!("{counts:?} of {due}")),
        Err(error) => Probe::NotYet(format!("{error:#}")),
    });
    match settled.await {
        Ok(counts) => Ok(counts),
        Err(_) => temporal.count_by_status(prefix).await,
    }
}

/// The claims in the bucket, and whether each was written since the run began.
async fn claims(context: &Context) -> Result<BTreeMap<Path, bool>> {
    let listed: Vec<ObjectMeta> = context.fixture.documents.list(Some(&CLAIMS.into())).try_collect().await?;
    let began = context.clock.began_unix() as i64;
    Ok(listed.into_iter().map(|claim| (claim.location, claim.last_modified.timestamp() >= began)).collect())
}

/// Keys of documents that should have a claim, and have none.
fn missing(claims: &BTreeMap<Path, bool>, large: &[&Document]) -> Vec<String> {
    let without = large.iter().filter(|document| !claims.contains_key(&claim_key(document)));
    without.map(|document| document.key.clone()).collect()
}

/// The new claims that are not the body of a large document. A claim's key is the hash of its content, so the body of
/// each document of the run is described by what was read of it.
fn beyond(context: &Context, mut claims: BTreeMap<Path, bool>) -> Beyond {
    claims.retain(|_, new| *new);
    let mut beyond = Beyond::default();
    for document in &context.documents[..] {
        let body = claims.remove(&claim_key(document));
        if document.expected.bytes <= INLINE {
            beyond.needless.extend(body.map(|_| document.key.clone()));
        }
        // As JSON, a text is at most a little longer than its document.
        beyond.most_others += if document.expected.bytes > INLINE / 2 { 2 } else { 0 };
    }
    beyond.others = claims.len();
    beyond
}

async fn llm_calls(context: &Context) -> Result<f64> {
    let base = &context.fixture.cluster.endpoints.prometheus;
    prometheus::total(&prometheus::query(&context.fixture.http, base, LLM_CALLS).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::sizing::tests::sizing;

    #[test]
    fn a_step_is_a_stretch_that_needs_more_workers() {
        let sizing = sizing();
        let table: [(&[f64], &[f64]); 4] = [
            (&[2.0, 9.0, 2.0], &[10.0]),
            (&[9.0, 9.0], &[0.0]),
            (&[1.0, 2.0, 3.0], &[]),
            (&[9.0, 3.0, 9.0], &[0.0, 20.0]),
        ];
        for (workers, expected) in table {
            let stretches = workers.iter().zip(0..).map(|(workers, number)| {
                let from = f64::from(number) * 10.0;
                let window = Window { from, to: from + 10.0 };
                (Stretch::new("s", sizing.rate_of(*workers), 10.0), window)
            });
            let loaded = Loaded { stretches: stretches.collect(), ..Loaded::default() };
            let found: Vec<f64> = loaded.part(Some(&sizing)).steps.iter().map(|step| step.at).collect();
            assert_eq!(found, expected, "{workers:?}");
        }
    }
}
