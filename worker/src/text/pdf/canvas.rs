//! The position of text on a page: transformations and text state of the graphics operators.

use std::rc::Rc;

use lopdf::{Dictionary, Object};

use super::{content::Token, font::Font};

/// Maximum number of saved graphics states; Acrobat accepts 28.
const MAX_SAVED_STATES: usize = 64;

/// A transformation: `[a b c d e f]` as in PDF.
#[derive(Clone, Copy)]
pub(super) struct Matrix([f32; 6]);

impl Matrix {
    pub(super) const IDENTITY: Self = Self([1.0, 0.0, 0.0, 1.0, 0.0, 0.0]);

    /// This transformation followed by the other.
    pub(super) fn then(self, other: Self) -> Self {
        let ([a, b, c, d, e, f], [oa, ob, oc, od, oe, of]) = (self.0, other.0);
        Self([
            a * oa + b * oc,
            a * ob + b * od,
            c * oa + d * oc,
            c * ob + d * od,
            e * oa + f * oc + oe,
            e * ob + f * od + of,
        ])
    }

    /// The matrix of an array, filled up with 0.
    pub(super) fn of(array: &[Object]) -> Self {
        let mut numbers = array.iter().map(|number| number.as_float().unwrap_or_default());
        Self(std::array::from_fn(|_| numbers.next().unwrap_or_default()))
    }

    fn translation(x: f32, y: f32) -> Self {
        Self([1.0, 0.0, 0.0, 1.0, x, y])
    }
}

/// The part of the graphics state that concerns text: `q` saves it, `Q` restores it.
#[derive(Clone)]
pub(super) struct State {
    pub(super) matrix: Matrix,
    pub(super) font: Option<Rc<Font>>,
    pub(super) size: f32,
    pub(super) character_spacing: f32,
    pub(super) word_spacing: f32,
    pub(super) scale: f32,
    pub(super) leading: f32,
    pub(super) rise: f32,
}

impl State {
    fn new(matrix: Matrix) -> Self {
        Self {
            matrix,
            font: None,
            size: 0.0,
            character_spacing: 0.0,
            word_spacing: 0.0,
            scale: 1.0,
            leading: 0.0,
            rise: 0.0,
        }
    }
}

/// The drawing state of one page or form.
pub(super) struct Canvas<'d> {
    pub(super) resources: Option<&'d Dictionary>,
    pub(super) state: State,
    saved: Vec<State>,
    line: Matrix,
    text: Matrix,
}

impl<'d> Canvas<'d> {
    pub(super) fn new(resources: Option<&'d Dictionary>, matrix: Matrix) -> Self {
        Self { resources, state: State::new(matrix), saved: Vec::new(), line: Matrix::IDENTITY, text: Matrix::IDENTITY }
    }

    pub(super) fn apply(&mut self, operator: &[u8], operands: &[Token<'_>]) {
        let [first] = numbers(operands);
        match operator {
            b"q" if self.saved.len() < MAX_SAVED_STATES => self.saved.push(self.state.clone()),
            b"Q" => self.state = self.saved.pop().unwrap_or_else(|| self.state.clone()),
            b"cm" => self.state.matrix = Matrix(numbers(operands)).then(self.state.matrix),
            b"BT" => self.begin_line(Matrix::IDENTITY),
            b"Tm" => self.begin_line(Matrix(numbers(operands))),
            b"Td" => self.move_line(numbers(operands)),
            b"TD" => {
                let [x, y] = numbers(operands);
                self.state.leading = -y;
                self.move_line([x, y]);
            }
            b"T*" => self.next_line(),
            b"TL" => self.state.leading = first,
            b"Tc" => self.state.character_spacing = first,
            b"Tw" => self.state.word_spacing = first,
            b"Tz" => self.state.scale = first / 100.0,
            b"Ts" => self.state.rise = first,
            _ => {}
        }
    }

    fn begin_line(&mut self, matrix: Matrix) {
        self.line = matrix;
        self.text = matrix;
    }

    fn move_line(&mut self, [x, y]: [f32; 2]) {
        self.begin_line(Matrix::translation(x, y).then(self.line));
    }

    pub(super) fn next_line(&mut self) {
        self.move_line([0.0, -self.state.leading]);
    }

    pub(super) fn advance(&mut self, x: f32) {
        self.text = Matrix::translation(x, 0.0).then(self.text);
    }

    /// Position of the next glyph on the page, and its size there.
    pub(super) fn origin(&self) -> ((f32, f32), f32) {
        let Matrix([_, _, c, d, e, f]) = self.text.then(self.state.matrix);
        ((e, f), c.hypot(d) * self.state.size.abs())
    }

    /// Direction of the line on the page, as a unit vector.
    pub(super) fn direction(&self) -> (f32, f32) {
        let Matrix([a, b, ..]) = self.text.then(self.state.matrix);
        let length = a.hypot(b);
        if length > 0.0 { (a / length, b / length) } else { (1.0, 0.0) }
    }
}

/// The first numeric operands of an operator, filled up with 0.
pub(super) fn numbers<const N: usize>(operands: &[Token<'_>]) -> [f32; N] {
    let mut found = operands.iter().filter_map(|operand| match operand {
        Token::Number(number) => Some(*number),
        _ => None,
    });
    std::array::from_fn(|_| found.next().unwrap_or_default())
}
