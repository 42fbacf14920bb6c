//! The list of crates in a program of the workspace, in the program itself: the section `.dep-v0` that `cargo
//! auditable` defines and that scanners read. It is JSON, compressed with zlib.
//!
//! The section is added to the finished program. It is not loaded into memory, and code and data stay as they are.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use serde::{Deserialize, Serialize};

/// The name of the section.
const SECTION: &str = ".dep-v0";
/// The maximum length of the list in bytes.
const LIMIT: u64 = 8 << 20;
/// Where an ELF file of 64 bits, little-endian, has the place of the section headers, their size, their number, and the
/// number of the one with the names.
const HEADERS: usize = 0x28;
const HEADER_BYTES: usize = 0x3a;
const COUNT: usize = 0x3c;
const NAMES: usize = 0x3e;
/// The length of a section header in bytes, and in it the offset and the size of the section.
const HEADER: usize = 64;
const OFFSET: usize = 24;
const SIZE: usize = 32;

/// The crates of a program. The root is the program's own.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crates {
    /// In order of name and version.
    pub packages: Vec<Crate>,
}

/// A crate. `dependencies` are places in the list.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crate {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `crates.io` or `local`.
    pub source: String,
    /// The crates that it uses.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependencies: Vec<usize>,
    /// Whether it is the program's own crate.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub root: bool,
}

impl Crates {
    /// The crates of a package in the output of `cargo tree --prefix depth --format {p}`, which may have other
    /// packages, too. A crate whose dependencies were listed before has `(*)` after it.
    ///
    /// # Errors
    /// When the output has another form, or has no such package at its top.
    pub fn of_tree(listing: &str, package: &str) -> Result<Self> {
        /// Name, version and source.
        type Id<'a> = (&'a str, &'a str, &'static str);
        let mut uses: BTreeMap<Id<'_>, BTreeSet<Id<'_>>> = BTreeMap::new();
        let mut above: Vec<Id<'_>> = Vec::new();
        let mut root = None;
        for line in listing.lines().filter(|line| !line.is_empty()) {
            let digits = line.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(0);
            let (depth, named) = line.split_at(digits);
            let depth: usize = depth.parse().with_context(|| format!("read the depth in {line:?}"))?;
            let mut words = named.split_whitespace();
            let (name, version) = words.next().zip(words.next()).with_context(|| format!("read {line:?}"))?;
            let version = version.strip_prefix('v').with_context(|| format!("read the version in {line:?}"))?;
            let local = words.any(|word| word.starts_with("(/"));
            let id = (name, version, if local { "local" } else { "crates.io" });
            above.truncate(depth);
            ensure!(above.len() == depth, "{line:?} is too deep");
            if let Some(user) = above.last() {
                uses.entry(*user).or_default().insert(id);
            } else if name == package {
                root = Some(id);
            }
            uses.entry(id).or_default();
            above.push(id);
        }
        let root = root.with_context(|| format!("find {package} in the output of cargo tree"))?;
        let mut found = BTreeSet::new();
        let mut pending = vec![root];
        while let Some(id) = pending.pop() {
            if found.insert(id) {
                pending.extend(&uses[&id]);
            }
        }
        let places: BTreeMap<Id<'_>, usize> = found.iter().enumerate().map(|(place, id)| (*id, place)).collect();
        let packages = found.iter().map(|id| Crate {
            name: id.0.to_owned(),
            version: id.1.to_owned(),
            source: id.2.to_owned(),
            dependencies: uses[id].iter().map(|used| places[used]).collect(),
            root: *id == root,
        });
        Ok(Self { packages: packages.collect() })
    }

    /// The program with this list in it.
    ///
    /// # Errors
    /// When the program is no ELF file of the usual form, or has such a list already.
    pub fn embed(&self, program: &[u8]) -> Result<Vec<u8>> {
        let elf = Elf::of(program)?;
        ensure!(elf.section(SECTION)?.is_none(), "it has a section {SECTION} already");
        let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&serde_json::to_vec(self).context("write the list of crates")?).context("compress")?;
        elf.with_section(SECTION, &packed.finish().context("compress")?)
    }

    /// The list in a program.
    ///
    /// # Errors
    /// When there is none.
    pub fn read(program: &[u8]) -> Result<Self> {
        let elf = Elf::of(program)?;
        let packed = elf.section(SECTION)?.with_context(|| format!("it has no section {SECTION}"))?;
        let mut text = Vec::new();
        ZlibDecoder::new(packed).take(LIMIT).read_to_end(&mut text).context("decompress the list of crates")?;
        serde_json::from_slice(&text).context("parse the list of crates")
    }
}

/// An ELF file of 64 bits, little-endian, which programs for amd64 and arm64 are.
struct Elf<'a> {
    bytes: &'a [u8],
    headers: &'a [u8],
    names: usize,
}

impl<'a> Elf<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self> {
        ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "it is no ELF file of 64 bits, little-endian");
        let count = usize::from(half(bytes, COUNT)?);
        ensure!(count > 0 && usize::from(half(bytes, HEADER_BYTES)?) == HEADER, "it has no section headers");
        let headers = part(bytes, word(bytes, HEADERS)?, count * HEADER)?;
        let names = usize::from(half(bytes, NAMES)?);
        ensure!(names < count, "it has no names of sections");
        Ok(Self { bytes, headers, names })
    }

    fn content(&self, header: &[u8]) -> Result<&'a [u8]> {
        part(self.bytes, word(header, OFFSET)?, word(header, SIZE)?)
    }

    fn section_names(&self) -> Result<&'a [u8]> {
        self.content(&self.headers[self.names * HEADER..][..HEADER])
    }

    fn section(&self, name: &str) -> Result<Option<&'a [u8]>> {
        let names = self.section_names()?;
        for header in self.headers.chunks(HEADER) {
            let at = u32::from_le_bytes(header[..4].try_into()?) as usize;
            let rest = names.get(at..).unwrap_or_default();
            if rest.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0)) {
                return self.content(header).map(Some);
            }
        }
        Ok(None)
    }

    /// The file with one more section. It, the names and the headers come after the end.
    fn with_section(&self, name: &str, content: &[u8]) -> Result<Vec<u8>> {
        let names = [self.section_names()?, name.as_bytes(), b"\0"].concat();
        let mut bytes = self.bytes.to_owned();
        let mut append = |part: &[u8]| {
            bytes.resize(bytes.len().next_multiple_of(8), 0);
            bytes.extend_from_slice(part);
            bytes.len() - part.len()
        };
        let (content_at, names_at) = (append(content), append(&names));
        let mut headers = self.headers.to_owned();
        set(&mut headers, self.names * HEADER + OFFSET, names_at);
        set(&mut headers, self.names * HEADER + SIZE, names.len());
        let at = headers.len();
        headers.resize(at + HEADER, 0);
        let name_at = u32::try_from(names.len() - name.len() - 1)?;
        headers[at..at + 4].copy_from_slice(&name_at.to_le_bytes());
        headers[at + 4] = 1; // program data
        set(&mut headers, at + OFFSET, content_at);
        set(&mut headers, at + SIZE, content.len());
        headers[at + 48] = 1; // alignment
        let headers_at = append(&headers);
        set(&mut bytes, HEADERS, headers_at);
        let count = u16::try_from(headers.len() / HEADER)?;
        bytes[COUNT..COUNT + 2].copy_from_slice(&count.to_le_bytes());
        Ok(bytes)
    }
}

fn set(bytes: &mut [u8], at: usize, value: usize) {
    bytes[at..at + 8].copy_from_slice(&(value as u64).to_le_bytes());
}

fn half(bytes: &[u8], at: usize) -> Result<u16> {
    Ok(u16::from_le_bytes(part(bytes, at, 2)?.try_into()?))
}

fn word(bytes: &[u8], at: usize) -> Result<usize> {
    Ok(usize::try_from(u64::from_le_bytes(part(bytes, at, 8)?.try_into()?))?)
}

fn part(bytes: &[u8], at: usize, length: usize) -> Result<&[u8]> {
    match at.checked_add(length).and_then(|end| bytes.get(at..end)) {
        Some(part) => Ok(part),
        None => bail!("it ends before byte {at} + {length}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TREE: &str = "0worker v0.1.0 (/src/worker)\n1serde v1.0.228\n2serde_core v1.0.228\n\
                        1wasi v0.14.7+wasi-0.2.4\n\n0temporal-scaler v0.1.0 (/src/temporal-scaler)\n\
                        1scaler v0.1.0 (/src/scaler)\n2serde v1.0.228 (*)\n";

    fn names(crates: &Crates) -> Vec<&str> {
        crates.packages.iter().map(|it| it.name.as_str()).collect()
    }

    #[test]
    fn tree_of_two_packages_has_the_crates_of_each() {
        let worker = Crates::of_tree(TREE, "worker").unwrap();
        assert_eq!(names(&worker), ["serde", "serde_core", "wasi", "worker"]);
        let root = &worker.packages[3];
        assert_eq!((root.root, root.source.as_str(), &root.dependencies[..]), (true, "local", &[0, 2][..]));
        let scaler = Crates::of_tree(TREE, "temporal-scaler").unwrap();
        assert_eq!(names(&scaler), ["scaler", "serde", "serde_core", "temporal-scaler"]);
        assert!(scaler.packages[0].source == "local" && scaler.packages[1].dependencies == [2]);
        assert!(Crates::of_tree(TREE, "serde").is_err(), "no package at the top");
        assert!(Crates::of_tree("2x v1", "x").is_err());
    }

    #[test]
    fn program_with_the_list_runs_and_the_readers_of_scanners_find_it() {
        let crates = Crates::of_tree(TREE, "worker").unwrap();
        let before = std::fs::read("/bin/true").unwrap();
        let after = crates.embed(&before).unwrap();
        assert_eq!(after, crates.embed(&before).unwrap(), "the same bytes");
        assert_eq!(Crates::read(&after).unwrap(), crates);
        assert!(crates.embed(&after).is_err(), "one list");
        assert!(Crates::read(&before).is_err());
        for broken in [&b""[..], b"\x7fELF\x02\x01", &before[..100], &after[..after.len() - 1]] {
            assert!(Crates::read(broken).is_err());
        }
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("true");
        std::fs::copy("/bin/true", &file).unwrap();
        std::fs::write(&file, &after).unwrap();
        support::command::Cmd::new(&file).run().unwrap();
        let theirs = auditable_info::audit_info_from_file(&file, auditable_info::Limits::default()).unwrap();
        let theirs: Vec<String> = theirs.packages.iter().map(|it| format!("{} {}", it.name, it.version)).collect();
        assert_eq!(theirs, ["serde 1.0.228", "serde_core 1.0.228", "wasi 0.14.7+wasi-0.2.4", "worker 0.1.0"]);
    }
}
