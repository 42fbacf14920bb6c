//! Reads mmdebstrap's tar into a tree.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use support::command::Cmd;

use super::mirrors::field;
use crate::oci::{Content, Entry, Tree};

/// Folders that are links into /usr. Packages of bookworm still name files by their old paths in them.
const MERGED: [&str; 4] = ["bin", "lib", "lib64", "sbin"];

/// Reads a tar into a tree. The content of the files stays in the tar.
pub(super) fn read(tar: &Path) -> Result<Tree> {
    let file = fs::File::open(tar).with_context(|| format!("open {}", tar.display()))?;
    let mut archive = tar::Archive::new(std::io::BufReader::with_capacity(1 << 20, file));
    let mut tree = Tree::default();
    for entry in archive.entries_with_seek().with_context(|| format!("read {}", tar.display()))? {
        let mut entry = entry.with_context(|| format!("read {}", tar.display()))?;
        refuse_capabilities(&mut entry)?;
        let path = merged(&text(&entry.path_bytes())?);
        let folder = entry.header().entry_type().is_dir();
        if path == "/" || (folder && MERGED.contains(&&path[1..])) {
            continue;
        }
        let link = entry.link_name_bytes().map(|link| text(&link)).transpose()?.unwrap_or_default();
        if let Some(found) = to_entry(tar, &entry, &link, &tree).with_context(|| format!("read {path} in a tar"))? {
            tree.put(&path, found)?;
        }
    }
    Ok(tree)
}

fn to_entry<R: std::io::Read>(
    tar: &Path,
    entry: &tar::Entry<'_, R>,
    link: &str,
    so_far: &Tree,
) -> Result<Option<Entry>> {
    let header = entry.header();
    let mode = header.mode()? & 0o7777;
    let owner = (u32::try_from(header.uid()?)?, u32::try_from(header.gid()?)?);
    Ok(match header.entry_type() {
        tar::EntryType::Directory => Some(Entry::Dir { mode, owner }),
        tar::EntryType::Symlink => Some(Entry::Link { target: link.to_owned() }),
        tar::EntryType::Regular => {
            let content = Content::File { path: tar.to_owned(), offset: entry.raw_file_position(), size: entry.size() };
            Some(Entry::File { mode, owner, content })
        }
        tar::EntryType::Link => {
            Some(so_far.get(&merged(link)).with_context(|| format!("follow hard link to {link}"))?.clone())
        }
        tar::EntryType::Char | tar::EntryType::Block | tar::EntryType::Fifo => None, // the engine supplies /dev
        other => bail!("unsupported entry type {other:?}"),
    })
}

/// Refuses file capabilities. Layers do not carry them, and a program may not work without them.
fn refuse_capabilities<R: std::io::Read>(entry: &mut tar::Entry<'_, R>) -> Result<()> {
    let path = entry.path().map(|path| path.display().to_string()).unwrap_or_default();
    let Some(extensions) = entry.pax_extensions().context("read a tar's extensions")? else {
        return Ok(());
    };
    for extension in extensions {
        let extension = extension.context("read a tar's extensions")?;
        if extension.key().is_ok_and(|key| key.contains("security.capability")) {
            bail!("{path} has file capabilities, which layers do not carry: delete it in the recipe");
        }
    }
    Ok(())
}

fn text(bytes: &[u8]) -> Result<String> {
    String::from_utf8(bytes.to_vec()).context("read text that is not UTF-8")
}

/// An absolute path in which the folders that moved into /usr have their new paths.
fn merged(path: &str) -> String {
    let plain = path.trim_start_matches("./").trim_matches('/');
    match plain.split_once('/') {
        Some((first, rest)) if MERGED.contains(&first) => format!("/usr/{first}/{rest}"),
        _ => format!("/{}", if plain == "." { "" } else { plain }),
    }
}

/// The installed packages of a tree according to dpkg, as `name=version`, in order.
pub(super) fn installed(tree: &Tree) -> Result<Vec<String>> {
    let Some(Entry::File { content, .. }) = tree.get("/var/lib/dpkg/status") else {
        bail!("find dpkg's list of packages in the root filesystem");
    };
    let mut status = Vec::new();
    content.copy(&mut status)?;
    Ok(parse_status(&text(&status)?))
}

/// The packages in a dpkg status file.
fn parse_status(status: &str) -> Vec<String> {
    let stanzas = status.split("\n\n").filter(|stanza| !stanza.trim().is_empty());
    let mut packages: Vec<String> =
        stanzas.map(|stanza| format!("{}={}", field(stanza, "Package"), field(stanza, "Version"))).collect();
    packages.sort();
    packages
}

/// Keeps the files of packages in a tree, and nothing that mmdebstrap added.
pub(super) fn keep_files_of(tree: &mut Tree, debs: &[PathBuf]) -> Result<()> {
    let mut files = BTreeSet::new();
    for deb in debs {
        let listing = Cmd::new("dpkg-deb").arg("--contents").arg(deb).quiet().run()?.stdout;
        files.extend(listing.lines().filter_map(listed_path));
    }
    tree.retain(|path| files.contains(path));
    for name in MERGED {
        tree.put(&format!("/{name}"), Entry::Link { target: format!("usr/{name}") })?;
    }
    Ok(())
}

/// Adds what dpkg knows of packages that were extracted, in the form in which scanners look for it in an image without
/// dpkg: a file for each package.
pub(super) fn add_status(tree: &mut Tree, debs: &[PathBuf]) -> Result<()> {
    for deb in debs {
        let control = Cmd::new("dpkg-deb").arg("--field").arg(deb).quiet().read()?;
        let (path, text) = status_file(&control);
        tree.file(&path, 0o644, text.into())?;
    }
    Ok(())
}

/// The file of a package with this control file.
fn status_file(control: &str) -> (String, String) {
    let text = format!("{}\nStatus: install ok installed\n", control.trim_end());
    (format!("/var/lib/dpkg/status.d/{}", field(control, "Package")), text)
}

/// The path in a line of `dpkg-deb --contents`, such as `-rw-r--r-- root/root 12 2024-01-01 00:00 ./usr/x`. For a link,
/// ` -> target` or ` link to target` follows the path.
fn listed_path(line: &str) -> Option<String> {
    let at = line.find(" ./")? + 1;
    let path = &line[at..];
    let path = path.split_once(" -> ").map_or(path, |(path, _)| path);
    let path = path.split_once(" link to ").map_or(path, |(path, _)| path);
    Some(merged(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_move_into_usr() {
        for (path, wanted) in [
            ("./bin/sh", "/usr/bin/sh"),
            ("./bin", "/bin"),
            ("./", "/"),
            (".", "/"),
            ("./etc/x/", "/etc/x"),
            ("lib/a/b", "/usr/lib/a/b"),
        ] {
            assert_eq!(merged(path), wanted);
        }
    }

    #[test]
    fn listings_are_read() {
        let cases = [
            ("-rwxr-xr-x root/root     44 2022-09-20 17:27 ./bin/cat", "/usr/bin/cat"),
            ("lrwxrwxrwx root/root      0 2022-09-20 17:27 ./usr/bin/x -> ./y", "/usr/bin/x"),
            ("hrwxr-xr-x root/root      0 2022-09-20 17:27 ./usr/bin/perl5 link to ./usr/bin/perl", "/usr/bin/perl5"),
            ("drwxr-xr-x root/root      0 2022-09-20 17:27 ./", "/"),
        ];
        for (line, wanted) in cases {
            assert_eq!(listed_path(line).unwrap(), wanted);
        }
    }

    #[test]
    fn extracted_package_has_a_status_file() {
        let control = "Package: libc6\nSource: glibc\nVersion: 2.36-9\nDescription: a library\n of functions\n";
        let (path, text) = status_file(control);
        assert_eq!(path, "/var/lib/dpkg/status.d/libc6");
        assert_eq!(parse_status(&text), ["libc6=2.36-9"]);
        assert_eq!(field(&text, "Status"), "install ok installed");
        assert!(text.starts_with(control), "{text}");
    }

    #[test]
    fn status_gives_names_and_versions() {
        let status = "Package: b\nStatus: install ok installed\nVersion: 2:1-3\n\nPackage: a\nVersion: 1\n";
        assert_eq!(parse_status(status), ["a=1", "b=2:1-3"]);
    }
}
