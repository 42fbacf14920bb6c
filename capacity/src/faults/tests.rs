use super::*;
use crate::fixture::{MANIFESTS, inputs, inputs_of};

#[test]
fn connections_of_a_rollout_may_be_all_that_the_database_has_and_not_one_more() {
    let mut inputs = inputs();
    // 25 workers × 6, and 123 that are not theirs.
    inputs.database.max_connections = 273;
    assert_eq!(faults(&inputs), []);
    inputs.database.max_connections = 272;
    let expected = Fault::Connections {
        workers: 20,
        surge: 5,
        each: 6,
        wanted: 150,
        budget: 149,
        fitting: 19,
        max_connections: 273,
    };
    assert_eq!(faults(&inputs), [expected]);
}

#[test]
fn one_connection_more_of_each_worker_is_counted_25_times() {
    for (slots, max_connections, holds) in [(5, 273, true), (6, 298, true), (6, 297, false)] {
        let mut inputs = inputs_of(
            &MANIFESTS.replace("3.5", "4.0"),
            &[("TEMPORAL_IO_ACTIVITY_CONCURRENCY", slots)],
        );
        inputs.database.max_connections = max_connections;
        assert_eq!(
            faults(&inputs).is_empty(),
            holds,
            "{slots} slots of {max_connections}"
        );
    }
}

#[test]
fn a_database_without_room_for_a_worker_is_told() {
    let mut inputs = inputs();
    inputs.database.max_connections = 100;
    let [Fault::Connections { budget, fitting, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!((budget, fitting), (0, 0));
}

#[test]
fn the_largest_fleet_carries_80_percent_of_each_queues_slots_and_no_more() {
    // 60, 100 and 40 slots of 20 workers at 30 documents/s.
    for (queue, fits, too_much) in [
        (Queue::Workflow, 1.6, 1.61),
        (Queue::Io, 8.0 / 3.0, 2.67),
        (Queue::Cpu, 32.0 / 30.0, 1.07),
    ] {
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
        let [Fault::Carried { queue: named, .. }] = with(too_much)[..] else {
            panic!("{:?}", with(too_much));
        };
        assert_eq!(named, queue);
    }
}

#[test]
fn a_rate_that_just_fits_is_carried_and_one_above_it_is_not() {
    let mut inputs = inputs();
    inputs.load.rate = 32.0;
    assert_eq!(faults(&inputs), []);
    inputs.load.rate = 32.01;
    let [fault] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!(
        fault.to_string(),
        "20 workers carry 32.0 documents/s with 80 % of their IO slots in use, not 32.01; raise maxReplicaCount to 21 or \
         TEMPORAL_IO_ACTIVITY_CONCURRENCY to 6, or bring a document's 2.5 s in them down to 2.499"
    );
}

#[test]
fn every_way_out_of_a_load_leads_out() {
    let mut inputs = inputs();
    inputs.load.rate = 47.3;
    // So that nothing but the load can be at fault.
    inputs.database.max_connections = 10_000;
    let [
        Fault::Carried {
            workers_for_it,
            slots_for_it,
            seconds_for_it,
            ..
        },
    ] = faults(&inputs)[..]
    else {
        panic!("{:?}", faults(&inputs));
    };
    let carried = |change: &dyn Fn(&mut Inputs)| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        not_carried(&inputs.settings, &inputs.load, Queue::Io).is_none()
    };
    assert!(carried(&|it| it.settings.max = workers_for_it));
    assert!(!carried(&|it| it.settings.max = workers_for_it - 1));
    assert!(carried(&|it| it.settings.io.count.value = slots_for_it));
    assert!(!carried(&|it| it.settings.io.count.value = slots_for_it - 1));
    assert!(carried(&|it| it.load.io_seconds = seconds_for_it));
    assert!(!carried(&|it| it.load.io_seconds = seconds_for_it * 1.001));
}

#[test]
fn every_way_out_of_too_many_connections_leads_out() {
    let mut inputs = inputs();
    inputs.database.max_connections = 200;
    let [
        Fault::Connections {
            fitting,
            max_connections,
            ..
        },
    ] = faults(&inputs)[..]
    else {
        panic!("{:?}", faults(&inputs));
    };
    let holds = |change: &dyn Fn(&mut Inputs)| {
        let mut inputs = inputs.clone();
        change(&mut inputs);
        connections(&inputs).is_none()
    };
    assert!(holds(&|it| it.settings.max = fitting));
    assert!(!holds(&|it| it.settings.max = fitting + 1));
    let enough = u32::try_from(max_connections).unwrap();
    assert!(holds(&|it| it.database.max_connections = enough));
    assert!(!holds(&|it| it.database.max_connections = enough - 1));
}

#[test]
fn the_guides_pools_as_sqlalchemy_fills_them_are_1000_connections_and_refused() {
    // With 50 slots a worker can use all that the guide's pool allows.
    let inputs = inputs_of(
        MANIFESTS,
        &[
            ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 50),
            ("TEMPORAL_IO_THREAD_POOL_SIZE", 50),
        ],
    );
    assert_eq!(Fleet::of(&inputs.settings, 20).connections, 1000);
    let [
        fault @ Fault::Connections {
            wanted: 1250,
            budget: 177,
            ..
        },
    ] = faults(&inputs)[..]
    else {
        panic!("{:?}", faults(&inputs));
    };
    assert_eq!(
        fault.to_string(),
        "20 workers and 5 more in a rollout open 1250 connections, 50 each, and the database has 177 for them; lower \
         maxReplicaCount to 2, or what a worker opens, or raise max_connections to 1373"
    );
}

#[test]
fn settings_that_a_worker_refuses_are_refused() {
    let io = "TEMPORAL_IO_ACTIVITY_CONCURRENCY";
    let cpu = "TEMPORAL_CPU_ACTIVITY_CONCURRENCY";
    let refused =
        |environment: &[(&str, u32)]| refused_by_worker(&inputs_of(MANIFESTS, environment).settings);
    assert_eq!(refused(&[(io, 10), (cpu, 4)]), []);
    let of_threads = |queue, variable, threads, slots| Fault::Threads {
        queue,
        variable,
        threads,
        slots,
    };
    let io_threads = of_threads(Queue::Io, "TEMPORAL_IO_THREAD_POOL_SIZE", 10, 11);
    assert_eq!(refused(&[(io, 11)]), [io_threads]);
    let cpu_threads = of_threads(Queue::Cpu, "TEMPORAL_CPU_THREAD_POOL_SIZE", 4, 5);
    assert_eq!(refused(&[(cpu, 5)]), [cpu_threads]);
    assert_eq!(refused(&[("DB_POOL_SIZE", 2), ("DB_MAX_OVERFLOW", 3)]), []);
    let pool = Fault::Pool { allowed: 4, slots: 5 };
    assert_eq!(refused(&[("DB_POOL_SIZE", 1), ("DB_MAX_OVERFLOW", 3)]), [pool]);
}

#[test]
fn a_target_may_be_80_percent_of_the_slots_and_no_more() {
    let with = |threshold: &str| faults(&inputs_of(&MANIFESTS.replace("3.5", threshold), &[]));
    assert_eq!(with("4"), []);
    let expected = Fault::Target {
        queue: Queue::Io,
        target: 4.01,
        slots: 5,
    };
    assert_eq!(with("4.01"), [expected]);
    // Slots that were lowered without their trigger.
    let lowered = inputs_of(MANIFESTS, &[("TEMPORAL_IO_ACTIVITY_CONCURRENCY", 4)]);
    let target = target(&lowered.settings, Queue::Io).unwrap();
    assert_eq!(
        target.to_string(),
        "the trigger io_demand asks for a worker for every 3.5 slots in use: that is 88 % of a worker's 4, and 80 % is the \
         most; set its threshold to 2.80, which is 70 %"
    );
}

#[test]
fn the_nodes_memory_may_be_used_up_and_not_passed() {
    let mut inputs = inputs();
    let all = 25 * (300 << 20);
    inputs.memory = Some(all);
    assert_eq!(faults(&inputs), []);
    inputs.memory = Some(all - 1);
    let [fault @ Fault::Memory { fitting: 19, .. }] = faults(&inputs)[..] else {
        panic!("{:?}", faults(&inputs));
    };
    let text = fault.to_string();
    assert!(
        text.starts_with("20 workers and 5 more in a rollout may take 7500Mi, 300Mi each"),
        "{text}"
    );
}
