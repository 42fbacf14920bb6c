//! Measures the memory and the time that reading a document takes, beside the memory that the worker reserves for it.
//! For developers.
//!
//! `cargo run --release -p worker --example memory`
//!
//! Each document is read in a process of its own, with the allocator settings of the image.

#[expect(dead_code, reason = "one PDF needs few of the builders")]
#[path = "../tests/documents/pdf.rs"]
mod pdf;

use std::{env, fs, process::Command, time::Instant};

use anyhow::{Context as _, bail, ensure};
use worker::text::{Cancel, ExtractError, MediaType, extract, memory};

/// Sizes in MiB.
const SIZES: [usize; 2] = [4, 16];

/// Words of a passage, as by default.
const PASSAGE_WORDS: usize = 200;

/// The kinds of texts: a name, the type, and what is repeated up to the size.
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

/// A PDF of this many bytes that comes near three limits at once: the objects, the page that is read, and its text. A
/// picture, which is not read, fills it up.
fn book(bytes: usize) -> Vec<u8> {
    /// An object may take half of what all may.
    const NUMBERS: usize = 320_000;
    const TEXT: usize = 15 << 20;
    let line = "The tide rises and falls twice a day, and the ships wait for it.";
    let text = format!("({line}) Tj T* ").repeat(TEXT / line.len());
    let page = pdf::stream("/Filter /FlateDecode", &pdf::deflated(format!("BT /F1 9 Tf 9 TL {text} ET").as_bytes()));
    let numbers = pdf::object(&format!("[{}]", "0 ".repeat(NUMBERS)));
    let room = bytes.saturating_sub(page.len() + 2 * numbers.len());
    let picture = pdf::stream("/Type /XObject /Subtype /Image", &vec![b'x'; room]);
    pdf::one_page(page, "", &[numbers.clone(), numbers, picture])
}

fn main() -> anyhow::Result<()> {
    if let Some(file) = env::args().nth(1) {
        return read(&file);
    }
    println!(
        "| document | MiB | peak memory, MiB | by its size | reserved, MiB | seconds |\n|---|---|---|---|---|---|"
    );
    let mut exceeded = Vec::new();
    for size in SIZES {
        let texts = KINDS.map(|(name, media_type, piece)| (name, media_type, piece.repeat((size << 20) / piece.len())));
        for (name, media_type, document) in texts.into_iter().chain([("PDF", MediaType::Pdf, book(size << 20))]) {
            let reserved = memory(media_type, &document, PASSAGE_WORDS);
            let Reading { peak, outcome, seconds } = measure(media_type, &document)?;
            let ratio = peak as f64 / document.len() as f64;
            let (took, kept) = (peak >> 20, reserved >> 20);
            println!("| {name} ({outcome}) | {size} | {took} | {ratio:.1} | {kept} | {seconds} |");
            if peak > reserved {
                exceeded.push(format!("{name} of {size} MiB"));
            }
        }
    }
    ensure!(exceeded.is_empty(), "more is taken than is reserved by: {}", exceeded.join(", "));
    Ok(())
}

/// How a process read a document.
struct Reading {
    /// Peak memory in bytes, without that of the program itself.
    peak: u64,
    /// `read`, or the type of the error.
    outcome: String,
    seconds: String,
}

fn measure(media_type: MediaType, document: &[u8]) -> anyhow::Result<Reading> {
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
    let fields: Vec<_> = text.split_whitespace().collect();
    let [peak, outcome, seconds] = fields[..] else { bail!("the reader printed {text:?}") };
    Ok(Reading { peak: peak.parse::<u64>()? << 10, outcome: outcome.to_owned(), seconds: seconds.to_owned() })
}

/// Reads a file as a step does. Prints the peak memory in KiB beyond that of the program, the outcome and the seconds.
fn read(file: &str) -> anyhow::Result<()> {
    let before = resident("VmRSS")?;
    let bytes = fs::read(file)?;
    let media_type = MediaType::detect(file, &bytes)?;
    let begun = Instant::now();
    let read = extract(media_type, &bytes, PASSAGE_WORDS, &Cancel::default());
    let seconds = begun.elapsed().as_secs_f64();
    drop(bytes);
    let outcome = match read {
        Ok(extract) => {
            let json = serde_json::to_vec(&extract.passages)?;
            ensure!(!json.is_empty(), "no JSON");
            "read"
        }
        Err(ExtractError::Poison(poison)) => poison.kind(),
        Err(ExtractError::Cancelled(error)) => bail!(error),
    };
    println!("{} {outcome} {seconds:.1}", resident("VmHWM")? - before);
    Ok(())
}

fn resident(name: &str) -> anyhow::Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    Ok(line.with_context(|| format!("no {name}"))?.trim().trim_end_matches(" kB").parse()?)
}
