//! Documents that can never be processed, however often they are tried. The kinds are part of the interface: operators and
//! workflows tell them apart by [`PoisonError::kind`].

/// Why a document is refused for good.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoisonError {
    /// Nothing but white space.
    #[error("the document is empty: upload it again, or remove it from the load")]
    Empty,
    /// Over the limit.
    #[error(
        "the document has {bytes} bytes, more than the {limit} allowed: split it, or raise DOCUMENT_MAX_BYTES"
    )]
    TooBig {
        /// Size of the document.
        bytes: u64,
        /// Largest size that is processed.
        limit: u64,
    },
    /// Not UTF-8.
    #[error("the document is not UTF-8 from byte {offset} on: convert it to UTF-8")]
    InvalidUtf8 {
        /// Index of the first byte that is not.
        offset: usize,
    },
    /// A type that is not processed, or a name that disagrees with the content.
    #[error("the document {name:?} is {found}: HTML, Markdown and plain text are processed")]
    UnknownType {
        /// Name of the document.
        name: String,
        /// What it seems to be.
        found: String,
    },
    /// No such object.
    #[error("there is no document {document:?} in the store: upload it before its workflow starts")]
    Missing {
        /// Where it should be.
        document: String,
    },
    /// A source outside the configured store.
    #[error(
        "the source {document:?} is not in the store {root:?}: use a source below it, or set DOCUMENT_STORE_URL"
    )]
    ForeignSource {
        /// The source.
        document: String,
        /// The configured root.
        root: String,
    },
    /// The reader itself gave up.
    #[error("the document made its reader panic: {message}")]
    ReaderPanicked {
        /// What the panic said.
        message: String,
    },
}

impl PoisonError {
    /// The stable name, carried as the type of the application failure.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Empty => "EmptyDocument",
            Self::TooBig { .. } => "DocumentTooBig",
            Self::InvalidUtf8 { .. } => "InvalidUtf8",
            Self::UnknownType { .. } => "UnknownDocumentType",
            Self::Missing { .. } => "DocumentMissing",
            Self::ForeignSource { .. } => "ForeignSource",
            Self::ReaderPanicked { .. } => "ReaderPanicked",
        }
    }
}
