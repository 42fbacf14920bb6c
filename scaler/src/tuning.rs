//! The constants of the decision. `cargo xtask simulate --sweep` shows what others do.

/// The constants. The defaults are what ships (docs/decisions/0028-constants-of-the-scaler.md).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// Seconds of the mean of the demand.
    pub window: f64,
    /// Seconds of history that are kept.
    pub memory: f64,
    /// Seconds in which the highest mean counts as the usual work.
    pub usual: f64,
    /// Seconds that a step needs until it is recognised. It must not raise the mean that it is compared with.
    pub step_seen: f64,
    /// Standard deviations above the usual work that count as a step.
    pub deviations: f64,
    /// Share of the slots in use that counts, while slots are free. The HPA ignores a tenth.
    pub free_share: f64,
    /// Share of the workers that there are within which they are left as they are: a load between two numbers of
    /// workers must not move the fleet back and forth. It is half of the HPA's default.
    pub tolerance: f64,
    /// Seconds over which the rate of arrivals of a step is measured.
    pub rate_window: f64,
    /// How often a rise of the work counts: a task may be followed by others on the same queue.
    pub follow_up: f64,
    /// Seconds within which a backlog should be gone.
    pub drain: f64,
    /// Times the usual service time from which on the time has grown.
    pub grown: f64,
    /// Size of a trial, times the workers that there are.
    pub trial: f64,
    /// Seconds that a size is left alone before its throughput is judged. Temporal's rates are means of 35 s.
    pub settle: f64,
    /// Least part of the throughput of the added workers that counts as help.
    pub gain: f64,
    /// Seconds until the next trial after one that did not help. They double from trial to trial.
    pub patience: f64,
    /// Longest time between two trials, in seconds.
    pub longest_patience: f64,
    /// Seconds that the work has to be stable before a longer service time is taken as the usual one.
    pub stable: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            window: 30.0,
            memory: 125.0,
            usual: 60.0,
            step_seen: 3.0,
            deviations: 3.0,
            free_share: 0.9,
            tolerance: 0.05,
            rate_window: 3.0,
            follow_up: 1.5,
            drain: 15.0,
            grown: 1.5,
            trial: 2.0,
            settle: 45.0,
            gain: 0.3,
            patience: 300.0,
            longest_patience: 1800.0,
            stable: 120.0,
        }
    }
}
