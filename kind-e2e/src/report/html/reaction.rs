//! A reaction on the page: a bar from the step in load to recovered latency, and a row for each stage. Pure.

use maud::{Markup, html};

use super::chart::percent;
use crate::judge::reaction::{Reaction, Recovery};

/// A part of the bar narrower than this has no room for its seconds, at the width of a phone.
const LABEL_WIDTH: f64 = 0.1;
/// And narrower than this none for its name, at the width of a desk.
const NAME_WIDTH: f64 = 0.14;

/// One stage of a reaction.
struct Stage {
    name: &'static str,
    color: &'static str,
    what: String,
    /// Seconds after the step.
    after: Option<f64>,
    /// Seconds after the stage before it that was seen.
    took: f64,
}

/// A reaction's bar and table.
pub(super) fn one(reaction: &Reaction) -> Markup {
    let stages = stages(reaction);
    let total = stages.iter().map(|stage| stage.took).sum::<f64>().max(0.1);
    html! {
        div.reaction role="img" aria-label="The stages of the reaction, by the seconds that each took" {
            @for stage in stages.iter().filter(|stage| stage.took > 0.0) {
                i class=(stage.color) style={ "width:" (percent(stage.took / total)) } title={ (stage.name) ", " (seconds(stage.took)) } {
                    @if stage.took / total >= NAME_WIDTH { span.name { (stage.name) } }
                    @if stage.took / total >= LABEL_WIDTH { span { (seconds(stage.took)) } }
                }
            }
        }
        table.stages {
            thead { tr { th { "Stage" } th.figure { "After the step" } th.figure { "Took" } th.what { "First seen when" } } }
            tbody {
                tr { td { i.chip.load {} "load" } td.figure { "0 s" } td.figure {} td.what { "the load stepped up, in second " (format!("{:.0}", reaction.step)) } }
                @for stage in &stages {
                    tr {
                        td { i class={ "chip " (stage.color) } {} (stage.name) }
                        td.figure { (stage.after.map_or_else(|| "–".to_owned(), seconds)) }
                        td.figure { @if stage.after.is_some() { (seconds(stage.took)) } @else { "–" } }
                        td.what { (stage.what) }
                    }
                }
            }
        }
    }
}

fn stages(reaction: &Reaction) -> Vec<Stage> {
    let before = reaction.before;
    let (latency, back) = latency(reaction);
    let found = [
        (
            "signal",
            "s1",
            reaction.signal,
            format!("IO slots in use and tasks waiting exceeded the target of {before} workers"),
        ),
        ("decision", "s2", reaction.decision, format!("more than {before} workers were wanted")),
        ("pod", "s3", reaction.pod, "there was a new pod".to_owned()),
        ("first poll", "s4", reaction.first_poll, "a new worker was Ready: its polls are registered".to_owned()),
        (
            "all ready",
            "s5",
            reaction.all_ready,
            format!("the {} workers that the load needs were Ready", reaction.needed),
        ),
        ("latency back", "s6", back, latency),
    ];
    let mut last = 0.0;
    found
        .into_iter()
        .map(|(name, color, after, what)| {
            // One stage may be seen before the one that it follows: it took no time then.
            let took = after.map_or(0.0, |after: f64| (after - last).max(0.0));
            last += took;
            Stage { name, color, what, after, took }
        })
        .collect()
}

/// What is said of the latency, and when it was back.
fn latency(reaction: &Reaction) -> (String, Option<f64>) {
    let worst = reaction.worst_p99.map_or_else(String::new, |worst| format!("; the worst 5 s had {worst:.1} s"));
    let bound = reaction.p99_bound;
    match reaction.latency {
        Recovery::NotSeen => ("no document was due after the step".to_owned(), None),
        Recovery::NeverAbove => (format!("p99 never exceeded {bound:.1} s{worst}"), None),
        Recovery::Back(after) => (format!("p99 by due time is under {bound:.1} s from here on{worst}"), Some(after)),
        Recovery::NotBack => (format!("p99 was not under {bound:.1} s again when the load ended{worst}"), None),
    }
}

fn seconds(seconds: f64) -> String {
    format!("{seconds:.1} s")
}
