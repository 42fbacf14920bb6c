//! Measures the memory that reading a document takes, beside the memory that the worker reserves for it. For
//! developers.
//!
//! `cargo run --release -p worker --example memory`
//!
//! Each document is read in a process of its own, with the allocator settings of the image.

use std::{env, fs, process::Command};

use anyhow::{Context as _, ensure};
use worker::text::{Cancel, MediaType, extract, memory};

/// Sizes in MiB.
const SIZES: [usize; 2] = [4, 16];

/// Words of a passage, as by default.
const PASSAGE_WORDS: usize = 200;

/// The kinds of documents: a name, the type, and what is repeated up to the size.
const KINDS: [(&str, MediaType, &[u8]); 8] = [
    ("text", MediaType::Plain, b"The tide \"rises\" and falls twice a day.\n"),
    ("text of short words", MediaType::Plain, b"a b c\n"),
    ("text in windows-874", MediaType::Plain, b"\xb9\xe9\xd3\xa2\xd6\xe9\xb9\xb9\xe9\xd3\xc5\xa7 "),
    ("table", MediaType::Html, b"<tr><td>low water<td>12 cm<td>at noon"),
    ("elements without text", MediaType::Html, b"<p>"),
    ("page in windows-1252", MediaType::Html, b"<p>caf\xe9 \xe0 No\xebl</p>\n"),
    ("Markdown", MediaType::Markdown, b"- The *tide* rises [twice](/moon) a day.\n"),
    ("emphasis", MediaType::Markdown, b"*a* "),
];

fn main() -> anyhow::Result<()> {
    if let Some(file) = env::args().nth(1) {
        return read(&file);
    }
    println!("| document | MiB | peak memory, MiB | by its size | reserved, MiB |\n|---|---|---|---|---|");
    let mut exceeded = Vec::new();
    for (name, media_type, piece) in KINDS {
        for size in SIZES {
            let document = piece.repeat((size << 20) / piece.len());
            let reserved = memory(media_type, &document, PASSAGE_WORDS);
            let (peak, refused) = measure(media_type, &document)?;
            let ratio = peak as f64 / document.len() as f64;
            let mebibytes = |bytes: u64| bytes >> 20;
            println!("| {name}{refused} | {size} | {} | {ratio:.1} | {} |", mebibytes(peak), mebibytes(reserved));
            if peak > reserved {
                exceeded.push(format!("{name} of {size} MiB"));
            }
        }
    }
    ensure!(exceeded.is_empty(), "more is taken than is reserved by: {}", exceeded.join(", "));
    Ok(())
}

/// The peak memory in bytes of a process that reads the document, without the program itself, and whether it refused.
fn measure(media_type: MediaType, document: &[u8]) -> anyhow::Result<(u64, &'static str)> {
    let folder = tempfile::tempdir()?;
    let extension = match media_type {
        MediaType::Html => "html",
        MediaType::Markdown => "md",
        MediaType::Plain => "txt",
        MediaType::Pdf => "pdf",
    };
    let file = folder.path().join("document").with_extension(extension);
    fs::write(&file, document)?;
    let output = Command::new(env::current_exe()?)
        .arg(&file)
        .envs([("MALLOC_ARENA_MAX", "1"), ("MALLOC_MMAP_THRESHOLD_", "65536"), ("MALLOC_TRIM_THRESHOLD_", "65536")])
        .output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let (peak, outcome) = text.trim().split_once(' ').context("the reader printed no peak")?;
    Ok((peak.parse::<u64>()? << 10, if outcome == "refused" { " (refused)" } else { "" }))
}

/// Reads a file as a step does, and prints the peak memory in KiB beyond that of the program.
fn read(file: &str) -> anyhow::Result<()> {
    let before = resident("VmRSS")?;
    let bytes = fs::read(file)?;
    let media_type = MediaType::detect(file, &bytes)?;
    let read = extract(media_type, &bytes, PASSAGE_WORDS, &Cancel::default());
    drop(bytes);
    let outcome = match read {
        Ok(extract) => {
            let json = serde_json::to_vec(&extract.passages)?;
            ensure!(!json.is_empty(), "no JSON");
            "read"
        }
        Err(_) => "refused",
    };
    println!("{} {outcome}", resident("VmHWM")? - before);
    Ok(())
}

fn resident(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().trim_end_matches(" kB").parse()?)
}
