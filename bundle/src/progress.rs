//! What the user sees while long work runs: the step, how long it has taken, what it is at.
//!
//! One line when a step starts, one when it ends, and between them, every [`BEAT`], the last line that its commands
//! printed. Steps may run side by side, each on its own thread. No state but what the lines need; nothing here decides
//! anything.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;

/// How often a running step says that it still runs.
const BEAT: Duration = Duration::from_secs(15);
/// How much of a command's last line a beat shows, in characters.
const BEAT_WIDTH: usize = 100;

static VERBOSE: AtomicBool = AtomicBool::new(false);
static STAGES: Mutex<Vec<Stage>> = Mutex::new(Vec::new());

thread_local! {
    /// What the step of this thread is at.
    static LINE: RefCell<Line> = RefCell::default();
}

/// The last line of what a step is at: made by the step, written to by the commands that it runs.
#[derive(Debug, Clone, Default)]
pub(crate) struct Line(Arc<Mutex<String>>);

impl Line {
    /// The line of the step that this thread is in.
    pub(crate) fn current() -> Self {
        LINE.with_borrow(Clone::clone)
    }

    /// Remembers the last line of a command's output for the next beat.
    pub(crate) fn output(&self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        if let Some(line) = text.lines().rev().find(|line| !line.trim().is_empty()) {
            self.set(line.trim());
        }
    }

    fn set(&self, text: &str) {
        if let Ok(mut line) = self.0.lock() {
            *line = text.chars().take(BEAT_WIDTH).collect();
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

/// Runs one named step and reports its start, its beats and its end.
///
/// # Errors
/// What `work` returns; also when the user has asked to stop before it began.
pub fn step<T>(name: &str, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    crate::interrupt::check()?;
    eprintln!(" • {name}");
    let line = Line::default();
    let outer = LINE.replace(line.clone());
    let start = Instant::now();
    let (stop, stopped) = mpsc::channel::<()>();
    let beating = name.to_owned();
    let beats = thread::spawn(move || {
        while stopped.recv_timeout(BEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("   … {beating}: {}s  {}", start.elapsed().as_secs(), line.get());
        }
    });
    let result = work();
    drop(stop);
    let _ = beats.join();
    LINE.set(outer);
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
    Line::current().set(&format!("waiting for {what}"));
}

/// A command line: shown when verbose.
pub(crate) fn detail(line: &str) {
    if VERBOSE.load(Ordering::Relaxed) {
        eprintln!("   $ {line}");
    }
}
