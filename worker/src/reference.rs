//! Generates the pages of docs/reference from the types that they describe. The tests compare them with the
//! committed pages.
//!
//! `UPDATE_REFERENCE=1 cargo test -p worker reference` writes them.

use std::{fmt::Write as _, fs, path::Path};

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{
    config::{Config, VARIABLES},
    external::Blame,
    metrics::names,
    store::{FOR_GOOD, Refusal, SAMPLES},
    text::KINDS,
};

/// First paragraph of each page.
const GENERATED: &str = "Generated from the worker's source and checked by its tests. To change it, edit the source \
                         and run\n`UPDATE_REFERENCE=1 cargo test -p worker reference`.";

#[test]
fn configuration_md_matches_the_types() {
    check_or_write("configuration.md", &configuration());
}

#[test]
fn metrics_md_matches_the_declarations() {
    check_or_write("metrics.md", &metrics());
}

#[test]
fn failures_md_matches_the_classification() {
    check_or_write("failures.md", &failures());
}

#[test]
fn every_setting_metric_and_failure_is_described() {
    let page = configuration() + &metrics() + &failures();
    let empty: Vec<_> = page.lines().filter(|line| line.contains("|  |")).collect();
    assert!(empty.is_empty(), "a cell is empty in {empty:#?}");
}

/// Compares a page with the committed one, or writes it if the environment asks for that.
fn check_or_write(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference").join(page);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::write(&path, text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "docs/reference/{page} differs from the source: run `UPDATE_REFERENCE=1 cargo test -p worker reference`\n{}",
        first_difference(&committed, text)
    );
}

fn first_difference(committed: &str, generated: &str) -> String {
    let mut pairs = committed.lines().zip(generated.lines());
    match pairs.find(|(committed, generated)| committed != generated) {
        Some((committed, generated)) => format!("committed: {committed}\ngenerated: {generated}"),
        None => "one is the beginning of the other".into(),
    }
}

fn configuration() -> String {
    let schema = SchemaSettings::draft2020_12()
        .with(|settings| settings.inline_subschemas = true)
        .into_generator()
        .into_root_schema_for::<Config>();
    let sections = &schema.as_value()["properties"];
    let defaults = serde_json::to_value(Config::default()).unwrap();
    let mut page = format!(
        "# Configuration\n\n{GENERATED}\n\n\
         Values come from these layers; a later layer overrides an earlier one:\n\n\
         1. the default\n\
         2. `temporal.toml` (address and namespace only)\n\
         3. the file of `--config` or `WORKER_CONFIG`\n\
         4. the environment; an empty variable counts as unset\n\
         5. flags; `--set section.key=value` sets any key\n\n\
         `temporal-worker config` prints each value in force and its origin. An invalid configuration ends the\n\
         program with exit code 2 and a list of all faults. `TEMPORAL_TLS_*`, `TEMPORAL_API_KEY`,\n\
         `TEMPORAL_GRPC_META_*`, `TEMPORAL_PROFILE` and `TEMPORAL_CONFIG_FILE` have the same meaning as in every Temporal SDK.\n"
    );
    let mut current = "";
    for variable in VARIABLES {
        let (section, key) = variable.section_and_key();
        if section != current {
            current = section;
            let meaning = description(&sections[section]);
            let _ = write!(page, "\n## `[{section}]`\n\n{meaning}\n\n");
            page += "| key | variable | type | default | meaning |\n|---|---|---|---|---|\n";
        }
        let schema = &sections[section]["properties"][key];
        let name = variable.name;
        let meaning = description(schema).replace(&format!(" (`{name}`)"), "");
        let (kind, default) = (kind(schema), default(&defaults[section][key]));
        let _ = writeln!(page, "| `{key}` | `{name}` | {kind} | {default} | {meaning} |");
    }
    page
}

/// The comment on a field, as one line of a table.
fn description(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

fn kind(schema: &Value) -> String {
    if let Some(variants) = schema["oneOf"].as_array() {
        let names = variants.iter().filter_map(|variant| variant["const"].as_str());
        let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
        return names.join(" or ");
    }
    let types = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        kinds => kinds.as_array().into_iter().flatten().filter_map(Value::as_str).collect(),
    };
    let kind = match (types.first(), schema["format"].as_str()) {
        (Some(&"string"), Some("password")) => "text, secret",
        (Some(&"string"), Some("uri")) => "URL, its password secret",
        (Some(&"string"), _) => "text",
        (Some(&"integer"), _) => "whole number",
        (Some(&"number"), _) => "number",
        (Some(&"boolean"), _) => "`true` or `false`",
        other => panic!("no words for the type {other:?} of {schema}"),
    };
    kind.into()
}

fn default(value: &Value) -> String {
    match value {
        Value::Null => "unset".into(),
        Value::String(text) => format!("`{text}`"),
        value => format!("`{value}`"),
    }
}

fn metrics() -> String {
    let mut page = format!(
        "# Metrics\n\n{GENERATED}\n\n\
         All metrics are on `:9464/metrics`. A counter or histogram appears with its first event. The SDK's own\n\
         metrics are there too, with the prefix `temporal_`: slots (`temporal_worker_task_slots_used`,\n\
         `temporal_worker_task_slots_available`), pollers (`temporal_num_pollers`), latencies and requests.\n\n\
         | name | type | labels | meaning |\n|---|---|---|---|\n"
    );
    for metric in names::ALL {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = if labels.is_empty() { "none".into() } else { labels.join(", ") };
        let _ =
            writeln!(page, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind, metric.help.replace('|', "\\|"));
    }
    page
}

fn failures() -> String {
    let mut page = format!(
        "# Failures\n\n{GENERATED}\n\n\
         A failure that would come again at every attempt is for good: it fails the activity and the workflow at once.\n\
         It is not retryable, and its type is one of the first table. Every other failure is retried for as long as the\n\
         workflow may run.\n\n\
         ## For good\n\n\
         `document_outcomes_total{{outcome=\"refused\"}}` counts them by type, in the label `poison`.\n\n\
         | type | cause | remedy |\n|---|---|---|\n"
    );
    for kind in KINDS {
        let _ = writeln!(page, "| `{}` | {} | {} |", kind.name, kind.cause, kind.remedy);
    }
    page += "\n## States of Postgres\n\n\
             These states (SQLSTATE) of a statement are for good, with the type `NotStorable`. A state of two characters\n\
             is a class. All others are retried: conflicts, missing tables or rights, resources, connections.\n\n\
             | state | cause | remedy |\n|---|---|---|\n";
    for known in FOR_GOOD {
        let _ = writeln!(page, "| `{}` | {} | {} |", known.state, known.cause, known.remedy);
    }
    page += "\n## Answers of S3\n\n\
             What an answer to the read of a document leads to.\n\n\
             | status | code | cause | outcome | counts for the circuit |\n|---|---|---|---|---|\n";
    for (status, code, cause) in SAMPLES {
        let refusal = Refusal { status, code: code.into(), region: None, retry_after: None };
        let blame = refusal.cause().blame();
        let outcome = match (refusal.cause().poison("", &refusal), blame) {
            (Some(poison), _) => format!("for good: `{}`", poison.kind()),
            (None, Blame::Request) => "retried until somebody corrects the settings; the failure names them".into(),
            (None, Blame::Load) => "retried after `Retry-After`, at most 30 s; else with back-off".into(),
            (None, Blame::Service) => "retried within the attempt, then with back-off".into(),
        };
        let code = if code.is_empty() { "other".to_owned() } else { format!("`{code}`") };
        let counts = if blame == Blame::Request { "no" } else { "yes" };
        let _ = writeln!(page, "| {status} | {code} | {cause} | {outcome} | {counts} |");
    }
    page += "\nNo answer, a broken connection and a timeout are retried like 500.\n\n\
             ## Other failures\n\n\
             | type | cause | outcome |\n|---|---|---|\n\
             | `Transient` | any failure of a server, of a connection, or of a worker that shuts down | retried after 0.5 s, \
             then twice as long each time, up to 30 s |\n\
             | `Transient` | the circuit breaker of S3 or Postgres is open | retried when the circuit may close, within 200 s |\n\
             | `Transient` | the worker had no memory for the document for 30 s | retried after a second, by any worker |\n\
             | heartbeat timeout | the worker died | retried after 0.5 s, while that worker reads no other large document; \
             after three deaths it is for good: `ReaderKilled` |\n\
             | start-to-close timeout | services together took longer than an attempt may, or the worker had too little CPU to \
             read a document | retried after 0.5 s, then twice as long each time, up to 30 s |\n\
             | `ClaimLost` | a claim expired or changed | the workflow runs its steps again, at most three times in all |\n\
             | `ActivityPause`, `ActivityReset` | an operator paused or reset the activity | the next attempt begins when \
             Temporal says so |\n";
    page
}
