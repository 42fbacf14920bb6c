//! Checks of what comes in: the crates of Cargo.lock, the workflows of CI, and known vulnerabilities of Go programs.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;
use support::command::Cmd;
use support::progress;

use crate::parts::Builder;

/// The folder of the workflows, and the file with the vulnerabilities that are accepted.
const WORKFLOWS: &str = ".github/workflows";
const ACCEPTED: &str = "bundle/vulnerabilities.toml";
/// The checks of cargo-deny that need no database.
const DENY: [&str; 3] = ["bans", "licenses", "sources"];

/// Checks bans, licences and sources of the crates in Cargo.lock, as `deny.toml` says.
///
/// # Errors
/// When a crate is not allowed. The error has cargo-deny's output.
pub fn deny(builder: &Builder<'_>) -> Result<()> {
    let deny = builder.tool("cargo-deny")?;
    let deny = Cmd::new(deny).cwd(&builder.workspace.root).args(["--locked", "--log-level", "error"]);
    let deny = if builder.offline { deny.arg("--offline") } else { deny };
    deny.args(["check", "--hide-inclusion-graph"]).args(DENY).run().context("check the crates of Cargo.lock")?;
    Ok(())
}

/// Checks the workflows: that they are valid, and that nothing in them can change under its name.
///
/// # Errors
/// When a workflow has a fault.
pub fn workflows(root: &Path, actionlint: &Path) -> Result<()> {
    let folder = root.join(WORKFLOWS);
    let files = crate::cache::files_below(&folder)?;
    for file in &files {
        let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
        let loose = loose(&text);
        let name = file.strip_prefix(root).unwrap_or(file).display();
        ensure!(loose.is_empty(), "{name} names what can change: {}", loose.join(", "));
    }
    // Its own checks alone: whether a host has shellcheck must not matter.
    let lint = Cmd::new(actionlint).args(["-no-color", "-shellcheck=", "-pyflakes="]).args(&files);
    lint.cwd(root).run().context("check the workflows")?;
    Ok(())
}

/// What a workflow names without a commit or a digest, and runners whose system changes.
fn loose(workflow: &str) -> Vec<String> {
    let mut loose = Vec::new();
    for line in workflow.lines() {
        let line = line.trim().trim_start_matches("- ");
        let value = |name: &str| line.strip_prefix(name)?.split_whitespace().next();
        if let Some(action) = value("uses:") {
            let commit = action.rsplit_once('@').map_or("", |(_, commit)| commit);
            let pinned = commit.len() == 40 && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
            loose.extend((!pinned && !action.starts_with("./")).then(|| action.to_owned()));
        }
        loose.extend(value("runs-on:").filter(|runner| runner.ends_with("-latest")).map(str::to_owned));
        // `docker run … image` in a folded text: a word with a tag of a version that has no digest.
        loose.extend(
            line.split_whitespace().filter(|word| word.starts_with("rust:") && !word.contains('@')).map(str::to_owned),
        );
    }
    loose
}

/// A known vulnerability of a program.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Finding {
    id: String,
    module: String,
    version: String,
    /// The version without it, or nothing.
    fixed: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Accepted {
    accepted: BTreeMap<String, String>,
}

/// Looks for known vulnerabilities of these programs in a database: `https://vuln.go.dev`, or a copy as `file://…`.
///
/// # Errors
/// When a program has one that `bundle/vulnerabilities.toml` does not accept, or the database does not answer.
pub fn vulnerabilities(root: &Path, govulncheck: &Path, database: &str, programs: &[PathBuf]) -> Result<()> {
    let path = root.join(ACCEPTED);
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let Accepted { accepted } = toml::from_str(&text).with_context(|| format!("parse {ACCEPTED}"))?;
    let mut found: BTreeMap<Finding, BTreeSet<String>> = BTreeMap::new();
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let scan = Cmd::new(govulncheck).args(["-mode", "binary", "-format", "json", "-db", database]).arg(program);
        let listing = scan.quiet().read().with_context(|| format!("look for vulnerabilities of {name}"))?;
        for finding in findings(&listing).with_context(|| format!("read what govulncheck says of {name}"))? {
            found.entry(finding).or_default().insert(name.clone());
        }
    }
    for id in accepted.keys().filter(|id| !found.keys().any(|finding| finding.id == **id)) {
        progress::note(&format!("{ACCEPTED} accepts {id}, which no program has"));
    }
    let open = found.iter().filter(|(finding, _)| !accepted.contains_key(&finding.id));
    let lines: Vec<String> = open
        .map(|(Finding { id, module, version, fixed }, programs)| {
            let programs: Vec<&str> = programs.iter().map(String::as_str).collect();
            let fixed = if fixed.is_empty() { "no version without it".to_owned() } else { format!("fixed in {fixed}") };
            format!("{id}: {module} {version} in {} ({fixed})", programs.join(", "))
        })
        .collect();
    if !lines.is_empty() {
        bail!("known vulnerabilities:\n  - {}\nupdate the module, or accept it in {ACCEPTED}", lines.join("\n  - "));
    }
    Ok(())
}

/// The findings in the output of govulncheck: JSON values one after the other.
fn findings(listing: &str) -> Result<BTreeSet<Finding>> {
    let mut found = BTreeSet::new();
    for value in serde_json::Deserializer::from_str(listing).into_iter::<Value>() {
        let finding = &value.context("parse JSON")?["finding"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        if let Some(id) = finding["osv"].as_str() {
            let module = &finding["trace"][0];
            let (module, version) = (text(&module["module"]), text(&module["version"]));
            found.insert(Finding { id: id.to_owned(), module, version, fixed: text(&finding["fixed_version"]) });
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crates::member_names;
    use crate::workspace::Workspace;

    fn program(variable: &str) -> PathBuf {
        std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} is not set: run `cargo xtask test`")).into()
    }

    #[test]
    fn what_can_change_in_a_workflow_is_named() {
        let commit = "d23441a48e516b6c34aea4fa41551a30e30af803";
        let good = format!(
            "runs-on: ubuntu-24.04\n- uses: actions/checkout@{commit} # v6.1.0\n- uses: ./x\nrun: >\n  rust:1@sha256:ab"
        );
        assert_eq!(loose(&good), Vec::<String>::new());
        let bad =
            "runs-on: ubuntu-latest\n- uses: actions/checkout@v6\nuses: a/b@main\nrun: >\n  docker run\n  rust:1.95";
        assert_eq!(loose(bad), ["ubuntu-latest", "actions/checkout@v6", "a/b@main", "rust:1.95"]);
    }

    #[test]
    fn key_of_the_cache_follows_every_crate_and_the_pins() {
        let root = Workspace::here().root;
        let text = fs::read_to_string(root.join(WORKFLOWS).join("ci.yml")).unwrap();
        let key = text.lines().find(|line| line.trim().starts_with("key: built-")).unwrap();
        for folder in member_names(&root).unwrap().iter().map(String::as_str).chain(["bundle", "manifests"]) {
            assert!(key.contains(&format!("'{folder}/**'")), "{folder} is not in {key}");
        }
        for file in ["Cargo.lock", "Cargo.toml"] {
            assert!(key.contains(&format!("'{file}'")), "{file} is not in {key}");
        }
    }

    #[test]
    fn findings_are_read_once_each() {
        let listing = r#"{"config": {"db": "x"}} {"osv": {"id": "GO-1"}}
            {"finding": {"osv": "GO-1", "fixed_version": "v1.2.0", "trace": [{"module": "m", "version": "v1.0.0"}]}}
            {"finding": {"osv": "GO-1", "fixed_version": "v1.2.0",
                         "trace": [{"module": "m", "version": "v1.0.0", "package": "m/p"}]}}"#;
        let found = findings(listing).unwrap();
        let expected =
            Finding { id: "GO-1".into(), module: "m".into(), version: "v1.0.0".into(), fixed: "v1.2.0".into() };
        assert_eq!(found, BTreeSet::from([expected]));
        assert!(findings("{").is_err());
    }

    /// A database in which every version of a module has a vulnerability.
    fn database(dir: &Path, id: &str, module: &str) -> String {
        let entry = serde_json::json!({
            "schema_version": "1.3.1", "id": id, "modified": "2026-01-01T00:00:00Z", "details": "made up",
            "affected": [{
                "package": {"name": module, "ecosystem": "Go"},
                "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}],
                "ecosystem_specific": {},
            }],
        });
        let modified = "2026-01-01T00:00:00Z";
        let modules = serde_json::json!([{"path": module, "vulns": [{"id": id, "modified": modified}]}]);
        for (name, value) in [
            ("index/db.json", serde_json::json!({"modified": modified})),
            ("index/modules.json", modules),
            ("index/vulns.json", serde_json::json!([{"id": id, "modified": modified}])),
            (&format!("ID/{id}.json"), entry),
        ] {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, value.to_string()).unwrap();
        }
        format!("file://{}", dir.display())
    }

    #[test]
    #[ignore = "needs govulncheck, which `cargo xtask test` builds"]
    fn program_with_a_known_vulnerability_is_named_unless_it_is_accepted() {
        let root = Workspace::here().root;
        let check = |id: &str, module: &str| {
            let dir = tempfile::tempdir().unwrap();
            let database = database(dir.path(), id, module);
            vulnerabilities(&root, &program("SLIPWAY_GOVULNCHECK"), &database, &[program("SLIPWAY_CRANE")])
        };
        let error = check("GO-2026-0001", "github.com/spf13/cobra").unwrap_err().to_string();
        for part in ["GO-2026-0001: github.com/spf13/cobra v", " in crane (no version without it)", ACCEPTED] {
            assert!(error.contains(part), "{part} is not in {error}");
        }
        check("GO-2026-0001", "example.com/not-in-crane").unwrap();
        check("GO-2026-5932", "github.com/spf13/cobra").unwrap();
        let gone = vulnerabilities(&root, &program("SLIPWAY_GOVULNCHECK"), "file:///gone", &[program("SLIPWAY_CRANE")]);
        assert!(format!("{:#}", gone.unwrap_err()).contains("look for vulnerabilities of crane"));
    }
}
