//! No secret of the cluster stands where people look: in a log, or in an object that is no Secret.

use anyhow::Result;

use crate::cluster::Fixture;
use crate::cluster::secrets::Search;
use crate::judge::search::unshown;
use crate::judge::verdict::{Check, Question};

/// Searches the cluster.
pub(super) async fn search(fixture: &Fixture) -> Result<Search> {
    let mut searcher = fixture.cluster.secrets.searcher()?;
    searcher.cluster(fixture).await?;
    Ok(searcher.finish())
}

/// The check.
pub(super) fn judge(search: &Search) -> Check {
    let question = Question::new(
        "secrets-unshown",
        "no log and no object has a secret",
        "none of the cluster's Secrets, in any form",
        "logs and objects are read by more people than Secrets are",
    );
    unshown(question, search, "texts")
}
