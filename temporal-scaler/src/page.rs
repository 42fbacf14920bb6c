//! The slots on a worker's /metrics page. The page is read as it comes in, so that its size does not matter.
//!
//! Temporal's SDKs show `temporal_worker_task_slots_used` and `temporal_worker_task_slots_available` with the labels
//! `task_queue` and `worker_type`, and count the attempts that failed. Nothing else of a page is kept.

use crate::queue::Queue;

/// How the metrics of all SDKs begin.
const PREFIX: &str = "temporal_";
/// The metrics of the slots.
const USED: &str = "temporal_worker_task_slots_used";
const AVAILABLE: &str = "temporal_worker_task_slots_available";

/// Bytes of the longest line that is read. The rest of a longer line is skipped.
const LONGEST_LINE: usize = 8 << 10;

/// Bytes of the largest page that is read.
pub(crate) const LARGEST_PAGE: usize = 8 << 20;

/// The greatest value of a series that is read: up to here a sum of whole numbers is exact.
const GREATEST_VALUE: f64 = 9e15;

/// The slots of one worker for one queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Slots {
    pub(crate) used: f64,
    /// Used and available.
    pub(crate) total: f64,
    /// Attempts that have failed since the worker started.
    pub(crate) failed: f64,
}

/// Finds the slots of some queues in a page that comes in pieces.
#[derive(Debug)]
pub(crate) struct PageReader<'a> {
    queues: &'a [Queue],
    namespace: &'a str,
    /// By queue: the sum of each metric's series.
    used: Vec<Option<f64>>,
    available: Vec<Option<f64>>,
    failed: Vec<Option<f64>>,
    /// The begin of a line whose end has not come in yet.
    begin: Vec<u8>,
    /// Whether the line is too long, so that its rest is skipped.
    skips: bool,
}

impl<'a> PageReader<'a> {
    /// For the queues of a Temporal namespace.
    pub(crate) fn new(queues: &'a [Queue], namespace: &'a str) -> Self {
        let none = vec![None; queues.len()];
        let (used, available, failed) = (none.clone(), none.clone(), none);
        Self { queues, namespace, used, available, failed, begin: Vec::new(), skips: false }
    }

    /// Takes in the next piece.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        let mut parts = piece.split(|byte| *byte == b'\n');
        // The last part has no end of line behind it. `split` gives at least one part.
        let last = parts.next_back().unwrap_or_default();
        for part in parts {
            self.extend(part);
            self.end_line();
        }
        self.extend(last);
    }

    fn extend(&mut self, part: &[u8]) {
        self.skips |= self.begin.len() + part.len() > LONGEST_LINE;
        match self.skips {
            true => self.begin.clear(),
            false => self.begin.extend_from_slice(part),
        }
    }

    fn end_line(&mut self) {
        let line = std::mem::take(&mut self.begin);
        if let Ok(line) = std::str::from_utf8(&line) {
            self.line(line);
        }
        // Its memory serves the next line.
        self.begin = line;
        self.begin.clear();
        self.skips = false;
    }

    fn line(&mut self, line: &str) {
        // Most lines end here.
        if !line.starts_with(PREFIX) {
            return;
        }
        let (name, labels) = line.split_at(line.find('{').unwrap_or(line.len()));
        let slots = name == USED || name == AVAILABLE;
        let failures = self.queues.iter().any(|queue| is_counter(name, queue.kind.failures()));
        if !slots && !failures {
            return;
        }
        let Some(series) = Series::parse(labels) else { return };
        // Some SDKs name the namespace. A worker may serve two.
        if series.label("namespace").is_some_and(|namespace| namespace != self.namespace) {
            return;
        }
        let sums = match name {
            USED => &mut self.used,
            AVAILABLE => &mut self.available,
            _ => &mut self.failed,
        };
        for (queue, sum) in self.queues.iter().zip(sums) {
            let of_kind = match slots {
                true => series.label("worker_type") == Some(queue.kind.worker_type()),
                false => is_counter(name, queue.kind.failures()),
            };
            if of_kind && series.label("task_queue") == Some(queue.name.as_str()) {
                *sum = Some(sum.unwrap_or(0.0) + series.value);
            }
        }
    }

    /// The slots of each queue. `None`: the page does not say how many there are.
    pub(crate) fn finish(mut self) -> Vec<Option<Slots>> {
        self.end_line();
        let slots = self.used.into_iter().zip(self.available).zip(self.failed);
        // Without the available slots, as for a worker that sizes itself by the load, the total is unknown.
        slots.map(|((used, free), failed)| Some(slots_of(used, free?, failed))).collect()
    }
}

fn slots_of(used: Option<f64>, free: f64, failed: Option<f64>) -> Slots {
    let used = used.unwrap_or(0.0);
    Slots { used, total: used + free, failed: failed.unwrap_or(0.0) }
}

/// Whether a metric is this counter. Some exporters add `_total` to the name.
fn is_counter(name: &str, counter: &str) -> bool {
    name.strip_suffix("_total").unwrap_or(name) == counter
}

/// The labels and the value of a line.
#[derive(Debug, PartialEq)]
struct Series {
    labels: Vec<(String, String)>,
    value: f64,
}

impl Series {
    /// Reads what follows a metric's name: `{name="value",…} value [time]`.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.strip_prefix('{')?;
        let mut labels = Vec::new();
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                let value: f64 = after.split_ascii_whitespace().next()?.parse().ok()?;
                return (0.0..=GREATEST_VALUE).contains(&value).then_some(Self { labels, value });
            }
            let (name, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.push((name.trim().to_owned(), value));
            rest = after;
        }
    }

    fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str())
    }
}

/// The text up to the closing quote, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => value.push(match letters.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            letter => value.push(letter),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Kind;

    const PAGE: &str = r#"# HELP temporal_worker_task_slots_used In use
# TYPE temporal_worker_task_slots_used gauge
temporal_worker_task_slots_used{task_queue="io",worker_type="ActivityWorker"} 2
temporal_worker_task_slots_used{namespace="ns",service_name="x",task_queue="io",worker_type="ActivityWorker"} 1 1700000000
temporal_worker_task_slots_used{namespace="other",task_queue="io",worker_type="ActivityWorker"} 50
temporal_worker_task_slots_used{task_queue="io",worker_type="LocalActivityWorker"} 50
temporal_worker_task_slots_used_total{task_queue="io",worker_type="ActivityWorker"} 50
temporal_worker_task_slots_available{worker_type="ActivityWorker",task_queue="io",} 4
temporal_worker_task_slots_available{task_queue="io",worker_type="WorkflowWorker"} 10
temporal_worker_task_slots_used{task_queue="a \"b\"\\c}",worker_type="WorkflowWorker"} 3
temporal_worker_task_slots_available{task_queue="a \"b\"\\c}",worker_type="WorkflowWorker"} 0
temporal_worker_task_slots_used{task_queue="sized",worker_type="ActivityWorker"} 3
temporal_worker_task_slots_available{task_queue="bad",worker_type="ActivityWorker"} NaN
temporal_worker_task_slots_available{task_queue="bad",worker_type="ActivityWorker"} -3
temporal_worker_task_slots_available{task_queue="bad",worker_type="ActivityWorker"} 1e308
temporal_worker_task_slots_available{task_queue="bad"} 3
temporal_worker_task_slots_available{task_queue="bad
temporal_activity_execution_failed{activity_type="a",task_queue="io"} 3
temporal_activity_execution_failed_total{activity_type="b",task_queue="io"} 4
temporal_activity_execution_failed{activity_type="b",task_queue="other"} 50
temporal_workflow_task_execution_failed{task_queue="io"} 2
temporal_worker_task_slots_available{task_queue="last",worker_type="ActivityWorker"} 9"#;

    fn queues() -> Vec<Queue> {
        let table = [
            (Kind::Activity, "io"),
            (Kind::Workflow, "io"),
            (Kind::Workflow, r#"a "b"\c}"#),
            (Kind::Activity, "sized"),
            (Kind::Activity, "bad"),
            (Kind::Activity, "last"),
        ];
        table.map(|(kind, name)| Queue { kind, name: name.to_owned(), slots: 1.0 }).into()
    }

    fn expected() -> Vec<Option<Slots>> {
        let slots = |used, total, failed| Some(Slots { used, total, failed });
        let known = [slots(3.0, 7.0, 7.0), slots(0.0, 10.0, 2.0), slots(3.0, 3.0, 0.0)];
        known.into_iter().chain([None, None, slots(0.0, 9.0, 0.0)]).collect()
    }

    #[test]
    fn slots_are_those_of_the_queue_its_kind_and_the_namespace() {
        let queues = queues();
        let mut reader = PageReader::new(&queues, "ns");
        reader.feed(PAGE.as_bytes());
        assert_eq!(reader.finish(), expected());
    }

    #[test]
    fn the_pieces_of_a_page_may_end_anywhere() {
        let queues = queues();
        for size in [1, 2, 7, 64, 500] {
            let mut reader = PageReader::new(&queues, "ns");
            PAGE.as_bytes().chunks(size).for_each(|piece| reader.feed(piece));
            assert_eq!(reader.finish(), expected(), "pieces of {size}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory_and_hides_no_other_line() {
        let queues = queues();
        let mut reader = PageReader::new(&queues, "ns");
        let long = format!("{USED}{{task_queue=\"");
        reader.feed(long.as_bytes());
        for _ in 0..10_000 {
            reader.feed(&[b'x'; 100]);
            assert!(reader.begin.capacity() <= 2 * LONGEST_LINE);
        }
        reader.feed(b"\",worker_type=\"ActivityWorker\"} 7\n\xff\xfe\n");
        reader.feed(PAGE.as_bytes());
        assert_eq!(reader.finish(), expected());
    }

    #[test]
    fn an_empty_page_has_no_slots() {
        assert_eq!(PageReader::new(&queues(), "ns").finish(), vec![None; 6]);
    }
}
