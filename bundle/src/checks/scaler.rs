//! Checks of the ScaledObject that need no cluster. The settings of its triggers must have the intended effect in KEDA.
//! promtool runs its unit tests on the queries of the manifest, which are not copied.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::{Value, json};
use support::command::Cmd;

/// The ScaledObject, and the Deployment that it scales, below `manifests/`.
const SCALED_OBJECT: &str = "base/keda-scaledobject.yaml";
const DEPLOYMENT: &str = "base/temporal-worker-deployment.yaml";
/// promtool's cases, below `manifests/`. Their rule file is [`RULES`], and a query is `scaler:<name of its trigger>`.
const CASES: &str = "tests/scaler.yaml";
const RULES: &str = "scaler.rules.json";
/// The triggers that ask for workers by the demand of a queue, and the variable with the slots of a worker for that
/// queue.
const DEMAND: [(&str, &str); 3] = [
    ("workflow_demand", "TEMPORAL_WORKFLOW_CONCURRENCY"),
    ("io_demand", "TEMPORAL_IO_ACTIVITY_CONCURRENCY"),
    ("cpu_demand", "TEMPORAL_CPU_ACTIVITY_CONCURRENCY"),
];
/// The slots that a worker should use, in percent: the middle of the guide's 60 to 80.
const UTILISATION: u32 = 70;

/// Checks the triggers, then runs promtool's cases on their queries.
///
/// # Errors
/// All faults of the triggers. If there are none, promtool's report of the cases that failed.
pub(super) fn check(promtool: &Path, manifests: &Path, work: &Path) -> Result<()> {
    let cases_file = manifests.join(CASES);
    let cases = fs::read_to_string(&cases_file).with_context(|| format!("read {}", cases_file.display()))?;
    let triggers = triggers(&super::read(manifests, SCALED_OBJECT)?)
        .with_context(|| format!("read the triggers in manifests/{SCALED_OBJECT}"))?;
    let faults = faults(&triggers, &slots(&super::read(manifests, DEPLOYMENT)?), &cases);
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

/// The numeric environment variables of the Deployments' containers.
fn slots(objects: &[Value]) -> BTreeMap<String, u32> {
    objects
        .iter()
        .filter(|object| object["kind"] == "Deployment")
        .flat_map(|object| object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten())
        .flat_map(|container| container["env"].as_array().into_iter().flatten())
        .filter_map(|entry| {
            let number = entry["value"].as_str()?.parse().ok()?;
            Some((entry["name"].as_str()?.to_owned(), number))
        })
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
    #[error(
        "trigger {name} has metricType {metric_type} and threshold {threshold:?}: set AverageValue and \"{want}\", \
         which is {UTILISATION} % of the {slots} slots that {variable} gives a worker"
    )]
    Demand { name: String, metric_type: String, threshold: String, want: String, slots: u32, variable: &'static str },
    #[error("there is no trigger {0}: add it; without it the demand of this queue does not scale out")]
    NoDemand(&'static str),
    #[error("trigger {0} cannot be compared with the slots of a worker: set {1} to a number in manifests/{DEPLOYMENT}")]
    NoSlots(&'static str, &'static str),
    #[error("trigger {0} has no case: add cases that use scaler:{0} to manifests/{CASES}")]
    NoCase(String),
}

/// All faults of the triggers. `slots` are the Deployment's variables, and `cases` is the text of the cases.
fn faults(triggers: &[Trigger], slots: &BTreeMap<String, u32>, cases: &str) -> Vec<Fault> {
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
    for (name, variable) in DEMAND {
        let trigger = triggers.iter().find(|trigger| trigger.name == name);
        faults.extend(match (trigger, slots.get(variable)) {
            (None, _) => Some(Fault::NoDemand(name)),
            (_, None) => Some(Fault::NoSlots(name, variable)),
            (Some(trigger), Some(&slots)) => demand_fault(trigger, slots, variable),
        });
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

fn demand_fault(trigger: &Trigger, slots: u32, variable: &'static str) -> Option<Fault> {
    let want = f64::from(slots * UTILISATION) / 100.0;
    let threshold = trigger.setting("threshold");
    // KEDA rounds the threshold to thousandths.
    let right = threshold.parse::<f64>().is_ok_and(|threshold| (threshold - want).abs() < 0.0005);
    (!right || trigger.metric_type != "AverageValue").then(|| Fault::Demand {
        name: trigger.name.clone(),
        metric_type: trigger.metric_type.clone(),
        threshold: threshold.to_owned(),
        want: want.to_string(),
        slots,
        variable,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIED: &str = "scaler:workflow_demand scaler:io_demand scaler:cpu_demand scaler:io_depth";

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
            trigger("workflow_demand", "AverageValue", "2.1"),
            trigger("io_demand", "AverageValue", "3.5"),
            trigger("cpu_demand", "AverageValue", "1.4"),
            trigger("io_depth", "Value", "1"),
        ]
    }

    fn guide() -> BTreeMap<String, u32> {
        DEMAND.into_iter().zip([3, 5, 2]).map(|((_, variable), slots)| (variable.to_owned(), slots)).collect()
    }

    /// The faults after one change to triggers without faults.
    fn after(change: impl FnOnce(&mut Vec<Trigger>)) -> Vec<Fault> {
        let mut triggers = good();
        change(&mut triggers);
        faults(&triggers, &guide(), TRIED)
    }

    #[test]
    fn intended_settings_have_no_fault() {
        assert_eq!(after(|_| ()), []);
    }

    #[test]
    fn trigger_names_are_valid_and_unique() {
        let name = |name: &str| after(|triggers| triggers[3].name = name.to_owned())[0].to_string();
        assert!(name("").contains("a trigger has the name \"\""), "{}", name(""));
        assert!(name("io-depth").contains("\"io-depth\""), "{}", name("io-depth"));
        let twice = after(|triggers| triggers.push(triggers[3].clone()));
        assert_eq!(twice, [Fault::DuplicateName("io_depth".to_owned())]);
    }

    #[test]
    fn metric_type_is_average_value_or_value() {
        for metric_type in ["", "Utilization", "value"] {
            let faults = after(|triggers| triggers[3].metric_type = metric_type.to_owned());
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
            assert_eq!(faults, [Fault::NullValues("io_demand".to_owned(), value)]);
        }
    }

    #[test]
    fn threshold_is_above_0_and_is_1_for_a_factor() {
        for bad in ["", "ten", "0", "-1", "NaN", "inf"] {
            let faults = after(|triggers| triggers[3] = trigger("io_depth", "Value", bad));
            assert_eq!(faults, [Fault::Threshold("io_depth".to_owned(), bad.to_owned())]);
        }
        let faults = after(|triggers| triggers[3] = trigger("io_depth", "Value", "15"));
        assert_eq!(faults, [Fault::Factor("io_depth".to_owned(), "15".to_owned())]);
        assert_eq!(after(|triggers| triggers[3] = trigger("io_depth", "AverageValue", "15")), []);
    }

    #[test]
    fn demand_is_seventy_percent_of_the_slots_that_the_deployment_gives() {
        for (metric_type, threshold) in [("AverageValue", "5"), ("AverageValue", "3.4"), ("Value", "1")] {
            let faults = after(|triggers| triggers[1] = trigger("io_demand", metric_type, threshold));
            let [fault] = faults.as_slice() else { panic!("{faults:?}") };
            let text = fault.to_string();
            for part in ["io_demand", threshold, "AverageValue and \"3.5\"", "5 slots", "TEMPORAL_IO_ACTIVITY"] {
                assert!(text.contains(part), "{text:?} lacks {part:?}");
            }
        }
        let mut more = guide();
        more.insert("TEMPORAL_IO_ACTIVITY_CONCURRENCY".to_owned(), 10);
        let faults = faults(&good(), &more, TRIED);
        assert!(faults[0].to_string().contains("\"7\""), "{faults:?}");
    }

    #[test]
    fn queue_without_demand_trigger_or_slots_is_a_fault() {
        assert_eq!(after(|triggers| drop(triggers.remove(2))), [Fault::NoDemand("cpu_demand")]);
        let mut slots = guide();
        slots.remove("TEMPORAL_CPU_ACTIVITY_CONCURRENCY");
        let faults = faults(&good(), &slots, TRIED);
        assert_eq!(faults, [Fault::NoSlots("cpu_demand", "TEMPORAL_CPU_ACTIVITY_CONCURRENCY")]);
    }

    #[test]
    fn trigger_without_a_case_is_a_fault() {
        let faults = after(|triggers| triggers[3].name = "io".to_owned());
        assert_eq!(faults, [Fault::NoCase("io".to_owned())]);
    }

    #[test]
    fn triggers_slots_and_rules_are_read_as_they_ship() {
        let text = "kind: ScaledObject\nspec:\n  triggers:\n  - type: cpu\n    metadata: {value: \"60\"}\n  \
                    - type: prometheus\n    name: io_depth\n    metadata: {query: up == 1}\n---\n\
                    kind: Deployment\nspec:\n  template:\n    spec:\n      containers:\n      - env:\n        \
                    - {name: A, value: \"5\"}\n        - {name: B, value: five}\n        - {name: C, valueFrom: {}}\n";
        let objects = super::super::parse(text).unwrap();
        let triggers = triggers(&objects).unwrap();
        assert_eq!(rules(&triggers)["groups"][0]["rules"], json!([{"record": "scaler:io_depth", "expr": "up == 1"}]));
        assert_eq!(slots(&objects), [("A".to_owned(), 5)].into());
    }
}
