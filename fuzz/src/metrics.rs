//! The metrics page of a worker. It is read the same in whatever pieces it comes, and gives numbers that the decision
//! can calculate with.

use crate::{
    Outcome,
    page::{PageReader, Slots},
    queue::{Kind, Queue},
};

pub(crate) fn page(bytes: &[u8]) -> Outcome {
    let names = [(Kind::Activity, "io"), (Kind::Workflow, "io"), (Kind::Activity, r#"a "b"\c}"#)];
    let queues = names.map(|(kind, name)| Queue { kind, name: name.to_owned(), slots: 1.0 });
    let read = |size: usize| {
        let mut reader = PageReader::new(&queues, "ns");
        bytes.chunks(size).for_each(|piece| reader.feed(piece));
        reader.finish()
    };
    let slots = read(bytes.len().max(1));
    for size in [1, 7, 500] {
        assert_eq!(read(size), slots, "pieces of {size}");
    }
    for Slots { used, total, failed } in slots.iter().flatten() {
        assert!(used.is_finite() && total.is_finite() && failed.is_finite(), "{slots:?}");
        assert!(0.0 <= *used && used <= total && 0.0 <= *failed, "{slots:?}");
    }
    if slots.iter().any(Option::is_some) { Outcome::Read } else { Outcome::Refused }
}
