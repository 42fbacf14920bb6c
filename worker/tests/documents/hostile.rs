//! Damaged and hostile documents. Each is read, or refused with the kind of its cause, in bounded memory and time
//! and on a stack of the default size.

use std::time::Duration;

use proptest::prelude::*;
use worker::{
    cpu::CpuPool,
    text::{Cancel, MediaType, extract},
};

use crate::{
    pdf::{REPORT, TIDES, bomb, content, deflated, object, one_page, pdf, stream},
    support::{read, text},
};

/// Bombs of gigabytes in every place that a reader may inflate: each is refused. The picture is never inflated and
/// does no harm.
#[test]
fn decompression_bombs_are_refused_in_every_place() {
    let gigabytes = bomb(b' ', 4096);
    let flate = "/Filter /FlateDecode";
    let show = || content("BT /F1 10 Tf (text) Tj ET");
    let nested = deflated(&bomb(b' ', 4096));
    let run_lengths = b"\x81 ".repeat(1 << 19);
    for (why, file) in [
        ("a page", one_page(stream(flate, &gigabytes), "", &[])),
        ("a page, deflated twice", one_page(stream("/Filter [/FlateDecode /FlateDecode]", &nested), "", &[])),
        ("a page of runs", one_page(stream("/Filter /RunLengthDecode", &run_lengths), "", &[])),
        (
            "a form",
            one_page(
                content("/X Do"),
                "/XObject << /X 6 0 R >>",
                &[stream(&format!("/Subtype /Form {flate}"), &gigabytes)],
            ),
        ),
        (
            "a map to Unicode",
            one_page(
                content("BT /F2 10 Tf (text) Tj ET"),
                "/Font << /F2 6 0 R >>",
                &[object("<< /Type /Font /Subtype /Type1 /ToUnicode 7 0 R >>"), stream(flate, &gigabytes)],
            )
            .into_iter()
            .collect(),
        ),
        (
            "an object stream",
            one_page(show(), "", &[stream(&format!("/Type /ObjStm /N 1 /First 4 {flate}"), &gigabytes)]),
        ),
        (
            "many object streams",
            one_page(show(), "", &vec![stream(&format!("/Type /ObjStm /N 1 /First 4 {flate}"), &bomb(b' ', 1)); 200]),
        ),
    ] {
        let refused = read("a.pdf", &file).map(|extract| extract.words);
        assert_eq!(refused, Err("DecompressionBomb"), "{why}, {} bytes", file.len());
    }
    let picture = stream(&format!("/Type /XObject /Subtype /Image {flate}"), &gigabytes);
    let file = one_page(content("BT /F1 10 Tf (text) Tj ET /X Do"), "/XObject << /X 6 0 R >>", &[picture]);
    assert_eq!(text(&file), Ok("text".into()));
}

#[test]
fn a_page_drawn_many_times_uses_up_the_inflation_budget() {
    let page = "3 0 R ".repeat(10_000);
    let file = pdf(&[
        object("<< /Type /Catalog /Pages 2 0 R >>"),
        object(&format!("<< /Type /Pages /Kids [{page}] /Count 10000 >>")),
        object(&format!("<< /Type /Page /Contents [{}] >>", "4 0 R ".repeat(1_000))),
        stream("/Filter /FlateDecode", &bomb(b' ', 1)),
    ]);
    assert_eq!(read("a.pdf", &file).map(|extract| extract.words), Err("DecompressionBomb"));
}

#[test]
fn an_object_stream_with_other_filters_is_not_inflated() {
    let hidden = stream("/Type /ObjStm /N 1 /First 4 /Filter /RunLengthDecode", &b"\x81 ".repeat(10));
    let file = one_page(content("BT /F1 10 Tf (text) Tj ET"), "", &[hidden]);
    assert_eq!(text(&file), Err("CorruptPdf"));
}

#[test]
fn objects_that_exceed_the_memory_limit_are_refused_before_parsing() {
    let show = || content("BT /F1 10 Tf (text) Tj ET");
    let zeros = "0 ".repeat(2_000_000);
    let packed = deflated(format!("1 0 [{}]", "[0]".repeat(500_000)).as_bytes());
    for (why, more) in [
        ("one large object", vec![object(&format!("[{zeros}]"))]),
        ("many objects", vec![object(&format!("[{}]", "[0]".repeat(50_000))); 12]),
        (
            "one that hides in what looks like a stream",
            vec![object(&format!("[(<< >>\nstream\n) {zeros} (endstream)]"))],
        ),
        ("members of an object stream", vec![stream("/Type /ObjStm /N 1 /First 4 /Filter /FlateDecode", &packed)]),
    ] {
        assert_eq!(text(&one_page(show(), "", &more)), Err("DocumentTooComplex"), "{why}");
    }
}

/// Runs on a thread like the CPU threads, with a stack of 2 MiB.
#[test]
fn nesting_does_not_overflow_the_stack() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(10_000), close.repeat(10_000));
    let show = "BT /F1 10 Tf (text) Tj ET";
    let mut tree = vec![object("<< /Type /Catalog /Pages 2 0 R >>")];
    tree.extend((0..50_000).map(|level| {
        object(&format!("<< /Type /Pages /Kids [{} 0 R] /Count 1 /Parent {} 0 R >>", level + 3, level + 1))
    }));
    let files = [
        ("arrays", one_page(content(show), "", &[object(&deep("[", "]"))])),
        ("dictionaries", one_page(content(show), "", &[object(&deep("<</A", ">>"))])),
        ("strings", one_page(content(show), "", &[object(&deep("(", ")"))])),
        (
            "nearly too deep",
            one_page(content(show), "", &[object(&format!("{}{}", "<</A[".repeat(49), "]>>".repeat(49)))]),
        ),
        ("content", one_page(content(&format!("{} {show}", deep("[ << ( ", ") >> ]"))), "", &[])),
        ("states", one_page(content(&format!("{}{show}", "q ".repeat(100_000))), "", &[])),
    ];
    let thread = std::thread::Builder::new().stack_size(2 << 20);
    let done = thread.spawn(move || {
        for (why, file) in files {
            assert_eq!(text(&file), Ok("text".into()), "{why}");
        }
        assert_eq!(text(&pdf(&tree)), Err("CorruptPdf"));
    });
    done.unwrap().join().unwrap();
}

#[tokio::test]
async fn a_cancelled_extraction_frees_its_thread() {
    const LIMIT: Duration = Duration::MAX;
    let pool = CpuPool::start(1).unwrap();
    // Minutes of work unless it is stopped: a page with as many passages as words, extracted a hundred times.
    let page = "<p>word ".repeat(400_000);
    let cancel = Cancel::default();
    let waiting = {
        let (pool, cancel) = (pool.clone(), cancel.clone());
        async move {
            let _guard = cancel.on_drop();
            let work = move || {
                let outcome = (0..100).map(|_| extract(MediaType::Html, page.as_bytes(), 1, &cancel));
                outcome.take_while(Result::is_ok).count()
            };
            pool.run(LIMIT, work).await
        }
    };
    let gave_up = tokio::time::timeout(Duration::from_millis(300), waiting).await;
    assert!(gave_up.is_err(), "the work was done at once: {gave_up:?}");
    // The only thread takes the next job once the cancelled one has stopped.
    let next = tokio::time::timeout(Duration::from_secs(30), pool.run(LIMIT, || 7)).await;
    assert_eq!(next.expect("the thread is still busy"), Ok(7));
}

/// Kinds of errors that a damaged PDF may give.
const DAMAGED: [&str; 7] = [
    "TruncatedPdf",
    "CorruptPdf",
    "EncryptedPdf",
    "PdfWithoutText",
    "DecompressionBomb",
    "DocumentTooComplex",
    "DocumentTypeMismatch",
];

proptest! {
    #[test]
    fn a_damaged_pdf_is_read_or_refused(
        report in any::<bool>(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..40),
        cut in proptest::option::of((any::<prop::sample::Index>(), any::<prop::sample::Index>())),
    ) {
        let mut file = if report { REPORT } else { TIDES }.to_vec();
        for (place, byte) in damage {
            let length = file.len();
            file[place.index(length)] = byte;
        }
        if let Some((from, to)) = cut {
            let (from, to) = (from.index(file.len()), to.index(file.len()));
            file.drain(from.min(to)..from.max(to));
        }
        if let Err(kind) = read("a.pdf", &file) {
            prop_assert!(DAMAGED.contains(&kind) || kind == "EmptyDocument" || kind == "UnknownDocumentType", "{}", kind);
        }
    }

    #[test]
    fn any_content_stream_is_read_or_refused(operators in "([()<>\\[\\]/ ]|Tj|TJ|Tf|F1 |Td |Tm |BT |ET |q |Q |cm |Do |BI |ID |EI |-?[0-9.]{1,6} |[a-z]{1,5}){0,60}") {
        if let Err(kind) = text(&one_page(content(&operators), "", &[])) {
            prop_assert!(["PdfWithoutText", "CorruptPdf"].contains(&kind), "{}", kind);
        }
    }
}
