//! What holds for the whole cluster over the whole run: no image was pulled, nothing restarted,
//! nothing was killed for memory. Reads once at the begin and once at the end; judging is pure.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use crate::observe::kubernetes::pod_of;
use crate::observe::sample::Reading;
use crate::verdict::{Check, Outcome};

/// The state of every pod, and the pulls that events tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Images that were pulled, or that someone tried to pull, each with what the event said.
    pub pulls: BTreeMap<String, String>,
    /// Restarts by `namespace/pod`.
    pub restarts: BTreeMap<String, i32>,
    /// Pods whose last container end was for memory.
    pub out_of_memory: BTreeSet<String>,
}

/// Reads the cluster's events and pods.
pub async fn survey(client: &kube::Client) -> Result<Survey> {
    let all = ListParams::default();
    let events = Api::<Event>::all(client.clone())
        .list(&all)
        .await
        .context("reading events")?;
    let pods = Api::<Pod>::all(client.clone())
        .list(&all)
        .await
        .context("reading pods")?;
    Ok(survey_of(&events.items, &pods.items))
}

fn survey_of(events: &[Event], pods: &[Pod]) -> Survey {
    let mut survey = Survey::default();
    for event in events {
        let message = event.message.as_deref().unwrap_or_default();
        if let Some(image) = pulled_image(event.reason.as_deref().unwrap_or_default(), message) {
            survey.pulls.entry(image).or_insert_with(|| message.to_owned());
        }
    }
    for pod in pods {
        let state = pod_of(pod);
        let name = format!(
            "{}/{}",
            pod.metadata.namespace.as_deref().unwrap_or_default(),
            state.name
        );
        if state.last_end.as_deref() == Some("OOMKilled") {
            survey.out_of_memory.insert(name.clone());
        }
        survey.restarts.insert(name, state.restarts);
    }
    survey
}

/// The image that an event says was pulled, or was to be pulled.
///
/// The kubelet's words: `Pulling image "x"`, `Successfully pulled image "x"`, `Failed to pull image
/// "x"`, `Back-off pulling image "x"`, and `Container image "x" is not present with pull policy of
/// Never`; `Container image "x" already present on machine` is what we want.
fn pulled_image(reason: &str, message: &str) -> Option<String> {
    let tells = match reason {
        "Pulling" | "ErrImageNeverPull" => true,
        "Pulled" => message.starts_with("Successfully pulled"),
        "Failed" | "BackOff" => message.contains("pull"),
        _ => false,
    };
    let quoted = || {
        message
            .split('"')
            .nth(1)
            .map_or_else(|| message.to_owned(), str::to_owned)
    };
    tells.then(quoted)
}

/// What two surveys, at the begin and at the end of a run, show.
pub fn checks(began: &Reading<Survey>, ended: &Reading<Survey>) -> Vec<Check> {
    let nothing = Survey::default();
    let (before, after) = match (began, ended) {
        (Reading::Seen(before), Reading::Seen(after)) => (before, after),
        // Pulls are told by the events that are there at the end, whatever was before.
        (Reading::Gap(_), Reading::Seen(after)) => (&nothing, after),
        (_, Reading::Gap(why)) => {
            let unseen = |name| Check::new(name, "none", "not seen", "", Outcome::inconclusive(why));
            return vec![unseen(PULLS), unseen(RESTARTS)];
        }
    };
    vec![no_pull(after), no_restart(before, after, began.seen().is_some())]
}

const PULLS: &str = "no image was pulled";
const RESTARTS: &str = "no pod restarted, none killed for memory";

fn no_pull(after: &Survey) -> Check {
    let pulls: Vec<String> = after
        .pulls
        .iter()
        .map(|(image, message)| format!("{image}: {message}"))
        .collect();
    Check::new(
        PULLS,
        "no event of a pull in any namespace",
        format!("{} images pulled", pulls.len()),
        "every image is baked into the node: a pull reaches for a network that a run must not need",
        if pulls.is_empty() {
            Outcome::Pass
        } else {
            Outcome::Fail(pulls)
        },
    )
}

fn no_restart(before: &Survey, after: &Survey, compared: bool) -> Check {
    let mut broken = Vec::new();
    for (pod, restarts) in &after.restarts {
        let more = restarts - before.restarts.get(pod).copied().unwrap_or(0);
        let killed = after.out_of_memory.contains(pod);
        if more > 0 {
            let reason = if killed { ", killed for memory" } else { "" };
            broken.push(format!("{pod} restarted {more} times{reason}"));
        } else if killed && !before.out_of_memory.contains(pod) {
            broken.push(format!("{pod} was killed for memory"));
        }
    }
    let outcome = match (broken.is_empty(), compared) {
        (true, _) => Outcome::Pass,
        (false, true) => Outcome::Fail(broken),
        (false, false) => {
            Outcome::inconclusive("restarts there are, but what was before the run was not seen")
        }
    };
    Check::new(
        RESTARTS,
        "0 restarts during the run, in any namespace",
        format!("{} pods compared", after.restarts.len()),
        "what a kept cluster went through before the run is not held against it",
        outcome,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn event(reason: &str, message: &str) -> Event {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
            "involvedObject": {}, "reason": reason, "message": message,
        }))
        .unwrap()
    }

    fn pod(name: &str, restarts: i32, reason: &str) -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "keda"},
            "status": {"phase": "Running", "containerStatuses": [{
                "name": "c", "image": "i", "imageID": "", "ready": true, "restartCount": restarts,
                "lastState": {"terminated": {"exitCode": 1, "reason": reason}},
            }]},
        }))
        .unwrap()
    }

    #[test]
    fn a_pull_is_told_from_an_image_that_is_there() {
        let table = [
            ("Pulling", r#"Pulling image "a:1""#, Some("a:1")),
            ("Pulled", r#"Successfully pulled image "b:1" in 2s"#, Some("b:1")),
            (
                "Pulled",
                r#"Container image "c:1" already present on machine"#,
                None,
            ),
            ("Failed", r#"Failed to pull image "d:1": not found"#, Some("d:1")),
            ("Failed", "Error: ErrImagePull", None),
            ("BackOff", r#"Back-off pulling image "e:1""#, Some("e:1")),
            ("BackOff", "Back-off restarting failed container", None),
            (
                "ErrImageNeverPull",
                r#"Container image "f:1" is not present with pull policy of Never"#,
                Some("f:1"),
            ),
            ("Scheduled", "Successfully assigned", None),
        ];
        for (reason, message, image) in table {
            assert_eq!(
                pulled_image(reason, message).as_deref(),
                image,
                "{reason}: {message}"
            );
        }
    }

    #[test]
    fn a_pull_fails_and_names_the_image() {
        let survey = survey_of(&[event("Pulling", r#"Pulling image "docker.io/x:1""#)], &[]);
        let checks = checks(&Reading::Seen(Survey::default()), &Reading::Seen(survey));
        assert_eq!(
            checks[0].outcome,
            Outcome::fail(r#"docker.io/x:1: Pulling image "docker.io/x:1""#)
        );
        assert_eq!(checks[1].outcome, Outcome::Pass);
    }

    #[test]
    fn only_restarts_of_this_run_count() {
        let before = survey_of(&[], &[pod("operator", 2, "Error")]);
        let table = [
            (pod("operator", 2, "Error"), "Pass"),
            (pod("operator", 3, "Error"), "Fail"),
            (pod("new", 1, "OOMKilled"), "Fail"),
            (pod("new", 0, "Completed"), "Pass"),
        ];
        for (after, word) in table {
            let after = Reading::Seen(survey_of(&[], &[after]));
            assert_eq!(
                checks(&Reading::Seen(before.clone()), &after)[1].outcome.word(),
                word
            );
        }
    }

    #[test]
    fn what_was_not_seen_is_inconclusive() {
        let gap = Reading::Gap("refused".to_owned());
        let ended = checks(&Reading::Seen(Survey::default()), &gap);
        assert!(
            ended
                .iter()
                .all(|check| check.outcome == Outcome::inconclusive("refused"))
        );
        let restarted = Reading::Seen(survey_of(&[], &[pod("operator", 1, "Error")]));
        assert_eq!(checks(&gap, &restarted)[1].outcome.word(), "Inconclusive");
    }
}
