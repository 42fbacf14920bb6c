//! The file for CI: a suite a scenario, a case a check. What could not be judged is an error there, and
//! what was seen to be wrong a failure.

use std::time::Duration;

use anyhow::{Context, Result};
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use crate::facts::Facts;
use crate::judge::verdict::{Check, Outcome, ScenarioVerdict, Verdict};

/// The file's text.
pub fn file(facts: &Facts, verdict: &Verdict) -> Result<String> {
    let mut report = Report::new(format!("kind-e2e {}", facts.run.id));
    report.set_time(Duration::from_secs_f64(facts.run.seconds.max(0.0)));
    report.add_test_suites(verdict.scenarios.iter().map(suite));
    report.to_string().context("writing junit.xml")
}

fn suite(scenario: &ScenarioVerdict) -> TestSuite {
    let mut suite = TestSuite::new(&*scenario.name);
    suite.set_time(Duration::from_secs(scenario.seconds));
    suite.add_test_cases(scenario.checks.iter().map(|check| case(&scenario.name, check)));
    suite
}

fn case(scenario: &str, check: &Check) -> TestCase {
    let status = match &check.outcome {
        Outcome::Pass => TestCaseStatus::success(),
        Outcome::Fail(reasons) => not_passed(NonSuccessKind::Failure, "Fail", reasons),
        Outcome::Inconclusive(reasons) => not_passed(NonSuccessKind::Error, "Inconclusive", reasons),
    };
    let mut case = TestCase::new(&*check.name, status);
    case.set_classname(scenario);
    case.set_system_out(format!("measured: {}\nbound: {}\nwhy: {}", check.measured, check.bound, check.why));
    case
}

fn not_passed(kind: NonSuccessKind, word: &str, reasons: &[String]) -> TestCaseStatus {
    let mut status = TestCaseStatus::non_success(kind);
    status.set_type(word).set_message(reasons.join("; "));
    status
}
