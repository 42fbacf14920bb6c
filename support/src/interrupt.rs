//! Ctrl-C and SIGTERM: remembered, passed on to the running children as SIGTERM, and honoured between steps.
//!
//! The first signal ends the children and lets the caller clean up. The second one ends this program at once.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// A signal came.
static REQUESTED: AtomicBool = AtomicBool::new(false);
/// One of two pieces of work that run side by side failed.
static ABANDONED: AtomicBool = AtomicBool::new(false);
/// The clean-up began.
static CLEANING: AtomicBool = AtomicBool::new(false);
/// The process ids of the running children, each the leader of its process group.
static CHILDREN: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Exit code of a run that a signal ended.
pub const EXIT_CODE: u8 = 130;

/// The user asked to stop, or work that runs beside this failed.
#[derive(Debug, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Starts to listen for SIGINT and SIGTERM, for a program that cleans up after the first one. Call once, early.
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

/// Ends the children and this program at the first SIGINT or SIGTERM, for a program that has nothing to clean up. Call
/// once, early, and not together with [`listen`].
///
/// # Errors
/// When the handlers cannot be installed.
pub fn exit_on_signal() -> std::io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        if let Some(signal) = signals.forever().next() {
            end_children();
            std::process::exit(128 + signal);
        }
    });
    Ok(())
}

/// Whether a signal has come.
pub fn requested() -> bool {
    REQUESTED.load(Ordering::SeqCst)
}

/// Whether the clean-up began. Commands that run now are not interrupted by the signal that came.
pub fn cleaning() -> bool {
    CLEANING.load(Ordering::SeqCst)
}

/// Begins the clean-up: commands may run again although a signal came.
pub fn start_cleaning() {
    CLEANING.store(true, Ordering::SeqCst);
}

/// Stops a run between two steps.
///
/// # Errors
/// [`Interrupted`] when a signal came and the clean-up has not begun.
pub fn check() -> Result<(), Interrupted> {
    if (requested() || ABANDONED.load(Ordering::SeqCst)) && !cleaning() { Err(Interrupted) } else { Ok(()) }
}

/// Runs two pieces of work side by side. When one fails, the children of the other are ended.
///
/// # Errors
/// The error of the piece that failed first.
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
        let one = one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
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

/// Sends a signal to the process group of `leader`. A group that does not exist any more is not an error.
pub fn signal_group(leader: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(leader).ok().and_then(Pid::from_raw) {
        let _ = kill_process_group(pid, signal);
    }
}

/// Ends a child when a signal comes, for as long as this value lives. The child leads a process group.
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
