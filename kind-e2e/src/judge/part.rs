//! A load of a scenario as figures and report need it: its starts, its steps, its window. Pure.

use super::reaction::Expected;
use crate::load::Start;
use crate::load::sizing::{GUIDE_P99, Sizing};
use crate::observe::sample::Sample;
use crate::observe::window::Window;

/// A step up in load.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// When, in seconds since the run began.
    pub at: f64,
    /// What the reaction to it is held against.
    pub expected: Expected,
}

/// One load of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Part<'a> {
    /// The beginning of its samples' phases: the scenario's name, and more where it has several loads.
    pub name: &'a str,
    /// Every start.
    pub starts: &'a [Start],
    /// When the load stepped up to what needs more workers.
    pub steps: Vec<Step>,
    /// What is judged of it.
    pub window: Option<Window>,
    /// IO slots of a worker, where they are known.
    pub io_slots: Option<u32>,
    /// The bound on p99, in seconds.
    pub p99_bound: f64,
}

impl<'a> Part<'a> {
    /// A load without steps.
    pub fn new(name: &'a str, starts: &'a [Start], window: Option<Window>, sizing: Option<&Sizing>) -> Self {
        Self {
            name,
            starts,
            steps: Vec::new(),
            window,
            io_slots: sizing.map(|sizing| sizing.slots),
            p99_bound: sizing.map_or(GUIDE_P99, Sizing::p99_bound),
        }
    }

    /// Whether a sample was taken during it.
    pub fn has(&self, sample: &Sample) -> bool {
        let rest = sample.phase.strip_prefix(self.name);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_has_the_samples_of_its_own_phases() {
        let part = Part::new("a/b", &[], None, None);
        let has = ["a/b", "a/b/out", "a/bc", "a", ""]
            .map(|phase| part.has(&Sample { phase: phase.to_owned(), ..Sample::default() }));
        assert_eq!(has, [true, true, false, false, false]);
    }
}
