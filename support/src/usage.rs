//! The CPU time that child processes used. It tells the cost of a build better than a clock on a busy machine.

use std::fs;

/// What the kernel counts times of processes in, for programs (`USER_HZ` of Linux on x86_64).
const TICKS_PER_SECOND: f64 = 100.0;
/// The field of user time of all children that ended, after the name of the program (proc_pid_stat(5): field 16).
const CHILDREN_USER: usize = 13;

/// User seconds of every child process of this one that has ended, with their children. None if there is no /proc.
pub fn children_user_seconds() -> Option<f64> {
    parse(&fs::read_to_string("/proc/self/stat").ok()?)
}

fn parse(stat: &str) -> Option<f64> {
    // The program's name is in parentheses, and may have spaces and parentheses.
    let (_, fields) = stat.rsplit_once(") ")?;
    let ticks: u32 = fields.split(' ').nth(CHILDREN_USER)?.parse().ok()?;
    Some(f64::from(ticks) / TICKS_PER_SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Cmd;

    #[test]
    fn user_time_of_children_is_read() {
        let stat = "42 (a ) b) S 1 42 42 0 -1 4194560 9 9 0 0 11 12 1350 14 20 0 1 0 5 6 7";
        assert_eq!(parse(stat), Some(13.5));
        assert_eq!(parse("42 (a"), None);
    }

    #[test]
    fn child_that_counts_adds_to_it() {
        let before = children_user_seconds().unwrap();
        Cmd::new("sh").args(["-c", "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"]).run().unwrap();
        assert!(children_user_seconds().unwrap() > before);
    }
}
