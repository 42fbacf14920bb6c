//! Names that nothing reads: which known one was meant.
//!
//! In the file an unknown name is always a fault. In the environment, which others use as well, it is one where it looks like
//! a misspelling: `TEMPORAL_WORKFLOW_CONCURENCY=20` must not be a fleet with 3 slots.

use strsim::{damerau_levenshtein, normalized_damerau_levenshtein};

use super::environment::VARIABLES;

/// Likeness, from 0 to 1, from which a known name is offered for an unknown one.
const LIKE: f64 = 0.5;

/// Letters of a variable for each of which one may be wrong: of 8 letters one, of 24 or more three. So few, because a false
/// alarm keeps a worker from starting, and because `AWS_ENDPOINT_URL_S3` is not a misspelt `AWS_ENDPOINT_URL`.
const LETTERS_AN_ERROR: usize = 8;
const MOST_ERRORS: usize = 3;

/// Variables of the program and of the SDK that set no key, and so stand in no table.
const OTHERS: [&str; 18] = [
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

/// What every variable of a header for Temporal begins with; the rest is the user's.
const HEADERS: &str = "TEMPORAL_GRPC_META_";

/// The sections, in the order of the table.
pub(super) fn sections() -> Vec<&'static str> {
    let mut sections: Vec<_> = VARIABLES
        .iter()
        .map(|variable| variable.section_and_key().0)
        .collect();
    sections.dedup();
    sections
}

/// The fault for a section that there is not.
pub(super) fn unknown_section(name: &str) -> String {
    if let Some(section) = section_of(name) {
        return format!("{name} stands outside the sections: it belongs to [{section}]");
    }
    match best(
        sections()
            .into_iter()
            .map(|section| (likeness(name, section), section)),
    ) {
        Some(section) => format!("there is no section [{name}]: was [{section}] meant?"),
        None => format!(
            "there is no section [{name}]: the sections are {}",
            sections().join(", ")
        ),
    }
}

/// The fault for a key that there is not.
pub(super) fn unknown_key(path: &str) -> String {
    let (section, key) = path.split_once('.').unwrap_or(("", path));
    if let Some(right) = section_of(key) {
        return format!("there is no setting {path}: it is {right}.{key}");
    }
    let like = VARIABLES.iter().map(|variable| {
        let (known_section, known_key) = variable.section_and_key();
        let likeness = likeness(section, known_section) * likeness(key, known_key);
        (likeness, variable.key)
    });
    match best(like) {
        Some(known) => format!("there is no setting {path}: was {known} meant?"),
        None => format!("there is no setting {path}: `temporal-worker config` lists them all"),
    }
}

/// The only section with a key of this name.
fn section_of(key: &str) -> Option<&'static str> {
    let mut all = VARIABLES.iter().map(|variable| variable.section_and_key());
    let (section, _) = all.find(|(_, known)| *known == key)?;
    all.all(|(_, known)| known != key).then_some(section)
}

/// The variable that a name is a misspelling of; none where it is known, or like nothing that is.
pub(super) fn misspelt(name: &str) -> Option<&'static str> {
    let known = || {
        let table = VARIABLES.iter().map(|variable| variable.name);
        table.chain(OTHERS)
    };
    if known().any(|known| known == name) || name.starts_with(HEADERS) {
        return None;
    }
    let upper = name.to_ascii_uppercase();
    known()
        .map(|known| (damerau_levenshtein(&upper, known), known))
        .filter(|(errors, known)| *errors <= (known.len() / LETTERS_AN_ERROR).clamp(1, MOST_ERRORS))
        .min_by_key(|(errors, _)| *errors)
        .map(|(_, known)| known)
}

fn likeness(name: &str, known: &str) -> f64 {
    normalized_damerau_levenshtein(&name.to_ascii_lowercase(), known)
}

fn best(candidates: impl Iterator<Item = (f64, &'static str)>) -> Option<&'static str> {
    candidates
        .filter(|(likeness, _)| *likeness >= LIKE)
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
            (
                "TEMPORAL_CPU_ACTIVITIES_CONCURRENCY",
                "TEMPORAL_CPU_ACTIVITY_CONCURRENCY",
            ),
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
    fn variables_of_others_are_left_alone() {
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
        for name in known.chain(OTHERS).chain(others) {
            assert_eq!(misspelt(name), None, "{name}");
        }
    }

    #[test]
    fn the_key_and_the_section_that_were_meant_are_named() {
        for (path, hint) in [
            (
                "concurrency.workflow_slot",
                "was concurrency.workflow_slots meant?",
            ),
            ("concurency.io_polls", "it is concurrency.io_polls"),
            ("concurency.cpu_poll", "was concurrency.cpu_polls meant?"),
            ("concurrency.slots", "was concurrency.io_slots meant?"),
            ("pools.cpu_slots", "it is concurrency.cpu_slots"),
            ("io_slots", "it is concurrency.io_slots"),
            ("concurrency.colour", "`temporal-worker config` lists them all"),
        ] {
            let fault = unknown_key(path);
            assert!(fault.contains(hint), "{hint:?} is missing in {fault:?}");
        }
        assert!(unknown_section("pool").contains("was [pools] meant?"));
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
