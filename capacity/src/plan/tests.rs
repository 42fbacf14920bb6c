use std::path::Path;

use super::*;
use crate::database::Given;
use crate::fixture::{MANIFESTS, inputs, inputs_of};
use crate::limits::Resource;
use crate::manifests;
use crate::table::{GUIDE, GUIDE_WORKERS};
use crate::terminal::render;

fn shipped() -> Inputs {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../manifests");
    let folders = ["base", "services/postgres", "services/temporal"].map(|folder| root.join(folder));
    let manifests = manifests::read(&folders).unwrap();
    Inputs {
        settings: Settings::read(&manifests, &|_| None).unwrap(),
        database: Database::read(&manifests, Given::default()).unwrap(),
        memory: None,
        load: Load::GUIDE,
    }
}

#[test]
fn the_shipped_manifests_give_the_guides_totals() {
    let settings = shipped().settings;
    let fleet = Fleet::of(&settings, GUIDE_WORKERS);
    assert_eq!(
        (fleet.workflow_slots, fleet.io_slots, fleet.cpu_slots),
        (GUIDE.workflow_slots, GUIDE.io_slots, GUIDE.cpu_slots)
    );
    assert_eq!(
        (fleet.workflow_slots, fleet.io_slots, fleet.cpu_slots),
        (45, 75, 30)
    );
    assert_eq!(fleet.threads, GUIDE.threads);
    assert_eq!(Fleet::of(&settings, 1).threads, 14);
    // The limit is the upper end of the guide's memory, and what is set aside is below the lower one.
    assert_eq!(fleet.memory_limit, Some(GUIDE.memory.1));
    assert!(fleet.memory_request.unwrap() < GUIDE.memory.0);
    assert_eq!((settings.min, settings.max), (3, 20));
}

#[test]
fn the_shipped_workers_open_fewer_connections_than_the_guide_counts_and_far_fewer_than_it_allows() {
    let inputs = shipped();
    let opened = |workers| Fleet::of(&inputs.settings, workers).connections;
    assert_eq!((opened(1), opened(15), opened(20), opened(25)), (6, 90, 120, 150));
    assert!(opened(15) < GUIDE.connections.0);
    let allowed = |workers| Fleet::of(&inputs.settings, workers).connections_allowed;
    assert_eq!((allowed(1), allowed(15), allowed(20)), (50, 750, 1000));
    // As services/postgres/postgresql.conf adds it up: 23 are left.
    let database = inputs.database;
    assert_eq!(
        (database.max_connections, database.reserved, database.others),
        (300, 3, 124)
    );
    assert_eq!(
        u64::from(database.for_workers()) - opened(inputs.settings.peak()),
        23
    );
}

#[test]
fn the_shipped_manifests_hold_at_the_guides_load_and_their_limit_is_named() {
    let plan = Plan::new(shipped(), GUIDE_WORKERS).unwrap();
    assert_eq!(plan.faults, []);
    assert_eq!(plan.table.map(|fleet| fleet.workers), [1, 15, 20, 25]);
    let first = plan.limits[0];
    assert_eq!(
        (first.resource, first.rate, first.workers),
        (Resource::Slots(Queue::Io), 32.0, 20)
    );
    let text = render(&plan);
    assert!(text.ends_with("the plan holds\n"), "{text}");
    let line = "connections: 300 of the database, 3 reserved, 124 of others, 173 for workers: 120 opened by 20 workers, 150 \
                by 25 in a rollout, 23 left\n";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_plan_that_does_not_hold_says_why_at_the_end() {
    let mut inputs = inputs();
    inputs.load.rate = 40.0;
    let plan = Plan::new(inputs, GUIDE_WORKERS).unwrap();
    assert!(!plan.holds());
    let text = render(&plan);
    assert!(
        text.contains("\nFAULT: 20 workers carry 32.0 documents/s"),
        "{text}"
    );
    assert!(text.ends_with("the plan does not hold\n"), "{text}");
}

#[test]
fn a_load_that_asks_for_more_than_there_may_be_is_noted() {
    for (rate, wanted, noted) in [(28.0, 20, false), (28.01, 21, true)] {
        let mut inputs = inputs();
        inputs.load.rate = rate;
        let plan = Plan::new(inputs, GUIDE_WORKERS).unwrap();
        assert_eq!((plan.demand.wanted, plan.demand.workers), (wanted, 20), "{rate}");
        assert_eq!(
            plan.notes
                .iter()
                .any(|note| note.starts_with("the load asks for 21")),
            noted
        );
        assert!(plan.holds());
    }
}

#[test]
fn a_target_that_is_missing_or_pays_for_idle_workers_is_noted() {
    let notes = |manifests: &str| Plan::new(inputs_of(manifests, &[]), 15).unwrap().notes.join("\n");
    assert!(!notes(MANIFESTS).contains("trigger"));
    assert!(!notes(&MANIFESTS.replace("3.5", "3")).contains("io_demand"));
    assert!(notes(&MANIFESTS.replace("3.5", "2.99")).contains("io_demand asks for a worker for every 2.99"));
    let missing = notes(
        &MANIFESTS
            .replace("io_demand", "other")
            .replace("cpu_demand", "another"),
    );
    assert!(
        missing.contains("no trigger io_demand, cpu_demand: its target is taken to be 70 %"),
        "{missing}"
    );
}

#[test]
fn variables_that_a_plan_cannot_see_are_noted() {
    let hidden = MANIFESTS.replace(
        "- name: w\n",
        "- name: w\n        envFrom: [{secretRef: {name: x}}]\n",
    );
    let notes = |manifests: &str| Plan::new(inputs_of(manifests, &[]), 15).unwrap().notes.join("\n");
    assert!(notes(&hidden).contains("envFrom"));
    assert!(!notes(MANIFESTS).contains("envFrom"));
}

#[test]
fn old_workers_that_drain_beside_all_new_ones_are_noted_where_connections_do_not_suffice() {
    // 40 workers × 6, and 123 that are not theirs.
    for (max_connections, noted) in [(363, false), (362, true)] {
        let mut inputs = inputs();
        inputs.database.max_connections = max_connections;
        let plan = Plan::new(inputs, 15).unwrap();
        assert_eq!(
            plan.notes.iter().any(|note| note.contains("240 connections")),
            noted
        );
    }
}

#[test]
fn the_nodes_memory_needs_a_workers() {
    let mut inputs = inputs_of(&MANIFESTS.replace("memory:", "cpu:").replace("Mi", "m"), &[]);
    inputs.memory = Some(1 << 30);
    assert!(
        Plan::new(inputs.clone(), 15)
            .unwrap_err()
            .to_string()
            .contains("no memory limit")
    );
    inputs.memory = None;
    assert!(render(&Plan::new(inputs, 15).unwrap()).contains("not set"));
}
