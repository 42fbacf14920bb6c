//! The stack of open elements of a page, and how elements come onto it and leave it.
//!
//! This is what the HTML standard's tree construction needs of a tree to tell which end tag ends what. The rules of
//! the parts of a page are in `head`, `body` and `tables`.

use super::Doubt;
use super::elements::{SCOPE, heading_level, is_block, is_formatting, is_implied, is_special};
use super::page::Page;

/// Deeper pages are not read.
const DEEPEST: usize = 2_000;

/// Rounds of the adoption agency, less one.
const MOST_BLOCKS: usize = 7;

/// How far a page has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    BeforeHead,
    Head,
    AfterHead,
    Body,
}

/// A start tag.
pub(super) struct Tag {
    pub(super) name: String,
    pub(super) self_closing: bool,
    /// The attributes that are asked for.
    pub(super) href: Option<String>,
    pub(super) kind: Option<String>,
    pub(super) shadow: bool,
}

/// An entry of the list of active formatting elements.
struct Formatting {
    name: String,
    /// Where it is on the stack; none where its block ended before it did.
    place: Option<usize>,
}

/// The open elements.
pub(super) struct Tree {
    pub(super) page: Page,
    pub(super) phase: Phase,
    open: Vec<String>,
    /// The active formatting elements; none is a marker.
    formatting: Vec<Option<Formatting>>,
    /// Where the link is on the stack, if one is open.
    link: Option<usize>,
    /// SVG or MathML elements that are open.
    pub(super) foreign: Vec<String>,
    /// How many templates are open.
    pub(super) templates: usize,
}

impl Tree {
    pub(super) fn new() -> Self {
        Self {
            page: Page::default(),
            phase: Phase::BeforeHead,
            open: Vec::new(),
            formatting: Vec::new(),
            link: None,
            foreign: Vec::new(),
            templates: 0,
        }
    }

    /// Name of the innermost element.
    pub(super) fn current(&self) -> &str {
        self.open.last().map_or("", String::as_str)
    }

    /// The open elements, the innermost last.
    pub(super) fn open(&self) -> &[String] {
        &self.open
    }

    /// Where the innermost element of these names is that nothing out of `limits` comes above.
    pub(super) fn scoped(&self, names: &[&str], limits: &[&str]) -> Option<usize> {
        for (place, open) in self.open.iter().enumerate().rev() {
            if names.contains(&open.as_str()) {
                return Some(place);
            }
            if limits.contains(&open.as_str()) {
                return None;
            }
        }
        None
    }

    /// The same with the limits of most elements.
    pub(super) fn in_scope(&self, name: &str) -> Option<usize> {
        self.scoped(&[name], SCOPE)
    }

    /// Opens an element.
    pub(super) fn push(&mut self, name: &str) -> Result<(), Doubt> {
        if self.open.len() >= DEEPEST {
            return Err(Doubt::Limit);
        }
        self.edge_of(name);
        if let Some(level) = heading_level(name) {
            self.page.begin_heading(level)?;
        }
        self.open.push(name.to_owned());
        Ok(())
    }

    /// Opens a formatting element; a link, where it has a target.
    pub(super) fn push_formatting(&mut self, name: &str, target: Option<&str>) -> Result<(), Doubt> {
        self.push(name)?;
        let place = self.open.len() - 1;
        self.formatting.push(Some(Formatting { name: name.to_owned(), place: Some(place) }));
        if let Some(target) = target {
            self.page.begin_link(target)?;
            self.link = Some(place);
        }
        Ok(())
    }

    /// Sets a marker: formatting from before is not opened again in what is pushed now.
    pub(super) fn mark(&mut self) {
        self.formatting.push(None);
    }

    /// Forgets formatting since the last marker.
    pub(super) fn forget_formatting(&mut self) {
        while self.formatting.pop().flatten().is_some() {}
    }

    /// Begins or ends a line, where the element does.
    pub(super) fn edge_of(&mut self, name: &str) {
        if is_block(name) {
            self.page.edge();
        }
    }

    /// Ends elements that another's end implies, other than `but`.
    pub(super) fn pop_implied(&mut self, but: &str) -> Result<(), Doubt> {
        while is_implied(self.current()) && self.current() != but {
            self.close(self.open.len() - 1, false)?;
        }
        Ok(())
    }

    /// Ends the element at `place` by its own tag, and with it all that it holds.
    pub(super) fn end(&mut self, place: usize) -> Result<(), Doubt> {
        self.close(place, true)
    }

    /// Ends the element at `place` and all that it holds, because something else begins or ends.
    pub(super) fn cut(&mut self, place: usize) -> Result<(), Doubt> {
        self.close(place, false)
    }

    fn close(&mut self, place: usize, by_its_tag: bool) -> Result<(), Doubt> {
        while self.open.len() > place {
            let last = self.open.len() - 1;
            self.leave(last, by_its_tag && last == place)?;
            let name = self.open.pop().unwrap_or_default();
            self.edge_of(&name);
        }
        for entry in self.formatting.iter_mut().flatten() {
            entry.place = entry.place.filter(|at| *at < place);
        }
        Ok(())
    }

    /// Closes what the page has open of an element that leaves the stack.
    fn leave(&mut self, place: usize, by_its_tag: bool) -> Result<(), Doubt> {
        if heading_level(&self.open[place]).is_some() {
            if !by_its_tag {
                return Err(Doubt::OpenHeading);
            }
            self.page.end_heading();
        }
        if self.open[place] == "form" && !by_its_tag {
            return Err(Doubt::Form);
        }
        if self.link == Some(place) {
            if !by_its_tag {
                return Err(Doubt::OpenLink);
            }
            self.page.end_link();
            self.link = None;
        }
        Ok(())
    }

    /// Whether a formatting element of this name is active, be it on the stack or to be opened again.
    pub(super) fn is_formatting_active(&self, name: &str) -> bool {
        let mut since_marker = self.formatting.iter().rev().map_while(Option::as_ref);
        since_marker.any(|entry| entry.name == name)
    }

    /// Whether formatting is active that began within the element at `place`, or whose block ended before it did.
    pub(super) fn has_formatting_above(&self, place: usize) -> bool {
        let since_marker = self.formatting.iter().rev().map_while(Option::as_ref);
        since_marker.into_iter().any(|entry| entry.place.is_none_or(|at| at > place))
    }

    /// Ends the last active formatting element of this name (the adoption agency). False where there is none.
    pub(super) fn end_formatting(&mut self, name: &str) -> Result<bool, Doubt> {
        let since_marker = self.formatting.iter().enumerate().rev();
        let mut since_marker = since_marker.map_while(|(index, entry)| Some((index, entry.as_ref()?)));
        let Some((index, entry)) = since_marker.find(|(_, entry)| entry.name == name) else {
            return Ok(false);
        };
        let place = entry.place;
        self.formatting.remove(index);
        let above = place.map_or(&self.open[..], |place| &self.open[place + 1..]);
        let blocks = above.iter().filter(|name| is_special(name)).count();
        let others = above.iter().any(|name| !is_special(name) && !is_formatting(name));
        match place {
            // It would have been opened again somewhere above, and then be closed there.
            None if others || self.page.in_link() => Err(Doubt::Misnested),
            None => Ok(true),
            Some(place) if blocks == 0 => self.end(place).map(|()| true),
            // Each block is moved out of it; a link would be taken apart.
            Some(_) if others || blocks > MOST_BLOCKS || self.page.in_link() => Err(Doubt::Misnested),
            Some(place) => {
                self.remove(place);
                Ok(true)
            }
        }
    }

    /// Takes an element off the stack that stays around what it holds. It is a formatting element, and no block.
    fn remove(&mut self, place: usize) {
        self.open.remove(place);
        for entry in self.formatting.iter_mut().flatten() {
            entry.place = entry.place.map(|at| if at > place { at - 1 } else { at });
        }
    }

    /// Whether the page has ended with everything that its end does not close by itself.
    pub(super) fn check_end(&self) -> Result<(), Doubt> {
        let open = self.templates > 0 || !self.foreign.is_empty() || self.page.in_heading() || self.page.in_link();
        if open { Err(Doubt::Unclosed) } else { Ok(()) }
    }
}
