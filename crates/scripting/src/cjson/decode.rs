//! `cjson.decode`: a JSON text as a Lua value.

use super::{Settings, settings};
use crate::lua::{Frame, Results};

/// `decode(text)`
pub(super) fn decode(frame: &mut Frame<'_>) -> Results {
    if frame.arguments() != 1 {
        return Err(frame.argument_error(1, "expected 1 argument"));
    }
    let text = frame.check_bytes(1)?;
    let settings = *settings(frame);
    let mut decoder = Decoder { frame, settings, text, at: 0, open: Vec::new(), string: Vec::new() };
    match decoder.run() {
        Ok(()) => Ok(1),
        Err(complaint) => Err(frame.raise_here(complaint.0.as_bytes())),
    }
}

struct Complaint(String);

struct Decoder<'d, 'f> {
    frame: &'d mut Frame<'f>,
    settings: Settings,
    text: &'d [u8],
    at: usize,
    /// The containers that are begun and not closed yet; their tables (and an object's key) lie on
    /// the stack in the same order.
    open: Vec<Container>,
    /// The text of the string token that was read last.
    string: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Container {
    /// With the number of elements that it has.
    Array(i32),
    /// An object whose key waits on the stack for its value.
    Object,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Token {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String,
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    /// No token, and why.
    Wrong(&'static str),
}

impl Token {
    /// The token's name in complaints.
    fn name(self) -> &'static str {
        match self {
            Token::ObjectBegin => "T_OBJ_BEGIN",
            Token::ObjectEnd => "T_OBJ_END",
            Token::ArrayBegin => "T_ARR_BEGIN",
            Token::ArrayEnd => "T_ARR_END",
            Token::String => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Wrong(why) => why,
        }
    }
}

/// A token with the place where it begins (or where it went wrong).
type Placed = (Token, usize);

impl Decoder<'_, '_> {
    /// Pushes the value that the whole text is.
    fn run(&mut self) -> Result<(), Complaint> {
        let mut token = self.token();
        loop {
            let complete = match token.0 {
                Token::ObjectBegin => self.begin_object(token.1)?,
                Token::ArrayBegin => match self.begin_array(token.1)? {
                    (Token::ArrayEnd, _) => true,
                    first => {
                        self.open.push(Container::Array(0));
                        token = first;
                        continue;
                    }
                },
                _ => {
                    self.scalar(token)?;
                    true
                }
            };
            if complete && self.close_containers()? {
                return Ok(());
            }
            token = self.token();
        }
    }

    /// Pushes an object's table and first key; says whether it is complete, which the empty one is.
    fn begin_object(&mut self, at: usize) -> Result<bool, Complaint> {
        self.check_depth(at)?;
        self.frame.push_table(0, 0);
        match self.token() {
            (Token::ObjectEnd, _) => Ok(true),
            key => {
                self.open.push(Container::Object);
                self.key(key)?;
                Ok(false)
            }
        }
    }

    /// Pushes an array's table and reads on.
    fn begin_array(&mut self, at: usize) -> Result<Placed, Complaint> {
        self.check_depth(at)?;
        self.frame.push_table(0, 0);
        Ok(self.token())
    }

    fn check_depth(&self, at: usize) -> Result<(), Complaint> {
        let depth = self.open.len() + 1;
        if depth > self.settings.decode_max_depth as usize {
            let complaint = format!("Found too many nested data structures ({depth}) at character {}", at + 1);
            return Err(Complaint(complaint));
        }
        Ok(())
    }

    /// A value is complete and lies on top: stores it, and closes the containers that end behind it.
    /// True if that was all of the text.
    fn close_containers(&mut self) -> Result<bool, Complaint> {
        loop {
            match self.open.last_mut() {
                None => {
                    return match self.token() {
                        (Token::End, _) => Ok(true),
                        other => Err(expected("the end", other)),
                    };
                }
                Some(Container::Array(count)) => {
                    *count += 1;
                    let (position, table) = (*count, self.frame.top() - 1);
                    self.frame.raw_set_index(table, position);
                    match self.token() {
                        (Token::ArrayEnd, _) => {}
                        (Token::Comma, _) => return Ok(false),
                        other => return Err(expected("comma or array end", other)),
                    }
                }
                Some(Container::Object) => {
                    let table = self.frame.top() - 2;
                    self.frame.raw_set(table);
                    match self.token() {
                        (Token::ObjectEnd, _) => {}
                        (Token::Comma, _) => {
                            let key = self.token();
                            self.key(key)?;
                            return Ok(false);
                        }
                        other => return Err(expected("comma or object end", other)),
                    }
                }
            }
            self.open.pop();
        }
    }

    /// Pushes the key that `token` is, and reads the colon behind it.
    fn key(&mut self, token: Placed) -> Result<(), Complaint> {
        if token.0 != Token::String {
            return Err(expected("object key string", token));
        }
        self.frame.push_bytes(&self.string);
        match self.token() {
            (Token::Colon, _) => Ok(()),
            other => Err(expected("colon", other)),
        }
    }

    fn scalar(&mut self, token: Placed) -> Result<(), Complaint> {
        match token.0 {
            Token::String => self.frame.push_bytes(&self.string),
            Token::Number(number) => self.frame.push_number(number),
            Token::Boolean(truth) => self.frame.push_boolean(truth),
            Token::Null => self.frame.push_null(),
            _ => return Err(expected("value", token)),
        }
        Ok(())
    }

    /// The next token. The text ends at a zero byte, as C's strings do.
    fn token(&mut self) -> Placed {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let begin = self.at;
        let Some(&byte) = self.text.get(begin) else { return (Token::End, begin) };
        let rest = &self.text[begin..];
        let (token, length) = match byte {
            0 => (Token::End, 0),
            b'{' => (Token::ObjectBegin, 1),
            b'}' => (Token::ObjectEnd, 1),
            b'[' => (Token::ArrayBegin, 1),
            b']' => (Token::ArrayEnd, 1),
            b':' => (Token::Colon, 1),
            b',' => (Token::Comma, 1),
            b'"' => return self.string_token(),
            b'-' | b'0'..=b'9' => self.number(rest),
            _ if rest.starts_with(b"true") => (Token::Boolean(true), 4),
            _ if rest.starts_with(b"false") => (Token::Boolean(false), 5),
            _ if rest.starts_with(b"null") => (Token::Null, 4),
            b'+' | b'i' | b'I' | b'n' | b'N' if self.settings.decode_invalid => match c_number(rest) {
                Some((number, length)) => (Token::Number(number), length),
                None => (INVALID_TOKEN, 0),
            },
            _ => (INVALID_TOKEN, 0),
        };
        self.at += length;
        (token, begin)
    }

    /// The number at the start of `rest`. What C's `strtod` reads is a number, unless the settings
    /// want JSON's narrower notion, which has no leading zeros, hex digits or infinities.
    fn number(&self, rest: &[u8]) -> (Token, usize) {
        let digits = rest.strip_prefix(b"-").unwrap_or(rest);
        let broad = matches!(digits, [b'0', b'x' | b'X' | b'0'..=b'9', ..] | [b'i' | b'I' | b'n' | b'N', ..]);
        match c_number(rest) {
            Some((number, length)) if !broad || self.settings.decode_invalid => (Token::Number(number), length),
            _ => (Token::Wrong("invalid number"), 0),
        }
    }

    /// Reads the string that begins here into `self.string`.
    fn string_token(&mut self) -> Placed {
        let begin = self.at;
        self.string.clear();
        let mut at = begin + 1;
        loop {
            let rest = &self.text[at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0)).unwrap_or(rest.len());
            self.string.extend_from_slice(&rest[..plain]);
            at += plain;
            match self.text.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return (Token::String, begin);
                }
                Some(b'\\') => match self.escape(at) {
                    Ok(length) => at += length,
                    Err(why) => return (Token::Wrong(why), at),
                },
                _ => return (Token::Wrong("unexpected end of string"), at),
            }
        }
    }

    /// Takes the escape sequence at `at` into the string and returns its length.
    fn escape(&mut self, at: usize) -> Result<usize, &'static str> {
        let plain = match self.text.get(at + 1) {
            Some(&byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 0x08,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'f') => 0x0c,
            Some(b'r') => b'\r',
            Some(b'u') => {
                const WRONG: &str = "invalid unicode escape code";
                let (character, length) = unicode_escape(&self.text[at..]).ok_or(WRONG)?;
                self.string.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(length);
            }
            _ => return Err("invalid escape code"),
        };
        self.string.push(plain);
        Ok(2)
    }
}

const INVALID_TOKEN: Token = Token::Wrong("invalid token");

fn expected(what: &str, (token, at): Placed) -> Complaint {
    Complaint(format!("Expected {what} but found {} at character {}", token.name(), at + 1))
}

/// The character that `\uXXXX`, or a pair of them, stands for, and how many bytes that takes.
fn unicode_escape(text: &[u8]) -> Option<(char, usize)> {
    let unit = |text: &[u8]| -> Option<u32> {
        let digits = text.strip_prefix(b"\\u")?.get(..4)?;
        digits.iter().try_fold(0, |unit, &digit| Some(unit << 4 | char::from(digit).to_digit(16)?))
    };
    let high = unit(text)?;
    if let Some(character) = char::from_u32(high) {
        return Some((character, 6));
    }
    let low = unit(text.get(6..)?)?;
    if !(0xd800..0xdc00).contains(&high) || !(0xdc00..0xe000).contains(&low) {
        return None;
    }
    char::from_u32(0x10000 + ((high & 0x3ff) << 10) + (low & 0x3ff)).map(|character| (character, 12))
}

/// The number that C's `strtod` reads at the start of `text`, and how many bytes it takes.
fn c_number(text: &[u8]) -> Option<(f64, usize)> {
    let (sign, unsigned) = match text {
        [b'-', rest @ ..] => (-1.0, rest),
        [b'+', rest @ ..] => (1.0, rest),
        rest => (1.0, rest),
    };
    let signed = text.len() - unsigned.len();
    let begins_with = |word: &[u8]| unsigned.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    let (number, length) = if begins_with(b"infinity") {
        (f64::INFINITY, 8)
    } else if begins_with(b"inf") {
        (f64::INFINITY, 3)
    } else if begins_with(b"nan") {
        (f64::NAN, 3 + nan_payload(&unsigned[3..]))
    } else if let Some(read) = hexadecimal(unsigned) {
        read
    } else {
        decimal(unsigned)?
    };
    Some((number.copysign(sign), signed + length))
}

/// The length of the `(payload)` that C allows behind `nan`.
fn nan_payload(text: &[u8]) -> usize {
    let Some(inside) = text.strip_prefix(b"(") else { return 0 };
    let length = inside.iter().take_while(|&&byte| byte.is_ascii_alphanumeric() || byte == b'_').count();
    if inside.get(length) == Some(&b')') { length + 2 } else { 0 }
}

fn decimal(text: &[u8]) -> Option<(f64, usize)> {
    let digits = |from: usize| text[from..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    let whole = digits(0);
    let mut end = whole;
    if text.get(end) == Some(&b'.') {
        let fraction = digits(end + 1);
        if whole + fraction == 0 {
            return None;
        }
        end += 1 + fraction;
    } else if whole == 0 {
        return None;
    }
    if matches!(text.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let exponent = if end + 1 + sign <= text.len() { digits(end + 1 + sign) } else { 0 };
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let number = std::str::from_utf8(&text[..end]).ok()?.parse().ok()?;
    Some((number, end))
}

/// `0x` with hex digits, a point and a power of two. The mantissa beyond 64 bits is cut off.
fn hexadecimal(text: &[u8]) -> Option<(f64, usize)> {
    if !matches!(text, [b'0', b'x' | b'X', ..]) {
        return None;
    }
    let (mut mantissa, mut power, mut seen) = (0u64, 0i32, false);
    let mut end = 2;
    let mut behind_point = false;
    while let Some(&byte) = text.get(end) {
        match char::from(byte).to_digit(16) {
            Some(digit) => {
                seen = true;
                if mantissa >> 60 == 0 {
                    mantissa = mantissa << 4 | u64::from(digit);
                    power -= if behind_point { 4 } else { 0 };
                } else if !behind_point {
                    power = power.saturating_add(4);
                }
            }
            None if byte == b'.' && !behind_point => behind_point = true,
            None => break,
        }
        end += 1;
    }
    if !seen {
        return None;
    }
    if matches!(text.get(end), Some(b'p' | b'P')) {
        let sign = usize::from(matches!(text.get(end + 1), Some(b'+' | b'-')));
        let digits = text[(end + 1 + sign).min(text.len())..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits > 0 {
            let exponent = std::str::from_utf8(&text[end + 1..end + 1 + sign + digits]).ok()?;
            power =
                power.saturating_add(exponent.parse().unwrap_or(if exponent.starts_with('-') { -9999 } else { 9999 }));
            end += 1 + sign + digits;
        }
    }
    // Two steps keep the power within what a double can hold.
    let half = power.clamp(-4000, 4000) / 2;
    let number = mantissa as f64 * 2f64.powi(half) * 2f64.powi(power.clamp(-4000, 4000) - half);
    Some((if mantissa == 0 { 0.0 } else { number }, end))
}
