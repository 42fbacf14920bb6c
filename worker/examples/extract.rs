//! Prints the extraction result of files, without Temporal, store or database. For developers.
//!
//! `cargo run -p worker --example extract -- a.pdf b.html`

use std::time::Instant;

use anyhow::Context as _;
use worker::text::{Cancel, Extract, MediaType, extract};

fn main() -> anyhow::Result<()> {
    for file in std::env::args().skip(1) {
        let bytes = std::fs::read(&file).with_context(|| format!("reading {file}"))?;
        let started = Instant::now();
        let extracted = MediaType::detect(&file, &bytes)
            .map_err(Into::into)
            .and_then(|media_type| extract(media_type, &bytes, 200, &Cancel::default()));
        let took = started.elapsed();
        match extracted {
            Ok(extract) => print(&file, &extract),
            Err(error) => println!("{file}: refused: {error}"),
        }
        println!("  {} bytes in {took:?}\n", bytes.len());
    }
    Ok(())
}

fn print(file: &str, extract: &Extract) {
    println!("{file}: {:?}", extract.title);
    println!(
        "  {} words, charset {:?}, pages {:?}, language {:?}",
        extract.words, extract.charset, extract.pages, extract.language
    );
    let (headings, links) = (&extract.structure.headings, &extract.structure.links);
    println!("  headings {:?}", headings.iter().take(20).collect::<Vec<_>>());
    println!("  links {:?}", links.iter().take(20).collect::<Vec<_>>());
    if let Some(signature) = extract.signature {
        println!("  signature {signature}");
    }
    for passage in extract.passages.iter().take(5) {
        println!("  {:4} {}", passage.words, passage.text.replace('\n', "\n       "));
    }
}
