//! Unknown names of settings and variables, with a hint at the known name.
//!
//! In the file, an unknown name is always a fault. The environment belongs to other programs too. There, only a
//! likely misspelling of one of Temporal's variables is a fault: `TEMPORAL_WORKFLOW_CONCURENCY=20` must not give a
//! fleet with 3 slots. A misspelling of another variable, such as `REDIS_URI`, is a warning.

use strsim::{damerau_levenshtein, normalized_damerau_levenshtein};

use super::environment::VARIABLES;

/// Minimum similarity, from 0 to 1, of a known name that is suggested for an unknown one.
const MIN_SIMILARITY: f64 = 0.5;

/// A variable counts as misspelt with one wrong letter per 8 letters, at most three. The limits are strict because
/// a false alarm may keep a worker from starting, and because `AWS_ENDPOINT_URL_S3` is not a misspelt
/// `AWS_ENDPOINT_URL`.
const LETTERS_PER_ERROR: usize = 8;
const MAX_ERRORS: usize = 3;

/// Variables of the program and of the SDK that set no key.
const OTHER_VARIABLES: [&str; 18] = [
    "WORKER_CONFIG",
    "TEMPORAL_API_KEY",
    "TEMPORAL_CODEC_AUTH",
    "TEMPORAL_CODEC_ENDPOINT",
    "TEMPORAL_CONFIG_FILE",
    "TEMPORAL_CORE_PRETTY_LOGS",
    "TEMPORAL_MAX_INCOMING_GRPC_BYTES",
    "TEMPORAL_PRINT_FULL_PAYLOADS",
    "TEMPORAL_PROFILE",
    "TEMPORAL_TLS",
    "TEMPORAL_TLS_CLIENT_CERT_DATA",
    "TEMPORAL_TLS_CLIENT_CERT_PATH",
    "TEMPORAL_TLS_CLIENT_KEY_DATA",
    "TEMPORAL_TLS_CLIENT_KEY_PATH",
    "TEMPORAL_TLS_DISABLE_HOST_VERIFICATION",
    "TEMPORAL_TLS_SERVER_CA_CERT_DATA",
    "TEMPORAL_TLS_SERVER_CA_CERT_PATH",
    "TEMPORAL_TLS_SERVER_NAME",
];

/// Prefix of the variables that no other program sets.
const TEMPORAL_PREFIX: &str = "TEMPORAL_";

/// Prefix of the variables for gRPC headers; the user chooses the rest.
const HEADER_PREFIX: &str = "TEMPORAL_GRPC_META_";

/// The sections, in the order of [`VARIABLES`].
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = VARIABLES.iter().map(|variable| variable.section_and_key().0).collect();
    sections.dedup();
    sections
}

/// The fault for an unknown section.
pub(super) fn unknown_section(name: &str) -> String {
    if let Some(section) = section_of(name) {
        return format!("{name} is outside of a section: it belongs to [{section}]");
    }
    match best(sections().into_iter().map(|section| (similarity(name, section), section))) {
        Some(section) => format!("there is no section [{name}]: did you mean [{section}]?"),
        None => format!("there is no section [{name}]: the sections are {}", sections().join(", ")),
    }
}

/// The fault for an unknown key.
pub(super) fn unknown_key(path: &str) -> String {
    let (section, key) = path.split_once('.').unwrap_or(("", path));
    if let Some(right) = section_of(key) {
        return format!("there is no setting {path}: its name is {right}.{key}");
    }
    let like = VARIABLES.iter().map(|variable| {
        let (known_section, known_key) = variable.section_and_key();
        let similarity = similarity(section, known_section) * similarity(key, known_key);
        (similarity, variable.key)
    });
    match best(like) {
        Some(known) => format!("there is no setting {path}: did you mean {known}?"),
        None => format!("there is no setting {path}: `temporal-worker config` lists them all"),
    }
}

/// The section with a key of this name, if there is exactly one.
fn section_of(key: &str) -> Option<&'static str> {
    let mut all = VARIABLES.iter().map(|variable| variable.section_and_key());
    let (section, _) = all.find(|(_, known)| *known == key)?;
    all.all(|(_, known)| known != key).then_some(section)
}

/// Whether a variable is the program's or the SDK's by its prefix.
pub(super) fn is_temporals(name: &str) -> bool {
    name.to_ascii_uppercase().starts_with(TEMPORAL_PREFIX)
}

/// The known variable that a name misspells; `None` if the name is known, or similar to none.
pub(super) fn misspelt(name: &str) -> Option<&'static str> {
    let known = || {
        let table = VARIABLES.iter().map(|variable| variable.name);
        table.chain(OTHER_VARIABLES)
    };
    if known().any(|known| known == name) || name.starts_with(HEADER_PREFIX) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    known()
        .map(|known| (damerau_levenshtein(&upper, known), known))
        .filter(|(errors, known)| *errors <= (known.len() / LETTERS_PER_ERROR).clamp(1, MAX_ERRORS))
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, known)| known)
}

fn similarity(name: &str, known: &str) -> f64 {
    normalized_damerau_levenshtein(&name.to_ascii_lowercase(), known)
}

fn best(candidates: impl Iterator<Item = (f64, &'static str)>) -> Option<&'static str> {
    candidates
        .filter(|(similarity, _)| *similarity >= MIN_SIMILARITY)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_that_was_meant_is_named() {
        for (name, meant) in [
            ("TEMPORAL_WORKFLOW_CONCURENCY", "TEMPORAL_WORKFLOW_CONCURRENCY"),
            ("TEMPORAL_IO_THREADPOOL_SIZE", "TEMPORAL_IO_THREAD_POOL_SIZE"),
            ("TEMPORAL_CPU_ACTIVITIES_CONCURRENCY", "TEMPORAL_CPU_ACTIVITY_CONCURRENCY"),
            ("TEMPORAL_ADRESS", "TEMPORAL_ADDRESS"),
            ("temporal_address", "TEMPORAL_ADDRESS"),
            ("DB_POOLSIZE", "DB_POOL_SIZE"),
            ("DATABASE_URI", "DATABASE_URL"),
            ("RUST_LOGS", "RUST_LOG"),
            ("TEMPORAL_TLS_CLIENT_CERT_PAHT", "TEMPORAL_TLS_CLIENT_CERT_PATH"),
        ] {
            assert_eq!(misspelt(name), Some(meant), "{name}");
        }
    }

    #[test]
    fn variables_of_other_programs_are_ignored() {
        let known = VARIABLES.iter().map(|variable| variable.name);
        let others = [
            "TEMPORAL_GRPC_META_AUTHORIZATION",
            "TEMPORAL_WORKER_PORT",
            "TEMPORAL_SERVICE_HOST",
            "AWS_ENDPOINT_URL_S3",
            "AWS_DEFAULT_REGION",
            "AWS_SESSION_TOKEN",
            "AWS_PROFILE",
            "AWS_ROLE_ARN",
            "DATABASE_PORT",
            "REDIS_PORT",
            "RUST_BACKTRACE",
            "RUST_LOG_STYLE",
            "LOGNAME",
            "HOSTNAME",
            "PATH",
        ];
        for name in known.chain(OTHER_VARIABLES).chain(others) {
            assert_eq!(misspelt(name), None, "{name}");
        }
    }

    #[test]
    fn the_key_and_the_section_that_were_meant_are_named() {
        for (path, hint) in [
            ("concurrency.workflow_slot", "did you mean concurrency.workflow_slots?"),
            ("concurency.io_polls", "its name is concurrency.io_polls"),
            ("concurency.cpu_poll", "did you mean concurrency.cpu_polls?"),
            ("concurrency.slots", "did you mean concurrency.io_slots?"),
            ("pools.cpu_slots", "its name is concurrency.cpu_slots"),
            ("io_slots", "its name is concurrency.io_slots"),
            ("concurrency.colour", "`temporal-worker config` lists them all"),
        ] {
            let fault = unknown_key(path);
            assert!(fault.contains(hint), "{hint:?} is missing in {fault:?}");
        }
        assert!(unknown_section("pool").contains("did you mean [pools]?"));
        assert!(unknown_section("colours").contains("the sections are temporal, "));
        assert!(unknown_section("cpu_slots").contains("it belongs to [concurrency]"));
    }

    #[test]
    fn the_keys_of_a_section_stand_together() {
        let mut sections = sections();
        let all = sections.len();
        sections.sort_unstable();
        sections.dedup();
        assert_eq!(sections.len(), all);
    }
}
