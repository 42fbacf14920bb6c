//! From facts and samples to the verdict: the calibration, each scenario's checks, and what holds for the cluster over
//! the whole run. Pure.

use crate::cluster::reading::Reading;
use crate::cluster::secrets::Search;
use crate::cluster::survey::Survey;
use crate::facts::{Facts, ScenarioFacts};
use crate::judge::host;
use crate::judge::search::unshown;
use crate::judge::survey;
use crate::judge::verdict::{Check, Outcome, Question, ScenarioVerdict, Verdict};
use crate::load::calibration::{Calibration, NAME as CALIBRATION};
use crate::observe::sample::Sample;

/// A host carries a load that is sized by `--capacity` where it carries this share of that: two calibrations of one
/// host differ by less.
const ENOUGH: f64 = 0.85;
/// What is checked over the whole run, under this name.
pub const CLUSTER: &str = "cluster";

/// Judges a run.
pub fn judge(facts: &Facts, samples: &[Sample]) -> Verdict {
    let calibration = facts.calibration.as_ref().map(|found| calibration(found, samples));
    let scenarios = facts.scenarios.iter().map(|one| scenario(one, samples));
    let missing = facts.run.asked.iter().skip(facts.scenarios.len()).map(|name| {
        let check = came_to_its_end(Outcome::inconclusive("was not begun"), "not begun");
        ScenarioVerdict::of(name, 0.0, vec![check])
    });
    // What scenarios do on purpose is judged there.
    let restored: Vec<_> = facts.scenarios.iter().filter_map(|one| one.scenario().ok()).collect();
    let restarts: Vec<&str> = restored.iter().flat_map(|scenario| scenario.restarts()).copied().collect();
    let pulls: Vec<&str> = restored.iter().flat_map(|scenario| scenario.pulls()).copied().collect();
    let survey = |found: &Reading<Survey>| match found {
        Reading::Seen(survey) => Reading::Seen(survey.clone().without(&restarts, &pulls)),
        Reading::Gap(why) => Reading::Gap(why.clone()),
    };
    let mut whole = survey::checks(&survey(&facts.began), &survey(&facts.ended), facts.run.installed);
    whole.extend(facts.secrets.as_ref().map(kept_secret));
    if facts.interrupted {
        whole.push(came_to_its_end(Outcome::inconclusive("the run was interrupted"), "interrupted"));
    }
    let cluster = ScenarioVerdict::of(CLUSTER, facts.run.seconds, whole);
    Verdict::of(calibration.into_iter().chain(scenarios).chain(missing).chain([cluster]).collect())
}

/// No file of the run has a secret of its cluster.
fn kept_secret(found: &Reading<Search>) -> Check {
    let question = Question::new(
        "no-secret",
        "no file of the run has a secret of the cluster",
        "none, in any form",
        "a run's folder is shown to others, and must let nobody in",
    );
    match found {
        Reading::Gap(why) => question.unseen(why),
        Reading::Seen(search) => unshown(question, search, "files"),
    }
}

fn scenario(facts: &ScenarioFacts, samples: &[Sample]) -> ScenarioVerdict {
    let seconds = facts.ended - facts.began;
    let mut checks = match facts.scenario() {
        Ok(scenario) => scenario.judge(samples),
        Err(error) => vec![came_to_its_end(Outcome::inconclusive(format!("{error:#}")), "not understood")],
    };
    let ended = match &facts.error {
        None if checks.is_empty() => came_to_its_end(Outcome::inconclusive("nothing was checked"), "nothing to see"),
        None => came_to_its_end(Outcome::Pass, &format!("{seconds:.0} s")),
        Some(error) => came_to_its_end(Outcome::inconclusive(error), "did not"),
    };
    checks.insert(0, ended);
    ScenarioVerdict::of(&facts.name, seconds, checks)
}

fn came_to_its_end(outcome: Outcome, measured: &str) -> Check {
    Question::new("end", "came to its end", "yes", "what was not carried out shows nothing").answer(measured, outcome)
}

/// What this host carries, as a row of its own.
fn calibration(found: &Reading<Calibration>, samples: &[Sample]) -> ScenarioVerdict {
    let capacity = Question::new(
        "capacity",
        "what this host carries",
        "measured",
        "every load is a share of it, so that the scaling is judged and not the host",
    );
    let found = match found {
        Reading::Gap(why) => return ScenarioVerdict::of(CALIBRATION, 0.0, vec![capacity.unseen(why)]),
        Reading::Seen(found) => found,
    };
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    let used = host::mean(samples, found.window).map_or_else(
        || "its use was not seen".to_owned(),
        |mean| {
            let pressure = mean.pressure.map_or_else(String::new, |share| format!(", CPU pressure {}", percent(share)));
            format!("{} of its CPU in use, {} by others{pressure}", percent(mean.busy), percent(mean.others))
        },
    );
    let measured = format!(
        "{:.1} documents/s: {} in {:.0} s with {} workers and {} documents in flight; {used}; {} new workers were Ready \
         after {:.1} to {:.1} s",
        found.measured(),
        found.documents,
        found.seconds,
        found.workers,
        found.in_flight,
        found.starts.pods,
        found.starts.first,
        found.starts.all,
    );
    // Loads that are sized for a faster host than this one would judge the host.
    let outcome = match found.given.filter(|given| *given * ENOUGH > found.measured()) {
        Some(given) => Outcome::inconclusive(format!(
            "this host carries {:.1} documents/s, and --capacity says {given:.1}: the loads are too large for it",
            found.measured()
        )),
        None => Outcome::Pass,
    };
    let kept = Question::new(
        "calibration-kept",
        "every document of the calibration is stored",
        format!("{} documents", found.kept.0),
        "a start that Temporal acknowledged is durable",
    );
    let (acknowledged, stored) = found.kept;
    let checks =
        vec![capacity.answer(measured, outcome), kept.require(stored == acknowledged, format!("{stored} stored"))];
    ScenarioVerdict::of(CALIBRATION, found.window.seconds(), checks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::Run;

    fn facts(scenarios: Vec<ScenarioFacts>) -> Facts {
        Facts {
            run: Run { asked: vec!["step".to_owned()], ..Run::default() },
            scenarios,
            began: Reading::Seen(Survey::default()),
            ended: Reading::Seen(Survey::default()),
            ..Facts::default()
        }
    }

    fn step(error: Option<&str>) -> ScenarioFacts {
        ScenarioFacts { name: "step".to_owned(), error: error.map(str::to_owned), ..ScenarioFacts::default() }
    }

    #[test]
    fn what_was_not_carried_out_is_inconclusive() {
        let reasons = |facts: &Facts| judge(facts, &[]).outcome.reasons().to_vec();
        assert_eq!(reasons(&facts(Vec::new())), ["step: came to its end: was not begun"]);
        let broken = facts(vec![step(Some("toxiproxy: refused"))]);
        assert_eq!(reasons(&broken), ["step: came to its end: toxiproxy: refused"]);
        let empty = facts(vec![step(None)]);
        assert_eq!(reasons(&empty), ["step: came to its end: nothing was checked"]);
        let interrupted = Facts { interrupted: true, ..empty };
        assert_eq!(reasons(&interrupted)[1], "cluster: came to its end: the run was interrupted");
        assert_eq!(judge(&interrupted, &[]).outcome.exit_code(), 3);
    }

    #[test]
    fn a_secret_in_a_file_of_the_run_fails_it_and_a_search_that_broke_off_is_inconclusive() {
        let of = |secrets| judge(&Facts { secrets: Some(secrets), ..facts(Vec::new()) }, &[]).scenarios.remove(1);
        let found = Search { searched: 2, found: ["run.json: secret-key of storage/s3".to_owned()].into() };
        let reasons = of(Reading::Seen(found)).outcome.reasons().to_vec();
        assert!(reasons.iter().any(|reason| reason.contains("run.json")), "{reasons:?}");
        let clean = Search { searched: 2, ..Search::default() };
        assert_eq!(of(Reading::Seen(clean)).outcome, Outcome::Pass);
        assert_eq!(of(Reading::Seen(Search::default())).outcome.word(), "Inconclusive");
        assert_eq!(of(Reading::Gap("no file".to_owned())).outcome.word(), "Inconclusive");
    }

    #[test]
    fn a_host_that_was_not_measured_and_a_document_that_was_lost_are_told() {
        let of = |calibration| {
            let facts = Facts { calibration: Some(calibration), ..facts(Vec::new()) };
            judge(&facts, &[]).scenarios.remove(0)
        };
        assert_eq!(of(Reading::Gap("no worker started".to_owned())).outcome.word(), "Inconclusive");
        let lost = Calibration { kept: (9, 8), ..Calibration::default() };
        assert_eq!(of(Reading::Seen(lost)).outcome.word(), "Fail");
    }
}
