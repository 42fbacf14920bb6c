//! Every target on its seeds, which are the files of `fuzz/corpus`, and on mutations of them. The same mutations in
//! every run: libFuzzer looks for others.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use fuzz::{Outcome, TARGETS, target};
use rand::{RngExt as _, SeedableRng as _, rngs::ChaCha8Rng};

/// Mutations of a target's seeds together.
const MUTATIONS: usize = 500;
/// As many of a target whose inputs are a thousand times as long.
const OF_LONG_TEXT: usize = 10;
/// Changes of one mutation, at most.
const CHANGES: usize = 4;
/// Bytes that are inserted or removed at once, at most.
const PIECE: usize = 64;

macro_rules! seeds_and_mutations_are_read_or_refused_by {
    ($($name:ident),*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_target_is_run() {
            assert_eq!([$(stringify!($name)),*], TARGETS.map(|(name, _)| name));
        }
    };
}

seeds_and_mutations_are_read_or_refused_by! {
    bundle, debian_lock, html, long_text, markdown, metrics_page, outputs_lock, pdf, pdf_page, pins, plain, wire
}

fn run(name: &str) {
    let seeds = seeds(name);
    let outcomes: Vec<Outcome> = seeds.iter().map(|(file, seed)| checked(name, file, seed)).collect();
    // A target that refuses every seed checks nothing of a reader.
    assert!(outcomes.contains(&Outcome::Read), "{name} reads no seed: {outcomes:?}");
    let mut random = ChaCha8Rng::seed_from_u64(49);
    for number in 0..if name == "long_text" { OF_LONG_TEXT } else { MUTATIONS } {
        let (file, seed) = &seeds[number % seeds.len()];
        let mut bytes = seed.clone();
        for _ in 0..random.random_range(1..=CHANGES) {
            mutate(&mut bytes, &seeds, &mut random);
        }
        checked(name, &format!("mutation {number} of {file}"), &bytes);
    }
}

fn seeds(name: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(name);
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.into_iter().map(|file| (file.file_name().unwrap().display().to_string(), fs::read(file).unwrap())).collect()
}

/// Runs a target. Keeps an input that it fails on.
fn checked(name: &str, what: &str, bytes: &[u8]) -> Outcome {
    catch_unwind(|| target(name)(bytes)).unwrap_or_else(|_| {
        let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&file, bytes).unwrap();
        panic!("{name} fails on {what}: {}", file.display())
    })
}

/// Changes a byte, or removes, repeats or inserts a piece.
fn mutate(bytes: &mut Vec<u8>, seeds: &[(String, Vec<u8>)], random: &mut ChaCha8Rng) {
    let mut place = |length: usize| random.random_range(0..=length);
    let at = place(bytes.len());
    let end = (at + place(PIECE)).min(bytes.len());
    match place(3) {
        0 if at < bytes.len() => bytes[at] = u8::try_from(place(255)).unwrap(),
        1 => drop(bytes.drain(at..end)),
        2 => drop(bytes.splice(at..at, bytes[at..end].to_vec())),
        _ => {
            let (_, other) = &seeds[place(seeds.len() - 1)];
            let from = place(other.len());
            let piece = other[from..other.len().min(from + place(PIECE))].to_vec();
            drop(bytes.splice(at..at, piece));
        }
    }
}
