//! The guide's monitoring commands, word for word, and what a reader expects of each.
//!
//! The texts are the guide's own and must not be changed: they work as printed.
//! What is expected is pure and works on a command's output.

use serde::{Deserialize, Serialize};

use crate::cluster::{CPU_QUEUE, IO_QUEUE, SCALED_OBJECT, WORKFLOW_QUEUE};

/// Where a command of the guide makes sense: its service names resolve in the cluster only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Place {
    /// On this machine, with kubectl.
    Host,
    /// In a pod of the worker's namespace.
    Pod,
}

/// What a reader looks for in a command's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Expect {
    /// As many pods as are expected, each Running.
    RunningPods,
    /// Log lines.
    Logs,
    /// The ScaledObject, READY True and ACTIVE present.
    ReadyScaledObject,
    /// The workflow queue's depth.
    WorkflowDepth,
    /// The activity queues' depth.
    ActivityDepth,
    /// CPU and memory of each pod.
    Usage,
}

/// One command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Printed {
    /// The text of the guide.
    pub(super) text: &'static str,
    /// Where it runs.
    pub(super) place: Place,
    /// What its output has to hold.
    pub(super) expect: Expect,
}

/// The section "Monitoring Commands", in its order.
pub(super) const MONITORING: [Printed; 6] = [
    Printed { text: "kubectl get pods -l app=temporal-worker", place: Place::Host, expect: Expect::RunningPods },
    Printed { text: "kubectl logs -l app=temporal-worker --tail=100", place: Place::Host, expect: Expect::Logs },
    Printed {
        text: "kubectl get scaledobject temporal-worker-scaler",
        place: Place::Host,
        expect: Expect::ReadyScaledObject,
    },
    Printed {
        text: "curl -s http://temporal-worker:9464/metrics | grep temporal_workflow_task_queue_depth",
        place: Place::Pod,
        expect: Expect::WorkflowDepth,
    },
    Printed {
        text: "curl -s http://temporal-worker:9464/metrics | grep temporal_activity_task_queue_depth",
        place: Place::Pod,
        expect: Expect::ActivityDepth,
    },
    Printed { text: "kubectl top pods -l app=temporal-worker", place: Place::Host, expect: Expect::Usage },
];

/// What the output holds of what is expected, in words.
///
/// # Errors
/// What is missing.
pub(super) fn find(expect: Expect, stdout: &str, pods: usize) -> Result<String, String> {
    match expect {
        Expect::RunningPods => running_pods(stdout, pods),
        Expect::Logs => logs(stdout),
        Expect::ReadyScaledObject => ready_scaled_object(stdout),
        Expect::WorkflowDepth => depths(stdout, "temporal_workflow_task_queue_depth", &[WORKFLOW_QUEUE]),
        Expect::ActivityDepth => depths(stdout, "temporal_activity_task_queue_depth", &[IO_QUEUE, CPU_QUEUE]),
        Expect::Usage => usage(stdout, pods),
    }
}

/// The expectation in words.
pub(super) fn expectation(expect: Expect, pods: usize) -> String {
    match expect {
        Expect::RunningPods => format!("{pods} pods, each Running"),
        Expect::Logs => "log lines".to_owned(),
        Expect::ReadyScaledObject => format!("{SCALED_OBJECT} with READY True and ACTIVE True or False"),
        Expect::WorkflowDepth => format!("a depth of {WORKFLOW_QUEUE}"),
        Expect::ActivityDepth => format!("a depth of {IO_QUEUE} and of {CPU_QUEUE}"),
        Expect::Usage => format!("CPU and memory of {pods} pods"),
    }
}

fn running_pods(stdout: &str, pods: usize) -> Result<String, String> {
    let statuses: Vec<&str> = stdout.lines().skip(1).map(|row| row.split_whitespace().nth(2).unwrap_or("?")).collect();
    let running = statuses.iter().filter(|status| **status == "Running").count();
    if running == pods && statuses.len() == pods {
        Ok(format!("{running} pods Running"))
    } else {
        Err(format!("{} pods, {running} Running, where {pods} were due", statuses.len()))
    }
}

fn logs(stdout: &str) -> Result<String, String> {
    match stdout.lines().filter(|line| !line.trim().is_empty()).count() {
        0 => Err("no log line".to_owned()),
        lines => Ok(format!("{lines} log lines")),
    }
}

fn ready_scaled_object(stdout: &str) -> Result<String, String> {
    let column = |name| column(stdout, SCALED_OBJECT, name);
    match (column("READY").as_deref(), column("ACTIVE").as_deref()) {
        (Some("True"), Some(active @ ("True" | "False"))) => Ok(format!("READY True, ACTIVE {active}")),
        (ready, active) => {
            Err(format!("READY {}, ACTIVE {}", ready.unwrap_or("is absent"), active.unwrap_or("is absent")))
        }
    }
}

/// The value under a heading, found by the heading's place: a column may be empty.
fn column(table: &str, row: &str, heading: &str) -> Option<String> {
    let mut lines = table.lines();
    let head = lines.next()?;
    let at = head.split_whitespace().any(|name| name == heading).then(|| head.find(heading))??;
    let line = lines.find(|line| line.split_whitespace().next() == Some(row))?;
    line.get(at..)?.split_whitespace().next().map(str::to_owned)
}

fn depths(stdout: &str, metric: &str, queues: &[&str]) -> Result<String, String> {
    let mut found = Vec::new();
    for queue in queues {
        let label = format!("queue=\"{queue}\"");
        let value = stdout
            .lines()
            .filter(|line| line.starts_with(&format!("{metric}{{")) && line.contains(&label))
            .find_map(|line| line.rsplit_once('}')?.1.split_whitespace().next()?.parse::<f64>().ok())
            .filter(|value| value.is_finite());
        let Some(value) = value else {
            return Err(format!("no {metric} of {queue}"));
        };
        found.push(format!("{queue} {value}"));
    }
    Ok(found.join(", "))
}

fn usage(stdout: &str, pods: usize) -> Result<String, String> {
    let rows: Vec<Vec<&str>> = stdout.lines().skip(1).map(|row| row.split_whitespace().collect()).collect();
    let shown = |row: &&Vec<&str>| {
        row.len() == 3
            && row[1].trim_end_matches('m').parse::<u64>().is_ok()
            && row[2].starts_with(|first: char| first.is_ascii_digit())
    };
    let whole = rows.iter().filter(shown).count();
    if whole == pods && rows.len() == pods {
        let each: Vec<String> = rows.iter().map(|row| format!("{} {}", row[1], row[2])).collect();
        Ok(each.join(", "))
    } else {
        Err(format!("{whole} of {} rows tell CPU and memory, where {pods} were due", rows.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_have_to_run_and_be_as_many() {
        let table = "NAME   READY   STATUS    RESTARTS   AGE\na   1/1     Running   0          1m\nb   1/1     Running   0     1m\n";
        assert_eq!(find(Expect::RunningPods, table, 2).unwrap(), "2 pods Running");
        assert!(find(Expect::RunningPods, table, 3).is_err());
        let leaving = table.replacen("Running", "Terminating", 1);
        assert_eq!(find(Expect::RunningPods, &leaving, 2).unwrap_err(), "2 pods, 1 Running, where 2 were due");
        assert!(find(Expect::RunningPods, "", 3).is_err());
    }

    #[test]
    fn a_scaled_object_has_to_be_ready_and_say_whether_it_is_active() {
        let head = "NAME                     SCALETARGETKIND      SCALETARGETNAME   MIN   MAX   READY   ACTIVE   FALLBACK   AGE";
        let row = |ready: &str, active: &str| {
            format!(
                "{head}\ntemporal-worker-scaler   apps/v1.Deployment   temporal-worker   3     20    {ready:<5}   {active:<6}   False      5m\n"
            )
        };
        let found = find(Expect::ReadyScaledObject, &row("True", "False"), 3);
        assert_eq!(found.unwrap(), "READY True, ACTIVE False");
        assert!(find(Expect::ReadyScaledObject, &row("False", "True"), 3).is_err());
        let unknown = find(Expect::ReadyScaledObject, &row("True", "Unknown"), 3).unwrap_err();
        assert_eq!(unknown, "READY True, ACTIVE Unknown");
        assert!(find(Expect::ReadyScaledObject, head, 3).is_err());
    }

    #[test]
    fn a_depth_is_a_number_of_the_right_queue() {
        let text = "# HELP temporal_workflow_task_queue_depth d\n# TYPE temporal_workflow_task_queue_depth gauge\n\
                    temporal_workflow_task_queue_depth{queue=\"document-workflow-queue\"} 4\n";
        assert_eq!(find(Expect::WorkflowDepth, text, 3).unwrap(), "document-workflow-queue 4");
        let help = text.lines().take(2).collect::<Vec<_>>().join("\n");
        assert!(find(Expect::WorkflowDepth, &help, 3).is_err(), "a help line is no depth");
        let one = "temporal_activity_task_queue_depth{queue=\"document-io-activity-queue\"} 0\n";
        let missing = find(Expect::ActivityDepth, one, 3).unwrap_err();
        assert_eq!(missing, "no temporal_activity_task_queue_depth of document-cpu-activity-queue");
        let nan = "temporal_workflow_task_queue_depth{queue=\"document-workflow-queue\"} NaN\n";
        assert!(find(Expect::WorkflowDepth, nan, 3).is_err());
    }

    #[test]
    fn usage_is_a_row_a_pod() {
        let table = "NAME   CPU(cores)   MEMORY(bytes)\na      12m          18Mi\nb      9m           17Mi\n";
        assert_eq!(find(Expect::Usage, table, 2).unwrap(), "12m 18Mi, 9m 17Mi");
        assert!(find(Expect::Usage, table, 3).is_err());
        assert!(find(Expect::Usage, &table.replace("18Mi", "<unknown>"), 2).is_err());
    }

    #[test]
    fn logs_are_lines() {
        assert_eq!(find(Expect::Logs, "a\nb\n", 3).unwrap(), "2 log lines");
        assert!(find(Expect::Logs, "\n", 3).is_err());
    }
}
