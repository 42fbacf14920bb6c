//! Who may do what with the API server: the roles of the manifests, compared with a table that people have read.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The table, below `manifests/`. `UPDATE_RIGHTS=1` writes it.
pub(super) const TABLE: &str = "tests/rights.txt";
const HEAD: &str = "\
# Every right with the API server that the manifests give: to whom, where, what, and which verbs. `cargo xtask test`
# compares it with the manifests, and `UPDATE_RIGHTS=1 cargo xtask test` writes it. A new line is a new right.
";

/// Compares the rights in these objects with the table.
pub(super) fn check(objects: &[Value], manifests: &Path) -> Result<()> {
    let path = manifests.join(TABLE);
    let found = lines(objects);
    if std::env::var_os("UPDATE_RIGHTS").is_some() {
        let text: String = found.iter().map(|line| format!("{line}\n")).collect();
        return fs::write(&path, format!("{HEAD}\n{text}")).with_context(|| format!("write {}", path.display()));
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    compare(&found, &text)
}

fn compare(found: &BTreeSet<String>, table: &str) -> Result<()> {
    let known = table.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
    let known: BTreeSet<String> = known.collect();
    if let Some(more) = found.difference(&known).next() {
        bail!("the manifests give a right that {TABLE} has not: {more}");
    }
    if let Some(less) = known.difference(found).next() {
        bail!("{TABLE} has a right that the manifests do not give: {less}");
    }
    Ok(())
}

/// A line for each subject of each binding, and each rule of its role.
fn lines(objects: &[Value]) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for binding in objects.iter().filter(|object| text(&object["kind"]).ends_with("RoleBinding")) {
        let place = match text(&binding["kind"]) {
            "ClusterRoleBinding" => "everywhere",
            _ => text(&binding["metadata"]["namespace"]),
        };
        let place = if place.is_empty() { "its namespace" } else { place };
        let role = &binding["roleRef"];
        let rules = rules(objects, text(&role["kind"]), text(&role["name"]), text(&binding["metadata"]["namespace"]));
        for subject in list(&binding["subjects"]) {
            let namespace = subject["namespace"].as_str().map(|name| format!("{name}/")).unwrap_or_default();
            let subject = format!("{} {namespace}{}", text(&subject["kind"]), text(&subject["name"]));
            match &rules {
                Some(rules) => lines.extend(rules.iter().map(|rule| format!("{subject} | {place} | {rule}"))),
                // A role that Kubernetes brings.
                None => {
                    lines.extend([format!("{subject} | {place} | {} {}", text(&role["kind"]), text(&role["name"]))]);
                }
            }
        }
    }
    lines
}

/// The rules of a role, `what | verbs`, if the objects have it.
fn rules(objects: &[Value], kind: &str, name: &str, namespace: &str) -> Option<Vec<String>> {
    let is = |object: &&Value| {
        let place = text(&object["metadata"]["namespace"]);
        object["kind"] == kind && object["metadata"]["name"] == name && (kind == "ClusterRole" || place == namespace)
    };
    let role = objects.iter().find(is)?;
    Some(list(&role["rules"]).map(rule).collect())
}

fn rule(rule: &Value) -> String {
    let words = |name: &str| {
        let mut words: Vec<&str> = list(&rule[name]).map(text).collect();
        words.sort_unstable();
        words
    };
    let groups: Vec<&str> =
        words("apiGroups").into_iter().map(|group| if group.is_empty() { "core" } else { group }).collect();
    let mut what = words("resources");
    what.extend(words("nonResourceURLs"));
    let names = words("resourceNames");
    let named = if names.is_empty() { String::new() } else { format!(" named {}", names.join(",")) };
    let group = if groups.is_empty() { String::new() } else { format!("{}: ", groups.join(",")) };
    format!("{group}{}{named} | {}", what.join(","), words("verbs").join(","))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTS: &str = "\
kind: Role
metadata: {name: r, namespace: n}
rules:
- {apiGroups: [''], resources: [pods, secrets], verbs: [list, get]}
---
kind: RoleBinding
metadata: {name: r, namespace: n}
roleRef: {kind: Role, name: r}
subjects: [{kind: ServiceAccount, name: a, namespace: n}]
---
kind: ClusterRoleBinding
metadata: {name: c}
roleRef: {kind: ClusterRole, name: system:auth-delegator}
subjects: [{kind: ServiceAccount, name: b, namespace: n}]
";

    #[test]
    fn a_right_more_and_a_right_less_than_the_table_are_named() {
        let found = lines(&super::super::parse(OBJECTS).unwrap());
        let table = "# head\n\nServiceAccount n/a | n | core: pods,secrets | get,list\n\
                     ServiceAccount n/b | everywhere | ClusterRole system:auth-delegator\n";
        compare(&found, table).unwrap();
        let more = compare(&found, "").unwrap_err().to_string();
        assert!(more.contains("ServiceAccount n/a | n | core: pods,secrets | get,list"), "{more}");
        let less = compare(&found, &format!("{table}ServiceAccount n/c | n | core: pods | get\n")).unwrap_err();
        assert!(less.to_string().contains("n/c"), "{less}");
    }
}
