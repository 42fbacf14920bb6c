//! From facts and samples to the verdict: each scenario's checks, and what holds for the cluster over
//! the whole run. Pure: no file, no clock, no cluster.

use crate::facts::{Facts, ScenarioFacts};
use crate::observe::sample::Sample;
use crate::scenarios;
use crate::survey;
use crate::verdict::{Check, Outcome, ScenarioVerdict, Verdict};

/// What is checked over the whole run, under this name.
pub const CLUSTER: &str = "cluster";

/// Judges a run.
pub fn judge(facts: &Facts, samples: &[Sample]) -> Verdict {
    let mut scenarios: Vec<ScenarioVerdict> =
        facts.scenarios.iter().map(|one| scenario(one, samples)).collect();
    for name in facts.run.asked.iter().skip(facts.scenarios.len()) {
        let check = came_to_its_end(Outcome::inconclusive("was not begun"), "not begun");
        scenarios.push(ScenarioVerdict::of(name, 0.0, vec![check]));
    }
    let mut whole = survey::checks(&facts.began, &facts.ended);
    if facts.interrupted {
        whole.push(came_to_its_end(
            Outcome::inconclusive("the run was interrupted"),
            "interrupted",
        ));
    }
    scenarios.push(ScenarioVerdict::of(CLUSTER, facts.run.seconds, whole));
    Verdict::of(scenarios)
}

fn scenario(facts: &ScenarioFacts, samples: &[Sample]) -> ScenarioVerdict {
    let seconds = facts.ended - facts.began;
    let mut checks = scenarios::judge(facts, samples);
    let ended = match &facts.error {
        None => came_to_its_end(Outcome::Pass, &format!("{seconds:.0} s")),
        Some(error) => came_to_its_end(Outcome::inconclusive(error), "did not"),
    };
    if checks.is_empty() && facts.error.is_none() {
        checks.push(came_to_its_end(
            Outcome::inconclusive("nothing was checked"),
            "nothing to see",
        ));
    }
    checks.insert(0, ended);
    ScenarioVerdict::of(&facts.name, seconds, checks)
}

fn came_to_its_end(outcome: Outcome, measured: &str) -> Check {
    Check::new(
        "came to its end",
        "yes",
        measured,
        "what was not carried out shows nothing",
        outcome,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::Summary;
    use crate::facts::Run;
    use crate::observe::sample::Reading;
    use crate::scenarios::{Scenario, empty};
    use crate::survey::Survey;

    fn facts(scenarios: Vec<ScenarioFacts>) -> Facts {
        Facts {
            run: Run {
                id: "r".to_owned(),
                seed: 1,
                began_unix: 0.0,
                seconds: 10.0,
                cluster: "slipway".to_owned(),
                cores: 2,
                asked: vec!["step".to_owned()],
                corpus: Summary::default(),
            },
            scenarios,
            began: Reading::Seen(Survey::default()),
            ended: Reading::Seen(Survey::default()),
            interrupted: false,
        }
    }

    #[test]
    fn a_scenario_that_was_asked_for_and_not_begun_is_inconclusive() {
        let verdict = judge(&facts(Vec::new()), &[]);
        assert_eq!(
            verdict.outcome.reasons(),
            ["step: came to its end: was not begun"]
        );
        assert_eq!(verdict.outcome.exit_code(), 3);
    }

    #[test]
    fn an_error_is_inconclusive_with_its_reason() {
        let broken = ScenarioFacts {
            error: Some("toxiproxy: refused".to_owned()),
            ..empty(Scenario::Step, 1.0)
        };
        let verdict = judge(&facts(vec![broken]), &[]);
        assert_eq!(
            verdict.outcome,
            Outcome::inconclusive("step: came to its end: toxiproxy: refused")
        );
    }

    #[test]
    fn a_pull_fails_a_run_whose_scenarios_passed() {
        let mut run = facts(vec![empty(Scenario::Step, 1.0)]);
        let mut survey = Survey::default();
        survey.pulls.insert("x:1".to_owned(), "Pulling".to_owned());
        run.ended = Reading::Seen(survey);
        let verdict = judge(&run, &[]);
        assert_eq!(
            verdict.outcome.reasons(),
            ["cluster: no image was pulled: x:1: Pulling"]
        );
    }

    #[test]
    fn an_interrupted_run_is_inconclusive() {
        let mut run = facts(vec![empty(Scenario::Step, 1.0)]);
        run.interrupted = true;
        assert_eq!(judge(&run, &[]).outcome.word(), "Inconclusive");
    }
}
