//! What two surveys of the cluster, at the beginning and at the end of a run, show: pulls and restarts. Pure.

use super::verdict::{Check, Outcome, Question, faults};
use crate::cluster::reading::Reading;
use crate::cluster::survey::Survey;

/// What two surveys show. `installed` says that the cluster is that of others, into which a bundle was installed.
pub fn checks(began: &Reading<Survey>, ended: &Reading<Survey>, installed: bool) -> Vec<Check> {
    let pulls = Question::new(
        "no-pull",
        "no image was pulled",
        "no event of a pull in any namespace",
        "every image is in the node image: a pull needs a network that a run must not need",
    );
    let restarts = Question::new(
        "no-restart",
        "no pod restarted, none was killed for memory",
        "0 restarts during the run, in any namespace",
        "restarts before the run are not counted",
    );
    let after = match ended {
        Reading::Seen(after) => after,
        Reading::Gap(why) => return vec![pulls.unseen(why), restarts.unseen(why)],
    };
    // A cluster of others pulls what was installed, each image by its digest.
    let pulled = after.pulls.iter().filter(|(image, _)| !(installed && image.contains("@sha256:")));
    let pulled: Vec<String> = pulled.map(|(image, message)| format!("{image}: {message}")).collect();
    let pulls = pulls.answer(format!("{} images pulled", pulled.len()), faults(pulled));
    let restarts = match began {
        Reading::Seen(before) => {
            let compared = format!("{} pods compared", after.restarts.len());
            restarts.answer(compared, faults(restarted(before, after)))
        }
        // Events tell of pulls whatever was before; restarts need both surveys.
        Reading::Gap(why) => restarts.answer("not seen", Outcome::inconclusive(why)),
    };
    vec![pulls, restarts]
}

fn restarted(before: &Survey, after: &Survey) -> Vec<String> {
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
    broken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pull_by_digest_into_a_cluster_of_others_is_no_fault() {
        let judged = |image: &str, installed| {
            let mut survey = Survey::default();
            survey.pulls.insert(image.to_owned(), "Pulling".to_owned());
            let checks = checks(&Reading::Seen(Survey::default()), &Reading::Seen(survey), installed);
            matches!(checks[0].outcome, Outcome::Pass)
        };
        assert!(judged("registry.example.com/slipway@sha256:ab", true));
        assert!(!judged("registry.example.com/slipway@sha256:ab", false));
        assert!(!judged("slipway.local/redis:7", true));
    }
}
