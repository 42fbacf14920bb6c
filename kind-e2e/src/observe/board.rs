//! The shared state of a run: the phase, the load's counts and the samples so far.
//!
//! Scenarios, the load and the observer write it. The observer, the progress lines and the scenarios' waits read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::sample::{LoadCounts, Sample};
use super::window::MAX_GAP;
use crate::cluster::kubernetes::Fleet;

/// The shared state of one run. Cheap to read, never held across an await.
#[derive(Debug, Default)]
pub struct Board {
    phase: Mutex<String>,
    prefix: Mutex<Option<String>>,
    samples: Mutex<Vec<Sample>>,
    scheduled: AtomicU64,
    acknowledged: AtomicU64,
    failed: AtomicU64,
}

impl Board {
    /// Begins a phase, such as `step/out`.
    pub fn enter(&self, phase: &str) {
        *lock(&self.phase) = phase.to_owned();
    }

    /// The phase.
    pub fn phase(&self) -> String {
        lock(&self.phase).clone()
    }

    /// Begins a new load whose documents' ids begin with `prefix`: its counts are 0.
    pub fn begin_load(&self, prefix: &str) {
        *lock(&self.prefix) = Some(prefix.to_owned());
        for count in [&self.scheduled, &self.acknowledged, &self.failed] {
            count.store(0, Ordering::Relaxed);
        }
    }

    /// The beginning of the current load's ids, if there is a load.
    pub fn prefix(&self) -> Option<String> {
        lock(&self.prefix).clone()
    }

    /// A start's time has come.
    pub fn scheduled(&self) {
        self.scheduled.fetch_add(1, Ordering::Relaxed);
    }

    /// A start was acknowledged, or not.
    pub fn answered(&self, acknowledged: bool) {
        let count = if acknowledged { &self.acknowledged } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// The load's counts.
    pub fn load(&self) -> LoadCounts {
        LoadCounts {
            scheduled: self.scheduled.load(Ordering::Relaxed),
            acknowledged: self.acknowledged.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
        }
    }

    /// Adds a sample.
    pub fn show(&self, sample: Sample) {
        lock(&self.samples).push(sample);
    }

    /// The last sample.
    pub fn latest(&self) -> Option<Sample> {
        lock(&self.samples).last().cloned()
    }

    /// Every sample so far.
    pub fn samples(&self) -> Vec<Sample> {
        lock(&self.samples).clone()
    }

    /// The samples since second `from`.
    pub fn since(&self, from: f64) -> Vec<Sample> {
        let samples = lock(&self.samples);
        let older = samples.partition_point(|sample| sample.at < from);
        samples[older..].to_vec()
    }

    /// The workers' counts as last seen, if that was no longer than [`MAX_GAP`] before `now`.
    ///
    /// # Errors
    /// They were not seen for longer than that, and why.
    pub fn fleet(&self, now: f64) -> Result<Fleet, String> {
        let samples = lock(&self.samples);
        let seen = samples.iter().rev().find_map(|sample| sample.fleet.seen().map(|fleet| (sample.at, *fleet)));
        match seen {
            Some((at, fleet)) if now - at <= MAX_GAP => Ok(fleet),
            Some((at, _)) => Err(format!("the workers were last seen in second {at:.0}")),
            None => Err("the workers were not seen yet".to_owned()),
        }
    }
}

/// A panic elsewhere has left a value behind that is still whole: it is only ever replaced or grown.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
