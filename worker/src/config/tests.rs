//! How the layers add up, and that every fault is reported at once.

use std::io::Write as _;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn load(variables: &[(&str, &str)]) -> Result<Config, Faults> {
    let sources = Sources {
        environment: environment(variables),
        ..Sources::default()
    };
    Config::load(&sources).map(|(config, _)| config)
}

#[test]
fn the_defaults_are_the_guides_and_have_no_fault() {
    let config = load(&[]).unwrap();
    assert_eq!(config, Config::default());
    let slots = &config.concurrency;
    assert_eq!((slots.workflow_slots, slots.io_slots, slots.cpu_slots), (3, 5, 2));
    assert_eq!((slots.workflow_polls, slots.io_polls, slots.cpu_polls), (2, 2, 1));
    assert_eq!((config.pools.io_threads, config.pools.cpu_threads), (10, 4));
    assert_eq!(
        (config.database.pool_size, config.database.max_overflow),
        (20, 30)
    );
}

#[test]
fn a_flag_beats_the_environment_which_beats_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "[concurrency]\nworkflow_slots = 7\nio_slots = 8\ncpu_slots = 3\n[pools]\nio_threads = 12"
    )
    .unwrap();
    let sources = Sources {
        file: Some(file.path()),
        environment: environment(&[
            ("TEMPORAL_WORKFLOW_CONCURRENCY", "9"),
            ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "10"),
        ]),
        flags: vec![("concurrency.workflow_slots".into(), "11".into())],
        temporal_toml: false,
    };
    let (config, _) = Config::load(&sources).unwrap();
    let slots = &config.concurrency;
    assert_eq!(
        (slots.workflow_slots, slots.io_slots, slots.cpu_slots),
        (11, 10, 3)
    );
}

#[test]
fn every_fault_is_reported_at_once() {
    let faults = load(&[
        ("TEMPORAL_WORKFLOW_CONCURRENCY", "1"),
        ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "many"),
        ("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "5"),
        ("DATABASE_URL", "mysql://x/y"),
        ("DOCUMENT_STORE_URL", "ftp://x"),
        ("METRICS_ADDRESS", "9464"),
        ("LOG_FORMAT", "xml"),
    ])
    .unwrap_err();
    let text = faults.to_string();
    for expected in [
        "TEMPORAL_IO_ACTIVITY_CONCURRENCY is \"many\": it must be a whole number",
        "concurrency.workflow_slots (TEMPORAL_WORKFLOW_CONCURRENCY) is 1: it must be at least 2",
        "pools.cpu_threads is 4, fewer than concurrency.cpu_slots, 5",
        "database.url has the scheme \"mysql\"",
        "documents.store_url is \"ftp://x\"",
        "service.metrics_address is \"9464\"",
        "LOG_FORMAT is \"xml\": it must be text or json",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert_eq!(faults.list().len(), 7, "{text}");
}

#[test]
fn an_unknown_key_and_an_unknown_section_of_the_file_are_faults() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[concurrency]\nworkflow_slot = 7\n[pool]\nx = 1").unwrap();
    let sources = Sources {
        file: Some(file.path()),
        ..Sources::default()
    };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(text.contains("workflow_slot"), "{text}");
    assert!(text.contains("there is no section [pool]"), "{text}");
}

#[test]
fn a_missing_file_and_an_unknown_flag_are_faults() {
    let sources = Sources {
        file: Some(Path::new("/nonexistent/worker.toml")),
        flags: vec![("concurrency.slots".into(), "1".into())],
        ..Sources::default()
    };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(
        text.contains("there is no file /nonexistent/worker.toml"),
        "{text}"
    );
    assert!(
        text.contains("there is no setting \"concurrency.slots\""),
        "{text}"
    );
}

#[test]
fn one_half_of_the_s3_credentials_is_a_fault() {
    let text = load(&[("AWS_ACCESS_KEY_ID", "12345")]).unwrap_err().to_string();
    assert!(text.contains("belong together"), "{text}");
}

#[test]
fn plain_http_to_s3_must_be_allowed() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://s3:7070");
    assert!(
        load(&[endpoint])
            .unwrap_err()
            .to_string()
            .contains("AWS_ALLOW_HTTP")
    );
    assert!(
        load(&[endpoint, ("AWS_ALLOW_HTTP", "true")])
            .unwrap()
            .documents
            .s3_allow_http
    );
}

#[test]
fn values_in_force_are_printed_with_their_origin_and_without_secrets() {
    let sources = Sources {
        environment: environment(&[
            ("DATABASE_URL", "postgres://slipway:hunter2@postgres/documents"),
            ("AWS_ACCESS_KEY_ID", "12345"),
            ("AWS_SECRET_ACCESS_KEY", "hunter3"),
        ]),
        ..Sources::default()
    };
    let (config, figment) = Config::load(&sources).unwrap();
    let text = render(&config, &figment);
    assert!(text.contains("workflow_slots = 3\n"), "{text}");
    assert!(text.contains("# environment DATABASE_URL"), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn every_key_can_be_set_by_a_variable() {
    let value = serde_json::to_value(Config::default()).unwrap();
    for (section, values) in value.as_object().unwrap() {
        for key in values.as_object().unwrap().keys() {
            let path = format!("{section}.{key}");
            assert!(
                environment::kind_of_key(&path).is_some(),
                "{path} is not in VARIABLES"
            );
        }
    }
}
