//! Checks of the ScaledObject that need no cluster. The settings of its Prometheus triggers must have the intended
//! effect in KEDA. promtool runs its unit tests on the queries of the manifest, which are not copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use support::command::Cmd;

/// The ScaledObject, below `manifests/`.
const SCALED_OBJECT: &str = "base/keda-scaledobject.yaml";
/// promtool's cases, below `manifests/`. Their rule file is [`RULES`], and a query is `scaler:<name of its trigger>`.
const CASES: &str = "tests/scaler.yaml";
const RULES: &str = "scaler.rules.json";
/// Checks the triggers, then runs promtool's cases on their queries.
///
/// # Errors
/// All faults of the triggers. If there are none, promtool's report of the cases that failed.
pub(super) fn check(promtool: &Path, manifests: &Path, work: &Path) -> Result<()> {
    let cases_file = manifests.join(CASES);
    let cases = fs::read_to_string(&cases_file).with_context(|| format!("read {}", cases_file.display()))?;
    let triggers = triggers(&super::read(manifests, SCALED_OBJECT)?)
        .with_context(|| format!("read the triggers in manifests/{SCALED_OBJECT}"))?;
    let faults = faults(&triggers, &cases);
    let list: Vec<String> = faults.iter().map(|fault| format!("\n  {fault}")).collect();
    ensure!(list.is_empty(), "manifests/{SCALED_OBJECT} has faults:{}", list.concat());
    let folder = work.join("scaler");
    fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    fs::write(folder.join(RULES), rules(&triggers).to_string()).context("write the queries as rules")?;
    let copy = folder.join("cases.yaml");
    fs::write(&copy, cases).with_context(|| format!("write {}", copy.display()))?;
    Cmd::new(promtool)
        .args(["test", "rules"])
        .arg(&copy)
        .run()
        .with_context(|| format!("test the queries of manifests/{SCALED_OBJECT} with manifests/{CASES}"))?;
    Ok(())
}

/// The fields of a trigger that the checks read.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trigger {
    #[serde(default)]
    name: String,
    #[serde(default)]
    metric_type: String,
    #[serde(default)]
    metadata: BTreeMap<String, String>,
}

impl Trigger {
    fn setting(&self, key: &str) -> &str {
        self.metadata.get(key).map_or("", String::as_str)
    }
}

/// The Prometheus triggers of every ScaledObject among the objects.
fn triggers(objects: &[Value]) -> Result<Vec<Trigger>> {
    objects
        .iter()
        .filter(|object| object["kind"] == "ScaledObject")
        .flat_map(|object| object["spec"]["triggers"].as_array().into_iter().flatten())
        .filter(|trigger| trigger["type"] == "prometheus")
        .map(|trigger| Ok(Trigger::deserialize(trigger)?))
        .collect()
}

/// A recording rule for each query, named after its trigger.
fn rules(triggers: &[Trigger]) -> Value {
    let rules: Vec<Value> =
        triggers.iter().map(|trigger| json!({"record": series(trigger), "expr": trigger.setting("query")})).collect();
    json!({"groups": [{"name": "scaler", "rules": rules}]})
}

fn series(trigger: &Trigger) -> String {
    format!("scaler:{}", trigger.name)
}

/// A setting that has another effect in KEDA or the HPA than the intended one.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Fault {
    #[error(
        "a trigger has the name {0:?}: use letters, digits and _; tests and KEDA's metrics refer to it by this name"
    )]
    Name(String),
    #[error("two triggers have the name {0}: give each its own, because tests and KEDA's metrics refer to it by name")]
    DuplicateName(String),
    #[error(
        "trigger {0} has metricType {1:?}: set AverageValue, where workers = answer / threshold, or Value, where \
         workers are multiplied by the answer; without it KEDA chooses"
    )]
    MetricType(String, String),
    #[error(
        "trigger {0} has ignoreNullValues {1:?}: set \"false\"; otherwise an empty result counts as 0 and scales in a \
         fleet under load"
    )]
    NullValues(String, String),
    #[error("trigger {0} has threshold {1:?}: set a number above 0")]
    Threshold(String, String),
    #[error("trigger {0} has metricType Value and threshold {1:?}: set \"1\", because its answer is the factor itself")]
    Factor(String, String),
    #[error("trigger {0} has no case: add cases that use scaler:{0} to manifests/{CASES}")]
    NoCase(String),
}

/// All faults of the triggers. `cases` is the text of the cases.
fn faults(triggers: &[Trigger], cases: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut names = BTreeSet::new();
    for trigger in triggers {
        if !names.insert(trigger.name.as_str()) {
            faults.push(Fault::DuplicateName(trigger.name.clone()));
        }
        faults.extend(trigger_faults(trigger));
        if !has_case(&series(trigger), cases) {
            faults.push(Fault::NoCase(trigger.name.clone()));
        }
    }
    faults
}

fn trigger_faults(trigger: &Trigger) -> Vec<Fault> {
    let name = || trigger.name.clone();
    let setting = |key| trigger.setting(key).to_owned();
    let mut faults = Vec::new();
    let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if trigger.name.is_empty() || !trigger.name.chars().all(letter) {
        faults.push(Fault::Name(name()));
    }
    if !["AverageValue", "Value"].contains(&trigger.metric_type.as_str()) {
        faults.push(Fault::MetricType(name(), trigger.metric_type.clone()));
    }
    if trigger.setting("ignoreNullValues") != "false" {
        faults.push(Fault::NullValues(name(), setting("ignoreNullValues")));
    }
    match trigger.setting("threshold").parse::<f64>() {
        Ok(threshold) if threshold.is_finite() && threshold > 0.0 => {
            if trigger.metric_type == "Value" && (threshold - 1.0).abs() > f64::EPSILON {
                faults.push(Fault::Factor(name(), setting("threshold")));
            }
        }
        _ => faults.push(Fault::Threshold(name(), setting("threshold"))),
    }
    faults
}

/// Whether the cases use this series. A longer name that starts with it does not count.
fn has_case(series: &str, cases: &str) -> bool {
    cases
        .match_indices(series)
        .any(|(at, _)| !cases[at + series.len()..].starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIED: &str = "scaler:workflow_depth scaler:cpu_demand scaler:io_depth";

    fn trigger(name: &str, metric_type: &str, threshold: &str) -> Trigger {
        Trigger {
            name: name.to_owned(),
            metric_type: metric_type.to_owned(),
            metadata: [("ignoreNullValues", "false"), ("threshold", threshold), ("query", "vector(1)")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
        }
    }

    fn good() -> Vec<Trigger> {
        vec![
            trigger("workflow_depth", "Value", "1"),
            trigger("cpu_demand", "AverageValue", "1.4"),
            trigger("io_depth", "Value", "1"),
        ]
    }

    /// The faults after one change to triggers without faults.
    fn after(change: impl FnOnce(&mut Vec<Trigger>)) -> Vec<Fault> {
        let mut triggers = good();
        change(&mut triggers);
        faults(&triggers, TRIED)
    }

    #[test]
    fn intended_settings_have_no_fault() {
        assert_eq!(after(|_| ()), []);
    }

    #[test]
    fn trigger_names_are_valid_and_unique() {
        let name = |name: &str| after(|triggers| triggers[2].name = name.to_owned())[0].to_string();
        assert!(name("").contains("a trigger has the name \"\""), "{}", name(""));
        assert!(name("io-depth").contains("\"io-depth\""), "{}", name("io-depth"));
        let twice = after(|triggers| triggers.push(triggers[2].clone()));
        assert_eq!(twice, [Fault::DuplicateName("io_depth".to_owned())]);
    }

    #[test]
    fn metric_type_is_average_value_or_value() {
        for metric_type in ["", "Utilization", "value"] {
            let faults = after(|triggers| triggers[2].metric_type = metric_type.to_owned());
            assert_eq!(faults, [Fault::MetricType("io_depth".to_owned(), metric_type.to_owned())]);
        }
    }

    #[test]
    fn every_trigger_treats_an_empty_result_as_an_error() {
        for value in [None, Some("true"), Some("")] {
            let faults = after(|triggers| {
                triggers[1].metadata.remove("ignoreNullValues");
                if let Some(value) = value {
                    let key = "ignoreNullValues".to_owned();
                    triggers[1].metadata.insert(key, value.to_owned());
                }
            });
            let value = value.unwrap_or_default().to_owned();
            assert_eq!(faults, [Fault::NullValues("cpu_demand".to_owned(), value)]);
        }
    }

    #[test]
    fn threshold_is_above_0_and_is_1_for_a_factor() {
        for bad in ["", "ten", "0", "-1", "NaN", "inf"] {
            let faults = after(|triggers| triggers[2] = trigger("io_depth", "Value", bad));
            assert_eq!(faults, [Fault::Threshold("io_depth".to_owned(), bad.to_owned())]);
        }
        let faults = after(|triggers| triggers[2] = trigger("io_depth", "Value", "15"));
        assert_eq!(faults, [Fault::Factor("io_depth".to_owned(), "15".to_owned())]);
        assert_eq!(after(|triggers| triggers[2] = trigger("io_depth", "AverageValue", "15")), []);
    }

    #[test]
    fn trigger_without_a_case_is_a_fault() {
        let faults = after(|triggers| triggers[2].name = "io".to_owned());
        assert_eq!(faults, [Fault::NoCase("io".to_owned())]);
    }

    #[test]
    fn triggers_and_rules_are_read_as_they_ship() {
        let text = "kind: ScaledObject\nspec:\n  triggers:\n  - type: cpu\n    metadata: {value: \"60\"}\n  \
                    - type: prometheus\n    name: io_depth\n    metadata: {query: up == 1}\n";
        let triggers = triggers(&super::super::parse(text).unwrap()).unwrap();
        assert_eq!(rules(&triggers)["groups"][0]["rules"], json!([{"record": "scaler:io_depth", "expr": "up == 1"}]));
    }
}
