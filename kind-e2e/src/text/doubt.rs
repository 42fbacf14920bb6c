//! Why a document has no reading. A doubt is no error of the document: a browser reads all of these.

use thiserror::Error;

/// What tokens and a stack of open elements cannot answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Doubt {
    /// The worker refuses it, or may: white space only, NUL, the first bytes of another format.
    #[error("it is empty, or looks like another format than its name says")]
    Format,
    /// It declares ISO-2022-JP, the one charset that valid UTF-8 may be read in.
    #[error("it declares ISO-2022-JP")]
    Charset,
    /// comrak and markdown-rs do not agree.
    #[error("two Markdown parsers read it differently")]
    Parsers,
    /// A table holds what belongs before it (foster parenting).
    #[error("a table holds text or elements outside its cells")]
    Foster,
    /// An end tag of a formatting element comes inside a block that began later (the adoption agency).
    #[error("formatting ends inside another block than it began in")]
    Misnested,
    /// A link ends by no end tag of its own, so that a browser opens it again.
    #[error("a link is not closed where it was opened")]
    OpenLink,
    /// A link stands within a link.
    #[error("a link holds a link")]
    NestedLink,
    /// A heading ends by no end tag of its own, or holds another.
    #[error("a heading is not closed where it was opened, or holds another")]
    OpenHeading,
    /// A form ends while something else is open, or holds another.
    #[error("a form is not closed where it was opened, or holds another")]
    Form,
    /// A list of options holds something else.
    #[error("a select element holds more than options")]
    Select,
    /// SVG or MathML that holds HTML, or an element that HTML has, too.
    #[error("SVG or MathML holds elements that HTML has, too")]
    Foreign,
    /// It ends within raw text, a template, a picture, a heading or a link.
    #[error("it ends before its elements do")]
    Unclosed,
    /// Frames instead of a body, or text to the end of the file.
    #[error("it has frames or plaintext")]
    Obsolete,
    /// It nests deeper, or has a longer heading or link, than is looked at.
    #[error("it nests deep or has a long heading or link")]
    Limit,
}
