//! The text of a page in drawing order, with the spaces and lines that its positions imply.
//!
//! A PDF positions glyphs, and need not contain spaces or line ends. They are derived from the pen's movement. A
//! gap along the line is a space, a step across it a new line of the same block, a larger step a new block. Columns
//! appear in drawing order, which almost all producers keep to the reading order.

use lopdf::{Dictionary, Document, Object, Stream};

use super::{
    Budget, Cancel, ExtractError, VisibleText,
    canvas::{Canvas, Matrix, numbers},
    content::{Token, Tokens},
    font::Fonts,
};

/// Minimum gap of a space, relative to the font's size. Kerning is smaller, word gaps are larger.
const SPACE: f32 = 0.17;

/// Minimum step across the line of a new line, relative to the font's size. A superscript steps less.
const LINE: f32 = 0.6;

/// A step down of more than this begins a new block. Lines of a paragraph are 1.2 to 1.5 apart.
const BLOCK: f32 = 1.8;

/// A larger or smaller ratio of glyph sizes begins a new block with the line: a heading, a footnote.
const RESIZED: f32 = 1.15;

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
    cancel: &'b Cancel,
    fonts: Fonts,
    /// End of the last glyph.
    pen: Option<Pen>,
}

/// End of a glyph on the page, and its size.
#[derive(Clone, Copy)]
struct Pen {
    x: f32,
    y: f32,
    size: f32,
}

impl<'d, 'b> PageReader<'d, 'b> {
    pub(super) fn new(document: &'d Document, budget: &'b mut Budget, cancel: &'b Cancel) -> Self {
        Self { document, budget, cancel, fonts: Fonts::default(), pen: None }
    }

    /// Appends the text of a page.
    pub(super) fn read(&mut self, page: &'d Dictionary, out: &mut VisibleText) -> Result<(), ExtractError> {
        out.end_block();
        self.pen = None;
        let mut canvas = Canvas::new(resources_of(self.document, page), Matrix::IDENTITY);
        for stream in contents_of(self.document, page) {
            let content = self.budget.inflate(stream)?;
            self.run(&content, &mut canvas, 0, out)?;
        }
        Ok(())
    }

    fn run(
        &mut self,
        content: &[u8],
        canvas: &mut Canvas<'d>,
        depth: usize,
        out: &mut VisibleText,
    ) -> Result<(), ExtractError> {
        let mut tokens = Tokens::of(content);
        let mut operands = Vec::new();
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
            }
            match operator {
                b"ID" => tokens.skip_image(),
                b"Do" => self.draw(canvas, &operands, depth, out)?,
                b"Tf" => self.choose_font(canvas, &operands)?,
                _ => self.apply(operator, canvas, &operands, out),
            }
            operands.clear();
        }
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
        let own = dictionary(self.document, &form.dict, b"Resources");
        let matrix = form.dict.get_deref(b"Matrix", self.document).and_then(Object::as_array);
        let matrix = matrix.map_or(Matrix::IDENTITY, |matrix| Matrix::of(matrix));
        let mut inner = Canvas::new(own.or(canvas.resources), matrix.then(canvas.state.matrix));
        let content = self.budget.inflate(form)?;
        self.run(&content, &mut inner, depth + 1, out)
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
        font.for_each_glyph(string, |glyph| {
            let (start, size) = canvas.origin();
            if glyph.text.chars().any(|character| !character.is_whitespace()) {
                separate(self.pen, &start, size, canvas.direction(), out);
                push_readable(&glyph.text, out);
            } else {
                out.push(&glyph.text);
            }
            let state = &canvas.state;
            let spacing = state.character_spacing + if glyph.is_space { state.word_spacing } else { 0.0 };
            canvas.advance((glyph.width * state.size + spacing) * state.scale);
            let ((x, y), size) = canvas.origin();
            self.pen = Some(Pen { x, y, size });
        });
    }
}

/// Appends the separator that the distance from the last glyph implies.
fn separate(pen: Option<Pen>, start: &(f32, f32), size: f32, direction: (f32, f32), out: &mut VisibleText) {
    let Some(pen) = pen else {
        return;
    };
    let em = size.max(pen.size).max(f32::MIN_POSITIVE);
    let (dx, dy) = (start.0 - pen.x, start.1 - pen.y);
    let along = (dx * direction.0 + dy * direction.1) / em;
    let down = (dx * direction.1 - dy * direction.0) / em;
    let resized = size > pen.size * RESIZED || pen.size > size * RESIZED;
    if !(-LINE..=BLOCK).contains(&down) || (down > LINE && resized) {
        out.end_block();
    } else if down > LINE || !(-LINE..=SPACE).contains(&along) {
        out.push(" ");
    }
}

/// Appends characters as a reader would type them: without control characters, and with ligatures split.
fn push_readable(text: &str, out: &mut VisibleText) {
    let mut buffer = [0; 4];
    for character in text.chars() {
        match character {
            '\u{fb00}' => out.push("ff"),
            '\u{fb01}' => out.push("fi"),
            '\u{fb02}' => out.push("fl"),
            '\u{fb03}' => out.push("ffi"),
            '\u{fb04}' => out.push("ffl"),
            '\u{fb05}' | '\u{fb06}' => out.push("st"),
            '\u{ad}' | '\u{fffd}' => {}
            control if control.is_control() => {}
            other => out.push(other.encode_utf8(&mut buffer)),
        }
    }
}

fn dictionary<'d>(document: &'d Document, of: &'d Dictionary, key: &[u8]) -> Option<&'d Dictionary> {
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
