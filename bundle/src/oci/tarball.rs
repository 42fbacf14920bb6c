//! Writes a tree as a tar stream: entries in order of path, with a fixed time, and PAX headers only for long names.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};

use super::{Content, EPOCH, Entry, Tree};

/// Writes a tree as a tar stream. Files with the same source become hard links to the first of them.
pub(super) fn write_tree(tree: &Tree, out: &mut dyn Write) -> Result<()> {
    let mut tar = tar::Builder::new(out);
    let mut seen: BTreeMap<(&Path, u64), &str> = BTreeMap::new();
    for (path, entry) in tree.iter() {
        match entry {
            Entry::Dir { mode, owner } => {
                let header = header(tar::EntryType::Directory, *mode, *owner, 0);
                append(&mut tar, header, &format!("{path}/"), None, None)?;
            }
            Entry::Link { target } => {
                append(&mut tar, header(tar::EntryType::Symlink, 0o777, (0, 0), 0), path, Some(target), None)?;
            }
            Entry::File { mode, owner, content } => {
                if let Content::File { path: source, offset, size: 1.. } = content {
                    if let Some(first) = seen.get(&(source.as_path(), *offset)) {
                        append(&mut tar, header(tar::EntryType::Link, *mode, *owner, 0), path, Some(first), None)?;
                        continue;
                    }
                    seen.insert((source, *offset), path);
                }
                let header = header(tar::EntryType::Regular, *mode, *owner, content.size());
                append(&mut tar, header, path, None, Some(content))?;
            }
        }
    }
    tar.into_inner().context("finish the tar")?;
    Ok(())
}

pub(crate) fn header(kind: tar::EntryType, mode: u32, owner: (u32, u32), size: u64) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(owner.0.into());
    header.set_gid(owner.1.into());
    header.set_mtime(EPOCH);
    header.set_size(size);
    header
}

/// Appends an entry. A name that is too long for a plain header goes into a PAX header before it.
pub(super) fn append(
    tar: &mut tar::Builder<&mut dyn Write>,
    mut header: tar::Header,
    path: &str,
    target: Option<&str>,
    content: Option<&Content>,
) -> Result<()> {
    let mut pax: Vec<(&str, &[u8])> = Vec::new();
    if header.set_path(path).is_err() {
        pax.push(("path", path.as_bytes()));
        header.set_path(shortened(path)).with_context(|| format!("name {path}"))?;
    }
    if let Some(target) = target
        && header.set_link_name_literal(target).is_err()
    {
        pax.push(("linkpath", target.as_bytes()));
        header.set_link_name_literal(shortened(target)).with_context(|| format!("link to {target}"))?;
    }
    if !pax.is_empty() {
        tar.append_pax_extensions(pax).with_context(|| format!("name {path}"))?;
    }
    header.set_cksum();
    tar.append(&header, io::empty()).with_context(|| format!("add {path}"))?;
    let Some(content) = content else { return Ok(()) };
    let out = tar.get_mut();
    content.copy(out).with_context(|| format!("add {path}"))?;
    let padding = content.size().next_multiple_of(512) - content.size();
    out.write_all(&[0; 512][..usize::try_from(padding).unwrap_or(0)]).with_context(|| format!("add {path}"))
}

/// The part of a long name that fits into a plain header.
fn shortened(name: &str) -> String {
    let short: String = name.trim_end_matches('/').chars().filter(char::is_ascii).collect();
    short[short.len().saturating_sub(90)..].trim_start_matches('/').to_owned()
}
