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
    /// The document needs more memory than a worker has.
    #[error(
        "the document needs up to {bytes} bytes of memory, more than the {limit} that a worker has for documents: split \
         it, or raise the memory limit of the workers and MEMORY_LIMIT_BYTES"
    )]
    TooMuchMemory {
        /// Memory that it needs.
        bytes: u64,
        /// The budget.
        limit: u64,
    },
    /// Reading the document takes too long.
    #[error(
        "reading the document takes more than the {seconds} s of CPU time that are allowed: simplify or split it, or \
         raise DOCUMENT_MAX_CPU_SECONDS"
    )]
    TooMuchCpu {
        /// The limit.
        seconds: u64,
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
    /// The store does not let the document be read, or be seen.
    #[error(
        "the document {document:?} may not be read, while others may ({answer}): upload it if it is missing, or allow \
         s3:GetObject on it; with s3:ListBucket a missing document is told apart"
    )]
    Forbidden {
        /// Address of the document.
        document: String,
        /// The answer of the store.
        answer: String,
    },
    /// The document is in an archive.
    #[error("the document {document:?} is in an archive of the store ({answer}): restore it, then process it again")]
    Archived {
        /// Address of the document.
        document: String,
        /// The answer of the store.
        answer: String,
    },
    /// The key of the document is too long.
    #[error("the key of the document {document:?} is longer than the {limit} bytes that the store allows: shorten it")]
    KeyTooLong {
        /// Address of the document.
        document: String,
        /// Maximum length in bytes.
        limit: usize,
    },
    /// The store refuses to give the document.
    #[error(
        "the store refuses to give the document {document:?} ({answer}): store it without an encryption key of your own"
    )]
    Unreadable {
        /// Address of the document.
        document: String,
        /// The answer of the store.
        answer: String,
    },
    /// The request of the workflow is invalid.
    #[error(
        "the argument of the workflow is invalid: {fault}; start it with {{\"document_id\": \"…\", \"source\": \"…\"}}"
    )]
    InvalidRequest {
        /// What is wrong with it.
        fault: String,
    },
    /// The database cannot hold the document.
    #[error("the database cannot hold the document ({message}, SQLSTATE {code}): {remedy}")]
    NotStorable {
        /// SQLSTATE.
        code: String,
        /// Message of the database.
        message: String,
        /// The way out.
        remedy: &'static str,
    },
    /// Workers died while they processed the document.
    #[error(
        "{deaths} workers died during the step {step} of the document of the workflow {workflow:?}, all but one of them \
         while they read no other large document: look for the end of their processes (such as OOMKilled), and report \
         it with the document; if the workers ended for another reason, start the workflow again"
    )]
    ReaderKilled {
        /// The workflow.
        workflow: String,
        /// The step.
        step: &'static str,
        /// Workers that died.
        deaths: u32,
    },
    /// The reader panicked.
    #[error("the document made its reader panic: {message}")]
    ReaderPanicked {
        /// Message of the panic.
        message: String,
    },
}

/// A kind of poison, for the reference.
#[derive(Debug)]
pub struct Kind {
    /// The stable name.
    pub name: &'static str,
    /// When a document is of this kind.
    pub cause: &'static str,
    /// What to do.
    pub remedy: &'static str,
}

/// Gives each variant its stable name, and the reference a row for each name.
macro_rules! kinds {
    ($($variant:pat => $name:literal, $cause:literal, $remedy:literal;)*) => {
        impl PoisonError {
            /// The stable name, which is the type of the application failure.
            pub fn kind(&self) -> &'static str {
                match self { $($variant => $name,)* }
            }
        }

        /// All kinds.
        pub const KINDS: &[Kind] = &[$(Kind { name: $name, cause: $cause, remedy: $remedy }),*];
    };
}

kinds! {
    PoisonError::InvalidRequest { .. } => "InvalidRequest",
        "the argument of the workflow is not `{\"document_id\": …, \"source\": …}`; or one of the two is empty, has a \
         control character or is too long (2048 bytes). No step runs, and no worker counts it",
        "start the workflow with another argument";
    PoisonError::ForeignSource { .. } => "ForeignSource",
        "the source is outside of the configured store",
        "use a source in the store, or set `DOCUMENT_STORE_URL`";
    PoisonError::Missing { .. } => "DocumentMissing",
        "the store has no such object",
        "upload it before its workflow starts";
    PoisonError::Forbidden { .. } => "DocumentForbidden",
        "S3 answers 403 for this object, while it gives others to the same worker; or for ten minutes. Without \
         `s3:ListBucket`, S3 answers so for a missing object as well",
        "upload it, or allow `s3:GetObject` on it; allow `s3:ListBucket`, so that a missing object is told apart";
    PoisonError::Archived { .. } => "DocumentArchived",
        "the object is in an archive of S3 (Glacier)",
        "restore it, then process it again";
    PoisonError::KeyTooLong { .. } => "KeyTooLong",
        "the key has more than 1024 bytes with its prefix (a folder: a name of more than 255 bytes)",
        "shorten it";
    PoisonError::Unreadable { .. } => "DocumentUnreadable",
        "S3 refuses the request for this object, for example because it needs the customer's encryption key",
        "store it without such a key";
    PoisonError::TooBig { .. } => "DocumentTooBig",
        "the document has more than `DOCUMENT_MAX_BYTES`. The worker checks the declared size before the download, and \
         the actual size during it",
        "split it, or raise the limit";
    PoisonError::Empty => "EmptyDocument",
        "the document has only white space",
        "upload it again, or leave it out";
    PoisonError::UnknownType { .. } => "UnknownDocumentType",
        "a format that is not supported: an archive, a compressed file, a picture, binary data, an unknown extension",
        "convert it";
    PoisonError::TypeMismatch { .. } => "DocumentTypeMismatch",
        "a PDF with the name of a text, or a file named `.pdf` that is not a PDF",
        "correct its name";
    PoisonError::InvalidUtf8 { .. } => "InvalidUtf8",
        "the text declares UTF-8 or has its byte order mark, but too much of it is invalid. The message has the position \
         of the first invalid byte",
        "repair it, or correct its declaration";
    PoisonError::UnknownCharset => "UnknownCharset",
        "no charset yields text without control characters",
        "convert it to UTF-8";
    PoisonError::TruncatedPdf { .. } => "TruncatedPdf",
        "the end of a PDF is missing",
        "upload the whole file";
    PoisonError::CorruptPdf { .. } => "CorruptPdf",
        "the structure or the pages of a PDF cannot be read. The message says which",
        "repair it (`qpdf`), or create it again";
    PoisonError::EncryptedPdf => "EncryptedPdf",
        "the PDF needs a password, or its encryption is not known",
        "`qpdf --password=… --decrypt`";
    PoisonError::PdfWithoutText { .. } => "PdfWithoutText",
        "the pages are pictures, or the fonts do not say which characters they draw",
        "run OCR on it first";
    PoisonError::DecompressionBomb { .. } => "DecompressionBomb",
        "the streams of a PDF inflate beyond the limit",
        "split it; a bomb stays refused";
    PoisonError::TooComplex { .. } => "DocumentTooComplex",
        "more elements, nesting or objects than the limits allow. The message says which",
        "simplify or split it";
    PoisonError::TooMuchMemory { .. } => "DocumentNeedsTooMuchMemory",
        "reading or storing the document may take more memory than a worker has for documents",
        "split it, or raise the memory limit of the workers and `MEMORY_LIMIT_BYTES`";
    PoisonError::TooMuchCpu { .. } => "DocumentNeedsTooMuchCpu",
        "reading the document takes more CPU time than `DOCUMENT_MAX_CPU_SECONDS`. Waiting for a service or for a CPU \
         does not count",
        "simplify or split it, or raise the limit";
    PoisonError::ReaderKilled { .. } => "ReaderKilled",
        "three workers died while they read or stored the document, the last two while they read no other large one",
        "see how the processes ended, and report it with the document; if it was for another reason, start the workflow \
         again";
    PoisonError::ReaderPanicked { .. } => "ReaderPanicked",
        "a bug in a reader",
        "report it, with the document";
    PoisonError::NotStorable { .. } => "NotStorable",
        "Postgres refuses the document's data, with one of the states below",
        "the message says which";
}

/// A text for a message. Temporal rejects failures of some kilobytes, and a source may be as long.
pub fn shortened(text: &str) -> String {
    const MAX_CHARACTERS: usize = 200;
    match text.char_indices().nth(MAX_CHARACTERS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_one_name() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn a_long_text_is_shortened_at_a_character() {
        assert_eq!(shortened("short"), "short");
        let long = shortened(&"ü".repeat(300));
        assert_eq!((long.chars().count(), long.chars().last()), (201, Some('…')));
    }
}
