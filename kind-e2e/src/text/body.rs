//! The body of a page: which tags open an element, and which they end.

use super::Doubt;
use super::elements::{
    SCOPE, heading_level, is_container, is_formatting, is_head_void, is_special, is_table_part, is_void,
};
use super::html::Raw;
use super::tables::Outcome;
use super::tree::{Tag, Tree};

const HEADINGS: &[&str] = &["h1", "h2", "h3", "h4", "h5", "h6"];

impl Tree {
    /// A start tag in the body.
    pub(super) fn start_in_page(&mut self, tag: &Tag) -> Result<Option<Raw>, Doubt> {
        if self.start_in_table(tag)? == Outcome::Done {
            return Ok(None);
        }
        let name = tag.name.as_str();
        self.check_options(name)?;
        if let Some(raw) = Raw::of(name, true) {
            return self.start_raw(name, raw).map(Some);
        }
        match name {
            "body" | "frame" | "head" | "html" => {}
            "template" => self.templates += 1,
            "math" | "svg" => self.start_foreign(tag),
            "a" => self.start_anchor(tag.href.as_deref())?,
            "form" => self.start_form()?,
            _ if is_head_void(name) || is_table_part(name) => {}
            _ if is_void(name) => self.start_void(name)?,
            _ if is_formatting(name) => self.start_formatting(name)?,
            _ => self.start_element(name)?,
        }
        Ok(None)
    }

    /// An end tag in the body.
    pub(super) fn end_in_page(&mut self, name: &str) -> Result<(), Doubt> {
        if self.end_in_table(name)? == Outcome::Done {
            return Ok(());
        }
        self.check_options(name)?;
        match name {
            // What comes after the body's end is put into it all the same.
            "body" | "html" => Ok(()),
            "br" => {
                self.page.edge();
                Ok(())
            }
            "p" => {
                self.page.edge();
                self.end_paragraph()
            }
            "form" => self.end_form(),
            "applet" | "marquee" | "object" => {
                let open = self.in_scope(name).is_some();
                self.end_if_open(self.in_scope(name))?;
                if open {
                    self.forget_formatting();
                }
                Ok(())
            }
            "li" => self.end_if_open(self.scoped(&["li"], &[SCOPE, &["ol", "ul"]].concat())),
            "button" | "dd" | "dt" | "select" => self.end_if_open(self.in_scope(name)),
            _ if is_container(name) => self.end_if_open(self.in_scope(name)),
            _ if heading_level(name).is_some() => self.end_heading(name),
            _ if is_formatting(name) && self.end_formatting(name)? => Ok(()),
            _ => self.end_other(name),
        }
    }

    fn start_raw(&mut self, name: &str, raw: Raw) -> Result<Raw, Doubt> {
        if name == "xmp" {
            self.end_paragraph()?;
        }
        self.edge_of(name);
        Ok(raw)
    }

    fn start_void(&mut self, name: &str) -> Result<(), Doubt> {
        if name == "hr" {
            self.end_paragraph()?;
        }
        self.edge_of(name);
        Ok(())
    }

    fn start_element(&mut self, name: &str) -> Result<(), Doubt> {
        match name {
            "li" => self.end_item(&["li"])?,
            "dd" | "dt" => self.end_item(&["dd", "dt"])?,
            "button" => self.end_if_open(self.in_scope("button"))?,
            "select" if self.in_scope("select").is_some() => return Err(Doubt::Select),
            "optgroup" | "option" => self.end_option(name)?,
            "rb" | "rtc" if self.in_scope("ruby").is_some() => self.pop_implied("")?,
            "rp" | "rt" if self.in_scope("ruby").is_some() => self.pop_implied("rtc")?,
            _ => {}
        }
        let ends_paragraph = is_container(name) || heading_level(name).is_some();
        if ends_paragraph || matches!(name, "dd" | "dt" | "li" | "p" | "table") {
            self.end_paragraph()?;
        }
        self.push(name)?;
        if matches!(name, "applet" | "marquee" | "object") {
            self.mark();
        }
        Ok(())
    }

    /// Ends the paragraph that is open, if one is.
    fn end_paragraph(&mut self) -> Result<(), Doubt> {
        match self.scoped(&["p"], &[SCOPE, &["button"]].concat()) {
            Some(place) => self.end(place),
            None => Ok(()),
        }
    }

    fn end_if_open(&mut self, place: Option<usize>) -> Result<(), Doubt> {
        place.map_or(Ok(()), |place| self.end(place))
    }

    /// Ends the item before the one that begins.
    fn end_item(&mut self, names: &[&str]) -> Result<(), Doubt> {
        let found = self.open().iter().enumerate().rev().find(|(_, open)| {
            let passed = matches!(open.as_str(), "address" | "div" | "p");
            names.contains(&open.as_str()) || (is_special(open) && !passed)
        });
        let item = found.filter(|(_, open)| names.contains(&open.as_str()));
        self.end_if_open(item.map(|(place, _)| place))
    }

    /// Ends the option before the one that begins.
    fn end_option(&mut self, name: &str) -> Result<(), Doubt> {
        if self.in_scope("select").is_some() {
            return self.pop_implied(if name == "option" { "optgroup" } else { "" });
        }
        match self.in_scope("option") {
            Some(place) if place + 1 == self.open().len() => self.cut(place),
            Some(_) => Err(Doubt::Select),
            None => Ok(()),
        }
    }

    /// A list of options holds only those.
    fn check_options(&self, name: &str) -> Result<(), Doubt> {
        let inside = self.scoped(&["select"], &["table", "html"]).is_some();
        let allowed = matches!(name, "optgroup" | "option" | "script" | "select" | "template");
        if inside && !allowed { Err(Doubt::Select) } else { Ok(()) }
    }

    fn start_anchor(&mut self, target: Option<&str>) -> Result<(), Doubt> {
        self.end_formatting("a")?;
        self.push_formatting("a", target)
    }

    fn start_formatting(&mut self, name: &str) -> Result<(), Doubt> {
        if name == "nobr" && self.is_formatting_active("nobr") {
            return Err(Doubt::Misnested);
        }
        self.push_formatting(name, None)
    }

    fn start_form(&mut self) -> Result<(), Doubt> {
        if self.scoped(&["form"], &[]).is_some() {
            return Err(Doubt::Form);
        }
        self.end_paragraph()?;
        self.push("form")
    }

    fn end_form(&mut self) -> Result<(), Doubt> {
        let Some(place) = self.in_scope("form") else {
            return if self.scoped(&["form"], &[]).is_some() { Err(Doubt::Form) } else { Ok(()) };
        };
        self.pop_implied("")?;
        if place + 1 < self.open().len() || self.has_formatting_above(place) {
            return Err(Doubt::Form);
        }
        self.end(place)
    }

    fn end_heading(&mut self, name: &str) -> Result<(), Doubt> {
        match self.scoped(HEADINGS, SCOPE) {
            Some(place) if self.open()[place] == name => self.end(place),
            Some(_) => Err(Doubt::OpenHeading),
            None => Ok(()),
        }
    }

    /// Any other end tag: it ends what has its name, unless a block has begun in that.
    fn end_other(&mut self, name: &str) -> Result<(), Doubt> {
        let found = self.open().iter().enumerate().rev();
        let found = found.into_iter().find(|(_, open)| *open == name || is_special(open));
        let own = found.filter(|(_, open)| *open == name);
        self.end_if_open(own.map(|(place, _)| place))
    }
}
