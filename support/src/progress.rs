//! What the user sees while long work runs: the step, its duration so far, its last output.
//!
//! A step prints one line when it starts and one when it ends. Between them it prints the last line of its commands'
//! output, every [`HEARTBEAT`]. Steps may run side by side, each on its own thread. Nothing here decides anything.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often a running step says that it still runs.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The maximum length of the last line in a heartbeat, in characters.
const LINE_WIDTH: usize = 100;

static VERBOSE: AtomicBool = AtomicBool::new(false);
static STAGES: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

thread_local! {
    /// The last line of this thread's step.
    static LINE: RefCell<Line> = RefCell::default();
}

/// The last line of a step's output. The step creates it, and the commands that it runs write to it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<Mutex<String>>);

impl Line {
    /// The line of this thread's step.
    pub(crate) fn current() -> Self {
        LINE.with_borrow(Clone::clone)
    }

    /// Keeps the last line of a command's output for the next heartbeat.
    pub(crate) fn output(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            self.set(line.trim());
        }
    }

    fn set(&self, text: &str) {
        if let Ok(mut line) = self.0.lock() {
            *line = text.chars().take(LINE_WIDTH).collect();
        }
    }

    fn get(&self) -> String {
        self.0.lock().map(|line| line.clone()).unwrap_or_default()
    }
}

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

/// Runs one named step and reports its start, its heartbeats and its end.
///
/// # Errors
/// The error of `work`, or [`Interrupted`](crate::interrupt::Interrupted) when the user asked to stop before it began.
pub fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    crate::interrupt::check()?;
    eprintln!(" • {name}");
    let line = Line::default();
    let outer = LINE.replace(line.clone());
    let start = Instant::now();
    let (stop, stopped) = mpsc::channel::<()>();
    let running = name.to_owned();
    let heartbeats = thread::spawn(move || {
        while stopped.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("   … {running}: {}s  {}", start.elapsed().as_secs(), line.get());
        }
    });
    let result = work();
    drop(stop);
    let _ = heartbeats.join();
    LINE.set(outer);
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!(" ✓ {name} ({seconds:.1}s)"),
        Err(_) => eprintln!(" ✗ {name} ({seconds:.1}s)"),
    }
    if let Ok(mut stages) = STAGES.lock() {
        stages.push(Stage { stage: name.to_owned(), seconds });
    }
    result
}

/// Prints a line that the user needs: an adaptation, a warning, where to look.
pub fn note(line: &str) {
    eprintln!("   {line}");
}

/// Says what the running step waits for. The next heartbeat shows it.
pub fn waiting_for(what: &str) {
    Line::current().set(&format!("waiting for {what}"));
}

/// Prints a command line if the user asked for that.
pub(crate) fn detail(line: &str) {
    if VERBOSE.load(Ordering::Relaxed) {
        eprintln!("   $ {line}");
    }
}
