//! Work side by side. A file of its own, so a process of its own: a failure ends every child of the process.

use support::command::Cmd;
use support::interrupt::side_by_side;

#[test]
fn work_beside_a_failure_is_ended_and_the_failure_is_the_error() {
    let endless = || Cmd::new("tail").args(["-f", "/dev/null"]).run().map_err(anyhow::Error::from);
    let fails = || -> anyhow::Result<()> { anyhow::bail!("the cause") };
    let error = side_by_side(endless, fails).unwrap_err();
    assert_eq!(error.to_string(), "the cause");
    let (one, other) = side_by_side(|| Ok(1), || Ok(2)).unwrap();
    assert_eq!((one, other), (1, 2));
}
