//! Parts of tables: their end tags are optional, and what stands between them is moved before the table.

use super::Doubt;
use super::elements::is_table_part;
use super::tree::{Tag, Tree};

/// Elements out of whose scope no part of a table is ended.
const SCOPE: &[&str] = &["html", "table", "template"];

/// Elements of which the innermost says which rules hold.
const PARTS: &[&str] = &["caption", "colgroup", "table", "tbody", "td", "tfoot", "th", "thead", "tr"];

/// Which rules hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rules {
    Body,
    Table,
    Caption,
    Columns,
    Rows,
    Row,
    Cell,
}

/// What has become of a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is done with, or passed over.
    Done,
    /// The rules of the body hold for it.
    Body,
}

/// One turn of a tag that may end several elements.
enum Turn {
    Is(Outcome),
    Again,
}

const DONE: Turn = Turn::Is(Outcome::Done);
const BODY: Turn = Turn::Is(Outcome::Body);

impl Tree {
    /// Whether text that comes now stays where it is.
    pub(super) fn takes_text(&self) -> bool {
        matches!(self.rules(), Rules::Body | Rules::Caption | Rules::Cell)
    }

    fn rules(&self) -> Rules {
        let place = self.scoped(PARTS, &[]);
        match place.map_or("", |place| self.open()[place].as_str()) {
            "caption" => Rules::Caption,
            "colgroup" => Rules::Columns,
            "table" => Rules::Table,
            "tbody" | "tfoot" | "thead" => Rules::Rows,
            "td" | "th" => Rules::Cell,
            "tr" => Rules::Row,
            _ => Rules::Body,
        }
    }

    /// A start tag, as far as it is a matter of tables.
    pub(super) fn start_in_table(&mut self, tag: &Tag) -> Result<Outcome, Doubt> {
        loop {
            let turn = match self.rules() {
                Rules::Caption | Rules::Cell if is_table_part(&tag.name) => self.leave_cell()?,
                Rules::Body | Rules::Caption | Rules::Cell => BODY,
                Rules::Columns if tag.name == "col" => self.column(),
                Rules::Columns => self.leave_part()?,
                Rules::Row => self.start_in_row(tag)?,
                Rules::Rows => self.start_in_rows(tag)?,
                Rules::Table => self.start_between(tag)?,
            };
            if let Turn::Is(outcome) = turn {
                return Ok(outcome);
            }
        }
    }

    fn column(&mut self) -> Turn {
        self.edge_of("col");
        DONE
    }

    fn start_in_row(&mut self, tag: &Tag) -> Result<Turn, Doubt> {
        match tag.name.as_str() {
            "td" | "th" => {
                self.push(&tag.name)?;
                self.mark();
                Ok(DONE)
            }
            name if is_table_part(name) => self.leave_part(),
            _ => between(tag),
        }
    }

    fn start_in_rows(&mut self, tag: &Tag) -> Result<Turn, Doubt> {
        match tag.name.as_str() {
            "tr" => self.push("tr").map(|()| DONE),
            "td" | "th" => self.push("tr").map(|()| Turn::Again),
            name if is_table_part(name) => self.leave_part(),
            _ => between(tag),
        }
    }

    fn start_between(&mut self, tag: &Tag) -> Result<Turn, Doubt> {
        match tag.name.as_str() {
            "caption" => {
                self.push("caption")?;
                self.mark();
                Ok(DONE)
            }
            name @ ("colgroup" | "tbody" | "tfoot" | "thead") => self.push(name).map(|()| DONE),
            "col" => self.push("colgroup").map(|()| Turn::Again),
            "td" | "th" | "tr" => self.push("tbody").map(|()| Turn::Again),
            _ => between(tag),
        }
    }

    /// An end tag, as far as it is a matter of tables.
    pub(super) fn end_in_table(&mut self, name: &str) -> Result<Outcome, Doubt> {
        loop {
            let turn = match (self.rules(), name) {
                (Rules::Body, _) => BODY,
                (Rules::Cell, "td" | "th") => match self.scoped(&[name], SCOPE) {
                    Some(place) => self.leave_to(place)?,
                    None => DONE,
                },
                (Rules::Cell, "table" | "tbody" | "tfoot" | "thead" | "tr") => match self.scoped(&[name], SCOPE) {
                    Some(_) => self.leave_cell()?,
                    None => DONE,
                },
                (Rules::Caption, "caption" | "table") => {
                    self.leave_cell()?;
                    if name == "table" { Turn::Again } else { DONE }
                }
                (Rules::Caption | Rules::Cell, "body" | "html") => DONE,
                (Rules::Caption | Rules::Cell, name) if is_table_part(name) => DONE,
                (Rules::Caption | Rules::Cell, _) => BODY,
                (Rules::Columns, "col") => DONE,
                (Rules::Columns, "colgroup") => self.leave_part().map(|_| DONE)?,
                (Rules::Columns, _) => self.leave_part()?,
                (_, name) => self.end_between(name)?,
            };
            if let Turn::Is(outcome) = turn {
                return Ok(outcome);
            }
        }
    }

    /// An end tag between the cells of a table.
    fn end_between(&mut self, name: &str) -> Result<Turn, Doubt> {
        let in_scope = self.scoped(&[name], SCOPE).is_some();
        let is_own = self.current() == name;
        match name {
            "body" | "html" => Ok(DONE),
            "table" | "tbody" | "tfoot" | "thead" | "tr" if is_own => self.leave_part().map(|_| DONE),
            "table" | "tbody" | "tfoot" | "thead" if in_scope => self.leave_part(),
            name if is_table_part(name) => Ok(DONE),
            _ => Err(Doubt::Foster),
        }
    }

    /// Ends the innermost part, which holds nothing that is open.
    fn leave_part(&mut self) -> Result<Turn, Doubt> {
        self.end(self.open().len() - 1)?;
        Ok(Turn::Again)
    }

    /// Ends the cell or caption.
    fn leave_cell(&mut self) -> Result<Turn, Doubt> {
        if let Some(place) = self.scoped(&["caption", "td", "th"], SCOPE) {
            self.leave_to(place)?;
        }
        Ok(Turn::Again)
    }

    fn leave_to(&mut self, place: usize) -> Result<Turn, Doubt> {
        self.end(place)?;
        self.forget_formatting();
        Ok(DONE)
    }
}

/// What may stand between cells, and all else.
fn between(tag: &Tag) -> Result<Turn, Doubt> {
    let hidden_input =
        tag.name == "input" && tag.kind.as_deref().is_some_and(|kind| kind.eq_ignore_ascii_case("hidden"));
    match tag.name.as_str() {
        "script" | "style" | "template" => Ok(BODY),
        _ if hidden_input => Ok(DONE),
        _ => Err(Doubt::Foster),
    }
}
