//! Tokens of a content stream, read from borrowed bytes. ToUnicode maps use the same syntax.
//!
//! Invalid content is skipped, never an error. Nothing is nested, so the stack cannot overflow.

use std::borrow::Cow;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token<'a> {
    /// A number; 0 if it cannot be parsed.
    Number(f32),
    /// A name, without its slash.
    Name(Cow<'a, [u8]>),
    /// A string, literal or in hex.
    String(Vec<u8>),
    /// `[`
    ArrayStart,
    /// `]`
    ArrayEnd,
    /// `<<` or `>>`
    DictionaryEdge,
    /// A keyword: an operator, `true`, `false` or `null`.
    Operator(&'a [u8]),
}

impl Token<'_> {
    /// An operand that outlives its stream; `None` for an operator.
    pub(super) fn into_operand(self) -> Option<Token<'static>> {
        Some(match self {
            Self::Number(number) => Token::Number(number),
            Self::Name(name) => Token::Name(Cow::Owned(name.into_owned())),
            Self::String(string) => Token::String(string),
            Self::ArrayStart => Token::ArrayStart,
            Self::ArrayEnd => Token::ArrayEnd,
            Self::DictionaryEdge => Token::DictionaryEdge,
            Self::Operator(_) => return None,
        })
    }
}

/// The tokens of a stream.
pub(super) struct Tokens<'a> {
    rest: &'a [u8],
}

impl<'a> Tokens<'a> {
    pub(super) fn of(stream: &'a [u8]) -> Self {
        Self { rest: stream }
    }

    /// Skips the data of an inline image, from its operator `ID` to a separate `EI`.
    pub(super) fn skip_image(&mut self) {
        let stands_alone = |at: usize| {
            let before = at.checked_sub(1).and_then(|before| self.rest.get(before));
            let after = self.rest.get(at + 2);
            before.is_some_and(|byte| is_space(*byte)) && after.is_none_or(|byte| is_space(*byte))
        };
        let end = memchr::memmem::find_iter(self.rest, b"EI").find(|at| stands_alone(*at));
        self.rest = end.map_or(&[], |at| &self.rest[at + 2..]);
    }

    fn take(&mut self, length: usize) -> &'a [u8] {
        let (head, rest) = self.rest.split_at(length.min(self.rest.len()));
        self.rest = rest;
        head
    }

    fn take_while(&mut self, belongs: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| !belongs(*byte));
        self.take(length.unwrap_or(self.rest.len()))
    }

    fn skip_space_and_comments(&mut self) {
        loop {
            self.take_while(is_space);
            if self.rest.first() != Some(&b'%') {
                return;
            }
            self.take_while(|byte| !matches!(byte, b'\r' | b'\n'));
        }
    }

    fn name(&mut self) -> Token<'a> {
        let written = self.take_while(is_regular);
        if !written.contains(&b'#') {
            return Token::Name(Cow::Borrowed(written));
        }
        let mut name = Vec::with_capacity(written.len());
        let mut rest = written;
        while let Some((byte, more)) = rest.split_first() {
            let escaped = || Some((hex_digit(*more.first()?)? << 4 | hex_digit(*more.get(1)?)?, &more[2..]));
            let (byte, more) = (*byte == b'#').then(escaped).flatten().unwrap_or((*byte, more));
            name.push(byte);
            rest = more;
        }
        Token::Name(Cow::Owned(name))
    }

    fn hex_string(&mut self) -> Token<'a> {
        let written = self.take_while(|byte| byte != b'>');
        self.take(1);
        let digits: Vec<u8> = written.iter().copied().filter_map(hex_digit).collect();
        let bytes = digits.chunks(2).map(|pair| pair[0] << 4 | pair.get(1).copied().unwrap_or(0));
        Token::String(bytes.collect())
    }

    fn literal_string(&mut self) -> Token<'a> {
        let mut string = Vec::new();
        let mut depth = 1_usize;
        while let [byte, ..] = *self.take(1) {
            match byte {
                b'(' => depth += 1,
                b')' => depth -= 1,
                b'\\' => {
                    string.extend(self.escape());
                    continue;
                }
                _ => {}
            }
            if depth == 0 {
                break;
            }
            string.push(byte);
        }
        Token::String(string)
    }

    /// The byte of an escape sequence in a literal string; `None` for an escaped line end.
    fn escape(&mut self) -> Option<u8> {
        let octal = self.rest.iter().take(3).take_while(|byte| matches!(byte, b'0'..=b'7')).count();
        if octal > 0 {
            let digits = self.take(octal).iter();
            return Some(digits.fold(0, |code: u8, digit| code.wrapping_mul(8).wrapping_add(digit - b'0')));
        }
        match *self.take(1).first()? {
            b'n' => Some(b'\n'),
            b'r' => Some(b'\r'),
            b't' => Some(b'\t'),
            b'b' => Some(8),
            b'f' => Some(12),
            b'\n' => None,
            b'\r' => {
                let pair = self.rest.first() == Some(&b'\n');
                self.take(usize::from(pair));
                None
            }
            other => Some(other),
        }
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.skip_space_and_comments();
            let first = *self.rest.first()?;
            let doubled = self.rest.get(1) == Some(&first);
            if is_regular(first) {
                let word = self.take_while(is_regular);
                let is_number = matches!(first, b'0'..=b'9' | b'+' | b'-' | b'.');
                return Some(if is_number { Token::Number(number(word)) } else { Token::Operator(word) });
            }
            self.take(1);
            return Some(match first {
                b'/' => self.name(),
                b'(' => self.literal_string(),
                b'<' | b'>' if doubled => {
                    self.take(1);
                    Token::DictionaryEdge
                }
                b'<' => self.hex_string(),
                b'[' => Token::ArrayStart,
                b']' => Token::ArrayEnd,
                _ => continue,
            });
        }
    }
}

fn number(word: &[u8]) -> f32 {
    let text = std::str::from_utf8(word).unwrap_or_default();
    let number: f32 = text.parse().unwrap_or_default();
    if number.is_finite() { number } else { 0.0 }
}

/// Whether a byte is white space in a PDF.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b'\0' | b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

/// Whether a byte is neither white space nor a delimiter in a PDF.
pub(super) fn is_regular(byte: u8) -> bool {
    !is_space(byte) && !matches!(byte, b'(' | b')' | b'<' | b'>' | b'[' | b']' | b'{' | b'}' | b'/' | b'%')
}

fn hex_digit(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(stream: &str) -> Vec<Token<'_>> {
        Tokens::of(stream.as_bytes()).collect()
    }

    fn string(text: &str) -> Token<'static> {
        Token::String(text.as_bytes().to_vec())
    }

    #[test]
    fn every_kind_of_token_is_read() {
        let expected = [
            Token::Name(b"F1".into()),
            Token::Number(-12.5),
            Token::Operator(b"Tf"),
            Token::ArrayStart,
            string("a(b)c"),
            Token::Number(0.5),
            string("Hi0"),
            Token::ArrayEnd,
            Token::Operator(b"TJ"),
            Token::DictionaryEdge,
            Token::Name(b"A B".into()),
            Token::DictionaryEdge,
        ];
        assert_eq!(tokens("/F1 -12.5 Tf[(a(b)c) .5<48 693>]TJ % no\n<</A#20B>>"), expected);
    }

    #[test]
    fn escapes_in_strings_are_resolved() {
        assert_eq!(tokens(r"(\(\)\\\101\7x\n\q)"), [string("()\\A\u{7}x\nq")]);
        assert_eq!(tokens("(a\\\r\nb\\\nc)"), [string("abc")]);
    }

    #[test]
    fn invalid_content_is_skipped_or_zero() {
        assert_eq!(tokens("(open"), [string("open")]);
        assert_eq!(tokens("--5 1.2.3 }) x"), [Token::Number(0.0), Token::Number(0.0), Token::Operator(b"x")]);
        assert_eq!(tokens("/#4 <"), [Token::Name(b"#4".into()), string("")]);
    }

    #[test]
    fn the_data_of_an_image_is_skipped() {
        let mut tokens = Tokens::of(b"ID \x00(EIEI ( \nEI Q");
        assert_eq!(tokens.next(), Some(Token::Operator(b"ID")));
        tokens.skip_image();
        assert_eq!(tokens.collect::<Vec<_>>(), [Token::Operator(b"Q")]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_finite_number_of_tokens(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Tokens::of(&bytes).count() <= bytes.len());
        }

        #[test]
        fn a_hex_string_is_read_back(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            let written = format!("<{}>", hex::encode(&bytes));
            prop_assert_eq!(Tokens::of(written.as_bytes()).collect::<Vec<_>>(), [Token::String(bytes)]);
        }
    }
}
