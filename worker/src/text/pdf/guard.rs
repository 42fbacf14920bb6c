//! Checks a PDF before it is loaded. Loading inflates and parses all object streams and cross-reference streams and
//! keeps the result. Here, streams are inflated into a reused buffer and the memory of objects is estimated, so a
//! bomb is refused with constant memory and bounded work.
//!
//! A stream begins after the keyword `stream` and an object after `obj`, anywhere in the file. Nothing that the
//! file declares about itself is trusted.

use flate2::{Decompress, FlushDecompress, Status};
use memchr::memmem;

use super::{Cancel, ExtractError, Limits, PoisonError, load, weigh};

/// Bytes that are inflated at a time.
const BUFFER: usize = 32 << 10;

/// Refuses a file whose streams together read and inflate to more than `limit` bytes. Each stream counts at most
/// what loading accepts. Counting the input bounds the work if streams overlap.
pub(super) fn check_streams(bytes: &[u8], limit: usize, cancel: &Cancel) -> Result<(), ExtractError> {
    let mut inflater = Inflater::new();
    let mut total = 0_usize;
    for at in memmem::find_iter(bytes, b"stream") {
        cancel.check()?;
        let data = after_line_end(&bytes[at + b"stream".len()..]);
        total = total.saturating_add(inflater.measure(data));
        if total > limit {
            return Err(PoisonError::DecompressionBomb { limit }.into());
        }
    }
    Ok(())
}

/// Refuses a file with an object that would take more memory than all objects together may.
pub(super) fn check_objects(bytes: &[u8], cancel: &Cancel) -> Result<(), ExtractError> {
    let headers = memmem::find_iter(bytes, b"obj").filter(|at| weigh::is_header(&bytes[..*at]));
    let headers = headers.map(|at| at + b"obj".len());
    let trailers = memmem::find_iter(bytes, b"trailer").map(|at| at + b"trailer".len());
    // Loading copies an object before it is kept.
    let limit = Limits::of(bytes.len() as u64).objects / 2;
    // In a valid file each object is read once. Nested objects would be read again.
    let mut left = 4 * bytes.len() + (1 << 20);
    for at in headers.chain(trailers) {
        cancel.check()?;
        let weight = weigh::at_most(&bytes[at..]);
        if weight.memory > limit || weight.read > left {
            return Err(load::too_many_objects(limit).into());
        }
        left -= weight.read;
    }
    Ok(())
}

fn after_line_end(data: &[u8]) -> &[u8] {
    let data = data.strip_prefix(b"\r").unwrap_or(data);
    data.strip_prefix(b"\n").unwrap_or(data)
}

/// Inflates and discards the output.
struct Inflater {
    state: Decompress,
    discarded: Vec<u8>,
}

impl Inflater {
    fn new() -> Self {
        Self { state: Decompress::new(true), discarded: vec![0; BUFFER] }
    }

    /// Bytes that a stream reads plus bytes that it inflates to. As in lopdf, the data is read as zlib, and if that
    /// gives nothing, as deflate after a header of two bytes.
    fn measure(&mut self, data: &[u8]) -> usize {
        let (size, inflated) = self.inflate(data, true);
        match data.get(2..) {
            Some(rest) if !inflated => size + self.inflate(rest, false).0,
            _ => size,
        }
    }

    /// The number of bytes, and whether there was output.
    fn inflate(&mut self, data: &[u8], zlib: bool) -> (usize, bool) {
        self.state.reset(zlib);
        let mut size = 0;
        while size <= load::MAX_LOADED_STREAM {
            let before = self.state.total_out();
            let read = usize::try_from(self.state.total_in()).unwrap_or(data.len());
            let status = self.state.decompress(&data[read..], &mut self.discarded, FlushDecompress::None);
            let done = self.state.total_in() + self.state.total_out();
            size = usize::try_from(done).unwrap_or(usize::MAX);
            if !matches!(status, Ok(Status::Ok)) || self.state.total_out() == before {
                break;
            }
        }
        (size, self.state.total_out() > 0)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    fn deflated(content: &[u8]) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn file(streams: &[Vec<u8>]) -> Vec<u8> {
        let parts = streams.iter().map(|data| [b"<< >>\nstream\r\n", data.as_slice(), b"\nendstream\n"].concat());
        parts.collect::<Vec<_>>().concat()
    }

    #[test]
    fn inflated_sizes_add_up_over_the_file() {
        let bomb = deflated(&[0; 1 << 20]);
        let limit = 10 << 20;
        let file = |streams| file(&vec![bomb.clone(); streams]);
        assert!(bomb.len() < 2_000);
        assert_eq!(check_streams(&file(9), limit, &Cancel::default()), Ok(()));
        assert_eq!(
            check_streams(&file(10), limit, &Cancel::default()),
            Err(PoisonError::DecompressionBomb { limit }.into())
        );
    }

    #[test]
    fn one_stream_counts_at_most_what_loading_accepts() {
        for data in [deflated(&vec![0; 50 << 20]), deflated(&vec![0; 50 << 20])[2..].to_vec()] {
            let headless = [b"??", data.as_slice()].concat();
            for data in [data, headless] {
                let size = Inflater::new().measure(&data);
                assert!(size <= load::MAX_LOADED_STREAM + 2 * BUFFER, "{size}");
            }
        }
    }

    #[test]
    fn a_stream_without_its_header_is_measured() {
        let headless = [b"??", &deflated(&[0; 1 << 20])[2..]].concat();
        assert!(Inflater::new().measure(&headless) > 1 << 20);
    }

    #[test]
    fn overlapping_streams_cause_bounded_work() {
        // Stored blocks, each of which contains the start of the next stream.
        let block = b"\x00\x09\x00\xf6\xffstream\nx\x9c";
        let file = block.repeat(100_000);
        let limit = 8 * file.len();
        assert!(check_streams(&file, limit, &Cancel::default()).is_err());
    }

    #[test]
    fn uncompressed_streams_count_almost_nothing() {
        for file in [file(&[b"plain text".to_vec()]), b"stream".to_vec(), b"stream\r\n".to_vec()] {
            assert_eq!(check_streams(&file, 100, &Cancel::default()), Ok(()));
        }
    }

    #[test]
    fn an_object_that_would_fill_the_memory_is_refused() {
        let zeros = |count: usize| format!("1 0 obj\n[{}]\nendobj\n", "0 ".repeat(count));
        let check = |file: &str| check_objects(file.as_bytes(), &Cancel::default());
        assert_eq!(check(&zeros(100_000)), Ok(()));
        assert!(check(&zeros(1_000_000)).is_err());
        assert!(check(&format!("trailer << /A [{}] >>", "0 ".repeat(1_000_000))).is_err());
    }

    #[test]
    fn nested_objects_cause_bounded_work() {
        let file = "1 0 obj[(".repeat(100_000);
        assert!(check_objects(file.as_bytes(), &Cancel::default()).is_err());
    }

    proptest! {
        #[test]
        fn any_small_input_passes(bytes in "(stream\r?\nx\u{9c}|[0-9] 0 obj|[\\x00-\\x7f]{0,9}){0,20}") {
            prop_assert!(check_streams(bytes.as_bytes(), usize::MAX, &Cancel::default()).is_ok());
            prop_assert!(check_objects(bytes.as_bytes(), &Cancel::default()).is_ok());
        }
    }
}
