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
    /// It claims to be UTF-8, or mostly is, and is not.
    #[error(
        "the document is not valid UTF-8 at byte {offset}: repair it, or correct the charset that it declares"
    )]
    InvalidUtf8 {
        /// Index of the first byte that is not.
        offset: usize,
    },
    /// No charset gives text.
    #[error(
        "the document is text in no charset that is known: convert it to UTF-8, or name it for the format that it is in"
    )]
    UnknownCharset,
    /// A type that is not processed.
    #[error(
        "the document {name:?} is {found}: HTML, Markdown, plain text and PDF are processed, and archives are not unpacked"
    )]
    UnknownType {
        /// Name of the document.
        name: String,
        /// What it seems to be.
        found: String,
    },
    /// A name that disagrees with the content.
    #[error("the document {name:?} is {found} by its content: give it the name of its type")]
    TypeMismatch {
        /// Name of the document.
        name: String,
        /// What it is.
        found: &'static str,
    },
    /// A PDF that ends too early.
    #[error("the PDF is cut off ({reason}): upload the whole file again")]
    TruncatedPdf {
        /// What is missing.
        reason: String,
    },
    /// A PDF that cannot be read.
    #[error("the PDF is damaged ({reason}): repair it, or make it again")]
    CorruptPdf {
        /// What is wrong.
        reason: String,
    },
    /// A PDF that is encrypted, with or without a password to open it.
    #[error("the PDF is encrypted: upload it without encryption")]
    EncryptedPdf,
    /// A PDF of pictures, or with fonts that do not say which characters they show.
    #[error(
        "no page of the PDF has text that can be read ({pages} pages): recognise the text (OCR) before it is uploaded"
    )]
    PdfWithoutText {
        /// Its pages.
        pages: u32,
    },
    /// Compressed data that inflates beyond measure.
    #[error(
        "the document inflates to more than {limit} bytes: it is a decompression bomb, or has to be split"
    )]
    DecompressionBomb {
        /// Bytes that would have been allowed.
        limit: usize,
    },
    /// Too large when taken apart, though it is not too large in bytes.
    #[error("the document has more than {limit} {what}: simplify or split it")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much would have been allowed.
        limit: usize,
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
            Self::UnknownCharset => "UnknownCharset",
            Self::UnknownType { .. } => "UnknownDocumentType",
            Self::TypeMismatch { .. } => "DocumentTypeMismatch",
            Self::TruncatedPdf { .. } => "TruncatedPdf",
            Self::CorruptPdf { .. } => "CorruptPdf",
            Self::EncryptedPdf => "EncryptedPdf",
            Self::PdfWithoutText { .. } => "PdfWithoutText",
            Self::DecompressionBomb { .. } => "DecompressionBomb",
            Self::TooComplex { .. } => "DocumentTooComplex",
            Self::Missing { .. } => "DocumentMissing",
            Self::ForeignSource { .. } => "ForeignSource",
            Self::ReaderPanicked { .. } => "ReaderPanicked",
        }
    }
}
