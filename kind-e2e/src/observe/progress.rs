//! A progress line on standard error every few seconds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use super::board::Board;
use super::clock::Clock;
use super::sample::Sample;

/// How often.
const PERIOD: Duration = Duration::from_secs(6);

/// Prints lines until `stop`.
pub async fn report(board: Arc<Board>, clock: Clock, stop: CancellationToken) {
    let mut tick = interval(PERIOD);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let phase = board.phase();
        if !phase.is_empty() {
            eprintln!("{}", line(clock.now(), &phase, board.latest().as_ref()));
        }
    }
}

/// Prints one line with the run's second.
pub fn say(clock: Clock, what: &str) {
    eprintln!("[{:>4.0} s] {what}", clock.now());
}

fn line(now: f64, phase: &str, sample: Option<&Sample>) -> String {
    let Some(sample) = sample else {
        return format!("[{now:>4.0} s] {phase}: nothing observed yet");
    };
    let mut parts = Vec::new();
    match sample.fleet.seen() {
        Some(fleet) => parts.push(format!("workers {} of {} ready", fleet.ready, fleet.wanted)),
        None => parts.push("workers unknown".to_owned()),
    }
    match sample.depth.seen() {
        Some(depth) => {
            let depths = depth.iter().map(|(queue, depth)| format!("{} {depth:.0}", short(queue)));
            parts.push(format!("depth {}", depths.collect::<Vec<_>>().join(" ")));
        }
        None => parts.push("depth unknown".to_owned()),
    }
    if sample.load.scheduled > 0 {
        let stored = sample.stored.seen().map_or_else(|| "?".to_owned(), u64::to_string);
        parts.push(format!("stored {stored} of {} acknowledged", sample.load.acknowledged));
        if sample.load.failed > 0 {
            parts.push(format!("{} starts failed", sample.load.failed));
        }
    }
    format!("[{now:>4.0} s] {phase}: {}", parts.join(", "))
}

/// The part of a queue's name that tells it from the others.
fn short(queue: &str) -> &str {
    let name = queue.strip_prefix("document-").unwrap_or(queue);
    let name = name.strip_suffix("-queue").unwrap_or(name);
    name.strip_suffix("-activity").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::cluster::kubernetes::Fleet;
    use crate::cluster::reading::Reading;
    use crate::observe::sample::LoadCounts;

    #[test]
    fn a_line_says_what_is_known_and_what_is_not() {
        assert_eq!(line(3.0, "step/stays", None), "[   3 s] step/stays: nothing observed yet");
        let mut sample = Sample {
            at: 83.0,
            phase: "step/out".to_owned(),
            fleet: Reading::Seen(Fleet { wanted: 6, present: 6, ready: 5 }),
            depth: Reading::Seen(BTreeMap::from([
                ("document-io-activity-queue".to_owned(), 52.0),
                ("document-workflow-queue".to_owned(), 0.0),
            ])),
            stored: Reading::Seen(312),
            load: LoadCounts { scheduled: 341, acknowledged: 340, failed: 0 },
            ..Sample::default()
        };
        let shown = "[  83 s] step/out: workers 5 of 6 ready, depth io 52 workflow 0, stored 312 of 340 acknowledged";
        assert_eq!(line(83.0, "step/out", Some(&sample)), shown);
        sample.fleet = Reading::Gap("refused".to_owned());
        sample.depth = Reading::Gap("refused".to_owned());
        sample.stored = Reading::Gap("refused".to_owned());
        let shown = "[  84 s] step/out: workers unknown, depth unknown, stored ? of 340 acknowledged";
        assert_eq!(line(84.0, "step/out", Some(&sample)), shown);
    }
}
