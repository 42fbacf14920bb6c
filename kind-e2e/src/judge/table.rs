//! A table that a scenario gives to the report beside its checks. Words only, for any kind of page.

/// A table with its title and a note.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Table {
    /// What it shows.
    pub title: String,
    /// The heads of its columns.
    pub heads: Vec<String>,
    /// The rows, each with a cell for every head.
    pub rows: Vec<Vec<String>>,
    /// A sentence below it: where the figures come from.
    pub note: String,
}

impl Table {
    /// An empty table.
    pub fn new(title: impl Into<String>, heads: &[&str], note: impl Into<String>) -> Self {
        Self {
            title: title.into(),
            heads: heads.iter().map(|head| (*head).to_owned()).collect(),
            rows: Vec::new(),
            note: note.into(),
        }
    }
}
