//! The provenance of a bundle: SLSA v1 in an in-toto statement. It says what the bundle was made from, and how.
//!
//! It has no times and no names of hosts or files, so that the same commit gives the same bytes. It is not signed.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use support::command::Cmd;

use super::members::hash;
use super::{MANIFESTS, Named, PROGRAMS, SHARE};

const STATEMENT: &str = "https://in-toto.io/Statement/v1";
const PREDICATE: &str = "https://slsa.dev/provenance/v1";
/// What the parameters below mean. The number changes when they change.
const BUILD_TYPE: &str = "urn:slipway:bundle-save:1";
/// Whoever runs the command is the builder.
const BUILDER: &str = "urn:slipway:local-build";
/// The command. The name of the file is left out, because it does not change the bytes.
const COMMAND: &str = "cargo xtask bundle save FILE";

/// The commit of a checkout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    /// Its id.
    pub id: String,
    /// Whether the checkout has changes that the commit does not have. Files that git ignores do not count.
    pub modified: bool,
}

impl Commit {
    /// The commit of the checkout in this folder.
    ///
    /// # Errors
    /// When the folder is no checkout of git, or git is not installed.
    pub fn of(root: &Path) -> Result<Self> {
        let git = |args: &[&str]| Cmd::new("git").arg("-C").arg(root).args(args).quiet().read();
        let id = git(&["rev-parse", "HEAD"]).context("find the commit, which the bundle names")?;
        let status = git(&["status", "--porcelain"]).context("compare the checkout with its commit")?;
        Ok(Self { id, modified: !status.is_empty() })
    }
}

/// What a bundle was made from.
#[derive(Debug)]
pub(super) struct Origin<'a> {
    pub(super) commit: &'a Commit,
    /// The versions of compilers and other tools by name.
    pub(super) toolchains: &'a BTreeMap<String, String>,
    /// How inputs and outputs differ from these files. Empty if everything is as locked.
    pub(super) unlocked: &'a [String],
    /// SHA-256 of the files that pin versions and hashes, by their paths in the checkout.
    pub(super) locks: BTreeMap<String, String>,
}

/// The statement about images, and about files with their SHA-256.
pub(super) fn statement(origin: &Origin<'_>, images: &[Named], files: &BTreeMap<String, String>) -> Value {
    let images = images.iter().map(|image| (image.name.as_str(), hash(&image.digest)));
    let files = files.iter().map(|(name, sum)| (name.as_str(), sum.as_str()));
    let subjects: BTreeMap<&str, &str> = images.chain(files).collect();
    let subject: Vec<Value> =
        subjects.into_iter().map(|(name, sum)| json!({"name": name, "digest": {"sha256": sum}})).collect();
    let Commit { id, modified } = origin.commit;
    let commit = json!({"name": "commit", "digest": {"gitCommit": id}, "annotations": {"modified": modified}});
    let mut parameters = json!({"toolchains": origin.toolchains});
    if !origin.unlocked.is_empty() {
        parameters["unlocked"] = json!(origin.unlocked);
    }
    let locks = origin.locks.iter().map(|(name, sum)| json!({"name": name, "digest": {"sha256": sum}}));
    json!({
        "_type": STATEMENT,
        "subject": subject,
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"command": COMMAND, "commit": id},
                "internalParameters": parameters,
                "resolvedDependencies": std::iter::once(commit).chain(locks).collect::<Vec<Value>>(),
            },
            "runDetails": {"builder": {"id": BUILDER}},
        },
    })
}

/// The commit of a statement, and the SHA-256 of each subject by name.
pub(super) fn read(statement: &Value) -> Result<(String, BTreeMap<String, String>)> {
    for (field, expected) in [("_type", STATEMENT), ("predicateType", PREDICATE)] {
        ensure!(statement[field] == expected, "its {field} is {}", statement[field]);
    }
    let build = &statement["predicate"]["buildDefinition"];
    ensure!(build["buildType"] == BUILD_TYPE, "its buildType is {}", build["buildType"]);
    let commit = build["externalParameters"]["commit"].as_str().context("it has no commit")?;
    let subjects = statement["subject"].as_array().context("it has no subjects")?;
    let subjects = subjects
        .iter()
        .map(|subject| Some((subject["name"].as_str()?.to_owned(), subject["digest"]["sha256"].as_str()?.to_owned())));
    let subjects: Option<BTreeMap<_, _>> = subjects.collect();
    Ok((commit.to_owned(), subjects.context("a subject has no name or no SHA-256")?))
}

/// Whether a member is a subject of its own. Images are subjects by their names.
pub(super) fn is_subject(member: &str) -> bool {
    [PROGRAMS, MANIFESTS, SHARE].iter().any(|folder| member.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn change_that_is_not_committed_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let name = ["-c", "user.name=x", "-c", "user.email=x@example.com"];
            Cmd::new("git").arg("-C").arg(dir.path()).args(name).args(args).quiet().run().unwrap();
        };
        assert!(format!("{:#}", Commit::of(dir.path()).unwrap_err()).contains("commit"), "no checkout");
        git(&["init", "--quiet"]);
        std::fs::write(dir.path().join("x"), "1").unwrap();
        git(&["add", "x"]);
        git(&["commit", "--quiet", "--message", "x"]);
        let clean = Commit::of(dir.path()).unwrap();
        assert!(!clean.modified && clean.id.len() == 40, "{clean:?}");
        std::fs::write(dir.path().join("x"), "2").unwrap();
        assert!(Commit::of(dir.path()).unwrap().modified);
    }

    #[test]
    fn what_is_not_as_locked_is_told() {
        let commit = Commit { id: "a".repeat(40), modified: false };
        let shown = |unlocked: &[String]| {
            let origin = Origin { commit: &commit, toolchains: &BTreeMap::new(), unlocked, locks: BTreeMap::new() };
            let statement = statement(&origin, &[], &BTreeMap::new());
            statement["predicate"]["buildDefinition"]["internalParameters"]["unlocked"].clone()
        };
        assert_eq!(shown(&[]), Value::Null);
        assert_eq!(
            shown(&["Debian packages of node: bash 1 → 2".to_owned()])[0],
            "Debian packages of node: bash 1 → 2"
        );
    }

    #[test]
    fn statement_that_is_not_ours_is_refused() {
        for text in ["{}", "[]", r#"{"_type": "https://in-toto.io/Statement/v1"}"#] {
            assert!(read(&serde_json::from_str(text).unwrap()).is_err(), "{text}");
        }
    }
}
