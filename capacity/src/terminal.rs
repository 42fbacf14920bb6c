//! Prints a plan as text for a terminal.

use std::fmt::Write as _;

use crate::demand::{self, CEILING};
use crate::limits::Resource;
use crate::plan::Plan;
use crate::quantity::readable;
use crate::settings::Origin;
use crate::table::{Fleet, GUIDE, GUIDE_WORKERS};

/// The text of the plan. Its last line says whether the plan holds; the faults are the lines before it.
pub fn render(plan: &Plan) -> String {
    let mut text = [
        aligned(&settings(plan)),
        aligned(&capacity(plan)),
        aligned(&demand_table(plan)),
        aligned(&limits(plan)),
        aligned(&connections(plan)),
    ]
    .join("\n");
    text.push('\n');
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for fault in &plan.faults {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    text.push_str(if plan.holds() { "the plan holds\n" } else { "the plan does not hold\n" });
    text
}

type Row = Vec<String>;

fn row<const N: usize>(cells: [&str; N]) -> Row {
    cells.map(str::to_owned).to_vec()
}

fn settings(plan: &Plan) -> Vec<Row> {
    let mut rows = vec![row(["setting", "value", "from"])];
    rows.extend(plan.inputs.settings.variables().map(|setting| {
        let from = match setting.from {
            Origin::Default => "default",
            Origin::Deployment => "Deployment",
            Origin::Environment => "environment",
        };
        row([setting.name, &setting.value.to_string(), from])
    }));
    rows
}

fn capacity(plan: &Plan) -> Vec<Row> {
    let [one, asked, most, rollout] = plan.table.map(|fleet| fleet.workers.to_string());
    let guide = format!("the guide, {GUIDE_WORKERS}");
    let mut rows = vec![row(["capacity of a fleet of", &one, &asked, &most, &format!("{rollout} (rollout)"), &guide])];
    let mut add = |name: &str, value: &dyn Fn(&Fleet) -> String, guide: &str| {
        let mut cells = row([name]);
        cells.extend(plan.table.iter().map(value));
        cells.push(guide.to_owned());
        rows.push(cells);
    };
    let memory = |bytes: Option<u64>| bytes.map_or_else(|| "not set".to_owned(), readable);
    let span = |(least, most): (u64, u64)| format!("{least}–{most}");
    let mi = |bytes: u64| bytes >> 20;
    add("workflow slots", &|it| it.workflow_slots.to_string(), &GUIDE.workflow_slots.to_string());
    add("IO slots", &|it| it.io_slots.to_string(), &GUIDE.io_slots.to_string());
    add("CPU slots", &|it| it.cpu_slots.to_string(), &GUIDE.cpu_slots.to_string());
    add("threads", &|it| it.threads.to_string(), &GUIDE.threads.to_string());
    add("memory, requested", &|it| memory(it.memory_request), "");
    let guide = format!("{}Mi", span((mi(GUIDE.memory.0), mi(GUIDE.memory.1))));
    add("memory, limit", &|it| memory(it.memory_limit), &guide);
    add("connections, at most", &|it| it.connections.to_string(), &span(GUIDE.connections));
    add("connections of full pools", &|it| it.connections_allowed.to_string(), "");
    let settings = &plan.inputs.settings;
    let rate = |workers: u32, part: f64| {
        demand::carried_by_all(settings, &plan.inputs.load, workers, part)
            .map_or_else(|| "any".to_owned(), |(_, rate)| format!("{rate:.1}"))
    };
    let name = format!("documents/s, {:.0} % of slots in use", CEILING * 100.0);
    add(&name, &|it| rate(it.workers, CEILING), "");
    add("documents/s, every slot in use", &|it| rate(it.workers, 1.0), "30.0");
    rows
}

fn demand_table(plan: &Plan) -> Vec<Row> {
    let load = &plan.inputs.load;
    let settings = &plan.inputs.settings;
    let head = format!("{} documents/s", load.rate);
    let mut rows = vec![row([
        &head,
        "seconds each",
        "slots in use",
        "target per worker",
        "workers needed",
        &format!("in use with {}", plan.demand.workers),
    ])];
    rows.extend(plan.demand.queues.map(|it| {
        let slots = settings.slots(it.queue);
        let all = f64::from(plan.demand.workers) * f64::from(slots.count.value);
        row([
            &format!("{} slots", it.queue.name()),
            &format!("{}", load.seconds(it.queue)),
            &format!("{:.1}", it.slots_in_use),
            &format!("{:.1} of {}", slots.target, slots.count.value),
            &it.workers.to_string(),
            &format!("{:.0} %", it.slots_in_use / all * 100.0),
        ])
    }));
    rows.push(row([
        &format!("within {} to {}", settings.min, settings.max),
        "",
        "",
        "",
        &plan.demand.workers.to_string(),
        "",
    ]));
    rows
}

fn limits(plan: &Plan) -> Vec<Row> {
    let mut rows = vec![row(["what fails first", "above documents/s", "workers", "why"])];
    rows.extend(plan.limits.iter().map(|limit| {
        let (name, place) = match limit.resource {
            Resource::Slots(queue) => (
                format!("{} slots", queue.name()),
                format!("{:.0} % in use with maxReplicaCount workers", CEILING * 100.0),
            ),
            Resource::Connections => {
                ("connections".to_owned(), "a rollout with one more worker exceeds the database's".to_owned())
            }
            Resource::Memory => ("memory".to_owned(), "a rollout with one more worker exceeds the nodes'".to_owned()),
        };
        row([&name, &format!("{:.1}", limit.rate), &limit.workers.to_string(), &place])
    }));
    rows
}

/// How the connections of the database are shared out.
fn connections(plan: &Plan) -> Vec<Row> {
    let database = &plan.inputs.database;
    let [.., most, rollout] = &plan.table;
    let left = i64::from(database.for_workers()) - i64::try_from(rollout.connections).unwrap_or(i64::MAX);
    vec![
        row([
            "connections",
            "allowed",
            "reserved",
            "other clients",
            "for workers",
            &format!("{} workers", most.workers),
            &format!("{} (rollout)", rollout.workers),
            "left",
        ]),
        row([
            "database",
            &database.max_connections.to_string(),
            &database.reserved.to_string(),
            &database.others.to_string(),
            &database.for_workers().to_string(),
            &most.connections.to_string(),
            &rollout.connections.to_string(),
            &left.to_string(),
        ]),
    ]
}

/// Aligns rows in columns. The first column and columns of text are aligned left, columns of numbers right.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let numbers = |column: usize| {
        column > 0
            && cells(column)
                .skip(1)
                .all(|cell| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-'))
    };
    let shape: Vec<(usize, bool)> = (0..columns).map(|column| (width(column), numbers(column))).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, (width, right)) in row.iter().zip(&shape) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if *right { (padding, String::new()) } else { (String::new(), padding) };
            let _ = write!(line, "{before}{cell}{after}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture::MANIFESTS;
    use crate::inputs::fixture::{inputs, inputs_of, shipped};

    #[test]
    fn a_plan_that_holds_ends_with_that() {
        let text = render(&Plan::new(shipped(), GUIDE_WORKERS).unwrap());
        assert!(text.ends_with("the plan holds\n"), "{text}");
        let line = "database         300         3            120          177         120           150    27\n";
        assert!(text.contains(line), "{text}");
    }

    #[test]
    fn a_plan_that_does_not_hold_ends_with_its_faults() {
        let mut inputs = inputs();
        inputs.load.rate = 40.0;
        let plan = Plan::new(inputs, GUIDE_WORKERS).unwrap();
        assert!(!plan.holds());
        let text = render(&plan);
        assert!(text.contains("\nFAULT: 20 workers carry at most 32.0 documents/s"), "{text}");
        assert!(text.ends_with("the plan does not hold\n"), "{text}");
    }

    #[test]
    fn memory_without_a_request_or_a_limit_is_not_set() {
        let inputs = inputs_of(&MANIFESTS.replace("memory:", "cpu:").replace("Mi", "m"), &[]);
        let text = render(&Plan::new(inputs, GUIDE_WORKERS).unwrap());
        assert!(text.contains("not set"), "{text}");
    }

    #[test]
    fn numbers_are_aligned_right_and_words_left() {
        let rows = [row(["name", "n", "where"]), row(["a", "10", "here"]), row(["bc", "9", ""])];
        assert_eq!(aligned(&rows), "name   n  where\na     10  here\nbc     9\n");
    }
}
