//! Instant queries to Prometheus, and what a sample takes from their answers.
//!
//! The series are those of the job `end-to-end-tests`, which scrapes each second. Their names begin with `observed_`.
//! The autoscaler reads the same metrics as other series, which are scraped every 15 s.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

/// The depth of every queue under both of the guide's metric names.
pub const DEPTH_QUERY: &str = r#"{__name__=~"observed_temporal_(workflow|activity)_task_queue_depth"}"#;

/// Slots in use by queue over all workers. Temporal's own workers have such slots, too, of other queues.
pub const SLOTS_QUERY: &str =
    r#"sum by (task_queue) (observed_temporal_worker_task_slots_used{task_queue=~"document-.*"})"#;

/// The same by worker.
pub const WORKERS_QUERY: &str = r#"sum by (pod) (observed_temporal_worker_task_slots_used{task_queue=~"document-.*"})"#;

/// One series of an instant query's answer.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Series {
    /// The series' labels.
    pub metric: BTreeMap<String, String>,
    value: (f64, String),
}

impl Series {
    /// The value as a finite number.
    fn number(&self) -> Result<f64> {
        let number: f64 = self.value.1.parse().with_context(|| format!("{:?} is no number", self.value.1))?;
        ensure!(number.is_finite(), "{:?} is {number}", self.metric);
        Ok(number)
    }
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    #[serde(default)]
    error: String,
    #[serde(default)]
    data: Option<Data>,
}

#[derive(Deserialize)]
struct Data {
    result: Vec<Series>,
}

/// Asks Prometheus at `base` (e.g. `http://127.0.0.1:9090`) and returns the series.
pub async fn query(http: &reqwest::Client, base: &str, promql: &str) -> Result<Vec<Series>> {
    let mut url = url::Url::parse(base).with_context(|| format!("prometheus address {base}"))?;
    url.set_path("/api/v1/query");
    url.query_pairs_mut().append_pair("query", promql);
    let response = http.get(url).send().await.context("asking prometheus")?;
    let status = response.status();
    let body = response.bytes().await.context("reading prometheus' answer")?;
    series_of(&body).with_context(|| format!("prometheus at {base} answered {status}"))
}

fn series_of(body: &[u8]) -> Result<Vec<Series>> {
    let answer: Answer = serde_json::from_slice(body).context("reading prometheus' answer")?;
    if answer.status != "success" {
        bail!("prometheus answered {}: {}", answer.status, answer.error);
    }
    Ok(answer.data.context("prometheus' answer has no data")?.result)
}

/// The greatest value of each value of `label`.
///
/// Every worker exports the same depth, and they read it at different times: the greatest is the one
/// that the autoscaler could have seen. No series at all is an error: nothing was observed.
pub fn greatest_by(label: &str, series: &[Series]) -> Result<BTreeMap<String, f64>> {
    ensure!(!series.is_empty(), "prometheus has no such series");
    let mut greatest = BTreeMap::<String, f64>::new();
    for one in series {
        let Some(name) = one.metric.get(label) else {
            continue;
        };
        let number = one.number()?;
        let entry = greatest.entry(name.clone()).or_insert(number);
        *entry = entry.max(number);
    }
    Ok(greatest)
}

/// The one value of an answer that is a sum or a count. No series at all is an error: nothing was observed.
pub fn total(series: &[Series]) -> Result<f64> {
    match series {
        [one] => one.number(),
        _ => bail!("{} series where one was due", series.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPTHS: &str = r#"{"status":"success","data":{"resultType":"vector","result":[
        {"metric":{"__name__":"temporal_activity_task_queue_depth","queue":"io","pod":"a"},"value":[1.5,"52"]},
        {"metric":{"__name__":"temporal_activity_task_queue_depth","queue":"io","pod":"b"},"value":[1.5,"49"]},
        {"metric":{"__name__":"temporal_workflow_task_queue_depth","queue":"wf","pod":"a"},"value":[1.5,"0"]}]}}"#;

    #[test]
    fn depth_is_the_greatest_that_a_worker_reports() {
        let depth = greatest_by("queue", &series_of(DEPTHS.as_bytes()).unwrap()).unwrap();
        assert_eq!(depth, BTreeMap::from([("io".to_owned(), 52.0), ("wf".to_owned(), 0.0)]));
    }

    #[test]
    fn a_total_is_one_series() {
        let body = br#"{"status":"success","data":{"result":[{"metric":{},"value":[1,"7"]}]}}"#;
        assert_eq!(total(&series_of(body).unwrap()).unwrap(), 7.0);
        assert!(total(&series_of(DEPTHS.as_bytes()).unwrap()).is_err());
        assert!(total(&[]).is_err());
    }

    #[test]
    fn no_series_is_no_observation() {
        let body = br#"{"status":"success","data":{"resultType":"vector","result":[]}}"#;
        let error = greatest_by("queue", &series_of(body).unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "prometheus has no such series");
    }

    #[test]
    fn not_a_number_is_no_observation() {
        let body = br#"{"status":"success","data":{"result":[{"metric":{"queue":"io"},"value":[1,"NaN"]}]}}"#;
        assert!(greatest_by("queue", &series_of(body).unwrap()).is_err());
    }

    #[test]
    fn an_error_of_prometheus_is_told() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"parse error"}"#;
        assert_eq!(series_of(body).unwrap_err().to_string(), "prometheus answered error: parse error");
    }
}
