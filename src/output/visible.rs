//! Text that others have written, made safe to look at.
//!
//! Names and messages come from rows, servers, files and other hosts. A character that a terminal acts on instead of showing it, or that
//! changes the order in which others are shown, can forge what a person reads. So it is shown as its number, and a line break cannot
//! begin what looks like a message of ours.

use std::borrow::Cow;
use std::fmt::Write as _;

/// Says whether a character does something to the text around it, or to the terminal.
fn affects_display(c: char) -> bool {
    // The marks, embeddings, overrides and isolates of bidirectional text, and two more line breaks.
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn shown(text: &str, passes: impl Fn(char) -> bool, write: impl Fn(&mut String, char)) -> Cow<'_, str> {
    if !text.chars().any(|c| affects_display(c) && !passes(c)) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if affects_display(c) && !passes(c) { write(&mut out, c) } else { out.push(c) }
    }
    Cow::Owned(out)
}

fn escaped(out: &mut String, c: char) {
    let _infallible = match u32::from(c) {
        code @ ..=0xff => write!(out, "\\x{code:02x}"),
        code => write!(out, "\\u{code:04x}"),
    };
}

/// Returns a document of several lines: line breaks and tabs are its own.
pub fn document(text: &str) -> Cow<'_, str> {
    shown(text, |c| matches!(c, '\n' | '\t'), escaped)
}

/// Returns text as a part of a line: line breaks and tabs become spaces.
pub fn one_line(text: &str) -> String {
    let write = |out: &mut String, c| match c {
        '\n' | '\t' => out.push(' '),
        c => escaped(out, c),
    };
    shown(text, |_| false, write).into_owned()
}

/// Returns a DETAIL or a HINT: lines after its first are indented, so that none of them looks like another message.
pub fn paragraph(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (n, line) in document(text.trim_end()).split('\n').enumerate() {
        if n > 0 {
            out.push('\n');
            if !line.is_empty() && !line.starts_with([' ', '\t']) {
                out.push_str("  ");
            }
        }
        out.push_str(line);
    }
    out
}

/// Returns a JSON document in which such characters are escaped as JSON does it; as it is, it may have them in its strings only.
pub fn json(text: &str) -> String {
    let write = |out: &mut String, c| {
        let _infallible = write!(out, "\\u{:04x}", u32::from(c));
    };
    shown(text, |c| c.is_ascii() && c != '\x7f', write).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_acts_on_is_shown() {
        let hostile = "a\x1b[31m\r\u{9b}2J\u{202e}\u{2028}b\x07\x7fä→";
        let shown = "a\\x1b[31m\\x0d\\x9b2J\\u202e\\u2028b\\x07\\x7fä→";
        assert_eq!(document(hostile), shown);
        assert_eq!(one_line(hostile), shown);
        assert_eq!(paragraph(hostile), shown);
        assert_eq!(one_line("a\n\tb"), "a  b");
        assert_eq!(document("a\n\tb"), "a\n\tb");
    }

    #[test]
    fn no_line_of_a_message_looks_like_another_one() {
        assert_eq!(paragraph("a\nERROR: forged\n  b\n\nc\n"), "a\n  ERROR: forged\n  b\n\n  c");
    }

    #[test]
    fn json_says_the_same_as_before() {
        let value = serde_json::json!({ "a": "\u{9b}\x1b\n\u{202e}\x7f\\ä" });
        let text = json(&value.to_string());
        assert!(text.chars().all(|c| !affects_display(c)), "{text}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
