//! What all workers share: a server, a database, or the cores of a host. It gives each job at most one core, and
//! shares its cores evenly where there are more jobs than cores.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// Something that needs core-seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Job {
    /// A task of a document, with the epoch in which it was begun.
    Task { document: u32, epoch: u32 },
    /// The start of a pod.
    Start { pod: u32, epoch: u32 },
}

/// A job and the share of cores that it has had when it is done.
#[derive(Debug, Clone, Copy)]
struct Due {
    share: f64,
    job: Job,
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        other.share.total_cmp(&self.share)
    }
}

/// The shared cores.
#[derive(Debug)]
pub(super) struct Host {
    cores: f64,
    jobs: BinaryHeap<Due>,
    /// Core-seconds that each job has had since the beginning.
    share: f64,
    at: f64,
    /// Core-seconds that all jobs have had.
    pub(super) spent: f64,
    /// Counts the changes: an end that was computed before the latest change does not hold.
    pub(super) version: u32,
}

impl Host {
    pub(super) fn new(cores: f64) -> Self {
        Self { cores, jobs: BinaryHeap::new(), share: 0.0, at: 0.0, spent: 0.0, version: 0 }
    }

    /// Core-seconds a second that each job gets.
    fn speed(&self) -> f64 {
        match self.jobs.len() {
            0 => 0.0,
            jobs => (self.cores / jobs as f64).min(1.0),
        }
    }

    fn advance(&mut self, now: f64) {
        let got = (now - self.at).max(0.0) * self.speed();
        self.share += got;
        self.spent += got * self.jobs.len() as f64;
        self.at = now;
        self.version = self.version.wrapping_add(1);
    }

    /// Gives the host other cores than it had.
    pub(super) fn set_cores(&mut self, now: f64, cores: f64) {
        self.advance(now);
        self.cores = cores.max(0.01);
    }

    /// Adds a job of so many core-seconds.
    pub(super) fn add(&mut self, now: f64, work: f64, job: Job) {
        self.advance(now);
        self.jobs.push(Due { share: self.share + work, job });
    }

    /// When the next job is done, if nothing changes.
    pub(super) fn next_end(&self) -> Option<f64> {
        let next = self.jobs.peek()?;
        Some(self.at + (next.share - self.share).max(0.0) / self.speed())
    }

    /// Takes out the job that is done now.
    pub(super) fn take(&mut self, now: f64) -> Option<Job> {
        self.advance(now);
        let done = self.jobs.pop()?;
        self.share = self.share.max(done.share);
        Some(done.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ends(cores: f64, jobs: &[(f64, f64)]) -> Vec<f64> {
        let mut host = Host::new(cores);
        let mut ends = vec![0.0; jobs.len()];
        let mut next = 0;
        loop {
            let arrival = jobs.get(next).map_or(f64::INFINITY, |(at, _)| *at);
            match host.next_end() {
                Some(end) if end <= arrival => {
                    let Some(Job::Task { document, .. }) = host.take(end) else { unreachable!() };
                    ends[document as usize] = (end * 1000.0).round() / 1000.0;
                }
                _ if next < jobs.len() => {
                    host.add(arrival, jobs[next].1, Job::Task { document: next as u32, epoch: 0 });
                    next += 1;
                }
                _ => return ends,
            }
        }
    }

    #[test]
    fn a_job_has_at_most_one_core_and_many_share_them() {
        assert_eq!(ends(4.0, &[(0.0, 1.0), (0.0, 2.0)]), [1.0, 2.0]);
        assert_eq!(ends(1.0, &[(0.0, 1.0), (0.0, 1.0)]), [2.0, 2.0]);
        // Alone for a second; then half speed until the shorter one is done at 3; then alone again.
        assert_eq!(ends(1.0, &[(0.0, 3.0), (1.0, 1.0)]), [4.0, 3.0]);
    }
}
