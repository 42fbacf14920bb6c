use super::*;
use crate::fixture::MANIFESTS;
use crate::inputs::fixture::{inputs, inputs_of};

#[test]
fn a_rollout_may_open_every_connection_of_the_database_and_not_one_more() {
    let mut inputs = inputs();
    // 25 workers × 6 connections, and 123 connections that are reserved or belong to others.
    inputs.database.max_connections = 273;
    assert_eq!(faults(&inputs), []);
    inputs.database.max_connections = 272;
    let expected = Fault::Connections {
        workers: 20,
        surge: 5,
        each: 6,
        wanted: 150,
        budget: 149,
        workers_that_fit: 19,
        max_connections: 273,
    };
    assert_eq!(faults(&inputs), [expected]);
}

#[test]
fn a_connection_more_per_worker_counts_25_times() {
    for (slots, max_connections, holds) in [(5, 273, true), (6, 298, true), (6, 297, false)] {
        let mut inputs = inputs_of(&MANIFESTS.replace("3.5", "4.0"), &[("TEMPORAL_IO_ACTIVITY_CONCURRENCY", slots)]);
        inputs.database.max_connections = max_connections;
        assert_eq!(faults(&inputs).is_empty(), holds, "{slots} slots of {max_connections}");
    }
}

#[test]
fn a_database_without_a_connection_for_workers_fits_no_worker() {
    let mut inputs = inputs();
    inputs.database.max_connections = 100;
    let [Fault::Connections { budget, workers_that_fit, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!((budget, workers_that_fit), (0, 0));
}

#[test]
fn the_largest_fleet_carries_a_load_up_to_80_percent_of_each_queues_slots() {
    // 60, 100 and 40 slots of 20 workers at 30 documents/s.
    for (queue, fits, too_much) in
        [(Queue::Workflow, 1.6, 1.61), (Queue::Io, 8.0 / 3.0, 2.67), (Queue::Cpu, 32.0 / 30.0, 1.07)]
    {
        let with = |seconds| {
            let mut inputs = inputs();
            match queue {
                Queue::Workflow => inputs.load.workflow_seconds = seconds,
                Queue::Io => inputs.load.io_seconds = seconds,
                Queue::Cpu => inputs.load.cpu_seconds = seconds,
            }
            faults(&inputs)
        };
        assert_eq!(with(fits), [], "{queue:?}");
        let [Fault::Load { queue: named, .. }] = with(too_much)[..] else {
            panic!("{:?}", with(too_much));
        };
        assert_eq!(named, queue);
    }
}

#[test]
fn a_rate_above_the_capacity_is_a_fault_that_names_three_ways_out() {
    let mut inputs = inputs();
    inputs.load.rate = 32.0;
    assert_eq!(faults(&inputs), []);
    inputs.load.rate = 32.01;
    let [fault] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!(
        fault.to_string(),
        "20 workers carry at most 32.0 documents/s with 80 % of their IO slots in use, and the load is 32.01 \
         documents/s; raise maxReplicaCount to 21 or TEMPORAL_IO_ACTIVITY_CONCURRENCY to 6, or reduce the 2.5 s that a \
         document holds a slot to 2.499 s"
    );
}

#[test]
fn each_way_out_of_too_high_a_load_suffices() {
    let mut inputs = inputs();
    inputs.load.rate = 47.3;
    // Enough connections, so that the load is the only fault.
    inputs.database.max_connections = 10_000;
    let [Fault::Load { workers_needed, slots_needed, seconds_allowed, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    let carried = |change: &dyn Fn(&mut Inputs)| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        load_too_high(&inputs.settings, &inputs.load, Queue::Io).is_none()
    };
    assert!(carried(&|it| it.settings.max = workers_needed));
    assert!(!carried(&|it| it.settings.max = workers_needed - 1));
    assert!(carried(&|it| it.settings.io.count.value = slots_needed));
    assert!(!carried(&|it| it.settings.io.count.value = slots_needed - 1));
    assert!(carried(&|it| it.load.io_seconds = seconds_allowed));
    assert!(!carried(&|it| it.load.io_seconds = seconds_allowed * 1.001));
}

#[test]
fn each_way_out_of_too_many_connections_suffices() {
    let mut inputs = inputs();
    inputs.database.max_connections = 200;
    let [Fault::Connections { workers_that_fit, max_connections, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    let holds = |change: &dyn Fn(&mut Inputs)| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        too_many_connections(&inputs).is_none()
    };
    assert!(holds(&|it| it.settings.max = workers_that_fit));
    assert!(!holds(&|it| it.settings.max = workers_that_fit + 1));
    let enough = u32::try_from(max_connections).unwrap();
    assert!(holds(&|it| it.database.max_connections = enough));
    assert!(!holds(&|it| it.database.max_connections = enough - 1));
}

#[test]
fn a_worker_with_50_slots_opens_the_guides_whole_pool_and_is_refused() {
    // A worker with 50 IO slots can use every connection that the guide's pool allows.
    let inputs =
        inputs_of(MANIFESTS, &[("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 50), ("TEMPORAL_IO_THREAD_POOL_SIZE", 50)]);
    assert_eq!(Fleet::of(&inputs.settings, 20).connections, 1000);
    let [fault @ Fault::Connections { wanted: 1250, budget: 177, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!(
        fault.to_string(),
        "20 workers, and 5 more during a rollout, open 1250 connections, 50 each, and the database has 177 for \
         workers; lower maxReplicaCount to 2, lower the connections of a worker, or raise max_connections to 1373"
    );
}

#[test]
fn settings_that_a_worker_refuses_are_refused() {
    let io = "TEMPORAL_IO_ACTIVITY_CONCURRENCY";
    let cpu = "TEMPORAL_CPU_ACTIVITY_CONCURRENCY";
    let refused = |environment: &[(&str, u32)]| refused_by_the_worker(&inputs_of(MANIFESTS, environment).settings);
    assert_eq!(refused(&[(io, 10), (cpu, 4)]), []);
    let of_threads = |queue, variable, threads, slots| Fault::Threads { queue, variable, threads, slots };
    let io_threads = of_threads(Queue::Io, "TEMPORAL_IO_THREAD_POOL_SIZE", 10, 11);
    assert_eq!(refused(&[(io, 11)]), [io_threads]);
    let cpu_threads = of_threads(Queue::Cpu, "TEMPORAL_CPU_THREAD_POOL_SIZE", 4, 5);
    assert_eq!(refused(&[(cpu, 5)]), [cpu_threads]);
    assert_eq!(refused(&[("DB_POOL_SIZE", 2), ("DB_MAX_OVERFLOW", 3)]), []);
    let pool = Fault::Pool { allowed: 4, slots: 5 };
    assert_eq!(refused(&[("DB_POOL_SIZE", 1), ("DB_MAX_OVERFLOW", 3)]), [pool]);
}

#[test]
fn a_target_is_at_most_80_percent_of_the_slots() {
    let with = |share: &str| faults(&inputs_of(&MANIFESTS.replace("'0.7'", share), &[]));
    assert_eq!(with("'0.8'"), []);
    let [fault] = with("'0.81'")[..] else { panic!("{:?}", with("'0.81'")) };
    assert_eq!(fault, Fault::Target { utilisation: 0.81 });
    let text =
        "SCALER_UTILIZATION is 0.81: more than 80 % of the slots in use leaves no room for bursts; set it to 0.7";
    assert_eq!(fault.to_string(), text);
}

#[test]
fn a_rollout_may_use_all_memory_of_the_nodes_and_no_more() {
    let mut inputs = inputs();
    let all = 25 * (300 << 20);
    inputs.memory = Some(all);
    assert_eq!(faults(&inputs), []);
    inputs.memory = Some(all - 1);
    let [fault @ Fault::Memory { workers_that_fit: 19, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    let text = fault.to_string();
    assert!(
        text.starts_with("20 workers, and 5 more during a rollout, may use 7500Mi of memory, 300Mi each"),
        "{text}"
    );
}
