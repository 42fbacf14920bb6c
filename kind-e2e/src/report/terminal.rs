//! The few lines at the end of a run.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use super::figures::{Figures, lines};
use super::tables::passed;
use crate::judge::verdict::{Outcome, Verdict};

/// A line a scenario and one of its figures, one a check that did not pass, and the verdict.
///
/// `unlocked` are the inputs and outputs that differ from the bundle's locks. The verdict's line names them.
pub fn summary(verdict: &Verdict, figures: &BTreeMap<String, Figures>, unlocked: &[String], page: &Path) -> String {
    let mut text = String::new();
    for scenario in &verdict.scenarios {
        let passed = passed(scenario);
        let _ = writeln!(
            text,
            "{:<12}  {:<12} {:>4} s  {passed} of {} checks",
            scenario.outcome.word(),
            scenario.name,
            scenario.seconds,
            scenario.checks.len()
        );
        for shown in lines(figures, &scenario.name) {
            let _ = writeln!(text, "    {shown}");
        }
        for check in scenario.checks.iter().filter(|check| check.outcome != Outcome::Pass) {
            let _ = writeln!(text, "    {}: {}", check.name, check.outcome.reasons().join("; "));
            let _ = writeln!(text, "        measured {}, bound {}", check.measured, check.bound);
        }
    }
    let not = if unlocked.is_empty() { String::new() } else { format!(" (not as locked: {})", unlocked.join("; ")) };
    let _ = writeln!(text, "{}{not}: {}", verdict.outcome.word(), page.display());
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::verdict::{Question, ScenarioVerdict};
    use crate::report::figures::Workers;

    #[test]
    fn what_did_not_pass_is_told_with_its_figures() {
        let check = |name: &str, outcome| Question::new("id", name, "≤ 5 s", "because").answer("7 s", outcome);
        let verdict = Verdict::of(vec![
            ScenarioVerdict::of("step", 331.0, vec![check("a", Outcome::Pass), check("b", Outcome::fail("late"))]),
            ScenarioVerdict::of("cluster", 350.0, vec![check("c", Outcome::Pass)]),
        ]);
        let step = Figures { due: 9, stored: 8, workers: Some(Workers::default()), ..Figures::default() };
        let figures = BTreeMap::from([("step".to_owned(), step), ("cluster".to_owned(), Figures::default())]);
        let shown = "Fail          step          331 s  1 of 2 checks\n    \
                    0 to 0 workers, – worker-minutes, direction changed –×; 8 of 9 stored\n    \
                    b: late\n        measured 7 s, bound ≤ 5 s\n\
                    Pass          cluster       350 s  1 of 1 checks\nFail: run/report.html\n";
        assert_eq!(summary(&verdict, &figures, &[], Path::new("run/report.html")), shown);
        let unlocked = ["Debian packages of node: bash 1 → 2".to_owned(), "program kind/kind is other".to_owned()];
        let shown = summary(&verdict, &figures, &unlocked, Path::new("run/report.html"));
        let last = "Fail (not as locked: Debian packages of node: bash 1 → 2; program kind/kind is other): \
                    run/report.html";
        assert_eq!(shown.lines().last().unwrap(), last);
    }
}
