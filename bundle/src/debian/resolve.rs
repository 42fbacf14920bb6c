//! Chooses packages: apt resolves the packages of a recipe against the current, signed indexes of Debian's archive.
//!
//! The host's apt settings are used for the transport alone (proxies, time-outs). Its sources, preferences, keys and
//! installed packages have no part in the choice.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context, Result, bail, ensure};
use support::command::Cmd;
use tempfile::TempDir;

use super::fetch::write_secret;
use super::mirrors::{Archive, Mirror, field};
use super::recipe::{Recipe, Way};
use super::{Debian, Package};

/// The keys of Debian's archive. Package debian-archive-keyring has them.
const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// apt with settings and state of its own.
struct Apt {
    dir: TempDir,
}

/// Chooses the packages of recipes, all from the same indexes.
///
/// # Errors
/// When no mirror has the indexes of the release, or a package does not exist in them.
pub(super) fn resolve(debian: &Debian, recipes: &[&Recipe]) -> Result<Vec<Vec<Package>>> {
    let apt = Apt::with_indexes(debian)?;
    let mut chosen = Vec::new();
    for recipe in recipes {
        let packages = apt.choose(recipe)?;
        packages.iter().try_for_each(|package| package.check(&debian.architecture))?;
        chosen.push(packages);
    }
    Ok(chosen)
}

impl Apt {
    /// Fetches the indexes from the first mirrors that give them.
    fn with_indexes(debian: &Debian) -> Result<Self> {
        ensure!(fs::exists(KEYS).unwrap_or(false), "find Debian's keys in {KEYS}: install debian-archive-keyring");
        let mut errors = Vec::new();
        for mirrors in pairs(&debian.mirrors) {
            let apt = Self::prepare(debian, &mirrors)?;
            match apt.cmd("apt-get").args(["update", "-q"]).run() {
                Ok(_) => return Ok(apt),
                Err(error) => errors.push(error.to_string()),
            }
            support::interrupt::check()?;
        }
        bail!("fetch Debian's indexes: {}", errors.join("\n"))
    }

    fn prepare(debian: &Debian, mirrors: &[&Mirror]) -> Result<Self> {
        let dir = tempfile::Builder::new().prefix("slipway-apt-").tempdir().context("make a folder")?;
        let at = |name: &str| dir.path().join(name);
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(at(folder)).context("make apt's folders")?;
        }
        let sources: Vec<String> = mirrors.iter().flat_map(|mirror| source_lines(mirror, &debian.suite)).collect();
        let auth: String = mirrors.iter().map(|mirror| mirror.auth()).collect();
        write_secret(&at("auth.conf"), &auth)?;
        write_secret(&at("apt.conf"), &settings(&dir.path().display().to_string(), &debian.architecture))?;
        fs::write(at("sources.list"), sources.concat()).context("write apt's sources")?;
        fs::write(at("status"), "").context("write apt's list of installed packages")?;
        Ok(Self { dir })
    }

    fn cmd(&self, program: &str) -> Cmd {
        Cmd::new(program).env("APT_CONFIG", self.dir.path().join("apt.conf")).env("LC_ALL", "C.UTF-8")
    }

    fn choose(&self, recipe: &Recipe) -> Result<Vec<Package>> {
        let mut install = self.cmd("apt-get").args(["install", "-qq", "--yes", "--print-uris"]).quiet();
        if recipe.way == Way::Install {
            install = install.arg("?essential");
        }
        let listing = install.args(&recipe.packages).read().context("choose Debian packages")?;
        let wanted: Vec<String> = listing.lines().filter_map(name_and_version).collect();
        let shown = self.cmd("apt-cache").args(["show", "--quiet"]).args(&wanted).quiet().read();
        let candidates = shown.context("read about Debian packages")?;
        let mut candidates = candidates.split("\n\n").filter(|stanza| !stanza.trim().is_empty()).map(Candidate::read);
        let candidates = candidates.try_fold(BTreeMap::new(), |mut all, candidate| {
            let candidate = candidate?;
            // A version that is in two archives has two stanzas with the same bytes.
            all.entry(candidate.package.name.clone()).or_insert(candidate);
            anyhow::Ok(all)
        })?;
        ensure!(
            candidates.len() == wanted.len(),
            "apt chose {} packages, and knows {}",
            wanted.len(),
            candidates.len()
        );
        match recipe.way {
            Way::Install => Ok(candidates.into_values().map(|candidate| candidate.package).collect()),
            Way::Extract => {
                let names = closure(&candidates, &recipe.packages, &recipe.without)?;
                Ok(names.iter().map(|name| candidates[name].package.clone()).collect())
            }
        }
    }
}

/// A mirror of each archive, in the order in which they are asked. The last of an archive goes with the rest of the
/// other.
fn pairs(mirrors: &[Mirror]) -> Vec<Vec<&Mirror>> {
    let of = |archive| -> Vec<&Mirror> {
        mirrors.iter().filter(|mirror| mirror.archive == archive && mirror.has_index).collect()
    };
    let all = Archive::ALL.map(of);
    let count = all.iter().map(Vec::len).max().unwrap_or(0);
    (0..count).map(|at| all.iter().filter_map(|of| of.get(at).or(of.last()).copied()).collect()).collect()
}

/// Lines of apt's sources for a mirror: with Debian's keys, whatever the host trusts beside them.
fn source_lines(mirror: &Mirror, release: &str) -> Vec<String> {
    let suites = mirror.archive.suites(release);
    suites.iter().map(|suite| format!("deb [signed-by={KEYS}] {} {suite} main\n", mirror.base)).collect()
}

/// apt's settings: everything in `dir`, nothing of the host's but its transport. apt is not essential by itself, as it
/// is not for mmdebstrap.
fn settings(dir: &str, architecture: &str) -> String {
    let mut text = format!(
        "Dir::Etc::Main \"/dev/null\";\nDir::Etc::Parts \"/dev/null\";\n\
         Dir::Etc::SourceList \"{dir}/sources.list\";\nDir::Etc::SourceParts \"/dev/null\";\n\
         Dir::Etc::Preferences \"/dev/null\";\nDir::Etc::PreferencesParts \"/dev/null\";\n\
         Dir::Etc::netrc \"{dir}/auth.conf\";\n\
         Dir::State \"{dir}/state\";\nDir::State::status \"{dir}/status\";\nDir::Cache \"{dir}/cache\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Install-Recommends \"false\";\nAPT::Sandbox::User \"root\";\nAPT::Update::Error-Mode \"any\";\n\
         pkgCacheGen::ForceEssential \",\";\n\
         Acquire::Languages \"none\";\n",
    );
    let ours = ["Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries", "Acquire::By-Hash"];
    let dump = Cmd::new("apt-config").args(["dump", "--no-empty"]).quiet().read().unwrap_or_default();
    for line in dump.lines().filter(|line| ours.iter().any(|start| line.starts_with(start))) {
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// `name=version` from a line of `apt-get --print-uris`: `'URL' name_version_architecture.deb size hash`.
fn name_and_version(line: &str) -> Option<String> {
    let file = line.strip_prefix('\'')?.split_once("' ")?.1.split(' ').next()?;
    let mut parts = file.split('_');
    let (name, version) = (parts.next()?, parts.next()?);
    Some(format!("{name}={}", version.replace("%3a", ":")))
}

/// A package that apt chose, and what it needs.
#[derive(Debug)]
struct Candidate {
    package: Package,
    provides: Vec<String>,
    /// Each dependency is a list of alternatives.
    depends: Vec<Vec<String>>,
}

impl Candidate {
    /// Reads a stanza of a package index.
    fn read(stanza: &str) -> Result<Self> {
        let text = |name: &str| field(stanza, name).to_owned();
        let package = Package {
            name: text("Package"),
            version: text("Version"),
            architecture: text("Architecture"),
            path: text("Filename"),
            size: text("Size").parse().with_context(|| format!("read the size of package {}", text("Package")))?,
            sha256: text("SHA256"),
        };
        let mut depends = dependency_names(&text("Pre-Depends"));
        depends.extend(dependency_names(&text("Depends")));
        let provides = dependency_names(&text("Provides")).into_iter().flatten().collect();
        Ok(Self { package, provides, depends })
    }
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
fn closure(
    candidates: &BTreeMap<String, Candidate>,
    wanted: &[String],
    without: &[String],
) -> Result<BTreeSet<String>> {
    if let Some(unknown) = wanted.iter().find(|name| !candidates.contains_key(*name)) {
        bail!("apt did not choose package {unknown}");
    }
    if let Some(unneeded) = without.iter().find(|name| !candidates.contains_key(*name)) {
        bail!("nothing depends on package {unneeded}: remove it from `without` in the recipe");
    }
    let provider = |name: &String| {
        if candidates.contains_key(name) {
            return Some(name.clone());
        }
        candidates.values().find(|it| it.provides.contains(name)).map(|it| it.package.name.clone())
    };
    let mut found = BTreeSet::new();
    let mut pending = wanted.to_vec();
    while let Some(name) = pending.pop() {
        if without.contains(&name) || found.contains(&name) {
            continue;
        }
        let needed = candidates[&name].depends.iter().filter_map(|alternatives| alternatives.iter().find_map(provider));
        pending.extend(needed);
        found.insert(name);
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(name: &str, provides: &str, depends: &str) -> (String, Candidate) {
        let stanza = format!(
            "Package: {name}\nVersion: 1\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 1\nSHA256: x\n\
             Provides: {provides}\nDepends: {depends}\n"
        );
        (name.into(), Candidate::read(&stanza).unwrap())
    }

    #[test]
    fn closure_follows_dependencies_and_leaves_out_whole_branches() {
        let candidates = BTreeMap::from([
            candidate("server", "", "libc (>= 2), common:any (>= 1), llvm | jit, lib-virtual"),
            candidate("common", "", "perl"),
            candidate("perl", "", "libc"),
            candidate("libc", "", ""),
            candidate("llvm", "", "z3"),
            candidate("z3", "", "libc"),
            candidate("lib1", "lib-virtual (= 3)", ""),
        ]);
        let found = |without: &[&str]| {
            let without: Vec<String> = without.iter().map(|name| (*name).to_owned()).collect();
            closure(&candidates, &["server".into()], &without)
                .map(|found| found.into_iter().collect::<Vec<_>>().join(" "))
        };
        assert_eq!(found(&[]).unwrap(), "common lib1 libc llvm perl server z3");
        assert_eq!(found(&["common", "llvm"]).unwrap(), "lib1 libc server");
        assert!(found(&["gone"]).unwrap_err().to_string().contains("gone"));
    }

    #[test]
    fn apts_choice_is_read() {
        let line = "'http://mirror.example/debian/pool/main/i/iptables/iptables_1.8.9-2_amd64.deb' \
                    conntrack_1%3a1.4.7-1+b2_amd64.deb 360240 SHA256:ab";
        assert_eq!(name_and_version(line).unwrap(), "conntrack=1:1.4.7-1+b2");
        assert_eq!(name_and_version("Reading package lists..."), None);
        let stanza = "Package: a\nVersion: 1:2\nArchitecture: amd64\nPre-Depends: b\nDepends: c,\n d | e\nSize: 12\n\
                      Filename: pool/main/a/a_2_amd64.deb\nSHA256: ff\n";
        let Candidate { package, depends, .. } = Candidate::read(stanza).unwrap();
        assert_eq!((package.to_string().as_str(), package.size, package.sha256.as_str()), ("a=1:2", 12, "ff"));
        assert_eq!(depends, [vec!["b"], vec!["c"], vec!["d", "e"]]);
    }

    #[test]
    fn host_with_a_mirror_of_one_archive_takes_the_other_from_the_public_one() {
        let mirror = |archive, name: &str| Mirror::new(archive, &format!("http://{name}"));
        let mirrors = [
            mirror(Archive::Main, "host"),
            mirror(Archive::Main, "public"),
            mirror(Archive::Security, "security"),
            mirror(Archive::Security, "snapshot").without_index(),
        ];
        let found: Vec<Vec<&str>> =
            pairs(&mirrors).iter().map(|pair| pair.iter().map(|mirror| mirror.base.as_str()).collect()).collect();
        assert_eq!(found, [["http://host", "http://security"], ["http://public", "http://security"]]);
    }

    #[test]
    fn only_debians_keys_are_trusted_and_no_password_is_in_the_sources() {
        let mirror = Mirror::new(Archive::Main, "http://anna:geheim@mirror.example/debian");
        let lines = source_lines(&mirror, "bookworm");
        let expected = format!("deb [signed-by={KEYS}] http://mirror.example/debian bookworm-updates main\n");
        assert_eq!((lines.len(), &lines[1]), (2, &expected));
        let text = settings("/x", "amd64");
        for line in ["SourceParts \"/dev/null\"", "PreferencesParts \"/dev/null\"", "status \"/x/status\""] {
            assert!(text.contains(line), "{line} is not in {text}");
        }
    }
}
