//! Properties of the decision, and the cases that have names. Each property says which change of the code breaks it.

use proptest::prelude::*;

use super::*;

fn settings() -> Settings {
    let queue = |name: &str, slots| QueueSettings { name: name.into(), slots };
    Settings { queues: vec![queue("io", 5.0), queue("cpu", 2.0)], utilization: 0.7 }
}

fn reading(at: f64, workers: u32, io: QueueReading) -> Reading {
    let cpu = QueueReading { backlog: Some(0.0), slots: 2.0 * f64::from(workers), ..QueueReading::default() };
    Reading { at, workers, read: workers, unread: 0, queues: vec![io, cpu] }
}

/// A fleet of so many workers with so many slots in use, tasks that wait, and tasks a second.
fn io(workers: u32, used: f64, backlog: f64, rate: f64) -> QueueReading {
    QueueReading {
        backlog: Some(backlog),
        add_rate: Some(rate),
        dispatch_rate: Some(rate),
        failure_rate: None,
        used,
        slots: 5.0 * f64::from(workers),
    }
}

/// The answer after so many seconds of the same reading.
fn steady(seconds: u32, workers: u32, queue: QueueReading) -> Answer {
    let mut scaler = Scaler::new(settings());
    for second in 0..=seconds {
        scaler.observe(reading(f64::from(second), workers, queue));
    }
    scaler.answer(f64::from(seconds)).unwrap()
}

#[derive(Debug, Clone, Copy)]
struct Second {
    workers: u32,
    busy: f64,
    backlog: f64,
    rates: Option<(f64, f64)>,
}

fn seconds() -> impl Strategy<Value = Vec<Second>> {
    let rates = prop_oneof![1 => Just(None), 4 => (0.0..40.0, 0.0..40.0).prop_map(Some)];
    let second = (0_u32..30, 0.0..=1.0, prop_oneof![2 => Just(0.0), 1 => 0.0..300.0], rates);
    let second = second.prop_map(|(workers, busy, backlog, rates)| Second { workers, busy, backlog, rates });
    // Fleets and loads that stay for a while: a history of single seconds would never be steady.
    let stretch = (second, 1_usize..40).prop_map(|(second, times)| vec![second; times]);
    prop::collection::vec(stretch, 1..8).prop_map(|stretches| stretches.concat())
}

fn play(seconds: &[Second]) -> (Scaler, Vec<Reading>) {
    let mut scaler = Scaler::new(settings());
    let readings: Vec<Reading> = seconds
        .iter()
        .zip(0_u32..)
        .map(|(second, at)| {
            let slots = 5.0 * f64::from(second.workers);
            let queue = QueueReading {
                backlog: Some(second.backlog.round()),
                add_rate: second.rates.map(|(add, _)| add),
                dispatch_rate: second.rates.map(|(_, dispatch)| dispatch),
                used: (second.busy * slots).round(),
                slots,
                failure_rate: None,
            };
            reading(f64::from(at), second.workers, queue)
        })
        .collect();
    for reading in &readings {
        scaler.observe(reading.clone());
    }
    (scaler, readings)
}

fn any_number() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => 0.0..1e4,
        1 => prop::sample::select(vec![f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.0, 1e300, f64::MIN_POSITIVE])
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    /// Broken by taking readings as they are in `Sample::new`.
    #[test]
    fn whatever_is_read_the_answer_is_a_number(
        rows in prop::collection::vec(
            (any_number(), 0_u32..50, 0_u32..3, prop::array::uniform6(prop::option::of(any_number()))),
            1..60,
        ),
        utilization in any_number(),
        slots in any_number(),
    ) {
        let queues = vec![QueueSettings { name: "q".into(), slots }];
        let mut scaler = Scaler::new(Settings { queues, utilization });
        for (at, workers, unread, values) in rows {
            let [backlog, add_rate, dispatch_rate, failure_rate, used, slots] = values;
            let (used, slots) = (used.unwrap_or(0.0), slots.unwrap_or(0.0));
            let queue = QueueReading { backlog, add_rate, dispatch_rate, failure_rate, used, slots };
            scaler.observe(Reading { at, workers, read: workers, unread, queues: vec![queue] });
            if let Ok(answer) = scaler.answer(at) {
                let text = format!("{answer:?}");
                prop_assert!(!text.contains("NaN") && !text.contains("inf,"), "{}", text);
                prop_assert!(f64::from(answer.workers) <= MOST && answer.queues[0].demand >= 0.0, "{}", text);
            }
        }
    }

    /// Broken without the floor of the slots in use in `Queue::decide`.
    #[test]
    fn the_answer_is_never_below_the_workers_whose_slots_are_in_use(seconds in seconds()) {
        let (scaler, readings) = play(&seconds);
        let last = readings.last().unwrap();
        let answer = scaler.answer(last.at).unwrap();
        if answer.bottleneck.is_none() && last.read > 0 {
            prop_assert!(f64::from(answer.workers) >= last.queues[0].used / 5.0, "{:?}", answer);
        }
    }

    /// Broken by measuring the service time, or the bottleneck, with the newest reading in it.
    #[test]
    fn more_work_is_never_a_lower_answer(seconds in seconds(), more in 0.0..200.0, busier in 0.0..=1.0) {
        let (less, readings) = play(&seconds);
        let (mut before, _) = play(&seconds[..seconds.len() - 1]);
        let mut last = readings.last().unwrap().clone();
        let queue = &mut last.queues[0];
        queue.backlog = queue.backlog.map(|backlog| backlog + more);
        queue.used += busier * (queue.slots - queue.used);
        let at = last.at;
        before.observe(last);
        let (less, more) = (less.answer(at).unwrap(), before.answer(at).unwrap());
        prop_assert!(more.workers >= less.workers, "{:?} with more work than {:?}", more, less);
    }

    /// Broken by a decision in `answer`, or by taking in a reading twice.
    #[test]
    fn the_same_readings_give_the_same_answer(seconds in seconds()) {
        let (mut scaler, readings) = play(&seconds);
        let at = readings.last().unwrap().at;
        let answer = scaler.answer(at);
        prop_assert_eq!(&answer, &play(&seconds).0.answer(at));
        for reading in readings.iter().rev() {
            scaler.observe(reading.clone());
        }
        prop_assert_eq!(&answer, &scaler.answer(at), "old readings are ignored");
        prop_assert_eq!(answer.unwrap().workers, scaler.answer(at + 5.0).unwrap().workers);
    }

    /// Broken without the floor of the workers that there are in `conclude`.
    #[test]
    fn a_fleet_that_is_known_in_part_does_not_shrink(seconds in seconds(), unread in 0_u32..3, asked in any::<bool>()) {
        let (mut scaler, readings) = play(&seconds);
        let mut last = readings.last().unwrap().clone();
        last.at += 1.0;
        last.workers += 7;
        last.unread = unread;
        last.queues[1].backlog = asked.then_some(0.0);
        let (at, workers) = (last.at, last.workers);
        scaler.observe(last);
        let answer = scaler.answer(at).unwrap();
        if unread > 0 || !asked {
            prop_assert!(answer.workers >= workers && answer.partly.is_some(), "{:?}", answer);
        }
    }

    /// Broken by two queues that are written into the code.
    #[test]
    fn queues_are_of_any_number(count in 0_usize..8, used in 0.0..50.0) {
        let queue = |index: usize| QueueSettings { name: format!("queue-{index}"), slots: 10.0 };
        let mut scaler = Scaler::new(Settings { queues: (0..count).map(queue).collect(), utilization: 0.5 });
        let busy = QueueReading { backlog: Some(0.0), used, slots: 100.0, ..QueueReading::default() };
        let idle = QueueReading { used: 0.0, ..busy };
        let queues = (0..count).map(|index| if index + 1 == count { busy } else { idle });
        scaler.observe(Reading { at: 1.0, workers: 0, read: 10, unread: 0, queues: queues.collect() });
        match scaler.answer(1.0) {
            Ok(answer) => {
                prop_assert_eq!(answer.queues.len(), count);
                prop_assert_eq!(answer.queues[count - 1].workers, (used / 5.0).ceil() as u32);
            }
            Err(_) => prop_assert_eq!(count, 0),
        }
    }
}

#[test]
fn a_steady_load_gets_the_workers_of_littles_law() {
    for (used, expected) in [(0.0, 0), (3.5, 1), (10.5, 3), (21.0, 6), (22.0, 7), (24.0, 7)] {
        let answer = steady(60, 8, io(8, used, 0.0, used / 2.5));
        assert_eq!(answer.workers, expected, "{used}: {answer:?}");
        assert_eq!((answer.partly, answer.bottleneck), (None, None));
    }
    let answer = steady(60, 8, io(8, 24.0, 0.0, 9.6));
    assert_eq!(answer.reason, "io: 24 slots in use, 0 tasks waiting, 40 slots: 7 workers");
}

/// The HPA ignores a tenth. What it ignores must leave the fleet within the guide's 60 to 80 %.
#[test]
fn what_the_hpa_ignores_is_within_the_guides_utilization() {
    for workers in 3..=60_u32 {
        let slots = 5.0 * f64::from(workers);
        for used in 1..=slots as u32 {
            let used = f64::from(used);
            let wanted = f64::from(steady(40, workers, io(workers, used, 0.0, used / 2.5)).workers);
            if wanted > f64::from(workers) && wanted / f64::from(workers) <= 1.1 {
                assert!(used <= 0.8 * slots, "{workers} workers with {used} slots in use, {wanted} wanted");
            }
        }
    }
}

#[test]
fn with_no_worker_it_grows_from_a_backlog_and_from_arrivals() {
    let nothing = QueueReading { backlog: Some(0.0), ..QueueReading::default() };
    assert_eq!(steady(40, 0, nothing).workers, 0);
    assert_eq!(steady(40, 0, QueueReading { backlog: Some(1.0), ..nothing }).workers, 1);
    assert!(steady(40, 0, QueueReading { backlog: Some(70.0), ..nothing }).workers >= 14);
    assert_eq!(steady(40, 0, QueueReading { add_rate: Some(0.3), ..nothing }).workers, 1);
}

#[test]
fn what_is_not_known_is_said() {
    let mut scaler = Scaler::new(settings());
    assert_eq!(scaler.answer(0.0).unwrap_err().to_string(), "no answer: no reading yet");
    let blind = Reading { read: 0, queues: vec![QueueReading::default(); 2], ..reading(1.0, 4, io(4, 0.0, 0.0, 0.0)) };
    scaler.observe(blind);
    let error = scaler.answer(1.0).unwrap_err().to_string();
    assert_eq!(error, "no answer: no worker was read, and Temporal did not answer");
    scaler.observe(reading(2.0, 4, io(4, 3.0, 0.0, 1.0)));
    let answer = scaler.answer(3.0).unwrap();
    assert_eq!(answer.workers, 4, "the history is short");
    assert!(answer.partly.unwrap().contains("history"));
    assert_eq!(scaler.answer(13.0).unwrap_err().to_string(), "no answer: the last reading is 11 s old");
}

#[test]
fn a_part_that_is_known_can_still_ask_for_more() {
    let mut scaler = Scaler::new(settings());
    for second in 0..60 {
        let read = QueueReading { backlog: (second < 40).then_some(0.0), ..io(8, 39.0, 0.0, 15.6) };
        scaler.observe(Reading { unread: 2, workers: 10, ..reading(f64::from(second), 8, read) });
    }
    let answer = scaler.answer(59.0).unwrap();
    assert_eq!(answer.workers, 12, "39 slots in use of the 8 workers that were read: {answer:?}");
    assert_eq!(answer.partly.as_deref(), Some("2 of 10 Ready workers could not be read"));
}

#[test]
fn a_clock_may_jump() {
    let mut scaler = Scaler::new(settings());
    for second in 0..60 {
        scaler.observe(reading(1000.0 + f64::from(second), 8, io(8, 21.0, 0.0, 8.4)));
    }
    let before = scaler.answer(1059.0).unwrap();
    scaler.observe(reading(10.0, 8, io(8, 40.0, 100.0, 8.4)));
    scaler.observe(reading(f64::NAN, 8, io(8, 40.0, 100.0, 8.4)));
    assert_eq!(scaler.answer(1059.0).unwrap(), before, "backwards: ignored");
    scaler.observe(reading(9000.0, 8, io(8, 21.0, 0.0, 8.4)));
    let after = scaler.answer(9000.0).unwrap();
    assert!(after.workers == 8 && after.partly.is_some(), "forwards: the history begins again: {after:?}");
}

/// The guide's rule: more than 15 tasks wait, and go on waiting.
#[test]
fn a_backlog_that_stays_adds_workers() {
    for workers in [3, 8, 15] {
        let slots = 5.0 * f64::from(workers);
        let answer = steady(60, workers, io(workers, slots, 16.0, slots / 2.5));
        assert!(f64::from(answer.workers) > 1.1 * f64::from(workers), "{workers}: {answer:?}");
    }
}
