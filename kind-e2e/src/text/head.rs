//! What comes before the body of a page, and what is not part of its text: the head, templates, pictures and formulas.

use super::Doubt;
use super::elements::{is_head_void, is_uncertain_in_foreign};
use super::html::Raw;
use super::tree::{Phase, Tag, Tree};

/// The part of a page that a start tag belongs to.
enum Part {
    /// The head, or nothing; and the raw text that begins.
    Head(Option<Raw>),
    /// The body.
    Body,
}

impl Tree {
    /// A start tag. What it returns is the raw text that begins, if it does.
    pub(super) fn start(&mut self, tag: &Tag) -> Result<Option<Raw>, Doubt> {
        match tag.name.as_str() {
            "frameset" | "plaintext" => return Err(Doubt::Obsolete),
            "template" if tag.shadow => return Err(Doubt::Limit),
            _ => {}
        }
        if self.templates > 0 {
            return self.start_in_template(tag);
        }
        if !self.foreign.is_empty() {
            return self.start_in_foreign(tag).map(|()| None);
        }
        match self.start_before_body(&tag.name)? {
            Part::Head(raw) => Ok(raw),
            Part::Body => self.start_in_page(tag),
        }
    }

    /// An end tag outside raw text.
    pub(super) fn end_tag(&mut self, name: &str) -> Result<(), Doubt> {
        if self.templates > 0 {
            self.templates -= usize::from(name == "template");
            return Ok(());
        }
        if let Some(open) = self.foreign.pop() {
            return if open == name { Ok(()) } else { Err(Doubt::Foreign) };
        }
        if self.phase != Phase::Body && !self.end_in_head(name)? {
            return Ok(());
        }
        self.end_in_page(name)
    }

    /// Text outside raw text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), Doubt> {
        let blank = text.bytes().all(|byte| matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' '));
        if self.templates > 0 || (blank && self.phase != Phase::Body) {
            return Ok(());
        }
        self.begin_body()?;
        if !blank && self.foreign.is_empty() && !self.takes_text() {
            return Err(Doubt::Foster);
        }
        self.page.text(text)
    }

    /// A comment. In SVG and MathML it may be a section of characters.
    pub(super) fn comment(&mut self, text: &str) -> Result<(), Doubt> {
        let characters = !self.foreign.is_empty() && text.starts_with("[CDATA[");
        if characters { Err(Doubt::Foreign) } else { Ok(()) }
    }

    /// A start tag, as far as it belongs to what is before the body.
    fn start_before_body(&mut self, name: &str) -> Result<Part, Doubt> {
        if self.phase == Phase::Body {
            return Ok(Part::Body);
        }
        let of_head = matches!(name, "noframes" | "script" | "style" | "template" | "title");
        let of_head = of_head || is_head_void(name) || (name == "noscript" && self.phase != Phase::AfterHead);
        let begins_head = self.phase == Phase::BeforeHead && (of_head || name == "head");
        if begins_head {
            self.phase = Phase::Head;
        }
        match name {
            "head" | "html" => Ok(Part::Head(None)),
            "body" => self.begin_body().map(|()| Part::Head(None)),
            _ if of_head => {
                self.templates += usize::from(name == "template");
                Ok(Part::Head(Raw::of(name, false)))
            }
            _ => self.begin_body().map(|()| Part::Body),
        }
    }

    /// An end tag before the body. True where it begins the body.
    fn end_in_head(&mut self, name: &str) -> Result<bool, Doubt> {
        match name {
            "head" => self.phase = Phase::AfterHead,
            "body" | "br" | "html" => {
                self.begin_body()?;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    }

    /// Begins the body, unless it has begun.
    fn begin_body(&mut self) -> Result<(), Doubt> {
        if self.phase == Phase::Body {
            return Ok(());
        }
        self.phase = Phase::Body;
        self.push("html")?;
        self.push("body")
    }

    fn start_in_template(&mut self, tag: &Tag) -> Result<Option<Raw>, Doubt> {
        match tag.name.as_str() {
            "template" => self.templates += 1,
            "math" | "svg" => return Err(Doubt::Foreign),
            name => return Ok(Raw::of(name, false)),
        }
        Ok(None)
    }

    fn start_in_foreign(&mut self, tag: &Tag) -> Result<(), Doubt> {
        if is_uncertain_in_foreign(&tag.name) {
            return Err(Doubt::Foreign);
        }
        self.start_foreign(tag);
        Ok(())
    }

    /// Opens an element of SVG or MathML, where `/>` closes it at once.
    pub(super) fn start_foreign(&mut self, tag: &Tag) {
        if !tag.self_closing {
            self.foreign.push(tag.name.clone());
        }
    }
}
