//! A plan as text for a terminal.

use std::fmt::Write as _;

use crate::demand::{self, CEILING};
use crate::limits::Resource;
use crate::plan::Plan;
use crate::quantity::readable;
use crate::settings::Origin;
use crate::table::{Fleet, GUIDE, GUIDE_WORKERS};

/// The whole plan, ending with whether it holds and, if not, why.
pub fn render(plan: &Plan) -> String {
    let mut text = [
        aligned(&settings(plan)),
        aligned(&capacity(plan)),
        aligned(&demand_table(plan)),
        aligned(&limits(plan)),
        budget(plan),
    ]
    .join("\n");
    text.push('\n');
    for note in &plan.notes {
        let _ = writeln!(text, "note: {note}");
    }
    for fault in &plan.faults {
        let _ = writeln!(text, "FAULT: {fault}");
    }
    text.push_str(if plan.holds() {
        "the plan holds\n"
    } else {
        "the plan does not hold\n"
    });
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
    let mut rows = vec![row([
        "capacity of … workers",
        &one,
        &asked,
        &most,
        &format!("{rollout} (rollout)"),
        &guide,
    ])];
    let mut add = |name: &str, value: &dyn Fn(&Fleet) -> String, guide: &str| {
        let mut cells = row([name]);
        cells.extend(plan.table.iter().map(value));
        cells.push(guide.to_owned());
        rows.push(cells);
    };
    let memory = |bytes: Option<u64>| bytes.map_or_else(|| "not set".to_owned(), readable);
    let span = |(least, most): (u64, u64)| format!("{least}–{most}");
    let mi = |bytes: u64| bytes >> 20;
    add(
        "workflow slots",
        &|it| it.workflow_slots.to_string(),
        &GUIDE.workflow_slots.to_string(),
    );
    add(
        "IO slots",
        &|it| it.io_slots.to_string(),
        &GUIDE.io_slots.to_string(),
    );
    add(
        "CPU slots",
        &|it| it.cpu_slots.to_string(),
        &GUIDE.cpu_slots.to_string(),
    );
    add(
        "threads",
        &|it| it.threads.to_string(),
        &GUIDE.threads.to_string(),
    );
    add("memory, requested", &|it| memory(it.memory_request), "");
    let guide = format!("{}Mi", span((mi(GUIDE.memory.0), mi(GUIDE.memory.1))));
    add("memory, limit", &|it| memory(it.memory_limit), &guide);
    add(
        "connections opened, at most",
        &|it| it.connections.to_string(),
        &span(GUIDE.connections),
    );
    add(
        "connections if pools were filled",
        &|it| it.connections_allowed.to_string(),
        "",
    );
    let settings = &plan.inputs.settings;
    let rate = |workers: u32, part: f64| {
        demand::carried_by_all(settings, &plan.inputs.load, workers, part)
            .map_or_else(|| "any".to_owned(), |(_, rate)| format!("{rate:.1}"))
    };
    let name = format!("documents/s, {:.0} % of slots in use", CEILING * 100.0);
    add(&name, &|it| rate(it.workers, CEILING), "");
    add(
        "documents/s, every slot in use",
        &|it| rate(it.workers, 1.0),
        "30.0",
    );
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
        "target a worker",
        "workers asked for",
        &format!("in use at {}", plan.demand.workers),
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
    let mut rows = vec![row([
        "what fails first",
        "above documents/s",
        "at workers",
        "where",
    ])];
    rows.extend(plan.limits.iter().map(|limit| {
        let (name, place) = match limit.resource {
            Resource::Slots(queue) => (
                format!("{} slots", queue.name()),
                format!("{:.0} % in use, no worker can be added", CEILING * 100.0),
            ),
            Resource::Connections => (
                "connections".to_owned(),
                "a rollout of one worker more passes the database's".to_owned(),
            ),
            Resource::Memory => (
                "memory".to_owned(),
                "a rollout of one worker more passes the nodes'".to_owned(),
            ),
        };
        row([
            &name,
            &format!("{:.1}", limit.rate),
            &limit.workers.to_string(),
            &place,
        ])
    }));
    rows
}

/// How the database's connections are shared out.
fn budget(plan: &Plan) -> String {
    let database = &plan.inputs.database;
    let [.., most, rollout] = &plan.table;
    let left = i64::from(database.for_workers()) - i64::try_from(rollout.connections).unwrap_or(i64::MAX);
    format!(
        "connections: {} of the database, {} reserved, {} of others, {} for workers: {} opened by {} workers, {} by {} in a \
         rollout, {left} left\n",
        database.max_connections,
        database.reserved,
        database.others,
        database.for_workers(),
        most.connections,
        most.workers,
        rollout.connections,
        rollout.workers,
    )
}

/// Rows in columns: the first to the left, those of numbers to the right, and text at the end to the left.
fn aligned(rows: &[Row]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column));
    let width = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let numbers = |column: usize| {
        column > 0
            && cells(column)
                .skip(1)
                .all(|cell| cell.is_empty() || cell.starts_with(|c: char| c.is_ascii_digit()))
    };
    let shape: Vec<(usize, bool)> = (0..columns)
        .map(|column| (width(column), numbers(column)))
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, (width, right)) in row.iter().zip(&shape) {
            let padding = " ".repeat(width - cell.chars().count());
            let (before, after) = if *right {
                (padding, String::new())
            } else {
                (String::new(), padding)
            };
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

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = [
            row(["name", "n", "where"]),
            row(["a", "10", "here"]),
            row(["bc", "9", ""]),
        ];
        assert_eq!(aligned(&rows), "name   n  where\na     10  here\nbc     9\n");
    }
}
