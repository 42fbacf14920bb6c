//! The text of a page in drawing order, with the spaces and lines that its positions imply.
//!
//! A PDF positions glyphs, and need not contain spaces or line ends. They are derived from the pen's movement. A
//! gap along the line is a space, a step across it a new line of the same block, a larger step a new block. Columns
//! appear in drawing order, which almost all producers keep to the reading order.

use lopdf::{Dictionary, Document, Object, Stream};

use super::{
    Budget, Cancel, ExtractError, PoisonError, VisibleText,
    canvas::{Canvas, Matrix, numbers},
    content::{Token, Tokens},
    font::Fonts,
    line::{Line, is_right_to_left},
};

/// Minimum gap of a space, relative to the font's size. Kerning is smaller, word gaps are larger.
const SPACE: f32 = 0.17;

/// Minimum step across the line of a new line, relative to the font's size. A superscript steps less.
const LINE: f32 = 0.6;

/// A step down of more than this begins a new block. Lines of a paragraph are 1.2 to 1.5 apart.
const BLOCK: f32 = 1.8;

/// A larger or smaller ratio of glyph sizes begins a new block with the line: a heading, a footnote.
const RESIZED: f32 = 1.15;

/// Character spacing from which on letters are no word, relative to the font's size. It is a column of a table.
const SPREAD: f32 = 1.0;

/// Maximum operands of one operator: strings and gaps of one line.
const MAX_OPERANDS: usize = 10_000;

/// Maximum nesting of forms, which are read by recursion.
const MAX_FORM_DEPTH: usize = 8;

/// Maximum levels of the page tree from which resources are inherited.
const MAX_PAGE_TREE_DEPTH: usize = 64;

/// Reads the pages of a document.
pub(super) struct PageReader<'d, 'b> {
    document: &'d Document,
    budget: &'b mut Budget,
    /// Maximum bytes of text.
    max_text: usize,
    cancel: &'b Cancel,
    fonts: Fonts,
    line: Line,
    /// The last glyph.
    pen: Option<Pen>,
}

/// A place on the page.
type Place = (f32, f32);

/// A glyph on the page.
#[derive(Clone, Copy)]
struct Pen {
    start: Place,
    end: Place,
    size: f32,
    right_to_left: bool,
}

impl<'d, 'b> PageReader<'d, 'b> {
    pub(super) fn new(document: &'d Document, budget: &'b mut Budget, max_text: usize, cancel: &'b Cancel) -> Self {
        Self { document, budget, max_text, cancel, fonts: Fonts::default(), line: Line::default(), pen: None }
    }

    /// The document that is read.
    pub(super) fn document(&self) -> &'d Document {
        self.document
    }

    /// Refuses a document with more text than the memory that is reserved for it.
    pub(super) fn check_text(&self, text: &VisibleText) -> Result<(), PoisonError> {
        let limit = self.max_text;
        if text.as_str().len() > limit {
            return Err(PoisonError::TooComplex { what: "bytes of text", limit });
        }
        Ok(())
    }

    /// Appends the text of a page.
    pub(super) fn read(&mut self, page: &'d Dictionary, out: &mut VisibleText) -> Result<(), ExtractError> {
        out.end_block();
        self.pen = None;
        let mut canvas = Canvas::new(resources_of(self.document, page), Matrix::IDENTITY);
        let mut operands = Vec::new();
        for stream in contents_of(self.document, page) {
            let content = self.budget.inflate(stream)?;
            self.run_held(&content, &mut operands, &mut canvas, 0, out)?;
        }
        self.line.end(out);
        Ok(())
    }

    /// Appends what an annotation of a page looks like. It is a block by itself.
    pub(super) fn read_appearance(
        &mut self,
        appearance: &'d Stream,
        resources: Option<&'d Dictionary>,
        page: &'d Dictionary,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        out.end_block();
        self.pen = None;
        let resources = resources.or_else(|| resources_of(self.document, page));
        self.run_form(appearance, &Canvas::new(resources, Matrix::IDENTITY), 0, out)?;
        self.line.end(out);
        out.end_block();
        Ok(())
    }

    /// Appends the value of an annotation. It is a block by itself, and counts like a stream, because any number of
    /// annotations may share one.
    pub(super) fn read_value(&mut self, value: &str, out: &mut VisibleText) -> Result<(), ExtractError> {
        self.budget.count(value.len())?;
        out.end_block();
        for word in value.split_whitespace() {
            push_readable(word, &mut self.line, out);
            self.line.push(" ", out);
        }
        self.line.end(out);
        out.end_block();
        Ok(())
    }

    /// Runs the operators of a stream, whose content takes memory meanwhile.
    fn run_held(
        &mut self,
        content: &[u8],
        unused: &mut Vec<Token<'static>>,
        canvas: &mut Canvas<'d>,
        depth: usize,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        self.budget.held += content.len();
        let ran = self.run(content, unused, canvas, depth, out);
        self.budget.held -= content.len();
        ran
    }

    /// Runs the operators of a stream. The streams of a page may end between an operator and its operands.
    fn run(
        &mut self,
        content: &[u8],
        unused: &mut Vec<Token<'static>>,
        canvas: &mut Canvas<'d>,
        depth: usize,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        let mut tokens = Tokens::of(content);
        let mut operands: Vec<Token<'_>> = std::mem::take(unused);
        let mut operators = 0_usize;
        while let Some(token) = tokens.next() {
            let Token::Operator(operator) = token else {
                if operands.len() < MAX_OPERANDS {
                    operands.push(token);
                }
                continue;
            };
            operators += 1;
            if operators.is_multiple_of(1024) {
                self.cancel.check()?;
                self.check_text(out)?;
            }
            match operator {
                b"ID" => tokens.skip_image(),
                b"Do" => self.draw(canvas, &operands, depth, out)?,
                b"Tf" => self.choose_font(canvas, &operands)?,
                _ => self.apply(operator, canvas, &operands, out),
            }
            operands.clear();
        }
        unused.extend(operands.into_iter().filter_map(Token::into_operand));
        Ok(())
    }

    fn apply(&mut self, operator: &[u8], canvas: &mut Canvas<'d>, operands: &[Token<'_>], out: &mut VisibleText) {
        match operator {
            b"Tj" | b"TJ" => self.show(canvas, operands, out),
            b"'" => {
                canvas.next_line();
                self.show(canvas, operands, out);
            }
            b"\"" => {
                let [word, character] = numbers(operands);
                canvas.state.word_spacing = word;
                canvas.state.character_spacing = character;
                canvas.next_line();
                // The first two operands are not gaps.
                self.show(canvas, operands.get(2..).unwrap_or_default(), out);
            }
            _ => canvas.apply(operator, operands),
        }
    }

    fn choose_font(&mut self, canvas: &mut Canvas<'d>, operands: &[Token<'_>]) -> Result<(), ExtractError> {
        let [Token::Name(name), Token::Number(size)] = operands else {
            return Ok(());
        };
        canvas.state.size = *size;
        let font = resource(self.document, canvas.resources, b"Font", name).and_then(|font| font.as_dict().ok());
        canvas.state.font = match font {
            Some(font) => Some(self.fonts.get(self.document, font, self.budget)?),
            None => None,
        };
        Ok(())
    }

    /// Reads a form. Pictures are skipped.
    fn draw(
        &mut self,
        canvas: &Canvas<'d>,
        operands: &[Token<'_>],
        depth: usize,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        let Some(Token::Name(name)) = operands.first() else {
            return Ok(());
        };
        let Some(Object::Stream(form)) = resource(self.document, canvas.resources, b"XObject", name) else {
            return Ok(());
        };
        let is_form = form.dict.get(b"Subtype").and_then(Object::as_name).is_ok_and(|subtype| subtype == b"Form");
        if !is_form || depth >= MAX_FORM_DEPTH {
            return Ok(());
        }
        self.run_form(form, canvas, depth, out)
    }

    fn run_form(
        &mut self,
        form: &'d Stream,
        canvas: &Canvas<'d>,
        depth: usize,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        let own = dictionary(self.document, &form.dict, b"Resources");
        let matrix = form.dict.get_deref(b"Matrix", self.document).and_then(Object::as_array);
        let matrix = matrix.map_or(Matrix::IDENTITY, |matrix| Matrix::of(matrix));
        let mut inner = Canvas::new(own.or(canvas.resources), matrix.then(canvas.state.matrix));
        let content = self.budget.inflate(form)?;
        self.run_held(&content, &mut Vec::new(), &mut inner, depth + 1, out)
    }

    /// Shows strings, moved by the numbers between them.
    fn show(&mut self, canvas: &mut Canvas<'d>, operands: &[Token<'_>], out: &mut VisibleText) {
        for operand in operands {
            match operand {
                Token::String(string) => self.show_string(canvas, string, out),
                Token::Number(gap) => {
                    let state = &canvas.state;
                    canvas.advance(-gap / 1000.0 * state.size * state.scale);
                }
                _ => {}
            }
        }
    }

    fn show_string(&mut self, canvas: &mut Canvas<'d>, string: &[u8], out: &mut VisibleText) {
        let Some(font) = canvas.state.font.clone() else {
            return;
        };
        let max_text = self.max_text;
        font.for_each_glyph(string, |glyph| {
            // The document is refused at the next check.
            if out.as_str().len() > max_text {
                return;
            }
            let (start, size) = canvas.origin();
            let direction = canvas.direction();
            let state = &canvas.state;
            let (font_size, scale) = (state.size, state.scale);
            let spacing = state.character_spacing + if glyph.is_space { state.word_spacing } else { 0.0 };
            canvas.advance(glyph.width * font_size * scale);
            let glyph_end = canvas.origin().0;
            canvas.advance(spacing * scale);
            let end = if spacing > SPREAD * font_size.abs() { glyph_end } else { canvas.origin().0 };
            let pen = Pen { start, end, size, right_to_left: is_right_to_left(&glyph.text) };
            if glyph.text.chars().any(|character| !character.is_whitespace()) {
                self.separate(pen, direction, out);
                push_readable(&glyph.text, &mut self.line, out);
            } else if glyph.text.is_empty() {
                // A glyph without characters is a gap.
                return;
            } else {
                self.line.push(&glyph.text, out);
            }
            self.pen = Some(pen);
        });
    }

    /// Appends the separator that the distance from the last glyph implies.
    fn separate(&mut self, pen: Pen, direction: (f32, f32), out: &mut VisibleText) {
        let Some(last) = self.pen else {
            return;
        };
        let em = pen.size.max(last.size).max(f32::MIN_POSITIVE);
        let along = |from: Place, to: Place| ((to.0 - from.0) * direction.0 + (to.1 - from.1) * direction.1) / em;
        let down = ((pen.start.0 - last.end.0) * direction.1 - (pen.start.1 - last.end.1) * direction.0) / em;
        let resized = pen.size > last.size * RESIZED || last.size > pen.size * RESIZED;
        if !(-LINE..=BLOCK).contains(&down) || (down > LINE && resized) {
            self.line.end(out);
            out.end_block();
        } else if down > LINE {
            self.line.end(out);
            out.push(" ");
        } else {
            let both = pen.right_to_left && last.right_to_left;
            // Text that is drawn from right to left: the end of this glyph is at the start of the last one.
            let leftwards = both && pen.start != last.start && along(last.start, pen.start) < 0.0;
            let gap = if leftwards { along(pen.end, last.start) } else { along(last.end, pen.start) };
            if !(-LINE..=SPACE).contains(&gap) {
                self.line.push(" ", out);
            }
            if both {
                self.line.step(!leftwards);
            }
        }
    }
}

/// Appends characters as a reader would type them: without control characters, and with ligatures split.
fn push_readable(text: &str, line: &mut Line, out: &mut VisibleText) {
    let mut buffer = [0; 4];
    for character in text.chars() {
        match character {
            '\u{fb00}' => line.push("ff", out),
            '\u{fb01}' => line.push("fi", out),
            '\u{fb02}' => line.push("fl", out),
            '\u{fb03}' => line.push("ffi", out),
            '\u{fb04}' => line.push("ffl", out),
            '\u{fb05}' | '\u{fb06}' => line.push("st", out),
            '\u{ad}' | '\u{fffd}' => {}
            control if control.is_control() => {}
            other => line.push(other.encode_utf8(&mut buffer), out),
        }
    }
}

/// A dictionary in another.
pub(super) fn dictionary<'d>(document: &'d Document, of: &'d Dictionary, key: &[u8]) -> Option<&'d Dictionary> {
    of.get_deref(key, document).and_then(Object::as_dict).ok()
}

/// An entry of the resources, such as a font or a form.
fn resource<'d>(
    document: &'d Document,
    resources: Option<&'d Dictionary>,
    kind: &[u8],
    name: &[u8],
) -> Option<&'d Object> {
    dictionary(document, resources?, kind)?.get_deref(name, document).ok()
}

/// The resources of a page, or of its nearest ancestor that has some.
fn resources_of<'d>(document: &'d Document, page: &'d Dictionary) -> Option<&'d Dictionary> {
    let mut node = page;
    for _ in 0..MAX_PAGE_TREE_DEPTH {
        if let Some(resources) = dictionary(document, node, b"Resources") {
            return Some(resources);
        }
        node = dictionary(document, node, b"Parent")?;
    }
    None
}

/// The content streams of a page.
fn contents_of<'d>(document: &'d Document, page: &'d Dictionary) -> impl Iterator<Item = &'d Stream> {
    let contents = page.get_deref(b"Contents", document).ok();
    let listed = match contents {
        Some(Object::Array(streams)) => streams.as_slice(),
        Some(single) => std::slice::from_ref(single),
        None => &[],
    };
    let resolved = listed.iter().filter_map(|stream| document.dereference(stream).ok());
    resolved.filter_map(|(_, stream)| stream.as_stream().ok())
}
