//! Compares the text that the worker reads from PDFs with what `pdftotext` (poppler-utils) reads. For developers.
//!
//! `cargo run --release -p worker --example corpus -- FOLDER > files.tsv`
//!
//! Prints one line a file, and the sums to stderr. Each file is read in a process of its own. `--reader PROGRAM`
//! measures another reader: a program that prints the text of the file in its argument, and ends with code 3 if it
//! refuses the file. The last line of its stderr is `peak KIB`, its peak resident memory.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use worker::text::{Cancel, MediaType, extract};

/// Maximum time for one file, as `timeout` takes it.
const SECONDS: &str = "20";

/// Words of a file whose order is compared.
const ORDERED: usize = 20_000;

/// Least words by `pdftotext` of a file that counts.
const COUNTED: usize = 20;

fn main() -> anyhow::Result<()> {
    let mut arguments = env::args().skip(1);
    let first = arguments.next().context("name a folder of PDFs")?;
    match first.as_str() {
        "--text" => print_text(&arguments.next().context("name a file")?),
        "--reader" => {
            let reader = vec![arguments.next().context("name a program")?];
            compare(&reader, &arguments.next().context("name a folder of PDFs")?)
        }
        folder => {
            let own = env::current_exe()?.to_string_lossy().into_owned();
            compare(&[own, "--text".to_owned()], folder)
        }
    }
}

/// Prints the text of a PDF.
fn print_text(file: &str) -> anyhow::Result<()> {
    let bytes = fs::read(file)?;
    let read = extract(MediaType::Pdf, &bytes, usize::MAX, &Cancel::default());
    let refused = match read {
        Ok(read) => {
            read.passages.iter().for_each(|passage| println!("{}", passage.text));
            false
        }
        Err(error) => {
            eprintln!("{error}");
            true
        }
    };
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    eprintln!("peak {}", peak.trim().trim_end_matches(" kB"));
    std::process::exit(if refused { 3 } else { 0 });
}

/// What a reader made of a file.
struct Outcome {
    end: &'static str,
    words: Vec<String>,
    took: Duration,
    peak_kib: u64,
    said: String,
}

fn run(program: &[String], arguments: &[&str]) -> anyhow::Result<Outcome> {
    let started = Instant::now();
    let mut child = Command::new("timeout");
    child.arg(SECONDS).args(program).args(arguments).stdin(Stdio::null());
    let output = child.output().with_context(|| format!("running {program:?}"))?;
    let took = started.elapsed();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let end = match output.status.code() {
        Some(0) => "read",
        Some(1 | 3) => "refused",
        Some(124) => "too slow",
        _ => "crashed",
    };
    let peak = said.lines().last().and_then(|line| line.strip_prefix("peak ")?.parse().ok());
    let said = said.lines().next().unwrap_or_default().to_owned();
    Ok(Outcome {
        end,
        words: words(&String::from_utf8_lossy(&output.stdout)),
        took,
        peak_kib: peak.unwrap_or_default(),
        said,
    })
}

fn compare(reader: &[String], folder: &str) -> anyhow::Result<()> {
    let mut sums = Sums::default();
    println!("file\tend\treference\twords\tfound\tin order\tms\tpeak KiB\tsaid");
    for file in pdfs(Path::new(folder))? {
        let name = file.to_str().context("a name that is not UTF-8")?;
        let reference = run(&["pdftotext".to_owned()], &[name, "-"])?;
        let ours = run(reader, &[name])?;
        let found = shared(&reference.words, &ours.words);
        let order = in_order(&reference.words, &ours.words);
        println!(
            "{name}\t{}\t{}\t{}\t{found}\t{order}\t{}\t{}\t{}",
            ours.end,
            reference.words.len(),
            ours.words.len(),
            ours.took.as_millis(),
            ours.peak_kib,
            ours.said
        );
        sums.add(&reference, &ours, found, order);
    }
    sums.print();
    Ok(())
}

fn pdfs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(pdfs(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "pdf") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Sums over the files. Those of words are over the files that count.
#[derive(Default)]
struct Sums {
    files: usize,
    ends: HashMap<&'static str, usize>,
    counted: usize,
    shares: Vec<f64>,
    reference: usize,
    words: usize,
    found: usize,
    ordered: (usize, usize),
    took: Duration,
    reference_took: Duration,
    peaks: Vec<u64>,
}

impl Sums {
    fn add(&mut self, reference: &Outcome, ours: &Outcome, found: usize, order: usize) {
        self.files += 1;
        *self.ends.entry(ours.end).or_default() += 1;
        self.took += ours.took;
        self.reference_took += reference.took;
        self.peaks.push(ours.peak_kib);
        if reference.words.len() >= COUNTED {
            self.counted += 1;
            self.shares.push(share(found, reference.words.len()));
            self.reference += reference.words.len();
            self.words += ours.words.len();
            self.found += found;
            self.ordered.0 += order;
            self.ordered.1 += reference.words.len().min(ORDERED);
        }
    }

    fn print(&mut self) {
        self.peaks.sort_unstable();
        let mut ends: Vec<_> = self.ends.iter().collect();
        ends.sort();
        let at_least = |bound: f64| self.shares.iter().filter(|share| **share >= bound).count();
        eprintln!("files: {}, of which {ends:?}", self.files);
        eprintln!("files of {COUNTED} words or more: {}", self.counted);
        eprintln!("  all but 2 % of the words found: {}", at_least(0.98));
        eprintln!("  less than half of the words found: {}", self.counted - at_least(0.5));
        eprintln!("  words found: {:.4}", share(self.found, self.reference));
        eprintln!("  words found in the same order: {:.4}", share(self.ordered.0, self.ordered.1));
        eprintln!("  words that pdftotext has, too: {:.4}", share(self.found, self.words));
        eprintln!("time by pdftotext's: {:.2}", self.took.as_secs_f64() / self.reference_took.as_secs_f64());
        let at = |part: usize| self.peaks.get(self.peaks.len() * part / 100).or(self.peaks.last()).unwrap_or(&0) >> 10;
        eprintln!("peak memory in MiB: median {}, 99 % {}, most {}", at(50), at(99), at(100));
    }
}

fn share(part: usize, whole: usize) -> f64 {
    let number = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    number(part) / number(whole.max(1))
}

/// Words in lower case. An ideograph is a word by itself, because readers differ about spaces between them.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for character in text.chars() {
        let ideograph =
            matches!(character, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}');
        match character {
            '\u{fb00}' => word.push_str("ff"),
            '\u{fb01}' => word.push_str("fi"),
            '\u{fb02}' => word.push_str("fl"),
            '\u{ad}' => {}
            _ if character.is_alphanumeric() && !ideograph => word.extend(character.to_lowercase()),
            _ => {
                words.extend((!word.is_empty()).then(|| std::mem::take(&mut word)));
                words.extend(ideograph.then(|| character.to_string()));
            }
        }
    }
    words.extend((!word.is_empty()).then_some(word));
    words
}

/// The number of words that both have, each as often as both.
fn shared(one: &[String], other: &[String]) -> usize {
    let mut left: HashMap<&str, usize> = HashMap::new();
    one.iter().for_each(|word| *left.entry(word).or_default() += 1);
    let mut found = 0;
    for word in other {
        if let Some(left) = left.get_mut(word.as_str()).filter(|left| **left > 0) {
            *left -= 1;
            found += 1;
        }
    }
    found
}

/// Length of the longest common subsequence (Hyyrö 2004).
fn in_order(one: &[String], other: &[String]) -> usize {
    let one = &one[..one.len().min(ORDERED)];
    let other = &other[..other.len().min(ORDERED)];
    let blocks = one.len().div_ceil(64);
    let mut places: HashMap<&str, Vec<u64>> = HashMap::new();
    for (index, word) in one.iter().enumerate() {
        places.entry(word).or_insert_with(|| vec![0; blocks])[index / 64] |= 1 << (index % 64);
    }
    let mut row = vec![u64::MAX; blocks];
    for places in other.iter().filter_map(|word| places.get(word.as_str())) {
        let mut carry = false;
        for (block, places) in row.iter_mut().zip(places) {
            let matched = *block & places;
            let (sum, over) = block.overflowing_add(matched);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            carry = over || over_again;
            *block = sum | (*block & !places);
        }
    }
    let zeros = |(index, block): (usize, &u64)| {
        let bits = (one.len() - index * 64).min(64);
        (0..bits).filter(|bit| block >> bit & 1 == 0).count()
    };
    row.iter().enumerate().map(zeros).sum()
}
