//! What stands beside the drawing: numbers, names, and hostile words.

use super::*;
use crate::report::html::series::Form;
use crate::report::html::series::tests::{POINTS, series};

#[test]
fn numbers_that_would_overlap_are_on_different_lines() {
    assert_eq!(lanes(&[0.1, 0.12, 0.14, 0.18, 0.5]), [0, 1, 2, 0, 0]);
    assert_eq!(lanes(&[]), [] as [usize; 0]);
}

#[test]
fn names_are_escaped_in_text_titles_and_values() {
    let evil = "</script><b>\"&".to_owned();
    let mut one = series(Form::Line, &POINTS);
    one.name.clone_from(&evil);
    let chart = Chart {
        title: evil.clone(),
        from: 0.0,
        to: 10.0,
        zero: 2.0,
        phases: vec![Span { from: 0.0, to: 10.0, name: evil.clone() }],
        marks: vec![Mark { at: 2.0, what: evil.clone() }, Mark { at: 11.0, what: "outside".to_owned() }],
        panels: vec![Panel {
            title: "p",
            unit: "u",
            right_unit: "",
            series: vec![one],
            bound: Some((4.0, evil)),
            gaps: vec![(2.0, 8.0)],
            may_be_log: false,
        }],
    };
    let drawn = draw(&chart).into_string();
    assert!(!drawn.contains("<b>") && drawn.matches("</script>").count() == 1, "{drawn}");
    assert!(drawn.contains(r#"<rect class="gap" x="200" y="0" width="600""#), "{drawn}");
    assert!(!drawn.contains("outside"), "an event outside of the chart's time");
    assert!(drawn.contains(">−2 s<") && drawn.contains(">0 s<") && drawn.contains(">+8 s<"), "{drawn}");
}
