//! The first difference between two files: a member of a tar, or a byte of a program and the section that it is in.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result};

/// The size of a buffer in bytes.
const BUFFER: usize = 1 << 20;
/// The place of the magic number in a tar, and the magic number.
const TAR: (usize, &[u8]) = (257, b"ustar");

/// The first difference between two files in words, or none if they have the same bytes.
///
/// # Errors
/// When a file cannot be read.
pub fn first_difference(one: &Path, other: &Path) -> Result<Option<String>> {
    let Some(byte) = first_byte(open(one)?, open(other)?)? else {
        return Ok(None);
    };
    if is_tar(one)? && is_tar(other)? {
        return Ok(Some(in_tars(one, other)?.unwrap_or_else(|| byte.to_string())));
    }
    let section = section_at(one, byte.at)?.map(|name| format!(" in section {name}")).unwrap_or_default();
    Ok(Some(format!("{byte}{section}")))
}

/// A byte that differs. `None` stands for the end of the file.
#[derive(Debug, PartialEq, Eq)]
struct Byte {
    at: u64,
    one: Option<u8>,
    other: Option<u8>,
}

impl std::fmt::Display for Byte {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = |byte: Option<u8>| byte.map_or_else(|| "its end".to_owned(), |byte| format!("{byte:#04x}"));
        write!(f, "byte {} is {} and {}", self.at, shown(self.one), shown(self.other))
    }
}

fn open(path: &Path) -> Result<BufReader<File>> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    Ok(BufReader::with_capacity(BUFFER, file))
}

fn first_byte(mut one: impl Read, mut other: impl Read) -> Result<Option<Byte>> {
    let (mut ones, mut others) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut before = 0;
    loop {
        let (count, count_other) = (fill(&mut one, &mut ones)?, fill(&mut other, &mut others)?);
        let pairs = ones[..count].iter().zip(&others[..count_other]);
        let equal = pairs.take_while(|(one, other)| one == other).count();
        if equal < count.max(count_other) {
            let byte = |bytes: &[u8], count: usize| bytes[..count].get(equal).copied();
            let (one, other) = (byte(&ones, count), byte(&others, count_other));
            return Ok(Some(Byte { at: before + equal as u64, one, other }));
        }
        if count == 0 {
            return Ok(None);
        }
        before += count as u64;
    }
}

/// Reads until the buffer is full or the source ends.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match from.read(&mut buffer[filled..]).context("read a file to compare")? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

fn is_tar(path: &Path) -> Result<bool> {
    let mut head = Vec::new();
    open(path)?.take(512).read_to_end(&mut head).with_context(|| format!("read {}", path.display()))?;
    Ok(head.get(TAR.0..).is_some_and(|head| head.starts_with(TAR.1)))
}

/// The first member that differs in its name, its header or its content.
fn in_tars(one: &Path, other: &Path) -> Result<Option<String>> {
    let (mut one, mut other) = (tar::Archive::new(open(one)?), tar::Archive::new(open(other)?));
    let (mut ones, mut others) = (one.entries().context("read a tar")?, other.entries().context("read a tar")?);
    loop {
        let next = (ones.next().transpose().context("read a tar")?, others.next().transpose().context("read a tar")?);
        let (mut one, mut other) = match next {
            (None, None) => return Ok(None),
            (Some(only), None) => return Ok(Some(format!("only the first has {}", name(&only)))),
            (None, Some(only)) => return Ok(Some(format!("only the second has {}", name(&only)))),
            (Some(one), Some(other)) => (one, other),
        };
        if name(&one) != name(&other) {
            return Ok(Some(format!("{} stands where {} is", name(&one), name(&other))));
        }
        let (about, about_other) = (about(&one), about(&other));
        if about != about_other {
            return Ok(Some(format!("{} has {about}, and {about_other}", name(&one))));
        }
        if let Some(byte) = first_byte(&mut one, &mut other)? {
            return Ok(Some(format!("in {}, {byte}", name(&one))));
        }
    }
}

fn name(entry: &tar::Entry<'_, impl Read>) -> String {
    String::from_utf8_lossy(&entry.path_bytes()).into_owned()
}

/// What the header says, beside the name.
fn about(entry: &tar::Entry<'_, impl Read>) -> String {
    let header = entry.header();
    let number = |value: std::io::Result<u64>| value.unwrap_or(u64::MAX);
    let link = entry.link_name_bytes().map(|link| format!(", link to {}", String::from_utf8_lossy(&link)));
    format!(
        "type {:?}, mode {:o}, owner {}:{}, time {}, {} bytes{}",
        header.entry_type(),
        header.mode().unwrap_or(u32::MAX),
        number(header.uid()),
        number(header.gid()),
        number(header.mtime()),
        entry.size(),
        link.unwrap_or_default()
    )
}

/// The name of the section of a 64-bit little-endian ELF program that has this byte. None for what is not one.
fn section_at(path: &Path, at: u64) -> Result<Option<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    Ok(bytes.starts_with(b"\x7fELF\x02\x01").then(|| section_of(&bytes, at)).flatten())
}

fn section_of(bytes: &[u8], at: u64) -> Option<String> {
    let number = |offset: u64, size: usize| {
        let start = usize::try_from(offset).ok()?;
        let mut padded = [0; 8];
        padded[..size].copy_from_slice(bytes.get(start..start.checked_add(size)?)?);
        Some(u64::from_le_bytes(padded))
    };
    // Offsets as in elf.h: the table of sections, and in it the name, the file offset and the size of each.
    let (table, entry, count, names) = (number(0x28, 8)?, number(0x3a, 2)?, number(0x3c, 2)?, number(0x3e, 2)?);
    let header = |index: u64| table.checked_add(index.checked_mul(entry)?);
    let names = number(header(names)?.checked_add(0x18)?, 8)?;
    let (_, section) = (0..count)
        .filter_map(|index| {
            let header = header(index)?;
            let (start, size) = (number(header + 0x18, 8)?, number(header + 0x20, 8)?);
            // A section of type NOBITS has no bytes in the file.
            let has_bytes = number(header + 4, 4)? != 8;
            (has_bytes && (start..start.checked_add(size)?).contains(&at)).then_some((size, header))
        })
        .min()?;
    let name = usize::try_from(names.checked_add(number(section, 4)?)?).ok()?;
    let name = bytes.get(name..)?.split(|byte| *byte == 0).next()?;
    Some(String::from_utf8_lossy(name).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oci::{Layer, ROOT, Tree};

    fn difference(one: &[u8], other: &[u8]) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["one", "other"].map(|name| dir.path().join(name));
        std::fs::write(&paths[0], one).unwrap();
        std::fs::write(&paths[1], other).unwrap();
        first_difference(&paths[0], &paths[1]).unwrap()
    }

    #[test]
    fn bytes_and_lengths_are_compared() {
        assert_eq!(difference(b"abc", b"abc"), None);
        assert_eq!(difference(b"abc", b"aXc").unwrap(), "byte 1 is 0x62 and 0x58");
        assert_eq!(difference(b"abc", b"ab").unwrap(), "byte 2 is 0x63 and its end");
        let long = vec![7; BUFFER + 10];
        let mut other = long.clone();
        other[BUFFER + 3] = 8;
        assert_eq!(difference(&long, &other).unwrap(), format!("byte {} is 0x07 and 0x08", BUFFER + 3));
    }

    #[test]
    fn member_of_a_tar_is_named() {
        let tar = |mode: u32, text: &str, extra: bool| {
            let mut tree = Tree::default();
            tree.file("/etc/passwd", mode, text.into()).unwrap();
            tree.link("/etc/x", "y").unwrap();
            if extra {
                tree.dir("/z", 0o755, ROOT).unwrap();
            }
            let mut bytes = Vec::new();
            Layer::new("test", tree).unwrap().write(&mut bytes).unwrap();
            bytes
        };
        let one = tar(0o644, "root", false);
        assert_eq!(difference(&one, &tar(0o644, "root", false)), None);
        assert_eq!(difference(&one, &tar(0o644, "r0ot", false)).unwrap(), "in etc/passwd, byte 1 is 0x6f and 0x30");
        let mode = difference(&one, &tar(0o600, "root", false)).unwrap();
        assert!(mode.starts_with("etc/passwd has") && mode.contains("mode 600"), "{mode}");
        assert_eq!(difference(&one, &tar(0o644, "root", true)).unwrap(), "only the second has z/");
    }

    /// A program with four bytes of code in the section `.text`.
    fn program(code: &[u8; 4]) -> Vec<u8> {
        let mut bytes = vec![0; 64];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        for (at, value) in [(0x28, 96), (0x3a, 64), (0x3c, 3), (0x3e, 2)] {
            bytes[at] = value;
        }
        bytes.extend(code);
        bytes.extend(b"\0.text\0.names\0");
        bytes.resize(96 + 3 * 64, 0);
        for (header, name, kind, offset, size) in [(160, 1, 1, 64, 4), (224, 7, 3, 68, 14)] {
            for (at, value) in [(0, name), (4, kind), (0x18, offset), (0x20, size)] {
                bytes[header + at] = value;
            }
        }
        bytes
    }

    #[test]
    fn section_of_a_program_is_named() {
        let text = difference(&program(b"abcd"), &program(b"abXd")).unwrap();
        assert_eq!(text, "byte 66 is 0x63 and 0x58 in section .text");
        assert_eq!(difference(b"\x7fELF\x02\x01", b"\x7fELF\x02\x02").unwrap(), "byte 5 is 0x01 and 0x02");
    }
}
