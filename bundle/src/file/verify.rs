//! Checks a bundle file without a network and without an engine.
//!
//! Every byte of the file is checked. Headers of members and padding have one form, and contents have checksums. Then
//! what the members say of each other is compared.

mod contents;
mod reader;
#[cfg(test)]
pub(super) mod tests;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

pub(super) use self::contents::{Blob, NodeBlobs};
use self::contents::{Kept, Unpacking, compare};
use self::reader::{Head, Reader};
use super::{ABOUT, About, FORMAT, INDEX, SUMS, host_architecture};
use crate::action::Action;
use crate::file::render::WORKER;
use crate::oci;

/// The maximum length in bytes of the two members that are read first.
const HEAD_BYTES: u64 = 16 << 20;
/// The first bytes of compressed files.
const COMPRESSED: [(&[u8], &str); 3] =
    [(&[0x1f, 0x8b], "gzip"), (&[0x28, 0xb5, 0x2f, 0xfd], "zstd"), (&[0xfd, b'7', b'z', b'X', b'Z'], "xz")];

/// A bundle file without faults.
#[derive(Debug)]
pub struct Verified {
    /// What it says of itself.
    pub about: About,
    /// The number of its members.
    pub members: usize,
    /// Its length in bytes.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal digits.
    pub sha256: String,
    /// Its node image, and where the layers are in the file.
    pub(super) node: NodeBlobs,
    /// The worker's manifests.
    pub(super) worker: String,
    /// Its index of images, as it is.
    pub(super) index: String,
    /// Where the blobs with their headers are in the file, in bytes.
    pub(super) blobs: Range<u64>,
}

/// What a bundle says before it was checked.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) about: About,
    sums: BTreeMap<String, String>,
    /// The text of its checksums.
    pub(super) text: Vec<u8>,
    /// The SHA-256 of its checksums. It stands for the whole bundle, because every byte follows from them.
    pub(super) id: String,
}

/// Reads a whole bundle file and checks it.
///
/// # Errors
/// When it has faults. The error has a line for each, with the member's name.
pub fn verify(file: &Path) -> Result<Verified> {
    read(file, |reader| check(reader, host_architecture()))
}

/// As [`verify`], for a bundle in memory.
///
/// # Errors
/// When it has faults.
pub fn verify_bytes(bundle: &[u8]) -> Result<Verified> {
    check(&mut Reader::new(bundle), host_architecture())
}

/// Reads a whole bundle file, checks it, and meanwhile writes the members with these prefixes below a folder.
///
/// # Errors
/// As [`verify`], or when the folder cannot be written. What is in the folder then is of no use.
pub(super) fn unpack(file: &Path, id: &str, folder: &Path, prefixes: &'static [&'static str]) -> Result<Verified> {
    read(file, |reader| {
        let claim = claim(reader, host_architecture())?;
        ensure!(claim.id == id, "changed meanwhile: run the command again");
        check_members(reader, claim, Some(Unpacking { folder: folder.to_owned(), prefixes }))
    })
}

/// What is unpacked from a bundle with this id, as a build.
pub(super) fn unpacking(id: &str) -> Action {
    Action::new("unpack a bundle")
        .input("SHA256SUMS", id)
        .code(&[include_str!("unpack.rs"), include_str!("registry.rs")])
}

/// The members of a bundle in their order, each with its SHA-256. The file has all members but the blobs. `found` gets
/// the name, offset and size of each that is there.
pub(super) fn list(file: &Path, mut found: impl FnMut(&str, u64, u64)) -> Result<Vec<(String, String)>> {
    let Claim { mut sums, id, .. } = begin(file)?;
    read(file, |reader| {
        while let Some(head) = reader.head(None)? {
            found(&head.name, reader.at(), head.size);
            reader.body(&head, |_| Ok(()))?;
        }
        Ok(())
    })?;
    let about = sums.remove_entry(ABOUT);
    Ok(about.into_iter().chain([(SUMS.to_owned(), id)]).chain(sums).collect())
}

/// Reads the first two members of a bundle file.
pub(super) fn begin(file: &Path) -> Result<Claim> {
    read(file, |reader| claim(reader, host_architecture()))
}

fn read<T>(file: &Path, act: impl FnOnce(&mut Reader<File>) -> Result<T>) -> Result<T> {
    let name = file.display();
    let open = File::open(file).with_context(|| format!("open {name}"))?;
    act(&mut Reader::new(open)).map_err(|fault| anyhow::anyhow!("{name} {fault:#}"))
}

/// Checks a bundle for a host of this architecture. The error is a sentence whose subject is the file.
fn check<R: Read>(reader: &mut Reader<R>, host: &str) -> Result<Verified> {
    let claim = claim(reader, host)?;
    check_members(reader, claim, None)
}

/// Reads the first two members, and refuses what this program or this host cannot use.
fn claim<R: Read>(reader: &mut Reader<R>, host: &str) -> Result<Claim> {
    let about = first(reader)?;
    let claim: Value = serde_json::from_slice(&about).unwrap_or_default();
    let format = claim["format"].as_u64();
    let sums = sums(reader);
    if let Some(sum) = sums.as_ref().ok().and_then(|(sums, _)| sums.get(ABOUT)) {
        let found = hex_of(&about);
        ensure!(*sum == found, "is damaged: {ABOUT}: its SHA-256 is {found}, {SUMS} says {sum}");
    }
    // Before anything else is read: a newer format may have other members.
    if let Some(format) = format.filter(|format| *format > FORMAT) {
        bail!("has format {format}, and this program reads format {FORMAT}: use the version of Slipway that made it");
    }
    let (sums, text) = sums?;
    let about: About = serde_json::from_value(claim).with_context(|| format!("is not a bundle: {ABOUT}"))?;
    ensure!(about.format == FORMAT, "has format {}, and this program reads format {FORMAT}", about.format);
    ensure!(about.architecture == host, "is for {}, and this host is {host}", about.architecture);
    Ok(Claim { about, sums, id: hex_of(&text), text })
}

fn check_members<R: Read>(reader: &mut Reader<R>, claim: Claim, unpacking: Option<Unpacking>) -> Result<Verified> {
    let Claim { about, sums, .. } = claim;
    let (kept, mut faults) = read_members(reader, &sums, unpacking)?;
    let (bytes, sha256) = reader.finish()?;
    if faults.is_empty() {
        faults = compare(&about, &sums, &kept);
    }
    ensure!(faults.is_empty(), "is damaged: {}", faults.join("\nand: "));
    let texts = || anyhow::Ok((kept.node(&about)?, kept.text(WORKER)?, kept.text(INDEX)?));
    let (node, worker, index) = texts().context("is damaged")?;
    Ok(Verified { members: sums.len() + 1, bytes, sha256, node, worker, index, blobs: kept.blobs(), about })
}

/// The content of the first member.
fn first<R: Read>(reader: &mut Reader<R>) -> Result<Vec<u8>> {
    let not = "is not a bundle: a bundle is a tar that begins with bundle.json";
    let block = reader.peek()?;
    if let Some((_, program)) = COMPRESSED.iter().find(|(magic, _)| block.starts_with(magic)) {
        bail!("is compressed: decompress it with {program} first");
    }
    ensure!(block.starts_with(ABOUT.as_bytes()), "{not}");
    let head = reader.head(Some(ABOUT))?.with_context(|| not.to_owned())?;
    read_small(reader, &head)
}

/// The second member: the SHA-256 of each member, in the order of the file, and its text.
fn sums<R: Read>(reader: &mut Reader<R>) -> Result<(BTreeMap<String, String>, Vec<u8>)> {
    let head = reader.head(Some(SUMS))?.with_context(|| format!("is damaged: it has no {SUMS}"))?;
    ensure!(head.name == SUMS, "is damaged: {} is where {SUMS} should be", head.name);
    let text = read_small(reader, &head)?;
    let lines = std::str::from_utf8(&text).with_context(|| format!("is damaged: {SUMS}"))?;
    let mut sums = BTreeMap::new();
    for line in lines.lines() {
        let entry = line.split_once("  ").filter(|(sum, _)| sum.len() == 64);
        let (sum, name) = entry.with_context(|| format!("is damaged: {SUMS} has the line {line:?}"))?;
        let before = sums.insert(name.to_owned(), sum.to_owned());
        ensure!(before.is_none(), "is damaged: {SUMS} has {name} twice");
    }
    ensure!(sums.contains_key(ABOUT), "is damaged: {SUMS} has no {ABOUT}");
    Ok((sums, text))
}

fn read_small<R: Read>(reader: &mut Reader<R>, head: &Head) -> Result<Vec<u8>> {
    ensure!(head.size <= HEAD_BYTES, "is damaged: {} has {} bytes", head.name, head.size);
    let mut bytes = Vec::new();
    reader.body(head, |part| {
        bytes.extend_from_slice(part);
        Ok(())
    })?;
    Ok(bytes)
}

/// Reads the members after the first two, in the order of their names. Answers what is compared later, and the members
/// whose content is another than its checksum says.
fn read_members<R: Read>(
    reader: &mut Reader<R>,
    sums: &BTreeMap<String, String>,
    unpacking: Option<Unpacking>,
) -> Result<(Kept, Vec<String>)> {
    let mut kept = Kept::of(unpacking);
    let mut faults = Vec::new();
    for (name, sum) in sums.iter().filter(|(name, _)| *name != ABOUT) {
        let Some(head) = reader.head(Some(name))? else { bail!("is damaged: {name} is missing") };
        if head.name != *name {
            let listed = sums.contains_key(&head.name);
            bail!(
                "is damaged: {} {}",
                if listed { name } else { &head.name },
                if listed { "is missing" } else { "is not listed in SHA256SUMS" }
            );
        }
        let found = kept.read(reader, &head)?;
        if let Some(blob) = name.strip_prefix("blobs/sha256/")
            && blob != found
        {
            faults.push(format!("{name}: its SHA-256 is {found}"));
        } else if *sum != found {
            faults.push(format!("{name}: its SHA-256 is {found}, {SUMS} says {sum}"));
        }
    }
    if let Some(head) = reader.head(None)? {
        bail!("is damaged: {} is not listed in {SUMS}", head.name);
    }
    Ok((kept, faults))
}

/// The SHA-256 of bytes in hexadecimal digits.
fn hex_of(bytes: &[u8]) -> String {
    super::members::hash(&oci::digest(bytes)).to_owned()
}
