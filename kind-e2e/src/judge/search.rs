//! What a search for secrets shows.

use super::verdict::{Check, Question, faults};
use crate::cluster::secrets::Search;

/// Nothing that was searched has a secret. A search of nothing shows nothing.
pub fn unshown(question: Question, search: &Search, texts: &str) -> Check {
    match search.searched {
        0 => question.unseen("nothing was searched"),
        searched => question.answer(format!("{searched} {texts} searched"), faults(search.found.iter().cloned())),
    }
}
