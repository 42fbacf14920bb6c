//! Tables for the oracle: each fault in what is stored is found by the check that is named for it.

use super::rows::Attempt;
use super::*;

fn expected(id: &str) -> Expected {
    Expected {
        id: id.to_owned(),
        source: format!("s3://documents/{id}.md"),
        bytes: 10,
        sha256: "aa".to_owned(),
        words: 3,
        acknowledged: true,
    }
}

fn passage(id: &str, ordinal: i64, text: &str) -> Passage {
    Passage {
        document_id: id.to_owned(),
        ordinal,
        text: text.to_owned(),
        words: words_of_text(text),
        sha256: hash(text.as_bytes()),
    }
}

fn rows(ids: &[&str]) -> Rows {
    let mut rows = Rows::default();
    for id in ids {
        rows.documents.push(Document {
            document_id: (*id).to_owned(),
            source: format!("s3://documents/{id}.md"),
            sha256: "aa".to_owned(),
            bytes: 10,
            words: 3,
            passages: 2,
            workflow_id: (*id).to_owned(),
            stored_at: 0.0,
        });
        rows.passages
            .extend([passage(id, 0, "one two"), passage(id, 1, "three")]);
        rows.effects.push(((*id).to_owned(), STORE_STEP.to_owned()));
        rows.attempts.push(Attempt {
            workflow_id: (*id).to_owned(),
            step: STORE_STEP.to_owned(),
            attempt: 1,
            worker: "w".to_owned(),
        });
    }
    rows
}

/// The names of the checks that fail.
fn failing(expected: &[Expected], rows: &Rows) -> Vec<String> {
    compare(expected, rows)
        .into_iter()
        .filter(|check| check.outcome != Outcome::Pass)
        .map(|check| check.name)
        .collect()
}

#[test]
fn what_was_loaded_is_what_is_stored() {
    assert_eq!(
        failing(&[expected("a"), expected("b")], &rows(&["b", "a"])),
        Vec::<String>::new()
    );
}

#[test]
fn each_fault_is_found_by_its_check() {
    type Break = fn(&mut Rows);
    let table: [(&str, Break, &str); 12] = [
        (
            "lost",
            |rows| *rows = self::rows(&["a"]),
            "every acknowledged document stored once",
        ),
        (
            "foreign",
            |rows| *rows = self::rows(&["a", "b", "c"]),
            "every acknowledged document stored once",
        ),
        (
            "cut",
            |rows| rows.documents[0].bytes = 9,
            "bytes, hash and source as uploaded",
        ),
        (
            "changed",
            |rows| rows.documents[0].sha256 = "bb".to_owned(),
            "bytes, hash and source as uploaded",
        ),
        (
            "swapped",
            |rows| rows.documents[0].workflow_id = "b".to_owned(),
            "bytes, hash and source as uploaded",
        ),
        (
            "miscounted",
            |rows| rows.passages[0].words = 4,
            "passages cover each document once",
        ),
        (
            "overlap",
            |rows| rows.passages[1] = passage("a", 1, "two three"),
            "passages cover each document once",
        ),
        (
            "skipped",
            |rows| rows.passages[1].ordinal = 2,
            "passages cover each document once",
        ),
        (
            "one gone",
            |rows| drop(rows.passages.remove(1)),
            "passages cover each document once",
        ),
        (
            "twice",
            |rows| rows.effects.push(("a".to_owned(), STORE_STEP.to_owned())),
            "each step took effect exactly once",
        ),
        (
            "no effect",
            |rows| drop(rows.effects.remove(0)),
            "each step took effect exactly once",
        ),
        (
            "no attempt",
            |rows| drop(rows.attempts.remove(0)),
            "attempts written down",
        ),
    ];
    for (why, break_it, check) in table {
        let mut broken = rows(&["a", "b"]);
        break_it(&mut broken);
        assert_eq!(
            failing(&[expected("a"), expected("b")], &broken),
            [check],
            "{why}"
        );
    }
}

#[test]
fn words_are_compared_without_tolerance() {
    let more = Expected {
        words: 4,
        ..expected("a")
    };
    let checks = compare(&[more], &rows(&["a"]));
    let words = checks
        .iter()
        .find(|check| check.name.starts_with("words"))
        .unwrap();
    assert_eq!(
        words.outcome,
        Outcome::fail("a (s3://documents/a.md): 3 words stored, 4 counted")
    );
}

#[test]
fn a_start_whose_outcome_is_unknown_may_be_stored_or_not() {
    let unknown = Expected {
        acknowledged: false,
        ..expected("b")
    };
    assert_eq!(
        failing(&[expected("a"), unknown.clone()], &rows(&["a", "b"])),
        Vec::<String>::new()
    );
    assert_eq!(
        failing(&[expected("a"), unknown], &rows(&["a"])),
        Vec::<String>::new()
    );
}

#[test]
fn a_step_that_one_workflow_has_is_due_in_all() {
    let mut rows = rows(&["a", "b"]);
    rows.effects.push(("a".to_owned(), "fetch_document".to_owned()));
    let checks = compare(&[expected("a"), expected("b")], &rows);
    let effects = checks
        .iter()
        .find(|check| check.name.starts_with("each step"))
        .unwrap();
    assert_eq!(
        effects.outcome,
        Outcome::fail("b: fetch_document took effect 0 times")
    );
}

#[test]
fn statuses_other_than_completed_fail() {
    let table = [
        (vec![("Completed", 5)], "Pass"),
        (vec![("Completed", 6)], "Pass"),
        (vec![("Completed", 4)], "Fail"),
        (vec![("Completed", 5), ("Failed", 1)], "Fail"),
        (vec![("Completed", 4), ("Running", 1)], "Fail"),
        (vec![], "Fail"),
    ];
    for (statuses, word) in table {
        let statuses = statuses
            .into_iter()
            .map(|(status, count)| (status.to_owned(), count))
            .collect();
        assert_eq!(all_completed(5, &statuses).outcome.word(), word, "{statuses:?}");
    }
}

#[test]
fn many_problems_are_named_in_part_and_counted_in_full() {
    let outcome = problems((0..8).map(|index| index.to_string()));
    assert_eq!(outcome.reasons(), ["0", "1", "2", "3", "4", "and 3 more"]);
}
