//! Logs failures that last for a while: once when a failure begins, and once when it ends.

use std::collections::BTreeSet;

use tracing::{info, warn};

/// The operations that fail now.
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeSet<String>);

impl Faults {
    /// Logs that `what` began to fail or works again. Does nothing if its state did not change.
    pub(crate) fn report(&mut self, what: &str, error: Option<anyhow::Error>) {
        match error {
            Some(error) if self.0.insert(what.to_owned()) => {
                warn!(error = format!("{error:#}"), "{what} fails");
            }
            None if self.0.remove(what) => info!("{what} works again"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_logged_once_and_so_is_its_end() {
        let mut faults = Faults::default();
        faults.report("q", Some(anyhow::anyhow!("unreachable")));
        assert!(faults.0.contains("q"));
        faults.report("q", Some(anyhow::anyhow!("unreachable")));
        faults.report("q", None);
        assert!(faults.0.is_empty());
    }
}
