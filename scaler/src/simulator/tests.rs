//! What the ways to scale do in the scenarios.

use super::*;

#[test]
fn the_same_seed_gives_the_same_outcome() {
    let step = find("step").unwrap();
    let setup = Setup::usual(15.0, 7);
    assert_eq!(simulate(&step, Way::Ours, &setup), simulate(&step, Way::Ours, &setup));
    assert_ne!(simulate(&step, Way::Ours, &setup), simulate(&step, Way::Ours, &Setup { seed: 8, ..setup }));
}
