//! The page of a run as it should be, and what it says where something is missing.

use serde_json::json;

use super::*;
use crate::corpus::Summary;
use crate::facts::{Run, ScenarioFacts};
use crate::judge::judge;
use crate::observe::sample::Reading;
use crate::report::{junit, pinned::Pinned};
use crate::scenarios::step_judge::tests::good;
use crate::survey::Survey;

pub(crate) fn run() -> (Facts, Vec<Sample>) {
    let (step, samples) = good();
    let scenario = ScenarioFacts {
        name: "step".to_owned(),
        began: 5.0,
        ended: 285.0,
        error: None,
        detail: Detail::Step(Box::new(step)),
    };
    let samples = samples
        .into_iter()
        .map(|sample| Sample {
            phase: "step/out".to_owned(),
            ..sample
        })
        .collect();
    let facts = Facts {
        run: Run {
            id: "e2e-1".to_owned(),
            seed: 42,
            began_unix: 0.0,
            seconds: 290.0,
            cluster: "slipway".to_owned(),
            cores: 2,
            asked: vec!["step".to_owned()],
            corpus: Summary {
                used: 7,
                found: 9,
                ..Summary::default()
            },
        },
        scenarios: vec![scenario],
        began: Reading::Seen(Survey::default()),
        ended: Reading::Seen(Survey::default()),
        interrupted: false,
    };
    (facts, samples)
}

pub(crate) fn pinned() -> Pinned {
    Pinned::of(&json!({
        "pins": {"kind": "v0.33.0"}, "host": {"cores": 2}, "adaptations": ["no CAP_SYS_RESOURCE: dropped"],
        "stages": [{"stage": "parts", "seconds": 100.0}, {"stage": "cluster", "seconds": 20.0}],
    }))
}

#[test]
fn the_page_of_a_pass() {
    let (facts, samples) = run();
    let verdict = judge(&facts, &samples);
    let page = page(&pinned(), &facts, &samples, &verdict);
    for line in [
        "# Pass: run e2e-1\n\nCluster slipway, seed 42, 290 s.\n\n| scenario | verdict | checks passed | seconds |",
        "\n| step | Pass | 15 of 15 | 280 |\n| cluster | Pass | 2 of 2 | 290 |\n",
        "\n| out | 10.0/s | 2 | 2 | 2 | 3.00 s | 3.00 s | 3.00 s | 3.00 s |\n",
        "\n| more workers wanted | 30.0 s |\n| first new worker ready | 33.0 s |\n| all 7 that the load needs ready | never |\n",
        "Deepest by the workers' metric: document-io-activity-queue 60, document-workflow-queue 0",
        "\n| +30 s | out | 6 | 6 | 3 | 0 / 60 / – | 0 / 0 |\n| +33 s | out | 6 | 6 | 6 | 0 / 60 / – | 0 / 0 |\n",
        "\n| parts | 100.0 | 25 % |\n| cluster | 20.0 | 5 % |\n| scenario step | 280.0 | 70 % |\n",
        "\n- adapted: no CAP_SYS_RESOURCE: dropped\n",
        "\n| kind | v0.33.0 |\n",
    ] {
        assert!(page.contains(line), "{line}\nis not in\n{page}");
    }
}

#[test]
fn a_page_can_be_made_of_a_run_that_came_nowhere() {
    let (mut facts, _) = run();
    facts.scenarios.clear();
    let verdict = judge(&facts, &[]);
    let page = page(
        &Pinned::read(std::path::Path::new("no/run.json")),
        &facts,
        &[],
        &verdict,
    );
    assert!(page.starts_with("# Inconclusive: run e2e-1\n"), "{page}");
    assert!(
        page.contains("- step: came to its end: was not begun\n"),
        "{page}"
    );
    assert!(
        page.contains("Pins and host are not known: no/run.json"),
        "{page}"
    );
}

#[test]
fn the_file_for_ci_tells_failures_from_what_was_not_seen() {
    let (mut facts, samples) = run();
    facts.ended = Reading::Gap("refused".to_owned());
    if let Detail::Step(step) = &mut facts.scenarios[0].detail {
        step.left = 3;
    }
    let file = junit::file(&facts, &judge(&facts, &samples)).unwrap();
    assert!(
        file.contains(r#"<testsuite name="step" tests="15" skipped="0" errors="0" failures="1""#),
        "{file}"
    );
    assert!(
        file.contains(r#"<failure message="3 documents were not stored" type="Fail""#),
        "{file}"
    );
    assert!(
        file.contains(r#"<testsuite name="cluster" tests="2" skipped="0" errors="2" failures="0""#),
        "{file}"
    );
}
