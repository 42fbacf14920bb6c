//! The memory of a worker whose slots all have the largest documents that are allowed.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::{
    harness::{World, history::End},
    pdf,
    runner::tests,
};

tests![
    the_largest_documents_in_all_slots_fit_into_the_memory_limit,
    cached_workflows_fit_into_the_memory_of_the_process,
];

/// The memory limit of the pod: 300 MiB.
const LIMIT_KB: u64 = 300 << 10;

/// The largest document: 32 MiB.
const LARGEST: usize = 32 << 20;

/// Timeout of a document. In a debug build a page takes ten seconds, and each waits for the others.
const END: Duration = Duration::from_secs(350);

/// The allocator settings of the image.
const ALLOCATOR: [(&str, &str); 4] = [
    ("MALLOC_ARENA_MAX", "1"),
    ("MALLOC_MMAP_THRESHOLD_", "65536"),
    ("MALLOC_TOP_PAD_", "65536"),
    ("MALLOC_TRIM_THRESHOLD_", "65536"),
];

/// A document of the largest size: this piece, as often as it fits.
fn filled(start: &str, piece: &[u8]) -> Vec<u8> {
    [start.as_bytes(), &piece.repeat((LARGEST - start.len()) / piece.len())].concat()
}

/// A row of a table, with so much text.
fn row(text: usize) -> Vec<u8> {
    format!("<tr><td>{}", "tide ".repeat(text / 5)).into_bytes()
}

/// A paragraph in windows-1252, with so much text.
fn paragraph(text: usize) -> Vec<u8> {
    [b"<p>".as_slice(), &b"la mer mont\xe9e ".repeat(text / 14)].concat()
}

/// A PDF of a page of text, a picture, and an object that takes some 30 MiB when it is parsed.
fn picture_book(word: &str) -> Vec<u8> {
    let numbers = pdf::object(&format!("[{}]", "0 ".repeat(300_000)));
    let picture = pdf::stream("/Type /XObject /Subtype /Image", &vec![b'x'; LARGEST - (4 << 20)]);
    let line = format!("(The {word} rises and falls twice a day.) Tj T* ");
    let text = line.repeat((3 << 20) / line.len());
    pdf::one_page(pdf::content(&format!("BT /F1 10 Tf 12 TL {text} ET")), "", &[picture, numbers])
}

/// A PDF whose objects take the most memory for their bytes.
fn many_objects() -> Vec<u8> {
    let numbers = pdf::object(&format!("[{}]", "0 ".repeat(LARGEST / 2 - 1024)));
    pdf::one_page(pdf::content("BT /F1 10 Tf (tide) Tj ET"), "", &[numbers])
}

/// How a document ends: stored, or refused with a type.
type Expected = Result<(), &'static str>;

async fn the_largest_documents_in_all_slots_fit_into_the_memory_limit(world: &World) -> Result<()> {
    const REFUSED: Expected = Err("DocumentNeedsTooMuchMemory");
    let line = b"The tide \"rises\" and falls twice a day, and the ships wait for it.\n";
    let item = format!("- {}\n", "tide ".repeat(30));
    let documents: [(&str, Vec<u8>, Expected); 12] = [
        ("table-1.html", filled("<!doctype html><title>Tides</title><table>", &row(100)), Ok(())),
        ("table-2.html", filled("<!doctype html><title>Ships</title><table>", &row(100)), Ok(())),
        ("cells.html", filled("<!doctype html><table>", &row(5)), Err("DocumentTooComplex")),
        ("latin1.html", filled("<!doctype html>", &paragraph(100)), Ok(())),
        ("book-1.pdf", picture_book("tide"), Ok(())),
        ("book-2.pdf", picture_book("ship"), Ok(())),
        ("objects.pdf", many_objects(), Err("DocumentTooComplex")),
        ("text-1.txt", filled("Tides\n", line), Ok(())),
        ("text-2.txt", filled("Ships\n", line), Ok(())),
        ("thai.txt", filled("", b"\xb9\xe9\xd3\xa2\xd6\xe9\xb9\xb9\xe9\xd3\xc5\xa7 "), REFUSED),
        ("emphasis.md", filled("", b"*a* "), REFUSED),
        ("list.md", filled("", item.as_bytes()), Ok(())),
    ];
    let mut runs = Vec::new();
    for (name, content, expected) in documents {
        ensure!((LARGEST - (2 << 20)..=LARGEST).contains(&content.len()), "{name} has {} bytes", content.len());
        let source = world.upload(name, content).await?;
        runs.push((name.to_owned(), world.start_document(name, &source).await?, expected));
    }
    let small = world.upload("small.html", "<!doctype html><title>Tides</title><p>Twice a day").await?;
    for number in 0..20 {
        let name = format!("small-{number}");
        let run = world.start_document(&name, &small).await?;
        runs.push((name, run, Ok(())));
    }
    let worker = ALLOCATOR.iter().fold(world.worker(), |worker, (name, value)| worker.env(name, value));
    let mut worker = worker.start().await?;
    let idle = worker.peak_memory()?;
    for (name, run, expected) in runs {
        let end = run.ended_within(END).await?.end()?;
        let found = match &end {
            End::Completed(_) => Ok(()),
            End::Failed { kind, .. } => Err(kind.as_str()),
            other => anyhow::bail!("{name}: {other:?}"),
        };
        ensure!(found == expected, "{name}: {end:?}, not {expected:?}");
    }
    ensure!(worker.runs()?, "the worker ended");
    let log = worker.output();
    ensure!(!log.contains("a worker died"), "an attempt that waited for memory had no heartbeats");
    let peak = worker.peak_memory()?;
    ensure!(peak < LIMIT_KB, "the peak of the resident memory was {peak} kB, of which {idle} kB at the start");
    Ok(())
}

/// What cached workflows may add to an idle worker. The process has 48 MiB, of which the program takes 19. Each of the
/// five IO slots has 4 MiB for a small document. Twice as many cached workflows took 58 MiB.
const CACHED_KB: u64 = (29 + 5 * 4) << 10;

/// Twice as many workflows as a worker caches.
const WORKFLOWS: usize = 200;

async fn cached_workflows_fit_into_the_memory_of_the_process(world: &World) -> Result<()> {
    let worker = ALLOCATOR.iter().fold(world.worker(), |worker, (name, value)| worker.env(name, value));
    let worker = worker.env("DB_RECORD_FIRST_ATTEMPTS", "").env("REDIS_URL", "").start().await?;
    let idle = worker.peak_memory()?;
    world.postgres.cut().await?;
    let mut runs = Vec::new();
    for number in 0..WORKFLOWS {
        // Close to the largest body that travels in a history, and so are its passages.
        let text = format!("{number} {}", "tide ".repeat(12_800));
        let source = world.upload(&format!("d{number}.txt"), text).await?;
        runs.push(world.start_document(&format!("d{number}"), &source).await?);
    }
    for run in &runs {
        run.pending_is("the document waits for the database", END, |activity| activity.activity == "store_document")
            .await?;
    }
    let peak = worker.peak_memory()?;
    ensure!(peak < idle + CACHED_KB, "the peak was {peak} kB, of which {idle} kB at the start");
    Ok(())
}
