//! Ctrl-C and SIGTERM: remembered, passed on to the children that run, and honoured between steps.
//!
//! The first signal ends the children and lets the caller clean up; a second one leaves at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

static REQUESTED: AtomicBool = AtomicBool::new(false);
static ABANDONED: AtomicBool = AtomicBool::new(false);
static CLEANING: AtomicBool = AtomicBool::new(false);
static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Exit code of a run that Ctrl-C ended.
pub const EXIT_CODE: u8 = 130;

/// The user asked to stop, or what runs beside this failed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Starts to listen for SIGINT and SIGTERM. Call once, early.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for signal in &mut signals {
            if REQUESTED.swap(true, Ordering::SeqCst) {
                std::process::exit(128 + signal);
            }
            eprintln!("\ninterrupted: cleaning up (once more to leave at once)");
            end_children();
        }
    });
    Ok(())
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Whether the run is cleaning up after a signal: commands run then are not interrupted ones.
pub fn cleaning() -> bool {
    CLEANING.load(Ordering::SeqCst)
}

/// From here on commands may run again although a signal has come: the clean-up.
pub fn start_cleaning() {
    CLEANING.store(true, Ordering::SeqCst);
}

/// Stops a run between two steps.
///
/// # Errors
/// [`Interrupted`] when a signal has come and the clean-up has not begun.
pub fn check() -> Result<(), Interrupted> {
    if (requested() || ABANDONED.load(Ordering::SeqCst)) && !cleaning() {
        Err(Interrupted)
    } else {
        Ok(())
    }
}

/// Runs two pieces of work side by side. When one fails, the other's children are ended: its error is the one returned.
///
/// # Errors
/// What failed first.
pub fn side_by_side<A: Send, B>(
    one: impl FnOnce() -> anyhow::Result<A> + Send,
    other: impl FnOnce() -> anyhow::Result<B>,
) -> anyhow::Result<(A, B)> {
    let first_error = Mutex::new(None);
    let fails = |error| {
        if let Ok(mut first) = first_error.lock() {
            first.get_or_insert(error);
        }
        ABANDONED.store(true, Ordering::SeqCst);
        end_children();
    };
    let both = thread::scope(|scope| {
        let one = scope.spawn(|| one().map_err(fails));
        let other = other().map_err(fails);
        let one = one
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        one.ok().zip(other.ok())
    });
    ABANDONED.store(false, Ordering::SeqCst);
    let error = first_error.into_inner().ok().flatten();
    both.ok_or_else(|| error.unwrap_or_else(|| Interrupted.into()))
}

fn end_children() {
    if let Ok(children) = CHILDREN.lock() {
        for &child in children.iter() {
            signal_group(child, Signal::TERM);
        }
    }
}

/// Sends a signal to a process group led by `leader`; a group that is gone is not an error.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// A child (leader of its process group) that is ended when a signal comes, for as long as this value lives.
#[derive(Debug)]
pub struct Watched(u32);

impl Watched {
    /// Watches the child with this process id.
    pub fn new(child: u32) -> Self {
        if let Ok(mut children) = CHILDREN.lock() {
            children.insert(child);
        }
        if check().is_err() {
            signal_group(child, Signal::TERM);
        }
        Self(child)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        if let Ok(mut children) = CHILDREN.lock() {
            children.remove(&self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Cmd;

    #[test]
    fn work_beside_a_failure_is_ended_and_the_failure_is_what_is_told() {
        let endless = || {
            Cmd::new("tail")
                .args(["-f", "/dev/null"])
                .run()
                .map_err(anyhow::Error::from)
        };
        let fails = || -> anyhow::Result<()> { anyhow::bail!("the cause") };
        let error = side_by_side(endless, fails).unwrap_err();
        assert_eq!(error.to_string(), "the cause");
        let (one, other) = side_by_side(|| Ok(1), || Ok(2)).unwrap();
        assert_eq!((one, other), (1, 2));
    }
}
