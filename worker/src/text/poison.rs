//! Documents that can never be processed. The kinds are a public interface: operators and workflows use
//! [`PoisonError::kind`].

/// Why a document can never be processed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PoisonError {
    /// The document has only white space.
    #[error("the document is empty: upload it again, or do not process it")]
    Empty,
    /// The document is larger than the limit.
    #[error("the document has {bytes} bytes, more than the {limit} allowed: split it, or raise DOCUMENT_MAX_BYTES")]
    TooBig {
        /// Size in bytes.
        bytes: u64,
        /// Maximum size in bytes.
        limit: u64,
    },
    /// The document declares UTF-8 or mostly is UTF-8, and is invalid.
    #[error("the document is not valid UTF-8 at byte {offset}: repair it, or correct the charset that it declares")]
    InvalidUtf8 {
        /// Index of the first invalid byte.
        offset: usize,
    },
    /// No charset decodes the document.
    #[error("the document is not text in any known charset: convert it to UTF-8, or give it the extension of its type")]
    UnknownCharset,
    /// The type is not supported.
    #[error(
        "the document {name:?} is {found}: only HTML, Markdown, plain text and PDF are supported, and archives are \
         not unpacked"
    )]
    UnknownType {
        /// Name of the document.
        name: String,
        /// The type of the content.
        found: String,
    },
    /// The name disagrees with the content.
    #[error("the document {name:?} is {found} by its content: give it the extension of its type")]
    TypeMismatch {
        /// Name of the document.
        name: String,
        /// The type of the content.
        found: &'static str,
    },
    /// The PDF is truncated.
    #[error("the PDF is cut off ({reason}): upload the whole file again")]
    TruncatedPdf {
        /// The missing part.
        reason: String,
    },
    /// The PDF cannot be read.
    #[error("the PDF is damaged ({reason}): repair it, or create it again")]
    CorruptPdf {
        /// The cause.
        reason: String,
    },
    /// The PDF needs a password, or is encrypted in a way that is not known.
    #[error("the PDF needs a password to open: upload it without encryption")]
    EncryptedPdf,
    /// The PDF has only pictures, or fonts without a mapping to characters.
    #[error("none of the {pages} pages of the PDF has readable text: run OCR before the upload")]
    PdfWithoutText {
        /// Number of pages.
        pages: u32,
    },
    /// Compressed data inflates beyond the limit.
    #[error("the document inflates to more than {limit} bytes: it is a decompression bomb, or must be split")]
    DecompressionBomb {
        /// Maximum number of inflated bytes.
        limit: usize,
    },
    /// The document is small in bytes but too large when parsed.
    #[error("the document has more than {limit} {what}: simplify or split it")]
    TooComplex {
        /// The kind of part that exceeds its limit.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The document is not in the store.
    #[error("the document {document:?} is not in the store: upload it before its workflow starts")]
    Missing {
        /// Address of the document.
        document: String,
    },
    /// The source is outside the configured store.
    #[error(
        "the source {document:?} is outside of the store {root:?}: use a source below it, or set DOCUMENT_STORE_URL"
    )]
    ForeignSource {
        /// The source.
        document: String,
        /// The configured root.
        root: String,
    },
    /// The reader panicked.
    #[error("the document made its reader panic: {message}")]
    ReaderPanicked {
        /// Message of the panic.
        message: String,
    },
}

impl PoisonError {
    /// The stable name, which is the type of the application failure.
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
