//! Cases computed by hand from the rules in the documentation of Kubernetes.

use super::*;

fn average(sum: f64) -> [Option<Metric>; 1] {
    [Some(Metric::AverageValue { sum, target: 1.0 })]
}

fn hpa(up: Rules, down: Rules) -> Hpa {
    Hpa::new(Spec { up, down, ..Spec::defaults(1, 1000) })
}

fn rules(stabilization: f64, select: Select, policies: &[(Kind, u32, f64)]) -> Rules {
    let policy = |&(kind, value, period): &(Kind, u32, f64)| Policy { kind, value, period };
    Rules { stabilization, select, policies: policies.iter().map(policy).collect() }
}

fn free() -> Rules {
    rules(0.0, Select::Max, &[])
}

#[test]
fn a_difference_within_the_tolerance_is_ignored() {
    for (replicas, wanted, expected) in
        [(10, 11.0, 10), (10, 11.01, 12), (10, 9.0, 10), (10, 8.9, 9), (20, 22.0, 20), (3, 3.3, 3), (3, 3.4, 4)]
    {
        assert_eq!(hpa(free(), free()).sync(0.0, &average(wanted), replicas, replicas), expected, "{wanted}");
    }
}

#[test]
fn the_metric_types_have_their_own_arithmetic() {
    let cases = [
        // The documentation's example: current 200m, desired 100m, the replicas double; 50m, they halve.
        (Metric::Value { value: 0.2, target: 0.1 }, 4, 4, 8),
        (Metric::Value { value: 0.05, target: 0.1 }, 4, 4, 2),
        // A value multiplies the Ready pods, not those that start.
        (Metric::Value { value: 1.5, target: 1.0 }, 10, 6, 9),
        // 34 tasks of 10 each: four replicas.
        (Metric::AverageValue { sum: 34.0, target: 10.0 }, 3, 3, 4),
        (Metric::AverageValue { sum: 33.0, target: 10.0 }, 3, 3, 3),
        (Metric::Utilization { mean: 0.9, target: 0.6 }, 4, 4, 6),
        // Two of four pods start: (0.9 · 2 + 0 · 2) / 4 is below the target, so nothing changes.
        (Metric::Utilization { mean: 0.9, target: 0.6 }, 4, 2, 4),
    ];
    for (metric, replicas, ready, expected) in cases {
        assert_eq!(hpa(free(), free()).sync(0.0, &[Some(metric)], replicas, ready), expected, "{metric:?}");
    }
}

#[test]
fn the_largest_metric_decides_and_a_missing_one_forbids_to_scale_in() {
    let metric = |sum| Some(Metric::AverageValue { sum, target: 1.0 });
    for (metrics, expected) in [
        (vec![metric(4.0), metric(8.0)], 8),
        (vec![metric(2.0), None], 5),
        (vec![metric(8.0), None], 8),
        (vec![None, None], 5),
        (vec![metric(2.0)], 2),
    ] {
        assert_eq!(hpa(free(), free()).sync(0.0, &metrics, 5, 5), expected, "{metrics:?}");
    }
}

#[test]
fn scale_in_takes_the_largest_recommendation_of_the_window() {
    // From the enhancement proposal: 10, then 9s and 8s within 600 s; the 10 is dropped in the 11th minute.
    let mut hpa = hpa(free(), rules(600.0, Select::Max, &[(Kind::Pods, 5, 600.0)]));
    let recommendations = [10.0, 8.9, 8.8, 8.9, 8.9, 8.8, 8.9, 8.8, 8.9, 8.8];
    for (minute, wanted) in (0..).zip(recommendations) {
        assert_eq!(hpa.sync(f64::from(minute) * 60.0, &average(wanted), 10, 10), 10, "minute {minute}");
    }
    assert_eq!(hpa.sync(600.0, &average(7.0), 10, 10), 9);
}

#[test]
fn scale_out_takes_the_smallest_recommendation_of_the_window() {
    let mut hpa = hpa(rules(30.0, Select::Max, &[]), free());
    assert_eq!(hpa.sync(0.0, &average(5.0), 5, 5), 5);
    assert_eq!(hpa.sync(15.0, &average(9.0), 5, 5), 5);
    assert_eq!(hpa.sync(30.0, &average(12.0), 5, 5), 9);
}

#[test]
fn policies_limit_a_period() {
    // The documentation's scale-down of 4 pods or 10 percent: from 80, 10 percent is larger; below 40, the pods.
    let down = rules(0.0, Select::Max, &[(Kind::Pods, 4, 60.0), (Kind::Percent, 10, 60.0)]);
    let mut hpa_80 = hpa(free(), down.clone());
    assert_eq!(hpa_80.sync(0.0, &average(10.0), 80, 80), 72);
    assert_eq!(hpa_80.sync(30.0, &average(10.0), 72, 72), 72, "the period is used up");
    assert_eq!(hpa_80.sync(60.0, &average(10.0), 72, 72), 64, "10 percent of 72 rounds to 8");
    assert_eq!(hpa(free(), down.clone()).sync(0.0, &average(2.0), 30, 30), 26);
    let min = Rules { select: Select::Min, ..down.clone() };
    assert_eq!(hpa(free(), min).sync(0.0, &average(10.0), 80, 80), 76);
    let disabled = Rules { select: Select::Disabled, ..down };
    assert_eq!(hpa(free(), disabled).sync(0.0, &average(10.0), 80, 80), 80);
}

#[test]
fn the_default_scale_up_is_the_larger_of_doubling_and_four_pods() {
    let mut small = Hpa::new(Spec::defaults(1, 100));
    assert_eq!(small.sync(0.0, &average(100.0), 1, 1), 5);
    assert_eq!(small.sync(15.0, &average(100.0), 5, 5), 10);
    assert_eq!(small.sync(30.0, &average(100.0), 10, 10), 20);
    assert_eq!(small.sync(31.0, &average(100.0), 20, 20), 20, "the period is used up");
}

#[test]
fn the_shipped_behavior_triples_within_15_s_and_halves_within_a_minute() {
    let mut hpa = Hpa::new(Spec::shipped(3, 20));
    assert_eq!(hpa.sync(0.0, &average(18.0), 3, 3), 9);
    assert_eq!(hpa.sync(1.0, &average(18.0), 9, 3), 9);
    assert_eq!(hpa.sync(15.0, &average(30.0), 9, 9), 20, "the maximum");
    assert_eq!(hpa.sync(16.0, &average(3.0), 20, 20), 20, "the window");
    assert_eq!(hpa.sync(76.0, &average(3.0), 20, 20), 10);
    assert_eq!(hpa.sync(100.0, &average(3.0), 10, 10), 10);
    assert_eq!(hpa.sync(136.0, &average(3.0), 10, 10), 5);
    assert_eq!(hpa.sync(196.0, &average(1.0), 5, 5), 3, "the minimum");
}

#[test]
fn replicas_outside_the_limits_come_back_into_them() {
    let mut hpa = Hpa::new(Spec::shipped(3, 20));
    assert_eq!(hpa.sync(0.0, &average(30.0), 30, 30), 20);
    assert_eq!(hpa.sync(15.0, &average(0.5), 1, 1), 3);
    assert_eq!(hpa.sync(30.0, &average(9.0), 0, 0), 0, "scaling is off at 0 replicas");
}
