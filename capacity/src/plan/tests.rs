use super::*;
use crate::fixture::MANIFESTS;
use crate::inputs::fixture::{inputs, inputs_of, shipped};
use crate::limits::Resource;
use crate::settings::Queue;
use crate::table::{GUIDE, GUIDE_WORKERS};

#[test]
fn the_shipped_manifests_give_the_guides_totals() {
    let settings = shipped().settings;
    let fleet = Fleet::of(&settings, GUIDE_WORKERS);
    assert_eq!(
        (fleet.workflow_slots, fleet.io_slots, fleet.cpu_slots),
        (GUIDE.workflow_slots, GUIDE.io_slots, GUIDE.cpu_slots)
    );
    assert_eq!((fleet.workflow_slots, fleet.io_slots, fleet.cpu_slots), (45, 75, 30));
    assert_eq!(fleet.threads, GUIDE.threads);
    assert_eq!(Fleet::of(&settings, 1).threads, 14);
    // The memory limit is the upper end of the guide's range, and the request is below the lower end.
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
    // services/postgres/postgresql.conf adds the same figures up: 27 connections are left.
    let database = inputs.database;
    assert_eq!((database.max_connections, database.reserved, database.others), (300, 3, 120));
    assert_eq!(u64::from(database.for_workers()) - opened(inputs.settings.peak()), 27);
}

#[test]
fn the_shipped_manifests_hold_at_the_guides_load_and_io_slots_are_their_first_limit() {
    let plan = Plan::new(shipped(), GUIDE_WORKERS).unwrap();
    assert_eq!(plan.faults, []);
    assert_eq!(plan.table.map(|fleet| fleet.workers), [1, 15, 20, 25]);
    let first = plan.limits[0];
    assert_eq!((first.resource, first.rate, first.workers), (Resource::Slots(Queue::Io), 32.0, 20));
}

#[test]
fn a_load_that_needs_more_than_max_replicas_is_noted() {
    for (rate, wanted, noted) in [(28.0, 20, false), (28.01, 21, true)] {
        let mut inputs = inputs();
        inputs.load.rate = rate;
        let plan = Plan::new(inputs, GUIDE_WORKERS).unwrap();
        assert_eq!((plan.demand.wanted, plan.demand.workers), (wanted, 20), "{rate}");
        assert_eq!(plan.notes.iter().any(|note| note.starts_with("the load needs 21 workers")), noted);
        assert!(plan.holds());
    }
}

#[test]
fn a_missing_or_low_target_is_noted() {
    let notes = |manifests: &str| Plan::new(inputs_of(manifests, &[]), 15).unwrap().notes.join("\n");
    assert!(!notes(MANIFESTS).contains("SCALER_UTILIZATION"));
    assert!(!notes(&MANIFESTS.replace("'0.7'", "'0.6'")).contains("SCALER_UTILIZATION"));
    assert!(notes(&MANIFESTS.replace("'0.7'", "'0.59'")).contains("SCALER_UTILIZATION is 0.59: below 60 %"));
    let missing = notes(&MANIFESTS.replace("SCALER_UTILIZATION", "OTHER"));
    assert!(missing.contains("no Deployment has SCALER_UTILIZATION: the plan assumes that 70 %"), "{missing}");
}

#[test]
fn variables_that_a_plan_cannot_read_are_noted() {
    let hidden = MANIFESTS.replace("- name: w\n", "- name: w\n        envFrom: [{secretRef: {name: x}}]\n");
    let notes = |manifests: &str| Plan::new(inputs_of(manifests, &[]), 15).unwrap().notes.join("\n");
    assert!(notes(&hidden).contains("envFrom"));
    assert!(!notes(MANIFESTS).contains("envFrom"));
}

#[test]
fn a_rollout_whose_draining_workers_exhaust_the_connections_is_noted() {
    // 40 workers × 6 connections, and 123 connections that are reserved or belong to others.
    for (max_connections, noted) in [(363, false), (362, true)] {
        let mut inputs = inputs();
        inputs.database.max_connections = max_connections;
        let plan = Plan::new(inputs, 15).unwrap();
        assert_eq!(plan.notes.iter().any(|note| note.contains("240 connections")), noted);
    }
}

#[test]
fn a_memory_budget_needs_the_memory_of_a_worker() {
    let mut inputs = inputs_of(&MANIFESTS.replace("memory:", "cpu:").replace("Mi", "m"), &[]);
    inputs.memory = Some(1 << 30);
    assert!(Plan::new(inputs.clone(), 15).unwrap_err().to_string().contains("neither a memory limit nor a request"));
    inputs.memory = None;
    assert!(Plan::new(inputs, 15).is_ok());
}
