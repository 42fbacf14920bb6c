//! Reads mmdebstrap's tar into a tree and a list of packages.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use support::command::Cmd;

use super::{Package, Recipe};
use crate::oci::{Content, Entry, Tree};

/// The folder of the packages that apt downloaded.
const ARCHIVES: &str = "/var/cache/apt/archives/";
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

/// The unchanged tree, and the packages that are installed in it according to dpkg.
pub(super) fn installed(tree: Tree) -> Result<(Tree, Vec<Package>)> {
    let Some(Entry::File { content, .. }) = tree.get("/var/lib/dpkg/status") else {
        bail!("find dpkg's list of packages in the root filesystem");
    };
    let mut status = Vec::new();
    content.copy(&mut status)?;
    let packages = parse_status(&text(&status)?);
    Ok((tree, packages))
}

/// The packages in a dpkg status file.
fn parse_status(status: &str) -> Vec<Package> {
    let field = |paragraph: &str, name: &str| {
        paragraph.lines().find_map(|line| Some(line.strip_prefix(name)?.trim().to_owned()))
    };
    let mut packages: Vec<Package> = status
        .split("\n\n")
        .filter_map(|paragraph| {
            Some(Package { name: field(paragraph, "Package:")?, version: field(paragraph, "Version:")? })
        })
        .collect();
    packages.sort();
    packages
}

/// A downloaded package and its dependencies.
#[derive(Debug)]
struct Deb {
    package: Package,
    file: PathBuf,
    provides: Vec<String>,
    /// Each dependency is a list of alternatives.
    depends: Vec<Vec<String>>,
}

/// The files of the wanted packages and their dependencies, out of a tree with the files of all downloaded packages.
pub(super) fn extracted(mut tree: Tree, recipe: &Recipe, work: &Path) -> Result<(Tree, Vec<Package>)> {
    let debs = downloaded(&tree, work)?;
    let wanted = closure(&debs, &recipe.packages, &recipe.without)?;
    let mut files = BTreeSet::new();
    for name in &wanted {
        let listing = Cmd::new("dpkg-deb").arg("--contents").arg(&debs[name].file).quiet().run()?.stdout;
        files.extend(listing.lines().filter_map(listed_path));
    }
    tree.retain(|path| files.contains(path));
    for name in MERGED {
        tree.put(&format!("/{name}"), Entry::Link { target: format!("usr/{name}") })?;
    }
    Ok((tree, wanted.iter().map(|name| debs[name].package.clone()).collect()))
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

fn downloaded(tree: &Tree, work: &Path) -> Result<BTreeMap<String, Deb>> {
    let mut debs = BTreeMap::new();
    let archives = ARCHIVES.trim_start_matches('/');
    for (path, entry) in tree.iter() {
        let (Some(name), Entry::File { content, .. }) = (path.strip_prefix(archives), entry) else {
            continue;
        };
        if !name.ends_with(".deb") {
            continue;
        }
        let file = work.join(name);
        let mut out = fs::File::create(&file).with_context(|| format!("make {}", file.display()))?;
        content.copy(&mut out)?;
        let deb = describe(file)?;
        debs.insert(deb.package.name.clone(), deb);
    }
    Ok(debs)
}

fn describe(file: PathBuf) -> Result<Deb> {
    let format = "${Package}\n${Version}\n${Provides}\n${Pre-Depends}\n${Depends}\n";
    let shown =
        Cmd::new("dpkg-deb").args(["--show", &format!("--showformat={format}")]).arg(&file).quiet().run()?.stdout;
    let mut lines = shown.lines();
    let mut next = || lines.next().unwrap_or_default().to_owned();
    let package = Package { name: next(), version: next() };
    let provides = dependency_names(&next()).into_iter().flatten().collect();
    let mut depends = dependency_names(&next());
    depends.extend(dependency_names(&next()));
    Ok(Deb { package, file, provides, depends })
}

/// The package names in a field such as `a (>= 1), b:any | c`, without versions and architectures.
fn dependency_names(field: &str) -> Vec<Vec<String>> {
    let name = |text: &str| text.trim().split([' ', ':', '(']).next().unwrap_or_default().to_owned();
    field
        .split(',')
        .map(|alternatives| alternatives.split('|').map(name).filter(|name| !name.is_empty()).collect::<Vec<_>>())
        .filter(|alternatives| !alternatives.is_empty())
        .collect()
}

/// The wanted packages and all their dependencies, except those in `without`.
fn closure(debs: &BTreeMap<String, Deb>, wanted: &[String], without: &[String]) -> Result<BTreeSet<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !debs.contains_key(*name)) {
        bail!("package {unknown} was not downloaded");
    }
    if let Some(unneeded) = without.iter().find(|name| !debs.contains_key(*name)) {
        bail!("nothing depends on package {unneeded}: remove it from `without` in the recipe");
    }
    let provider = |name: &String| {
        if debs.contains_key(name) {
            return Some(name.clone());
        }
        debs.values().find(|deb| deb.provides.contains(name)).map(|deb| deb.package.name.clone())
    };
    let mut found = BTreeSet::new();
    let mut pending = wanted.to_vec();
    while let Some(name) = pending.pop() {
        if without.contains(&name) || found.contains(&name) {
            continue;
        }
        let needed = debs[&name].depends.iter().filter_map(|alternatives| alternatives.iter().find_map(provider));
        pending.extend(needed);
        found.insert(name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deb(name: &str, provides: &str, depends: &str) -> (String, Deb) {
        let package = Package { name: name.into(), version: "1".into() };
        let provides = dependency_names(provides).into_iter().flatten().collect();
        (name.into(), Deb { package, file: PathBuf::new(), provides, depends: dependency_names(depends) })
    }

    #[test]
    fn closure_follows_dependencies_and_leaves_out_whole_branches() {
        let debs = BTreeMap::from([
            deb("server", "", "libc (>= 2), common:any (>= 1), llvm | jit, lib-virtual"),
            deb("common", "", "perl"),
            deb("perl", "", "libc"),
            deb("libc", "", ""),
            deb("llvm", "", "z3"),
            deb("z3", "", "libc"),
            deb("lib1", "lib-virtual (= 3)", ""),
        ]);
        let found = |without: &[&str]| {
            let without: Vec<String> = without.iter().map(|name| (*name).to_owned()).collect();
            closure(&debs, &["server".into()], &without).map(|found| found.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found(&[]).unwrap(), "common lib1 libc llvm perl server z3");
        assert_eq!(found(&["common", "llvm"]).unwrap(), "lib1 libc server");
        assert!(found(&["gone"]).unwrap_err().to_string().contains("gone"));
    }

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
    fn status_gives_names_and_versions() {
        let status = "Package: b\nStatus: install ok installed\nVersion: 2:1-3\n\nPackage: a\nVersion: 1\n";
        let found: Vec<String> = parse_status(status).iter().map(Package::to_string).collect();
        assert_eq!(found, ["a=1", "b=2:1-3"]);
    }
}
