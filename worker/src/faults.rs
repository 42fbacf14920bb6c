//! What fails for a while: each fault and each recovery is told once.

use std::collections::BTreeSet;

use tracing::{info, warn};

/// What fails now.
#[derive(Debug, Default)]
pub(crate) struct Faults(BTreeSet<String>);

impl Faults {
    /// Tells that `what` fails, or works again, where it did not before.
    pub(crate) fn note(&mut self, what: &str, error: Option<anyhow::Error>) {
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
    fn a_fault_is_told_once_and_so_is_its_end() {
        let mut faults = Faults::default();
        faults.note("q", Some(anyhow::anyhow!("away")));
        assert!(faults.0.contains("q"));
        faults.note("q", Some(anyhow::anyhow!("away")));
        faults.note("q", None);
        assert!(faults.0.is_empty());
    }
}
