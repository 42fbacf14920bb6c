//! Bundles. A file without faults has the members that any reader of tars finds in it, and the checksums of its bytes.

use std::{collections::BTreeMap, io::Read as _};

use bundle::{file::verify_bytes, oci::EPOCH};
use sha2::{Digest as _, Sha256};

use crate::{Outcome, heap};

/// The two members that come first.
const ABOUT: &str = "bundle.json";
const SUMS: &str = "SHA256SUMS";
/// Members whose checksum is put right. A layer's is in its configuration and manifest, whose own are in others.
const ROUNDS: usize = 16;
/// The buffer of a member that claims to be long.
const BUFFER: u64 = 2 << 20;
/// Bytes of memory for a byte of JSON or YAML, at most.
const PARSED: u64 = 256;

pub(crate) fn bundle(bytes: &[u8]) -> Outcome {
    let repaired = repaired(bytes);
    let outcomes = [bytes, &repaired].map(check);
    if outcomes.contains(&Outcome::Read) { Outcome::Read } else { Outcome::Refused }
}

fn check(bytes: &[u8]) -> Outcome {
    let (verified, peak) = heap::peak(|| verify_bytes(bytes));
    let budget = BUFFER + PARSED * bytes.len() as u64;
    assert!(peak <= budget, "{peak} bytes of memory for {} bytes", bytes.len());
    let Ok(verified) = verified else { return Outcome::Refused };
    assert_eq!((verified.bytes, verified.sha256), (bytes.len() as u64, sha256(bytes)));
    let members = members(bytes);
    assert_eq!(members.len(), verified.members);
    for (name, _) in &members {
        assert!(!name.starts_with('/') && !name.split('/').any(|part| part == ".."), "{name}");
    }
    Outcome::Read
}

/// The members that a reader of tars finds before the first fault.
fn members(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut archive = tar::Archive::new(bytes);
    let entries = archive.entries().into_iter().flatten();
    let read = entries.map_while(Result::ok).map_while(|mut entry| {
        let name = String::from_utf8(entry.path_bytes().into_owned()).ok()?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content).ok()?;
        Some((name, content))
    });
    read.collect()
}

/// The same members with the headers and checksums of a bundle, so that a mutation reaches what is compared after them.
/// Where a member changed, its new checksum takes the place of the old one in every member and name.
fn repaired(bytes: &[u8]) -> Vec<u8> {
    let mut members = members(bytes);
    let Some(at) = members.iter().position(|(name, _)| name == SUMS) else { return Vec::new() };
    let (_, sums) = members.remove(at);
    let mut listed: BTreeMap<String, String> = String::from_utf8_lossy(&sums)
        .lines()
        .filter_map(|line| line.split_once("  "))
        .map(|(sum, name)| (name.to_owned(), sum.to_owned()))
        .collect();
    for _ in 0..ROUNDS {
        let changed = members.iter().find_map(|(name, content)| {
            let (old, new) = (listed.get(name)?.clone(), sha256(content));
            (old.len() == new.len() && old != new).then_some((old, new))
        });
        let Some((old, new)) = changed else { break };
        for (name, content) in &mut members {
            let listed_sum = listed.remove(name);
            *name = name.replace(&old, &new);
            if let Some(sum) = listed_sum {
                listed.insert(name.clone(), if sum == old { new.clone() } else { sum });
            }
            *content = replaced(content, old.as_bytes(), new.as_bytes());
        }
    }
    packed(members)
}

/// The bytes with `new` for each `old`, which is as long.
fn replaced(bytes: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    let mut copy = bytes.to_vec();
    for at in memchr::memmem::find_iter(bytes, old) {
        copy[at..at + new.len()].copy_from_slice(new);
    }
    copy
}

/// A tar with the checksums of these members, in the form of a bundle.
fn packed(mut members: Vec<(String, Vec<u8>)>) -> Vec<u8> {
    members.sort_by(|(one, _), (other, _)| (one != ABOUT, one).cmp(&(other != ABOUT, other)));
    members.dedup_by(|(one, _), (other, _)| one == other);
    let sums: String = members.iter().map(|(name, content)| format!("{}  {name}\n", sha256(content))).collect();
    members.insert(members.len().min(1), (SUMS.to_owned(), sums.into_bytes()));
    let mut tar = Vec::new();
    for (name, content) in &members {
        let mut head = tar::Header::new_ustar();
        head.set_mode(if name.starts_with("bin/") { 0o755 } else { 0o644 });
        head.set_uid(0);
        head.set_gid(0);
        head.set_mtime(EPOCH);
        head.set_size(content.len() as u64);
        if head.set_path(name).is_err() {
            continue;
        }
        head.set_cksum();
        tar.extend_from_slice(head.as_bytes());
        tar.extend_from_slice(content);
        tar.resize(tar.len().next_multiple_of(512), 0);
    }
    tar.resize(tar.len() + 1024, 0);
    tar
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
