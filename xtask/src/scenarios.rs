//! The list of scenarios, from the file that `kind-e2e` reads, too. So names are checked before anything is built.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// A scenario in `kind-e2e/scenarios.toml`.
#[derive(Debug, Deserialize)]
pub(crate) struct Scenario {
    /// The suite it belongs to.
    pub(crate) suite: String,
    /// What it shows, in one line.
    pub(crate) about: String,
}

/// All scenarios by name.
pub(crate) fn load(folder: &Path) -> Result<BTreeMap<String, Scenario>> {
    let path = folder.join("scenarios.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("parse {}", path.display()))
}

/// Refuses unknown names of scenarios and suites.
pub(crate) fn check(known: &BTreeMap<String, Scenario>, names: &[String], suite: &str) -> Result<()> {
    let suites: Vec<&str> = known.values().map(|scenario| scenario.suite.as_str()).collect();
    if !suites.contains(&suite) {
        bail!("no suite {suite}; the suites are: {}", distinct(&suites));
    }
    for name in names {
        if !known.contains_key(name) {
            let all: Vec<&str> = known.keys().map(String::as_str).collect();
            bail!("no scenario {name}; the scenarios are: {}", distinct(&all));
        }
    }
    Ok(())
}

/// Refuses a mutation that is not in `kind-e2e/mutations.toml`.
pub(crate) fn check_mutation(folder: &Path, name: Option<&str>) -> Result<()> {
    let Some(name) = name else { return Ok(()) };
    let path = folder.join("mutations.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let known: BTreeMap<String, String> = toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    if !known.contains_key(name) {
        let all: Vec<&str> = known.keys().map(String::as_str).collect();
        bail!("no mutation {name}; the mutations are: {}", distinct(&all));
    }
    Ok(())
}

/// Refuses faults that are not in `kind-e2e/faults.toml`.
pub(crate) fn check_faults(folder: &Path, names: &[String]) -> Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let path = folder.join("faults.toml");
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let known: BTreeMap<String, toml::Table> =
        toml::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    let all: Vec<&str> = known.keys().map(String::as_str).collect();
    if let Some(name) = names.iter().find(|name| !known.contains_key(*name)) {
        let likeness = |one: &&str| strsim::jaro_winkler(name, one);
        let nearest = all.iter().copied().max_by(|one, other| likeness(one).total_cmp(&likeness(other)));
        bail!("no fault {name}; did you mean {}? The faults are: {}", nearest.unwrap_or_default(), distinct(&all));
    }
    Ok(())
}

fn distinct(names: &[&str]) -> String {
    let set: std::collections::BTreeSet<&str> = names.iter().copied().collect();
    set.into_iter().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_fault_is_refused_with_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("faults.toml"), "[poison]\nnumber = 24\n[disk-full]\nnumber = 12").unwrap();
        let check = |name: &str| check_faults(folder.path(), &[name.to_owned()]);
        check("poison").unwrap();
        let error = check("disk").unwrap_err().to_string();
        assert_eq!(error, "no fault disk; did you mean disk-full? The faults are: disk-full, poison");
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_known_ones() {
        let known: BTreeMap<String, Scenario> = toml::from_str("[step]\nsuite = \"core\"\nabout = \"x\"").unwrap();
        check(&known, &["step".into()], "core").unwrap();
        let error = check(&known, &["stepp".into()], "core").unwrap_err().to_string();
        assert!(error.contains("stepp") && error.contains("step"), "{error}");
        assert!(check(&known, &[], "cor").unwrap_err().to_string().contains("core"));
    }
}
