//! Each row can fail, and `docs/security.md` has the rows.

use std::fmt::Write as _;
use std::path::Path;

use super::*;
use crate::judge::verdict::Outcome;

/// Where the page's rows begin and end.
const MARKS: [&str; 2] = ["<!-- rows of benchmark.toml -->\n", "<!-- end of the rows -->\n"];

/// Values that are as a row asks.
fn right(want: &Want) -> Vec<String> {
    let one = match want {
        Want::Unset | Want::Lacks(_) => return Vec::new(),
        Want::Set => "x",
        Want::Is(one) | Want::IsOrUnset(one) => one,
        Want::Not(one) => return vec![format!("not {one}")],
        Want::Has(one) => return vec![format!("x,{one}")],
        Want::AtLeast(least) => return vec![least.to_string()],
        Want::Mode(most) => return vec![format!("{most} root:root x"), "400 root:root x".to_owned()],
    };
    vec![one.to_owned()]
}

/// Values that are not, each in another way.
fn wrong(want: &Want) -> Vec<Vec<String>> {
    let all: &[&str] = match want {
        Want::Set => &[],
        Want::Unset | Want::IsOrUnset(_) => return vec![vec!["x".to_owned()]],
        Want::Is(_) => &["x"],
        Want::Not(one) | Want::Lacks(one) => return vec![vec![one.clone()]],
        Want::Has(_) => &["x", "x,y"],
        Want::AtLeast(least) => return vec![vec![(least - 1).to_string()], vec!["x".to_owned()], Vec::new()],
        Want::Mode(_) => &["777 root:root x", "400 x:root x", "400 root:x x", "x"],
    };
    let ways = all.iter().map(|value| vec![(*value).to_owned()]);
    // Of files and of what happens, a node that shows nothing is not wrong.
    ways.chain((!matches!(want, Want::Mode(_) | Want::Is(_))).then(Vec::new)).collect()
}

/// Two nodes that are as asked, the second without a control plane.
fn found() -> Found {
    let mut nodes = Found::from(["control-plane", "worker"].map(|node| (node.to_owned(), Places::new())));
    for row in rows() {
        for (_, places) in nodes.iter_mut().filter(|(node, _)| *node == "control-plane" || of_a_kubelet(&row)) {
            let place = places.entry(row.place.to_owned()).or_default();
            for key in row.keys {
                // Rows about one list add to it.
                place.entry(key.clone()).or_default().extend(right(row.want));
            }
        }
    }
    nodes
}

fn of_a_kubelet(row: &Row<'_>) -> bool {
    row.place.starts_with("kubelet")
}

fn outcome(found: &Found) -> Outcome {
    judge(found).expect("something was read").outcome
}

#[test]
fn nodes_that_are_as_asked_pass_and_nothing_read_is_no_check() {
    assert_eq!(outcome(&found()), Outcome::Pass);
    assert_eq!(judge(&Found::new()), None);
    assert_eq!(table(&found()).unwrap().rows.len(), rows().len() + BENCHMARK.not_asked.len());
}

#[test]
fn each_row_that_is_wrong_on_one_node_fails_and_names_row_node_and_key() {
    for row in rows() {
        let node = if of_a_kubelet(&row) { "worker" } else { "control-plane" };
        for (key, values) in row.keys.iter().flat_map(|key| wrong(row.want).into_iter().map(move |way| (key, way))) {
            let mut found = found();
            found.get_mut(node).unwrap().get_mut(row.place).unwrap().insert(key.clone(), values.clone());
            let Outcome::Fail(reasons) = outcome(&found) else { panic!("{}: {key} {values:?}", row.id) };
            let named = format!("{} on {node}: {key}", row.id);
            assert!(reasons.iter().any(|reason| reason.starts_with(&named)), "{named}: {reasons:?}");
        }
    }
}

#[test]
fn a_place_or_a_file_that_no_node_shows_is_no_pass() {
    for place in BENCHMARK.asked.keys() {
        let mut found = found();
        found.values_mut().for_each(|places| drop(places.remove(place)));
        assert!(matches!(outcome(&found), Outcome::Inconclusive(_)), "{place}");
    }
    let mut found = found();
    found.get_mut("control-plane").unwrap().get_mut(FILES).unwrap().remove("/var/lib/etcd");
    assert_eq!(outcome(&found), Outcome::inconclusive("1.1.11: no node shows /var/lib/etcd of files"));
}

/// The rows as tables of Markdown.
fn page() -> String {
    let mut text = String::from("\n| row | asks | read in | must be |\n|---|---|---|---|\n");
    for row in rows() {
        let keys: Vec<String> = row.keys.iter().map(|key| format!("`{key}`")).collect();
        let _ = writeln!(text, "| {} | {} | {}: {} | {} |", row.id, row.asks, row.place, keys.join(", "), row.want);
    }
    text.push_str("\n| row | would ask | why not here |\n|---|---|---|\n");
    for (id, (asks, why)) in &BENCHMARK.not_asked {
        let _ = writeln!(text, "| {id} | {asks} | {why} |");
    }
    text.push('\n');
    text
}

#[test]
fn the_page_has_the_rows() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/security.md");
    let found = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = found.split_once(MARKS[0]).expect("the page has a place for the rows");
    let (_, after) = rest.split_once(MARKS[1]).expect("the rows on the page have an end");
    let wanted = [before, MARKS[0], &page(), MARKS[1], after].concat();
    if std::env::var_os("UPDATE_BENCHMARK").is_some() {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    assert_eq!(found, wanted, "write it with UPDATE_BENCHMARK=1 cargo test -p kind-e2e benchmark");
}
