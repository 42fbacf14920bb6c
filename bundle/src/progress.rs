//! What the user sees while long work runs: the step, how long it has taken, what it is at.
//!
//! One line when a step starts, one when it ends, and between them, every [`BEAT`], the last line that its commands
//! printed. No state but what the lines need; nothing here decides anything.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often a running step says that it still runs.
const BEAT: Duration = Duration::from_secs(15);
/// How much of a command's last line a beat shows, in characters.
const BEAT_WIDTH: usize = 100;

static VERBOSE: AtomicBool = AtomicBool::new(false);
static LAST_LINE: Mutex<String> = Mutex::new(String::new());
static STAGES: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

/// A finished step and how long it took.
#[derive(Debug, Clone, Serialize)]
pub struct Stage {
    /// The step's name, as printed.
    pub stage: String,
    /// Wall time in seconds.
    pub seconds: f64,
}

/// Prints every command line from here on.
pub fn set_verbose(verbose: bool) {
    VERBOSE.store(verbose, Ordering::Relaxed);
}

/// The steps that finished so far, in order.
pub fn stages() -> Vec<Stage> {
    STAGES.lock().map(|stages| stages.clone()).unwrap_or_default()
}

/// Runs one named step and reports its start, its beats and its end.
///
/// # Errors
/// What `work` returns; also when the user has asked to stop before it began.
pub fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    crate::interrupt::check()?;
    eprintln!(" • {name}");
    set_last_line("");
    let start = Instant::now();
    let (stop, stopped) = mpsc::channel::<()>();
    let beating = name.to_owned();
    let beats = thread::spawn(move || {
        while stopped.recv_timeout(BEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            let last = LAST_LINE.lock().map(|line| line.clone()).unwrap_or_default();
            eprintln!("   … {beating}: {}s  {last}", start.elapsed().as_secs());
        }
    });
    let result = work();
    drop(stop);
    let _ = beats.join();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!(" ✓ {name} ({seconds:.1}s)"),
        Err(_) => eprintln!(" ✗ {name} ({seconds:.1}s)"),
    }
    if let Ok(mut stages) = STAGES.lock() {
        stages.push(Stage {
            stage: name.to_owned(),
            seconds,
        });
    }
    result
}

/// A line that matters to the user: an adaptation, a warning, where to look.
pub fn note(line: &str) {
    eprintln!("   {line}");
}

/// What the running step waits for, shown with the next beat.
pub fn waiting_for(what: &str) {
    set_last_line(&format!("waiting for {what}"));
}

/// A command line: shown when verbose.
pub(crate) fn detail(line: &str) {
    if VERBOSE.load(Ordering::Relaxed) {
        eprintln!("   $ {line}");
    }
}

/// Remembers the last line of a command's output for the next beat.
pub(crate) fn output(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
        set_last_line(line.trim());
    }
}

fn set_last_line(line: &str) {
    if let Ok(mut last) = LAST_LINE.lock() {
        *last = line.chars().take(BEAT_WIDTH).collect();
    }
}
