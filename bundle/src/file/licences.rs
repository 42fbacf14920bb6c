//! The licence texts of what a bundle has: one list of all components, and each text once.
//!
//! Texts come from the sources that were built: crates, Go modules, Go itself, and the packages in the root
//! filesystems. A component without a text is an error, because a bundle without it must not be passed on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use support::command::Cmd;

use super::members::hash;
use super::sbom::Component;
use crate::debian::Rootfs;
use crate::oci::{self, Content};

/// The member with the list of the components, and the folder of the texts.
const LIST: &str = "licenses/components.json";
pub(super) const TEXTS: &str = "licenses/texts/";
/// How the names of files with licences begin, in capital letters.
const NAMES: [&str; 7] = ["COPYING", "COPYRIGHT", "LICENCE", "LICENSE", "NOTICE", "PATENTS", "UNLICENSE"];
/// Texts for crates that name a licence and have no file with it. A line with the crate and its authors precedes them.
const STANDARD: [(&str, &str); 2] =
    [("MIT", include_str!("licences/MIT.txt")), ("BSD-3-Clause", include_str!("licences/BSD-3-Clause.txt"))];
/// Where Debian has its packages' copyright files, and the licences that they refer to. The package of the latter.
const DOC: &str = "usr/share/doc/";
const COMMON: &str = "usr/share/common-licenses/";
const COMMON_PACKAGE: &str = "base-files";

/// The file with the modules that have no text.
const WITHOUT: &str = "bundle/licences.toml";

/// What is known of a module without a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Known {
    /// Its licence, if it has one. [`STANDARD`] has the text.
    license: Option<String>,
    copyright: Option<String>,
    about: String,
}

impl Known {
    fn text(&self) -> Result<String> {
        let Known { license, copyright, about } = self;
        let Some(license) = license else { return Ok(format!("{about}\n")) };
        let (_, text) =
            STANDARD.into_iter().find(|(known, _)| known == license).context("its licence has no text here")?;
        let copyright = copyright.as_ref().map(|who| format!("Copyright (c) {who}\n\n")).unwrap_or_default();
        Ok(format!("{about}\n\n{license}\n\n{copyright}{text}"))
    }
}

/// Texts by the names of their files.
type Texts = BTreeMap<String, Vec<u8>>;

/// A crate's package, as cargo describes it.
#[derive(Debug, Clone, Default)]
struct Package {
    folder: PathBuf,
    /// Whether it is of this workspace.
    ours: bool,
    expression: String,
    file: Option<String>,
    authors: String,
    repository: String,
}

/// Where the texts are.
pub(super) struct Sources {
    /// The licence of this workspace, which is Apache-2.0.
    ours: Vec<u8>,
    crates: BTreeMap<(String, String), Package>,
    /// Go's module cache.
    modules: PathBuf,
    /// Go's own folder.
    go: PathBuf,
    packages: BTreeMap<String, Texts>,
    without: BTreeMap<String, Known>,
}

impl Sources {
    /// Asks cargo and Go where their sources are, and reads the root filesystems. `go` is the pinned version, `sysroot`
    /// the folder of the C libraries, and `linked` the packages there that are linked into programs.
    pub(super) fn find(
        root: &Path,
        go: &str,
        rootfs: &BTreeMap<String, Rootfs>,
        (sysroot, linked): (&Path, &[&str]),
    ) -> Result<Self> {
        let metadata = Cmd::new("cargo").cwd(root).args(["metadata", "--frozen", "--format-version", "1"]);
        let metadata = metadata.args(["--filter-platform", &crate::rustc::host_triple()?]).quiet().read()?;
        let asked = Cmd::new("go").args(["env", "GOMODCACHE", "GOROOT"]).env("GOTOOLCHAIN", format!("go{go}"));
        let said = asked.quiet().read()?;
        let (modules, go) = said.split_once('\n').context("find the folders of Go")?;
        let mut packages = BTreeMap::new();
        for rootfs in rootfs.values() {
            packages.extend(of_rootfs(&rootfs.tar).with_context(|| format!("read root filesystem {}", rootfs.name))?);
        }
        packages.extend(of_sysroot(sysroot, linked)?);
        let known = fs::read_to_string(root.join(WITHOUT)).with_context(|| format!("read {WITHOUT}"))?;
        Ok(Self {
            without: toml::from_str(&known).with_context(|| format!("parse {WITHOUT}"))?,
            ours: fs::read(root.join("LICENSE")).context("read LICENSE")?,
            crates: crates(&serde_json::from_str(&metadata).context("parse the output of cargo metadata")?),
            modules: modules.into(),
            go: go.into(),
            packages,
        })
    }

    /// The folder of a Go module, whether it is there or not.
    pub(super) fn module(&self, component: &Component) -> Option<PathBuf> {
        let module = component.of("golang").filter(|name| *name != "stdlib")?;
        Some(self.modules.join(format!("{}@{}", escape(module), escape(component.version()))))
    }

    /// The texts of a component.
    fn texts(&self, component: &Component) -> Result<Texts> {
        let texts = if component.of("golang") == Some("stdlib") {
            in_folder(&self.go)?
        } else if let Some(folder) = self.module(component) {
            let texts = in_folder(&folder)?;
            match self.without.get(component.name()).filter(|_| texts.is_empty()) {
                Some(known) => Texts::from([("LICENSE".to_owned(), known.text()?.into_bytes())]),
                None => texts,
            }
        } else if let Some(name) = component.of("cargo") {
            self.of_crate(name, component.version())?
        } else if let Some(name) = component.of("deb") {
            self.packages.get(name).cloned().unwrap_or_default()
        } else {
            bail!("it is of an unknown kind")
        };
        ensure!(!texts.is_empty(), "there is no licence text in its sources");
        Ok(texts)
    }

    fn of_crate(&self, name: &str, version: &str) -> Result<Texts> {
        let found = self.crates.get(&(name.to_owned(), version.to_owned()));
        let package = found.with_context(|| format!("cargo metadata has no crate {name} {version}"))?;
        if package.ours {
            return Ok(Texts::from([("LICENSE".to_owned(), self.ours.clone())]));
        }
        let texts = package.texts()?;
        if !texts.is_empty() {
            return Ok(texts);
        }
        for sibling in self.crates.values().filter(|it| !it.repository.is_empty()) {
            if sibling.repository == package.repository && sibling.expression == package.expression {
                let texts = sibling.texts()?;
                if !texts.is_empty() {
                    return Ok(texts);
                }
            }
        }
        let terms = package.expression.split(" AND ").map(|term| {
            let mut choices = term.split([' ', '/']).filter(|word| *word != "OR");
            let text = choices.find_map(|licence| self.standard(licence, name, package));
            text.with_context(|| format!("there is no licence text in its sources, and none known of {term:?}"))
        });
        terms.collect()
    }

    fn standard(&self, licence: &str, name: &str, package: &Package) -> Option<(String, Vec<u8>)> {
        if licence == "Apache-2.0" {
            return Some((licence.to_owned(), self.ours.clone()));
        }
        let (_, text) = STANDARD.into_iter().find(|(known, _)| *known == licence)?;
        let authors =
            if package.authors.is_empty() { format!("the authors of {name}") } else { package.authors.clone() };
        Some((licence.to_owned(), format!("{licence}\n\nCopyright (c) {authors}\n\n{text}").into_bytes()))
    }
}

impl Package {
    fn texts(&self) -> Result<Texts> {
        let mut texts = in_folder(&self.folder)?;
        if let Some(file) = &self.file {
            let path = self.folder.join(file);
            let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
            texts.insert(file.rsplit('/').next().unwrap_or(file).to_owned(), text);
        }
        Ok(texts)
    }
}

/// The members with the list and the texts.
///
/// # Errors
/// When a component has no text. The error names all that have none.
pub(super) fn collect(sources: &Sources, components: &BTreeSet<Component>) -> Result<BTreeMap<String, Content>> {
    let mut members = BTreeMap::new();
    let mut list = serde_json::Map::new();
    let mut without = Vec::new();
    for component in components {
        match sources.texts(component) {
            Err(error) => without.push(format!("{} {}: {error:#}", component.name(), component.version())),
            Ok(texts) => {
                let mut files = serde_json::Map::new();
                for (name, text) in texts {
                    let digest = hash(&oci::digest(&text)).to_owned();
                    members.insert(format!("{TEXTS}{digest}.txt"), Content::Bytes(text.into()));
                    files.insert(name, json!(digest));
                }
                list.insert(component.purl().to_owned(), Value::Object(files));
            }
        }
    }
    ensure!(without.is_empty(), "a licence is missing:\n  - {}", without.join("\n  - "));
    members.insert(LIST.to_owned(), Content::Bytes(oci::to_bytes(&Value::Object(list)).into()));
    Ok(members)
}

/// Checks that each of these components has a text, and that there is no other text. `members` are the names of all.
pub(super) fn check<'a>(
    list: &Value,
    purls: &BTreeSet<String>,
    members: impl Iterator<Item = &'a String>,
) -> Result<()> {
    let list = list.as_object().with_context(|| format!("{LIST} is no list of components"))?;
    let mut texts: BTreeSet<&str> = members.filter_map(|name| name.strip_prefix(TEXTS)?.strip_suffix(".txt")).collect();
    let mut used = BTreeSet::new();
    for (purl, files) in list {
        let files = files.as_object().filter(|files| !files.is_empty());
        for text in files.with_context(|| format!("{LIST} has no text of {purl}"))?.values() {
            let text = text.as_str().unwrap_or_default();
            ensure!(texts.contains(text), "{TEXTS}{text}.txt is missing");
            used.insert(text);
        }
    }
    if let Some(purl) = purls.iter().find(|purl| !list.contains_key(*purl)) {
        bail!("{LIST} does not have {purl}");
    }
    texts.retain(|text| !used.contains(text));
    ensure!(texts.is_empty(), "no component has {TEXTS}{}.txt", texts.first().unwrap_or(&""));
    Ok(())
}

/// The name of the member with the list.
pub(super) fn list() -> &'static str {
    LIST
}

/// The files with licences in a folder, and in its folder `LICENSES`. None if the folder does not exist.
fn in_folder(folder: &Path) -> Result<Texts> {
    let mut texts = Texts::new();
    for folder in [folder.to_owned(), folder.join("LICENSES")] {
        let all = folder.ends_with("LICENSES");
        let entries = match fs::read_dir(&folder) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            entries => entries.with_context(|| format!("list {}", folder.display()))?,
        };
        for entry in entries {
            let path = entry.with_context(|| format!("list {}", folder.display()))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            // Code that has such a name is no text.
            let code = [".go", ".rs", ".py", ".sh"].iter().any(|end| name.ends_with(end));
            let named = NAMES.iter().any(|start| name.to_uppercase().starts_with(start));
            if (all || named) && !code && path.is_file() {
                texts.insert(name, fs::read(&path).with_context(|| format!("read {}", path.display()))?);
            }
        }
    }
    Ok(texts)
}

/// A module's path or version as its folder's name: a capital letter is `!` and the small one.
fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut escaped, letter| {
        escaped.extend(letter.is_ascii_uppercase().then_some('!'));
        escaped.push(letter.to_ascii_lowercase());
        escaped
    })
}

fn crates(metadata: &Value) -> BTreeMap<(String, String), Package> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let packages = metadata["packages"].as_array().into_iter().flatten().map(|it| {
        let authors: Vec<&str> = it["authors"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let repository = text(&it["repository"]);
        let repository = repository.split("/tree/").next().unwrap_or_default().trim_end_matches('/');
        let package = Package {
            folder: Path::new(&text(&it["manifest_path"])).parent().unwrap_or(Path::new("")).to_owned(),
            ours: it["source"].is_null(),
            expression: text(&it["license"]),
            file: it["license_file"].as_str().map(str::to_owned),
            authors: authors.join(", "),
            repository: repository.trim_end_matches(".git").to_owned(),
        };
        ((text(&it["name"]), text(&it["version"])), package)
    });
    packages.collect()
}

/// The copyright files in the tar of a root filesystem, by package. Some are links, or in a linked folder.
fn of_rootfs(tar: &Path) -> Result<BTreeMap<String, Texts>> {
    let file = File::open(tar).with_context(|| format!("open {}", tar.display()))?;
    let mut archive = tar::Archive::new(file);
    let mut texts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut links: BTreeMap<String, String> = BTreeMap::new();
    let mut common = Texts::new();
    for entry in archive.entries_with_seek().context("read a tar")? {
        let mut entry = entry.context("read a tar")?;
        let path = entry.path().context("read a path")?.to_string_lossy().trim_start_matches("./").to_owned();
        let licence = path.strip_prefix(COMMON).map(str::to_owned);
        let Some(below) = path.strip_prefix(DOC).map(str::to_owned).or_else(|| licence.clone()) else { continue };
        if let Some(target) = entry.link_name().context("read a link")? {
            let target = target.to_string_lossy().into_owned();
            if licence.is_none() {
                links.insert(below, target);
            }
        } else if entry.header().entry_type().is_file() {
            let mut text = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut text).with_context(|| format!("read {path}"))?;
            match licence {
                Some(name) => drop(common.insert(name, text)),
                None => drop(texts.insert(below, text)),
            }
        }
    }
    let mut found: BTreeMap<String, Texts> = BTreeMap::new();
    let last = |target: &str| target.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    for (below, text) in &texts {
        if let Some(package) = below.strip_suffix("/copyright") {
            found.entry(package.to_owned()).or_default().insert("copyright".into(), text.clone());
        }
    }
    for (below, target) in &links {
        let (package, owner) = match below.strip_suffix("/copyright") {
            // `../gcc-12-base/copyright`
            Some(package) => (package, last(target.trim_end_matches("/copyright"))),
            None => (below.as_str(), last(target)),
        };
        if let Some(text) = texts.get(&format!("{owner}/copyright")) {
            found.entry(package.to_owned()).or_default().insert("copyright".into(), text.clone());
        }
    }
    if let Some(texts) = found.get_mut(COMMON_PACKAGE) {
        texts.extend(common);
    }
    Ok(found)
}

/// The copyright files of packages in a folder with their files. The folder of a package may be a link.
fn of_sysroot(sysroot: &Path, packages: &[&str]) -> Result<BTreeMap<String, Texts>> {
    let texts =
        packages.iter().map(|package| Ok(((*package).to_owned(), in_folder(&sysroot.join(DOC).join(package))?)));
    texts.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, text: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn sources(dir: &Path) -> Sources {
        let package = |name: &str, expression: &str, repository: &str, source: &Value| {
            write(&dir.join(name).join("Cargo.toml"), "");
            json!({
                "name": name, "version": "1.0.0", "license": expression, "license_file": null, "source": source,
                "authors": [format!("The {name} people")], "repository": repository,
                "manifest_path": dir.join(name).join("Cargo.toml"),
            })
        };
        let theirs = json!("registry");
        let metadata = json!({"packages": [
            package("a", "MIT", "https://x.example/a.git", &theirs),
            package("sibling", "MIT", "https://x.example/a/tree/main/sibling", &theirs),
            package("both", "Apache-2.0 AND BSD-3-Clause", "", &theirs),
            package("choice", "Unknown OR Apache-2.0", "", &theirs),
            package("none", "Unknown", "", &theirs),
            package("worker", "Apache-2.0", "", &Value::Null),
        ]});
        write(&dir.join("a/LICENSE-MIT"), "of a");
        write(&dir.join("a/license.rs"), "code");
        write(&dir.join("modules/github.com/!big/x@v1.0.0-!r!c/COPYING"), "of X");
        write(&dir.join("go/LICENSE"), "of Go");
        let without = "['example.com/known']\nabout = 'In a file.'\nlicense = 'MIT'\ncopyright = '2012 Anna'\n\
                       ['example.com/none']\nabout = 'Has none.'";
        Sources {
            without: toml::from_str(without).unwrap(),
            ours: b"ours".to_vec(),
            crates: crates(&metadata),
            modules: dir.join("modules"),
            go: dir.join("go"),
            packages: BTreeMap::from([("bash".into(), Texts::from([("copyright".into(), b"of bash".to_vec())]))]),
        }
    }

    #[test]
    fn every_kind_of_component_has_its_text() {
        let dir = tempfile::tempdir().unwrap();
        let sources = sources(dir.path());
        let texts = |component: &Component| -> Vec<String> {
            let texts = sources.texts(component).unwrap().into_iter();
            texts.map(|(name, text)| format!("{name}: {}", String::from_utf8(text).unwrap())).collect()
        };
        assert_eq!(texts(&Component::cargo("a", "1.0.0")), ["LICENSE-MIT: of a"]);
        assert_eq!(texts(&Component::cargo("sibling", "1.0.0")), ["LICENSE-MIT: of a"], "of the same repository");
        assert_eq!(texts(&Component::cargo("choice", "1.0.0")), ["Apache-2.0: ours"]);
        assert_eq!(texts(&Component::cargo("worker", "1.0.0")), ["LICENSE: ours"]);
        let both = texts(&Component::cargo("both", "1.0.0"));
        assert!(both[0] == "Apache-2.0: ours" && both[1].contains("Copyright (c) The both people\n"), "{both:?}");
        assert_eq!(texts(&Component::go("github.com/Big/x", "v1.0.0-RC")), ["COPYING: of X"]);
        let known = texts(&Component::go("example.com/known", "v1.0.0"));
        assert!(
            known[0].starts_with("LICENSE: In a file.\n\nMIT\n\nCopyright (c) 2012 Anna\n\nPermission"),
            "{known:?}"
        );
        assert_eq!(texts(&Component::go("example.com/none", "v1.0.0")), ["LICENSE: Has none.\n"]);
        assert_eq!(texts(&Component::go("stdlib", "1.26.8")), ["LICENSE: of Go"]);
        assert_eq!(texts(&Component::debian("bash", "5", "amd64", "bookworm")), ["copyright: of bash"]);
    }

    #[test]
    fn components_without_a_text_are_all_named() {
        let dir = tempfile::tempdir().unwrap();
        let sources = sources(dir.path());
        let components = [
            Component::cargo("none", "1.0.0"),
            Component::cargo("gone", "2.0.0"),
            Component::go("example.com/x", "v1.0.0"),
            Component::debian("dash", "1", "amd64", "bookworm"),
        ];
        let error = collect(&sources, &components.into()).unwrap_err().to_string();
        for part in
            ["none 1.0.0: there is no licence text", "\"Unknown\"", "gone 2.0.0", "example.com/x v1.0.0", "dash 1"]
        {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }

    #[test]
    fn list_without_a_component_or_a_text_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let component = Component::cargo("a", "1.0.0");
        let members = collect(&sources(dir.path()), &BTreeSet::from([component.clone()])).unwrap();
        let purls = BTreeSet::from([component.purl().to_owned()]);
        let mut bytes = Vec::new();
        members[LIST].copy(&mut bytes).unwrap();
        let list: Value = serde_json::from_slice(&bytes).unwrap();
        check(&list, &purls, members.keys()).unwrap();
        let text = format!("{TEXTS}{}.txt", list[component.purl()]["LICENSE-MIT"].as_str().unwrap());
        let fault = |list: &Value, members: &[&str]| {
            let members: Vec<String> = members.iter().map(|name| (*name).to_owned()).collect();
            check(list, &purls, members.iter()).unwrap_err().to_string()
        };
        assert_eq!(fault(&list, &[]), format!("{text} is missing"));
        assert_eq!(fault(&list, &[&text, "licenses/texts/x.txt"]), "no component has licenses/texts/x.txt");
        assert_eq!(fault(&json!({}), &[]), format!("{LIST} does not have {}", component.purl()));
        assert!(fault(&json!({component.purl(): {}}), &[]).contains("has no text of"));
    }

    #[test]
    fn copyright_of_a_package_of_the_sysroot_may_be_in_a_linked_folder() {
        let dir = tempfile::tempdir().unwrap();
        write(&dir.path().join("usr/share/doc/gcc-12-base/copyright"), "of GCC");
        std::os::unix::fs::symlink("gcc-12-base", dir.path().join("usr/share/doc/libgcc-12-dev")).unwrap();
        let found = of_sysroot(dir.path(), &["libgcc-12-dev", "libc6-dev"]).unwrap();
        assert_eq!(found["libgcc-12-dev"]["copyright"], b"of GCC");
        assert!(found["libc6-dev"].is_empty(), "collect names it");
    }

    #[test]
    fn copyright_of_a_package_may_be_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rootfs.tar");
        let mut builder = tar::Builder::new(File::create(&path).unwrap());
        let mut put = |path: &str, link: Option<&str>, text: &str| {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            match link {
                Some(link) => {
                    header.set_entry_type(tar::EntryType::Symlink);
                    builder.append_link(&mut header, path, link).unwrap();
                }
                None => builder.append_data(&mut header, path, text.as_bytes()).unwrap(),
            }
        };
        put("./usr/share/doc/libgcc-s1", Some("gcc-12-base"), "");
        put("./usr/share/doc/gcc-12-base/copyright", None, "of GCC");
        put("./usr/share/doc/other/copyright", Some("../gcc-12-base/copyright"), "");
        put("./usr/share/doc/base-files/copyright", None, "of Debian");
        put("./usr/share/common-licenses/GPL-3", None, "the GPL");
        put("./usr/share/doc/bash/NEWS", None, "news");
        builder.finish().unwrap();
        let found = of_rootfs(&path).unwrap();
        for package in ["gcc-12-base", "libgcc-s1", "other"] {
            assert_eq!(found[package]["copyright"], b"of GCC", "{package}");
        }
        assert_eq!(found["base-files"]["GPL-3"], b"the GPL");
        assert!(!found.contains_key("bash"));
    }
}
