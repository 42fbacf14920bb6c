//! Measures a worker's memory and throughput under the highest load that this machine sustains, and its time to the
//! first poll.
//!
//! The load is a closed loop: each finished document is replaced by a new one, so that all slots are always busy.
//! Servers and worker are those of the integration tests. Exits with code 1 if the worker exceeds its memory bound.
//!
//! `cargo bench -p worker --bench soak -- --minutes 10`; docs/benchmarks.md has the complete command and the
//! results.

#[expect(dead_code, reason = "a benchmark needs a part of what the tests need")]
#[path = "../tests/integration/harness/mod.rs"]
mod harness;

use std::{
    fs,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use clap::Parser;
use support::wait::ticks;

use harness::{Probe, Servers, Worker, World, eventually, reaper, when};

/// Maximum resident memory at any time: 40 MB.
const BOUND_BYTES: u64 = 40_000_000;

/// The allocator settings of the image (bundle/images.toml).
const ALLOCATOR: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

/// Number of open workflows: several times a worker's slots (3, 5 and 2).
const OPEN: u64 = 50;

/// Interval of starting new workflows and reading the memory.
const TICK: Duration = Duration::from_millis(200);

/// Interval of readiness probes at start.
const LOOK: Duration = Duration::from_millis(10);

/// Interval of printed lines.
const LINE: Duration = Duration::from_secs(30);

/// Timeout of the documents that are open at the end.
const REST: Duration = Duration::from_secs(120);

/// The documents, which are processed repeatedly: name, and paragraphs of 100 words each. The two largest become
/// claims.
const CORPUS: [(&str, usize); 8] = [
    ("a.html", 2),
    ("b.md", 5),
    ("c.txt", 8),
    ("d.html", 12),
    ("e.md", 20),
    ("f.html", 40),
    ("g.txt", 120),
    ("h.html", 320),
];

/// Measures a worker under the highest load that this machine sustains.
#[derive(Debug, Parser)]
struct Arguments {
    /// Duration of the load in minutes
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Passed by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    if let Some(code) = reaper::run_if_called() {
        return code;
    }
    let arguments = Arguments::parse();
    let measured = tokio::runtime::Runtime::new()
        .context("starting an async runtime")
        .and_then(|runtime| runtime.block_on(measure(Duration::from_secs(60 * arguments.minutes))));
    match measured {
        Ok(figures) => {
            println!("{}", figures.table());
            ExitCode::from(u8::from(figures.largest > BOUND_BYTES))
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The results; memory in bytes.
#[derive(Debug, Default)]
struct Figures {
    first_poll: Duration,
    idle: u64,
    after_a_minute: u64,
    largest: u64,
    end: u64,
    program: u64,
    documents: u64,
    lasted: Duration,
}

impl Figures {
    fn table(&self) -> String {
        let megabytes = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        let rate = self.documents as f64 / self.lasted.as_secs_f64();
        let rows = [
            ("start to first poll of every queue", format!("{} ms", self.first_poll.as_millis())),
            ("resident, idle", megabytes(self.idle)),
            ("resident, after 1 min of load", megabytes(self.after_a_minute)),
            ("resident, largest", megabytes(self.largest)),
            ("resident, at the end", megabytes(self.end)),
            ("of it pages of the program's file", megabytes(self.program)),
            ("load", format!("{:.1} min", self.lasted.as_secs_f64() / 60.0)),
            ("documents", format!("{}, {rate:.1}/s", self.documents)),
        ];
        let rows = rows.map(|(what, figure)| format!("| {what} | {figure} |\n"));
        format!("\n| what | figure |\n|---|---|\n{}", rows.concat())
    }
}

async fn measure(minutes: Duration) -> Result<Figures> {
    let servers = Arc::new(Servers::start().await?);
    let world = World::new(servers).await?;
    let sources = upload(&world).await?;
    // The first worker of a database creates the tables; the measured one should not.
    drop(world.worker().start().await?);

    let start = Instant::now();
    let shipped = ALLOCATOR.iter().fold(world.worker(), |worker, (name, value)| worker.env(name, value));
    let worker = shipped.spawn()?;
    let mut looks = ticks(LOOK);
    while !worker.get("/readyz").await.is_ok_and(|(status, _)| status.is_success()) {
        looks.tick().await;
    }
    let mut figures = Figures { first_poll: start.elapsed(), idle: memory(&worker, "VmRSS")?, ..Figures::default() };
    println!("{:>7}  {:>10}  {:>9}  {:>8}", "seconds", "documents", "per s", "resident");
    load(&world, &worker, &sources, minutes, &mut figures).await.with_context(|| world.outputs())?;
    Ok(figures)
}

/// Keeps the worker busy, and records its figures.
async fn load(
    world: &World,
    worker: &Worker,
    sources: &[String],
    minutes: Duration,
    figures: &mut Figures,
) -> Result<()> {
    let start = Instant::now();
    let mut ticks = ticks(TICK);
    let (mut started, mut line) = (0, (start, 0));
    while start.elapsed() < minutes {
        ticks.tick().await;
        figures.documents = done(world).await?;
        let next = started..figures.documents + OPEN;
        started = next.end;
        let starts = next.map(|number| {
            let source = &sources[number as usize % sources.len()];
            async move { world.start_document(&format!("soak-{number}"), source).await.map(drop) }
        });
        futures::future::try_join_all(starts).await?;
        figures.end = memory(worker, "VmRSS")?;
        if figures.after_a_minute == 0 && start.elapsed() >= Duration::from_secs(60) {
            figures.after_a_minute = figures.end;
        }
        if line.0.elapsed() >= LINE {
            let rate = (figures.documents - line.1) as f64 / line.0.elapsed().as_secs_f64();
            let (seconds, resident) = (start.elapsed().as_secs(), figures.end as f64 / 1e6);
            println!("{seconds:>7}  {:>10}  {rate:>9.1}  {resident:>5.1} MB", figures.documents);
            line = (Instant::now(), figures.documents);
        }
    }
    figures.lasted = start.elapsed();
    figures.largest = memory(worker, "VmHWM")?;
    figures.program = memory(worker, "RssFile")?;
    eventually("every document is done", REST, async || match done(world).await {
        Ok(done) => when(done == started, || format!("{done} of {started}")),
        Err(error) => Probe::Failed(error),
    })
    .await
}

/// Number of finished documents.
async fn done(world: &World) -> Result<u64> {
    let count: i64 = sqlx::query_scalar("SELECT count(*) FROM effects")
        .fetch_one(&world.database)
        .await
        .context("counting the effects")?;
    Ok(count.unsigned_abs())
}

/// A line of /proc/<pid>/status in bytes: `VmRSS` is the current value, `VmHWM` the maximum, `RssFile` the part
/// from files.
fn memory(worker: &Worker, line: &str) -> Result<u64> {
    let path = format!("/proc/{}/status", worker.id.as_raw_nonzero());
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}: has the worker ended?"))?;
    let found = status.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(':'));
    let kilobytes = found.and_then(|found| found.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    Ok(1024 * kilobytes.with_context(|| format!("{path} has no {line}"))?)
}

async fn upload(world: &World) -> Result<Vec<String>> {
    let mut sources = Vec::new();
    for (name, paragraphs) in CORPUS {
        let words = |paragraph: usize| -> String {
            (0..100).map(|word| format!("{name}{} ", (paragraph * 100 + word) * 7919 % 10_007)).collect()
        };
        let text: String = (0..paragraphs)
            .map(|number| match name.rsplit_once('.') {
                Some((_, "html")) => format!("<h2>Part {number}</h2><p>{}</p>\n", words(number)),
                Some((_, "md")) => format!("## Part {number}\n\n{}\n\n", words(number)),
                _ => format!("{}\n\n", words(number)),
            })
            .collect();
        sources.push(world.upload(name, text).await?);
    }
    Ok(sources)
}
