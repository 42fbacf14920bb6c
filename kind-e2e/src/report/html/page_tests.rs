//! The page of whole runs, of broken runs and of hostile words.

use std::path::Path;

use super::*;
use crate::figures::figures;
use crate::judge::judge;
use crate::observe::sample::Reading;
use crate::report::markdown::tests::{pinned, run};
use crate::scenarios::{Scenario, empty};

fn page_of(facts: &Facts, samples: &[Sample]) -> String {
    let verdict = judge(facts, samples);
    page(&pinned(), facts, samples, &verdict, &figures(facts, samples))
}

#[test]
fn the_page_of_a_pass_tells_everything() {
    let (facts, samples) = run();
    let page = page_of(&facts, &samples);
    for part in [
        "<title>Pass: run e2e-1</title>",
        "1970-01-01 00:00:00 UTC",
        "<dd>4 min 50 s</dd>",
        "15 of 15",
        "Holds 3 workers below the thresholds",
        "Reaction to the step in load",
        "Workers against load",
        "Depth by queue",
        "Slots in use by queue",
        "guide: p99 &lt; 4 s",
        "first new worker Ready",
        "scale-in: 6 → 3 wanted",
        "no CAP_SYS_RESOURCE: dropped",
        "v0.33.0",
        "cargo xtask e2e --seed 42 --scenario step",
    ] {
        assert!(page.contains(part), "{part}\nis not in\n{page}");
    }
    assert!(
        !page.contains("<details class=\"check\" open"),
        "what passed is closed"
    );
}

#[test]
fn nothing_is_loaded_from_anywhere() {
    let (facts, samples) = run();
    let page = page_of(&facts, &samples);
    for attribute in [
        "src=", "srcset=", "@import", "url(", "<iframe", "<object", "fetch(", "import(",
    ] {
        assert!(!page.contains(attribute), "{attribute}");
    }
    let links = page
        .split("href=\"")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap_or_default());
    for link in links {
        assert!(link.starts_with('#') || link == "data:,", "{link}");
    }
    assert!(
        page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"),
        "{POLICY}"
    );
}

#[test]
fn a_failing_check_is_open_and_says_why() {
    let (mut facts, samples) = run();
    facts.ended = Reading::Gap("refused".to_owned());
    let page = page_of(&facts, &samples);
    assert!(page.contains("<details class=\"check\" open"), "{page}");
    assert!(page.contains("<dd class=\"reason\">refused</dd>"), "{page}");
    assert!(page.contains("Inconclusive</span>"), "the verdict in words");
}

#[test]
fn words_from_outside_are_words() {
    let (mut facts, samples) = run();
    let evil = "</style></script><img src=x onerror=alert(1)>\"'&";
    facts.run.id = evil.to_owned();
    facts.run.corpus.folder = evil.to_owned();
    facts.scenarios[0].error = Some(evil.to_owned());
    let mut samples = samples;
    for sample in &mut samples {
        sample.phase = format!("step/{evil}");
    }
    let page = page_of(&facts, &samples);
    assert!(!page.contains("<img"), "{page}");
    assert_eq!(page.matches("</style>").count(), 1);
}

#[test]
fn a_scenario_without_samples_still_has_its_section() {
    let (facts, _) = run();
    let page = page_of(&facts, &[]);
    assert!(page.contains("No sample was taken of step"), "{page}");
    assert!(!page.contains("<svg"), "{page}");
    assert!(page.contains("Latency by phase"), "{page}");
}

#[test]
fn a_run_that_came_nowhere_has_a_page() {
    let (mut facts, _) = run();
    facts.scenarios = vec![empty(Scenario::Monitoring, 1.0)];
    facts.run.asked.push("monitoring".to_owned());
    let verdict = judge(&facts, &[]);
    let page = page(
        &Pinned::read(Path::new("no/run.json")),
        &facts,
        &[],
        &verdict,
        &figures(&facts, &[]),
    );
    assert!(
        page.contains("Pins and host are not known: no/run.json"),
        "{page}"
    );
    assert!(page.contains("was not begun"), "{page}");
}

#[test]
fn seconds_are_said_as_people_do() {
    let told = [
        (0.4, "0 s"),
        (59.6, "1 min"),
        (60.0, "1 min"),
        (290.0, "4 min 50 s"),
    ];
    for (seconds, words) in told {
        assert_eq!(duration(seconds), words);
    }
}
