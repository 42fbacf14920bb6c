//! The page for people: what came out, why, how fast it reacted, and where the time went.

use std::fmt::Write;

use super::pinned::Pinned;
use crate::facts::Facts;
use crate::fixture::{CPU_QUEUE, IO_QUEUE, WORKFLOW_QUEUE};
use crate::load::{Latency, latency};
use crate::observe::sample::{Fleet, Sample};
use crate::plan::Plan;
use crate::reaction::{Reaction, reaction};
use crate::scaling::Window;
use crate::scenarios::{Detail, step};
use crate::table::Table;
use crate::verdict::{Outcome, ScenarioVerdict, Verdict};

/// The whole page.
pub fn page(run: &Pinned, facts: &Facts, samples: &[Sample], verdict: &Verdict) -> String {
    let mut page = String::new();
    summary(&mut page, facts, verdict);
    for scenario in &verdict.scenarios {
        checks(&mut page, scenario);
    }
    for scenario in &facts.scenarios {
        if let Detail::Step(step) = &scenario.detail {
            step_section(&mut page, step, samples);
        }
        for table in scenario.detail.tables(samples) {
            told(&mut page, &table);
        }
    }
    time_section(&mut page, run, facts);
    host_section(&mut page, run, facts, samples);
    page
}

fn summary(page: &mut String, facts: &Facts, verdict: &Verdict) {
    let run = &facts.run;
    line(page, &format!("# {}: run {}\n", verdict.outcome, run.id));
    line(
        page,
        &format!(
            "Cluster {}, seed {}, {:.0} s.\n",
            run.cluster, run.seed, run.seconds
        ),
    );
    for reason in verdict.outcome.reasons() {
        line(page, &format!("- {reason}"));
    }
    if !verdict.outcome.reasons().is_empty() {
        line(page, "");
    }
    let rows = verdict.scenarios.iter().map(|scenario| {
        let passed = scenario
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Pass)
            .count();
        vec![
            scenario.name.clone(),
            scenario.outcome.to_string(),
            format!("{passed} of {}", scenario.checks.len()),
            scenario.seconds.to_string(),
        ]
    });
    table(page, &["scenario", "verdict", "checks passed", "seconds"], rows);
}

fn checks(page: &mut String, scenario: &ScenarioVerdict) {
    line(page, &format!("## {}: {}\n", scenario.name, scenario.outcome));
    let rows = scenario.checks.iter().map(|check| {
        let reasons = check.outcome.reasons().join("; ");
        let verdict = match reasons.is_empty() {
            true => check.outcome.to_string(),
            false => format!("**{}**: {reasons}", check.outcome),
        };
        vec![
            check.name.clone(),
            verdict,
            check.measured.clone(),
            check.bound.clone(),
            check.why.clone(),
        ]
    });
    table(
        page,
        &["check", "verdict", "measured", "bound", "why this bound"],
        rows,
    );
}

fn step_section(page: &mut String, step: &step::Facts, samples: &[Sample]) {
    let Some(plan) = &step.plan else { return };
    load_section(page, plan, step);
    if let (Some(window), Some(stepped)) = (step.out, step.step()) {
        let end = step.drain.map_or(window.to, |drain| drain.to);
        let whole = Window {
            from: window.from,
            to: end,
        };
        let found = reaction(samples, &[], whole, &stepped.expected);
        reaction_section(page, &found, whole, samples);
    }
    timeline(page, step, samples);
}

/// What a scenario has to tell beside its checks.
fn told(page: &mut String, told: &Table) {
    line(page, &format!("## {}\n", told.title));
    let heads: Vec<&str> = told.heads.iter().map(String::as_str).collect();
    table(page, &heads, told.rows.iter().cloned());
    line(page, &format!("{}\n", told.note));
}

fn load_section(page: &mut String, plan: &Plan, step: &step::Facts) {
    line(page, "## Load\n");
    line(page, &format!("{}.\n", plan.rule));
    let measured: Vec<String> = step
        .measured
        .iter()
        .map(|seconds| format!("{seconds:.2} s"))
        .collect();
    line(
        page,
        &format!(
            "Documents timed one by one before the load: {}.\n",
            measured.join(", ")
        ),
    );
    let phases = [("stays", plan.calm_rate), ("out", plan.step_rate)];
    let rows = phases.iter().map(|(phase, rate)| {
        let starts = step.starts.iter().filter(|start| start.phase == *phase);
        let acknowledged = starts
            .clone()
            .filter(|start| start.acknowledged.is_some())
            .count();
        let mut row = vec![
            (*phase).to_owned(),
            format!("{rate:.1}/s"),
            starts.count().to_string(),
        ];
        row.push(acknowledged.to_string());
        row.extend(percentiles(latency(&step.starts, |start| start.phase == *phase)));
        row
    });
    table(
        page,
        &[
            "phase",
            "rate",
            "due",
            "acknowledged",
            "stored",
            "p50",
            "p90",
            "p99",
            "max",
        ],
        rows,
    );
    line(
        page,
        "Latency counts from the time that a start was due until its row was there.\n",
    );
}

fn percentiles(latency: Option<Latency>) -> Vec<String> {
    match latency {
        None => vec![
            "0".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
            "–".to_owned(),
        ],
        Some(found) => {
            let seconds = [found.p50, found.p90, found.p99, found.max];
            let seconds = seconds.map(|seconds| format!("{seconds:.2} s"));
            std::iter::once(found.count.to_string()).chain(seconds).collect()
        }
    }
}

fn reaction_section(page: &mut String, found: &Reaction, window: Window, samples: &[Sample]) {
    line(page, "## Reaction to the step\n");
    let after = |seconds: Option<f64>| seconds.map_or_else(|| "never".to_owned(), |at| format!("{at:.1} s"));
    let rows = [
        ("more workers wanted", after(found.decision)),
        ("first new worker ready", after(found.first_poll)),
        (
            &format!("all {} that the load needs ready", found.needed),
            after(found.all_ready),
        ),
    ];
    table(
        page,
        &["after the step", "seconds"],
        rows.map(|(what, when)| vec![what.to_owned(), when]),
    );
    let metric = most(window.of(samples).filter_map(|sample| sample.depth.seen()));
    let temporal = most(
        window
            .of(samples)
            .filter_map(|sample| sample.backlog.as_ref()?.seen()),
    );
    line(
        page,
        &format!("Deepest by the workers' metric: {metric}; by Temporal itself: {temporal}.\n"),
    );
}

/// The greatest value of each queue.
fn most<'a>(readings: impl Iterator<Item = &'a std::collections::BTreeMap<String, f64>>) -> String {
    let mut greatest = std::collections::BTreeMap::<&str, f64>::new();
    for (queue, depth) in readings.flatten() {
        let entry = greatest.entry(queue).or_default();
        *entry = entry.max(*depth);
    }
    match greatest.is_empty() {
        true => "not seen".to_owned(),
        false => greatest
            .iter()
            .map(|(queue, depth)| format!("{queue} {depth:.0}"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

/// One row for every change in the workers' counts.
fn timeline(page: &mut String, step: &step::Facts, samples: &[Sample]) {
    line(page, "## Workers over time\n");
    let zero = step.out.map_or(0.0, |window| window.from);
    let mut last: Option<Fleet> = None;
    let mut rows = Vec::new();
    for sample in samples.iter().filter(|sample| sample.phase.starts_with("step/")) {
        let Some(fleet) = sample.fleet.seen().filter(|fleet| last != Some(**fleet)) else {
            continue;
        };
        last = Some(*fleet);
        let depth = [WORKFLOW_QUEUE, IO_QUEUE, CPU_QUEUE].map(|queue| {
            let depth = sample.depth.seen().and_then(|depth| depth.get(queue));
            depth.map_or_else(|| "–".to_owned(), |depth| format!("{depth:.0}"))
        });
        let stored = sample
            .stored
            .seen()
            .map_or_else(|| "not seen".to_owned(), u64::to_string);
        rows.push(vec![
            format!("{:+.0} s", sample.at - zero),
            sample.phase.trim_start_matches("step/").to_owned(),
            fleet.wanted.to_string(),
            fleet.present.to_string(),
            fleet.ready.to_string(),
            depth.join(" / "),
            format!("{stored} / {}", sample.load.acknowledged),
        ]);
    }
    let heads = [
        "from the step",
        "phase",
        "wanted",
        "present",
        "ready",
        "depth workflow / IO / CPU",
        "stored",
    ];
    table(page, &heads, rows);
}

fn time_section(page: &mut String, run: &Pinned, facts: &Facts) {
    line(page, "## Where the time goes\n");
    let scenarios = facts
        .scenarios
        .iter()
        .map(|one| (format!("scenario {}", one.name), one.ended - one.began));
    let all: Vec<(String, f64)> = run.stages.iter().cloned().chain(scenarios).collect();
    let total: f64 = all.iter().map(|(_, seconds)| seconds).sum();
    let rows = all.iter().map(|(stage, seconds)| {
        vec![
            stage.clone(),
            format!("{seconds:.1}"),
            format!("{:.0} %", 100.0 * seconds / total.max(0.1)),
        ]
    });
    table(page, &["stage", "seconds", "of all"], rows);
}

fn host_section(page: &mut String, run: &Pinned, facts: &Facts, samples: &[Sample]) {
    line(page, "## What ran, and on what\n");
    if let Some(missing) = &run.missing {
        line(page, &format!("Pins and host are not known: {missing}\n"));
    }
    let corpus = &facts.run.corpus;
    line(
        page,
        &format!(
            "Documents: {} of {} files in {} ({} above 64 KiB, {} left out), {} bytes, {} words.\n",
            corpus.used,
            corpus.found,
            corpus.folder,
            corpus.large,
            corpus.left_out,
            corpus.bytes,
            corpus.words
        ),
    );
    let gaps = samples
        .iter()
        .filter(|sample| sample.fleet.seen().is_none())
        .count();
    line(
        page,
        &format!(
            "Samples: {}, {gaps} of them without the workers' counts.\n",
            samples.len()
        ),
    );
    for adaptation in &run.adaptations {
        line(page, &format!("- adapted: {adaptation}"));
    }
    if !run.adaptations.is_empty() {
        line(page, "");
    }
    for (head, pairs) in [("host", &run.host), ("pin", &run.pins), ("image", &run.images)] {
        if !pairs.is_empty() {
            table(
                page,
                &[head, ""],
                pairs
                    .iter()
                    .map(|(name, value)| vec![name.clone(), value.clone()]),
            );
        }
    }
}

fn table(page: &mut String, heads: &[&str], rows: impl IntoIterator<Item = Vec<String>>) {
    line(page, &format!("| {} |", heads.join(" | ")));
    line(page, &format!("|{}", "---|".repeat(heads.len())));
    for row in rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| cell.replace('|', "\\|").replace('\n', " "))
            .collect();
        line(page, &format!("| {} |", cells.join(" | ")));
    }
    line(page, "");
}

fn line(page: &mut String, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(page, "{text}");
}

#[cfg(test)]
#[path = "markdown_tests.rs"]
pub(crate) mod tests;
