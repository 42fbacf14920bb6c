//! Reads a tar of the one form that bundles have: regular files, each header as this crate writes it, zeros as padding.

use std::io::Read;

use anyhow::{Context, Result, ensure};
use sha2::{Digest as _, Sha256};

use crate::file::members::{BLOCK, head};

const BLOCK_BYTES: usize = BLOCK as usize;

/// A member's header.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) size: u64,
}

/// Reads a tar from its start to its end, and hashes every byte.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: R,
    /// A header that was read ahead.
    ahead: Option<[u8; BLOCK_BYTES]>,
    /// Bytes read so far.
    at: u64,
    hash: Sha256,
}

impl<R: Read> Reader<R> {
    pub(super) fn new(input: R) -> Self {
        Self { input, ahead: None, at: 0, hash: Sha256::new() }
    }

    /// The number of bytes that were read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The first block. It is read again as a header.
    pub(super) fn peek(&mut self) -> Result<[u8; BLOCK_BYTES]> {
        let mut block = [0; BLOCK_BYTES];
        let count = self.fill(&mut block)?;
        ensure!(count == BLOCK_BYTES, "is not a bundle: it has {count} bytes");
        self.ahead = Some(block);
        Ok(block)
    }

    /// The next header, or nothing at the end mark. Errors name `expected`, because a damaged header has no sure name.
    pub(super) fn head(&mut self, expected: Option<&str>) -> Result<Option<Head>> {
        let what = || expected.map_or_else(|| "the end".to_owned(), |name| format!("the header of {name}"));
        let block = match self.ahead.take() {
            Some(block) => block,
            None => {
                let mut block = [0; BLOCK_BYTES];
                let count = self.fill(&mut block)?;
                ensure!(count == BLOCK_BYTES, "is truncated: it ends after {} bytes, in {}", self.at, what());
                block
            }
        };
        if block == [0; BLOCK_BYTES] {
            return Ok(None);
        }
        let found = parse(&block);
        let found =
            found.filter(|found| head(&found.name, found.size).is_ok_and(|canonical| *canonical.as_bytes() == block));
        found.map(Some).with_context(|| format!("is damaged: {}, at byte {}", what(), self.at - BLOCK))
    }

    /// Passes a member's content to `take`, and checks its padding.
    pub(super) fn body(&mut self, head: &Head, mut take: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let mut buffer = vec![0; usize::try_from(head.size.clamp(BLOCK, 1 << 20))?];
        let mut left = head.size;
        while left > 0 {
            let part = usize::try_from(left.min(buffer.len() as u64))?;
            let count = self.fill(&mut buffer[..part])?;
            ensure!(count == part, "is truncated: it ends after {} bytes, in {}", self.at, head.name);
            take(&buffer[..part])?;
            left -= part as u64;
        }
        let padding = usize::try_from(head.size.next_multiple_of(BLOCK) - head.size)?;
        let count = self.fill(&mut buffer[..padding])?;
        ensure!(count == padding, "is truncated: it ends after {} bytes, in {}", self.at, head.name);
        ensure!(buffer[..padding].iter().all(|byte| *byte == 0), "is damaged: the padding of {}", head.name);
        Ok(())
    }

    /// Checks the end after the first block of the end mark. Answers the number of bytes and their SHA-256.
    pub(super) fn finish(&mut self) -> Result<(u64, String)> {
        let mut rest = [0; BLOCK_BYTES + 1];
        let count = self.fill(&mut rest)?;
        ensure!(count >= BLOCK_BYTES, "is truncated: it ends after {} bytes, in the end mark", self.at);
        ensure!(count == BLOCK_BYTES && rest == [0; BLOCK_BYTES + 1], "is damaged: it has bytes after its last member");
        Ok((self.at, hex::encode(self.hash.clone().finalize())))
    }

    /// Reads until the buffer is full or the file ends.
    fn fill(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            support::interrupt::check()?;
            match self.input.read(&mut buffer[filled..]).context("cannot be read")? {
                0 => break,
                count => filled += count,
            }
        }
        self.hash.update(&buffer[..filled]);
        self.at += filled as u64;
        Ok(filled)
    }
}

fn parse(block: &[u8; BLOCK_BYTES]) -> Option<Head> {
    let header = tar::Header::from_byte_slice(block);
    let name = std::str::from_utf8(&header.path_bytes()).ok()?.to_owned();
    Some(Head { name, size: header.entry_size().ok()? })
}
