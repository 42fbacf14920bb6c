//! The state of every pod, and the image pulls that events tell of: read at the beginning and at the end of a run.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{Api, ListParams};
use serde::{Deserialize, Serialize};

use super::kubernetes::pod_of;

/// The state of every pod, and the pulls that events tell of.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Survey {
    /// Images that were pulled, or that something tried to pull, each with the event's message.
    pub pulls: BTreeMap<String, String>,
    /// Restarts by `namespace/pod`.
    pub restarts: BTreeMap<String, i32>,
    /// Pods whose last container end was for memory.
    pub out_of_memory: BTreeSet<String>,
}

impl Survey {
    /// The same without the pods whose `namespace/pod` begins so, and without the pulls of these images.
    #[must_use]
    pub fn without(mut self, beginnings: &[&str], images: &[&str]) -> Self {
        let begins = |pod: &String| beginnings.iter().any(|beginning| pod.starts_with(beginning));
        self.pulls.retain(|image, _| !images.contains(&image.as_str()));
        self.restarts.retain(|pod, _| !begins(pod));
        self.out_of_memory.retain(|pod| !begins(pod));
        self
    }
}

/// Reads the cluster's events and pods.
pub async fn survey(client: &kube::Client) -> Result<Survey> {
    let all = ListParams::default();
    let events = Api::<Event>::all(client.clone()).list(&all).await.context("reading events")?;
    let pods = Api::<Pod>::all(client.clone()).list(&all).await.context("reading pods")?;
    Ok(survey_of(&events.items, &pods.items))
}

pub(crate) fn survey_of(events: &[Event], pods: &[Pod]) -> Survey {
    let mut survey = Survey::default();
    for event in events {
        let message = event.message.as_deref().unwrap_or_default();
        if let Some(image) = pulled_image(event.reason.as_deref().unwrap_or_default(), message) {
            survey.pulls.entry(image).or_insert_with(|| message.to_owned());
        }
    }
    for pod in pods {
        let state = pod_of(pod);
        let name = format!("{}/{}", pod.metadata.namespace.as_deref().unwrap_or_default(), state.name);
        if state.last_end.as_deref() == Some("OOMKilled") {
            survey.out_of_memory.insert(name.clone());
        }
        survey.restarts.insert(name, state.restarts);
    }
    survey
}

/// The image that an event reports as pulled, or as one to pull.
///
/// The kubelet's words: `Pulling image "x"`, `Successfully pulled image "x"`, `Failed to pull image
/// "x"`, `Back-off pulling image "x"`, and `Container image "x" is not present with pull policy of
/// Never`; `Container image "x" already present on machine` is no pull.
fn pulled_image(reason: &str, message: &str) -> Option<String> {
    let tells = match reason {
        "Pulling" | "ErrImageNeverPull" => true,
        "Pulled" => message.starts_with("Successfully pulled"),
        "Failed" | "BackOff" => message.contains("pull"),
        _ => false,
    };
    let quoted = || message.split('"').nth(1).map_or_else(|| message.to_owned(), str::to_owned);
    tells.then(quoted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_on_purpose_is_left_out() {
        let pulled = |image: &str| (image.to_owned(), "Pulling".to_owned());
        let survey = Survey {
            pulls: [pulled("bad:1"), pulled("bad:2")].into(),
            restarts: [("a/one".to_owned(), 1), ("b/two".to_owned(), 1)].into(),
            out_of_memory: ["a/one".to_owned()].into(),
        };
        let left = survey.without(&["a/"], &["bad:1"]);
        assert!(left.pulls.keys().eq(["bad:2"]), "{left:?}");
        assert!(left.restarts.keys().eq(["b/two"]) && left.out_of_memory.is_empty(), "{left:?}");
    }

    #[test]
    fn a_pull_is_told_from_an_image_that_is_there() {
        let table = [
            ("Pulling", r#"Pulling image "a:1""#, Some("a:1")),
            ("Pulled", r#"Successfully pulled image "b:1" in 2s"#, Some("b:1")),
            ("Pulled", r#"Container image "c:1" already present on machine"#, None),
            ("Failed", r#"Failed to pull image "d:1": not found"#, Some("d:1")),
            ("Failed", "Error: ErrImagePull", None),
            ("BackOff", r#"Back-off pulling image "e:1""#, Some("e:1")),
            ("BackOff", "Back-off restarting failed container", None),
            ("ErrImageNeverPull", r#"Container image "f:1" is not present with pull policy of Never"#, Some("f:1")),
            ("Scheduled", "Successfully assigned", None),
        ];
        for (reason, message, image) in table {
            assert_eq!(pulled_image(reason, message).as_deref(), image, "{reason}: {message}");
        }
    }
}
