//! The order of the layers, and that all faults are reported at once.

use std::io::Write as _;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn load(variables: &[(&str, &str)]) -> Result<Config, Faults> {
    let sources = Sources { environment: environment(variables), ..Sources::default() };
    Config::load(&sources).map(|(config, _)| config)
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, Faults> {
    let file = file(text);
    let sources = Sources { file: Some(file.path()), environment: environment(variables), ..Sources::default() };
    Config::load(&sources).map(|(config, _)| config)
}

#[test]
fn the_defaults_match_the_guide_and_are_valid() {
    let config = load(&[]).unwrap();
    assert_eq!(config, Config::default());
    let slots = &config.concurrency;
    assert_eq!((slots.workflow_slots, slots.io_slots, slots.cpu_slots), (3, 5, 2));
    assert_eq!((slots.workflow_polls, slots.io_polls, slots.cpu_polls), (2, 2, 1));
    assert_eq!((config.pools.io_threads, config.pools.cpu_threads), (10, 4));
    assert_eq!((config.database.pool_size, config.database.max_overflow), (20, 30));
}

#[test]
fn flags_override_the_environment_which_overrides_the_file() {
    let file = file("[concurrency]\nworkflow_slots = 7\nio_slots = 8\ncpu_slots = 3\n[pools]\nio_threads = 12");
    let sources = Sources {
        file: Some(file.path()),
        environment: environment(&[("TEMPORAL_WORKFLOW_CONCURRENCY", "9"), ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "10")]),
        flags: vec![("concurrency.workflow_slots".into(), "11".into())],
        temporal_toml: false,
    };
    let (config, _) = Config::load(&sources).unwrap();
    let slots = &config.concurrency;
    assert_eq!((slots.workflow_slots, slots.io_slots, slots.cpu_slots), (11, 10, 3));
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
fn every_fault_of_one_section_of_the_file_is_reported_at_once() {
    let text = load_file(
        "[concurrency]\nworkflow_slot = 7\ncpu_slots = \"two\"\nio_slots = -1\n[pool]\nx = 1\n\
         [pools]\ncpu_threads = 1\n[documents]\ns3_region = 12345",
        &[],
    )
    .unwrap_err()
    .to_string();
    for expected in [
        "there is no setting concurrency.workflow_slot: did you mean concurrency.workflow_slots?",
        "must be a whole number: invalid type: found string \"two\", expected usize",
        "must be a whole number: invalid value signed int `-1`",
        "there is no section [pool]: did you mean [pools]?",
        "pools.cpu_threads is 1, fewer than concurrency.cpu_slots, 2",
        "documents.s3_region of file ",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert!(!text.contains("12345"), "a value of a text may be a secret:\n{text}");
}

#[test]
fn an_invalid_file_does_not_hide_faults_of_the_environment() {
    let faults = load_file("[concurrency", &[("TEMPORAL_IO_ACTIVITY_POLLS", "0")]).unwrap_err();
    let text = faults.to_string();
    assert!(text.contains("cannot be read: "), "{text}");
    assert!(text.contains("concurrency.io_polls (TEMPORAL_IO_ACTIVITY_POLLS) is 0"), "{text}");
    assert_eq!(faults.list().len(), 2, "{text}");
}

#[test]
fn a_misspelt_variable_is_a_fault_that_names_the_right_one() {
    let text = load(&[("TEMPORAL_WORKFLOW_CONCURENCY", "20"), ("PATH", "/bin")]).unwrap_err().to_string();
    assert!(text.contains("did you mean TEMPORAL_WORKFLOW_CONCURRENCY?"), "{text}");
    assert!(text.contains("has 1 fault(s)"), "{text}");
}

#[test]
fn a_variable_of_another_program_is_a_warning_and_no_fault() {
    let foreign = environment(&[("REDIS_URI", "x"), ("LOG_FORMATS", "x"), ("DATABASE_URI", "x"), ("PATH", "/bin")]);
    let warnings = foreign.warnings();
    assert_eq!(warnings.len(), 3, "{warnings:?}");
    for meant in ["did you mean REDIS_URL?", "did you mean LOG_FORMAT?", "did you mean DATABASE_URL?"] {
        assert!(warnings.iter().any(|warning| warning.contains(meant)), "{meant:?} is missing in {warnings:?}");
    }
    let sources = Sources { environment: foreign, ..Sources::default() };
    assert_eq!(Config::load(&sources).unwrap().0, Config::default());
    assert!(environment(&[("TEMPORAL_ADRESS", "x")]).warnings().is_empty(), "it is a fault");
}

#[test]
fn a_secret_that_is_not_percent_encoded_is_a_fault_without_the_secret() {
    let text = load(&[
        ("DATABASE_URL", "postgres://slipway:hun/ter2@postgres/documents"),
        ("REDIS_URL", "redis://slipway:hun?ter2@redis"),
        ("LLM_BASE_URL", "https://slipway:hun#ter2@llm/v1"),
        ("LLM_MODEL", "small"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://slipway:hun@ter2@collector:4317"),
    ])
    .unwrap_err()
    .to_string();
    for expected in [
        "database.url (DATABASE_URL) has the character '/' in its user or password: percent-encode it as %2F",
        "cache.url (REDIS_URL) has the character '?' in its user or password: percent-encode it as %3F",
        "summary.base_url (LLM_BASE_URL) has the character '#' in its user or password: percent-encode it as %23",
        "traces.endpoint (OTEL_EXPORTER_OTLP_ENDPOINT) has the character '@' in its user or password: percent-encode \
         it as %40",
    ] {
        assert!(text.contains(expected), "{expected:?} is missing in:\n{text}");
    }
    assert!(!text.contains("hun") && !text.contains("ter2"), "a secret is shown:\n{text}");
}

#[test]
fn the_database_url_of_a_file_is_used_and_a_missing_file_is_a_fault() {
    let url = file("postgres://slipway:hunter2@postgres/documents\n");
    let path = url.path().to_str().unwrap();
    let config = load(&[("DATABASE_URL_FILE", path), ("DATABASE_URL", "postgres://other/documents")]).unwrap();
    assert_eq!(config.database.current_url().unwrap().expose(), "postgres://slipway:hunter2@postgres/documents");
    let missing = load(&[("DATABASE_URL_FILE", "/nonexistent/url")]).unwrap_err().to_string();
    assert!(missing.contains("database.url_file (DATABASE_URL_FILE) is \"/nonexistent/url\": "), "{missing}");
    let wrong = file("postgres://slipway:hun/ter2@postgres/documents");
    let fault = load(&[("DATABASE_URL_FILE", wrong.path().to_str().unwrap())]).unwrap_err().to_string();
    assert!(fault.contains("database.url_file") && fault.contains("percent-encode it as %2F"), "{fault}");
}

#[test]
fn concurrency_can_be_lowered_by_its_own_variable_alone() {
    let config = load(&[
        ("TEMPORAL_WORKFLOW_CONCURRENCY", "2"),
        ("TEMPORAL_IO_ACTIVITY_CONCURRENCY", "1"),
        ("TEMPORAL_CPU_ACTIVITY_CONCURRENCY", "1"),
    ])
    .unwrap();
    assert_eq!(config.concurrency.io_slots, 1);
}

#[test]
fn invalid_combinations_are_faults_with_a_hint() {
    for (variables, expected) in [
        (
            [("DB_POOL_SIZE", "2"), ("DB_MAX_OVERFLOW", "2")],
            "are 4 together, fewer than concurrency.io_slots, 5: activities would wait inside a slot; \
             raise DB_POOL_SIZE",
        ),
        (
            [("TEMPORAL_ADDRESS", "temporal:port"), ("TEMPORAL_NAMESPACE", "x")],
            "temporal.address (TEMPORAL_ADDRESS) is \"temporal:port\": set it to host:port",
        ),
        (
            [("TEMPORAL_DEPLOYMENT_NAME", "documents.v1"), ("TEMPORAL_WORKER_BUILD_ID", "1.2.3")],
            "deployment.name (TEMPORAL_DEPLOYMENT_NAME) is \"documents.v1\"",
        ),
    ] {
        let faults = load(&variables).unwrap_err();
        assert!(faults.to_string().contains(expected), "{expected:?} is missing in:\n{faults}");
        assert_eq!(faults.list().len(), 1, "{faults}");
    }
}

#[test]
fn the_largest_document_fits_into_the_memory() {
    load(&[("MEMORY_LIMIT_BYTES", "314572800")]).unwrap();
    let text = load(&[("MEMORY_LIMIT_BYTES", "104857600")]).unwrap_err().to_string();
    assert!(
        text.contains("service.memory_limit_bytes (MEMORY_LIMIT_BYTES) is 104857600, which leaves 25165824"),
        "{text}"
    );
    assert!(text.contains("documents.max_bytes (DOCUMENT_MAX_BYTES), 33554432: raise the first"), "{text}");
}

#[test]
fn a_missing_file_and_an_unknown_flag_are_faults() {
    let sources = Sources {
        file: Some(Path::new("/nonexistent/worker.toml")),
        flags: vec![("concurrency.slots".into(), "1".into())],
        ..Sources::default()
    };
    let text = Config::load(&sources).unwrap_err().to_string();
    assert!(text.contains("there is no file /nonexistent/worker.toml"), "{text}");
    assert!(text.contains("there is no setting concurrency.slots: did you mean concurrency.io_slots?"), "{text}");
}

#[test]
fn one_half_of_the_s3_credentials_is_a_fault() {
    let text = load(&[("AWS_ACCESS_KEY_ID", "12345")]).unwrap_err().to_string();
    assert!(text.contains("belong together"), "{text}");
}

#[test]
fn an_empty_s3_setting_is_unset_and_a_line_break_at_its_end_is_dropped() {
    let config = load(&[
        ("AWS_REGION", ""),
        ("AWS_ENDPOINT_URL", ""),
        ("AWS_ENDPOINT_URL_S3", ""),
        ("AWS_ACCESS_KEY_ID", "\n"),
        ("AWS_SECRET_ACCESS_KEY", ""),
    ])
    .unwrap();
    assert_eq!(config.documents, DocumentsConfig::default());
    let config = load(&[("AWS_ACCESS_KEY_ID", "id\n"), ("AWS_SECRET_ACCESS_KEY", "key\r\n")]).unwrap();
    assert_eq!(config.documents.s3_access_key_id.as_deref(), Some("id"));
    assert_eq!(config.documents.s3_secret_access_key.as_ref().map(Secret::expose), Some("key"));
    let faults = load(&[("AWS_ACCESS_KEY_ID", "i d"), ("AWS_SECRET_ACCESS_KEY", "hunter\n2")]).unwrap_err().to_string();
    assert!(faults.contains("(AWS_ACCESS_KEY_ID) has white space"), "{faults}");
    assert!(faults.contains("(AWS_SECRET_ACCESS_KEY) has white space") && !faults.contains("hunter"), "{faults}");
}

#[test]
fn the_endpoint_of_s3_alone_takes_precedence_and_is_the_one_that_is_shown() {
    let sources = Sources {
        environment: environment(&[
            ("AWS_ENDPOINT_URL", "https://all"),
            ("AWS_ENDPOINT_URL_S3", "https://s3"),
            ("AWS_DEFAULT_REGION", "eu-west-1"),
        ]),
        ..Sources::default()
    };
    let (config, figment) = Config::load(&sources).unwrap();
    let shown = render(&config, &figment);
    for line in [
        "s3_endpoint = \"https://s3\"  # environment AWS_ENDPOINT_URL_S3",
        "s3_region = \"eu-west-1\"  # environment AWS_DEFAULT_REGION",
    ] {
        assert!(shown.lines().any(|found| found == line), "{line:?} is missing in:\n{shown}");
    }
    let both = load(&[("AWS_REGION", "us-east-2"), ("AWS_DEFAULT_REGION", "eu-west-1")]).unwrap();
    assert_eq!(both.documents.s3_region.as_deref(), Some("us-east-2"));
}

#[test]
fn a_profile_is_refused_unless_there_are_other_credentials() {
    let profile = ("AWS_PROFILE", "work");
    assert!(load(&[profile]).unwrap_err().to_string().contains("AWS profiles are not read"));
    load(&[("AWS_PROFILE", "")]).unwrap();
    load(&[profile, ("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "key")]).unwrap();
    load(&[profile, ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")]).unwrap();
    load(&[profile, ("DOCUMENT_STORE_URL", "file:///documents")]).unwrap();
}

#[test]
fn a_prefix_is_any_key_without_empty_parts() {
    for (url, valid) in [
        ("s3://documents/Eingang 2024/ü", true),
        ("s3://documents/", true),
        ("s3://documents/a//b", false),
        ("s3://documents/../b", false),
        ("s3:///a", false),
    ] {
        assert_eq!(load(&[("DOCUMENT_STORE_URL", url)]).is_ok(), valid, "{url}");
    }
}

#[test]
fn the_cpu_time_of_a_document_fits_into_an_attempt() {
    for (seconds, said) in [("0", "must be at least 1"), ("301", "must be at most 300")] {
        let faults = load(&[("DOCUMENT_MAX_CPU_SECONDS", seconds)]).unwrap_err().to_string();
        assert!(faults.contains("documents.max_cpu_seconds (DOCUMENT_MAX_CPU_SECONDS) is"), "{faults}");
        assert!(faults.contains(said), "{faults}");
    }
    assert_eq!(load(&[("DOCUMENT_MAX_CPU_SECONDS", "300")]).unwrap().documents.max_cpu_seconds, 300);
}

#[test]
fn plain_http_to_s3_must_be_allowed() {
    let endpoint = ("AWS_ENDPOINT_URL", "http://s3:7070");
    assert!(load(&[endpoint]).unwrap_err().to_string().contains("AWS_ALLOW_HTTP"));
    assert!(load(&[endpoint, ("AWS_ALLOW_HTTP", "true")]).unwrap().documents.s3_allow_http);
}

#[test]
fn every_value_in_force_is_printed_with_its_origin_and_without_secrets() {
    let file = file("[temporal]\nworkflow_queue = 'a \"b\" \\'");
    let sources = Sources {
        file: Some(file.path()),
        environment: environment(&[
            ("DATABASE_URL", "postgres://slipway:hunter2@postgres/documents"),
            ("AWS_ACCESS_KEY_ID", "12345"),
            ("AWS_SECRET_ACCESS_KEY", "hunter3"),
        ]),
        flags: vec![("concurrency.io_slots".into(), "6".into())],
        temporal_toml: false,
    };
    let (config, figment) = Config::load(&sources).unwrap();
    let text = render(&config, &figment);
    for line in [
        "workflow_slots = 3  # default",
        "io_slots = 6  # flag",
        "s3_access_key_id = \"12345\"  # environment AWS_ACCESS_KEY_ID",
        "# s3_secret_access_key = \"***\"  # environment AWS_SECRET_ACCESS_KEY",
        "# url = \"postgres://slipway:***@postgres/documents\"  # environment DATABASE_URL",
        "# s3_region is unset  # default",
    ] {
        assert!(text.lines().any(|found| found == line), "{line:?} is missing in:\n{text}");
    }
    assert!(text.contains("workflow_queue = \"a \\\"b\\\" \\\\\"  # file "), "{text}");
    assert!(!text.contains("hunter"), "{text}");
}

#[test]
fn what_is_printed_can_be_read_again() {
    let sources = Sources {
        environment: environment(&[
            ("RUST_LOG", "info,worker=debug"),
            ("TEMPORAL_WORKFLOW_QUEUE", "a \"b\" \\ \u{7f}\u{1}é"),
            ("AWS_ALLOW_HTTP", "true"),
            ("LOG_FORMAT", "json"),
        ]),
        ..Sources::default()
    };
    let (config, figment) = Config::load(&sources).unwrap();
    assert_eq!(load_file(&render(&config, &figment), &[]).unwrap(), config);
}

#[test]
fn every_key_has_one_variable_and_every_variable_a_key() {
    let value = serde_json::to_value(Config::default()).unwrap();
    let sections = value.as_object().unwrap();
    let mut keys: Vec<_> = sections
        .iter()
        .flat_map(|(section, values)| {
            let keys = values.as_object().unwrap().keys();
            keys.map(move |key| format!("{section}.{key}"))
        })
        .collect();
    let mut table: Vec<_> = VARIABLES.iter().map(|variable| variable.key.to_owned()).collect();
    keys.sort();
    table.sort();
    assert_eq!(keys, table);
}
