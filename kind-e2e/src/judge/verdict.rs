//! Pass, Fail or Inconclusive, from checks. Pure: nothing here reads a clock, a file or a cluster.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How one check, one scenario or the whole run came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", content = "reasons", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that was asked was seen, and every bound was kept.
    Pass,
    /// A bound was broken.
    Fail(Vec<String>),
    /// Not enough was seen to say.
    Inconclusive(Vec<String>),
}

impl Outcome {
    /// A failure for one reason.
    pub fn fail(reason: impl Into<String>) -> Self {
        Self::Fail(vec![reason.into()])
    }

    /// An outcome that is unknown for one reason.
    pub fn inconclusive(reason: impl Into<String>) -> Self {
        Self::Inconclusive(vec![reason.into()])
    }

    /// Pass if `holds`, otherwise a failure for `reason`.
    pub fn require(holds: bool, reason: impl FnOnce() -> String) -> Self {
        if holds { Self::Pass } else { Self::fail(reason()) }
    }

    /// The reasons, none for a pass.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Pass => &[],
            Self::Fail(reasons) | Self::Inconclusive(reasons) => reasons,
        }
    }

    /// A failure outweighs what was not seen, and that outweighs a pass. Only the reasons of the kind that decides
    /// are kept.
    pub fn of_all<'a>(outcomes: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut failures = Vec::new();
        let mut unknowns = Vec::new();
        for outcome in outcomes {
            match outcome {
                Self::Pass => {}
                Self::Fail(reasons) => failures.extend_from_slice(reasons),
                Self::Inconclusive(reasons) => unknowns.extend_from_slice(reasons),
            }
        }
        match (failures.is_empty(), unknowns.is_empty()) {
            (false, _) => Self::Fail(failures),
            (true, false) => Self::Inconclusive(unknowns),
            (true, true) => Self::Pass,
        }
    }

    /// The exit code that follows: 0, 1 or 3.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Pass => 0,
            Self::Fail(_) => 1,
            Self::Inconclusive(_) => 3,
        }
    }

    /// The one word for it.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Pass => "Pass",
            Self::Fail(_) => "Fail",
            Self::Inconclusive(_) => "Inconclusive",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// What a check asks: its bound, and why the bound holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    id: &'static str,
    name: String,
    bound: String,
    why: String,
}

impl Question {
    /// A question. `id` is the check's name in `docs/mutations.md`, and the same in every run.
    pub fn new(id: &'static str, name: impl Into<String>, bound: impl Into<String>, why: impl Into<String>) -> Self {
        Self { id, name: name.into(), bound: bound.into(), why: why.into() }
    }

    /// The check with what was measured and its outcome.
    pub fn answer(self, measured: impl Into<String>, outcome: Outcome) -> Check {
        Check {
            id: self.id.to_owned(),
            name: self.name,
            bound: self.bound,
            measured: measured.into(),
            why: self.why,
            outcome,
        }
    }

    /// Pass if `holds`; otherwise a failure whose reason is what was measured.
    pub fn require(self, holds: bool, measured: impl Into<String>) -> Check {
        let measured = measured.into();
        let outcome = Outcome::require(holds, || measured.clone());
        self.answer(measured, outcome)
    }

    /// Inconclusive: the answer was not seen.
    pub fn unseen(self, reason: impl Into<String>) -> Check {
        self.answer("not seen", Outcome::inconclusive(reason))
    }

    /// As [`Self::require`], or [`Self::unseen`] where the answer is a gap.
    pub fn of(self, answer: Result<(bool, String), String>) -> Check {
        match answer {
            Ok((holds, measured)) => self.require(holds, measured),
            Err(gap) => self.unseen(gap),
        }
    }
}

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Its name in `docs/mutations.md`.
    pub id: String,
    /// What is checked, for people: `3 workers below the thresholds`.
    pub name: String,
    /// The bound.
    pub bound: String,
    /// What was measured.
    pub measured: String,
    /// Why the bound is what it is.
    pub why: String,
    /// How it came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

impl Check {
    /// The same with `part` before its name: which load of a scenario it is of.
    #[must_use]
    pub fn of_part(self, part: &str) -> Self {
        Self { name: format!("{part}: {}", self.name), ..self }
    }

    /// A failure becomes Inconclusive where the host gives another explanation for it.
    #[must_use]
    pub fn excused_by(self, excuse: Option<&str>) -> Self {
        match (self.outcome, excuse) {
            (Outcome::Fail(reasons), Some(excuse)) => {
                let reasons = reasons.into_iter().map(|reason| format!("{reason}; {excuse}"));
                let outcome = Outcome::Inconclusive(reasons.collect());
                Self { outcome, ..self }
            }
            (outcome, _) => Self { outcome, ..self },
        }
    }
}

/// A pass where there are no faults; otherwise a failure that names the first few and counts the others.
pub fn faults(found: impl IntoIterator<Item = String>) -> Outcome {
    const NAMED: usize = 5;
    let mut found = found.into_iter();
    let mut named: Vec<String> = found.by_ref().take(NAMED).collect();
    let more = found.count();
    if named.is_empty() {
        return Outcome::Pass;
    }
    if more > 0 {
        named.push(format!("and {more} more"));
    }
    Outcome::Fail(named)
}

/// One scenario's checks and what they come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScenarioVerdict {
    /// The scenario, or `cluster` for what holds over the whole run.
    pub name: String,
    /// Seconds that the scenario took, rounded.
    pub seconds: u64,
    /// What its checks come to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// The checks in the order in which they were made.
    pub checks: Vec<Check>,
}

impl ScenarioVerdict {
    /// Sums up `checks`. A scenario in which nothing was checked has shown nothing.
    pub fn of(name: impl Into<String>, seconds: f64, checks: Vec<Check>) -> Self {
        let name = name.into();
        let outcome = if checks.is_empty() {
            Outcome::inconclusive(format!("{name}: nothing was checked"))
        } else {
            let named: Vec<Outcome> = checks.iter().map(|check| name_reasons(&name, check)).collect();
            Outcome::of_all(&named)
        };
        Self { name, seconds: seconds.round() as u64, outcome, checks }
    }
}

/// The check's outcome with every reason preceded by where it comes from.
fn name_reasons(scenario: &str, check: &Check) -> Outcome {
    let named =
        |reasons: &[String]| reasons.iter().map(|reason| format!("{scenario}: {}: {reason}", check.name)).collect();
    match &check.outcome {
        Outcome::Pass => Outcome::Pass,
        Outcome::Fail(reasons) => Outcome::Fail(named(reasons)),
        Outcome::Inconclusive(reasons) => Outcome::Inconclusive(named(reasons)),
    }
}

/// The run's verdict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What all scenarios come to.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// Each scenario's verdict.
    pub scenarios: Vec<ScenarioVerdict>,
}

impl Verdict {
    /// Sums up `scenarios`. A run without scenarios has shown nothing.
    pub fn of(scenarios: Vec<ScenarioVerdict>) -> Self {
        let outcome = if scenarios.is_empty() {
            Outcome::inconclusive("no scenario was run")
        } else {
            Outcome::of_all(scenarios.iter().map(|scenario| &scenario.outcome))
        };
        Self { outcome, scenarios }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, outcome: Outcome) -> Check {
        Question::new("id", name, "b", "w").answer("m", outcome)
    }

    #[test]
    fn what_checks_come_to() {
        let (pass, fail, unknown) = (Outcome::Pass, Outcome::fail("f"), Outcome::inconclusive("u"));
        let table = [
            (vec![&pass], "Pass", 0),
            (vec![&pass, &unknown], "Inconclusive", 3),
            (vec![&pass, &fail], "Fail", 1),
            (vec![&unknown, &fail, &pass], "Fail", 1),
        ];
        for (outcomes, word, code) in table {
            let all = Outcome::of_all(outcomes);
            assert_eq!((all.word(), all.exit_code()), (word, code));
        }
    }

    #[test]
    fn a_run_that_showed_nothing_is_inconclusive() {
        assert_eq!(Verdict::of(Vec::new()).outcome, Outcome::inconclusive("no scenario was run"));
        let empty = ScenarioVerdict::of("step", 1.0, Vec::new());
        assert_eq!(empty.outcome, Outcome::inconclusive("step: nothing was checked"));
    }

    #[test]
    fn reasons_name_the_scenario_and_the_check() {
        let scenario = ScenarioVerdict::of(
            "step",
            12.4,
            vec![check("a", Outcome::Pass), check("scaled in", Outcome::fail("7 replicas after 120 s"))],
        );
        let verdict = Verdict::of(vec![scenario]);
        assert_eq!(verdict.outcome.reasons(), ["step: scaled in: 7 replicas after 120 s"]);
    }

    #[test]
    fn a_verdict_survives_its_file() {
        let verdict = Verdict::of(vec![ScenarioVerdict::of("s", 1.0, vec![check("a", Outcome::inconclusive("u"))])]);
        let text = serde_json::to_string(&verdict).unwrap();
        assert!(text.starts_with(r#"{"outcome":"inconclusive","reasons":["s: a: u"]"#), "{text}");
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), verdict);
        let pass = Verdict::of(vec![ScenarioVerdict::of("s", 1.0, vec![check("a", Outcome::Pass)])]);
        let text = serde_json::to_string(&pass).unwrap();
        assert_eq!(serde_json::from_str::<Verdict>(&text).unwrap(), pass);
    }
}
