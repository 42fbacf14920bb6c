//! Errors of Postgres that a document causes, by SQLSTATE: they come again at every attempt. All others are retried.
//!
//! Pure. `docs/reference/failures.md` is generated from [`FOR_GOOD`].

use sqlx::postgres::{PgDatabaseError, PgSeverity};

use crate::text::{PoisonError, shortened};

/// A class of states (two characters) or one state that is for good.
#[derive(Debug)]
pub struct ForGood {
    /// How the state begins.
    pub state: &'static str,
    /// When Postgres gives it.
    pub cause: &'static str,
    /// The way out.
    pub remedy: &'static str,
}

/// The states that are for good. A state that another attempt, another transaction or a migration changes is not
/// here: conflicts, missing tables and rights, resources, the server's own state.
pub const FOR_GOOD: &[ForGood] = &[
    ForGood {
        state: "22",
        cause: "the data cannot be stored: 22021 for a NUL, 22P05 for a character that the database's encoding lacks",
        remedy: "correct what the message names, or use a database with the encoding UTF8",
    },
    ForGood {
        state: "54",
        cause: "the data passes a limit of Postgres: 54000 for an index entry of more than 2704 bytes",
        remedy: "shorten what the message names, or drop the index that it names",
    },
    ForGood {
        state: "23502",
        cause: "the data lacks a value that a column of yours requires",
        remedy: "correct the document, or drop the constraint that the message names",
    },
    ForGood {
        state: "23514",
        cause: "the data violates a CHECK of yours",
        remedy: "correct the document, or drop the constraint that the message names",
    },
];

/// The poison that an error is, if it is for good.
pub(crate) fn poison(error: &sqlx::Error) -> Option<PoisonError> {
    let database = error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()?;
    // A fatal error ends the connection, for a reason of the connection.
    if database.severity() != PgSeverity::Error {
        return None;
    }
    let known = for_good(database.code())?;
    Some(PoisonError::NotStorable {
        code: database.code().to_owned(),
        message: shortened(database.message()),
        remedy: known.remedy,
    })
}

fn for_good(code: &str) -> Option<&'static ForGood> {
    FOR_GOOD.iter().find(|known| code.starts_with(known.state))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_states_that_the_document_causes_are_for_good() {
        for state in ["22021", "22P05", "22001", "54000", "54001", "23502", "23514"] {
            assert!(for_good(state).is_some(), "{state}");
        }
        for state in
            ["08006", "23503", "23505", "25006", "28P01", "40001", "40P01", "42501", "42P01", "53300", "57014", "57P01"]
        {
            assert!(for_good(state).is_none(), "{state}");
        }
    }
}
