//! repmgr.conf, read as repmgr 5.5 reads it.
//!
//! The syntax is that of postgresql.conf with fewer liberties: one `name = value` or `name value` a line, single quotes
//! with `''` and backslash escapes, comments, and three include directives.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::problem::Problem;
use super::value::RawValue;
use super::{Assignment, Origin};
use crate::system::guarded_read;

/// Files may include each other this deep.
const MAX_DEPTH: usize = 10;

/// After so many syntax errors a file is no configuration file, and its other lines say nothing.
const MAX_ERRORS: usize = 100;

/// What was found in a file and in those it includes, in the order in which it takes effect.
#[derive(Debug, Default)]
pub struct ParsedFile {
    /// Assignments, later ones winning.
    pub assignments: Vec<Assignment>,
    /// What could not be read.
    pub problems: Vec<Problem>,
}

/// Parses a file's text; `path` is absolute, so that relative includes are found. Included files have to belong to the `trusted` users.
pub fn parse(text: &[u8], path: &Path, trusted: &[u32]) -> ParsedFile {
    let mut contents = ParsedFile::default();
    parse_into(text, &Files { chain: vec![path.to_path_buf()], trusted }, &mut contents);
    contents
}

/// The files that are being read, each of which includes the next.
struct Files<'a> {
    chain: Vec<PathBuf>,
    trusted: &'a [u32],
}

/// Parses the text of the last file.
///
/// repmgr knows bytes and no encoding. So a comment may be in any; a value that is not UTF-8 cannot be passed on as what was meant.
fn parse_into(text: &[u8], files: &Files<'_>, contents: &mut ParsedFile) {
    let Some(path) = files.chain.last() else { return };
    let mut errors = 0;
    for (line, bytes) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let text = String::from_utf8_lossy(bytes);
        let damaged =
            |part: &str| matches!(text, Cow::Owned(_)) && part.contains(char::REPLACEMENT_CHARACTER);
        let parsed = parse_line(&text).and_then(|found| match found {
            Some((name, value)) if damaged(name) || damaged(&value) => {
                Err("the value is not UTF-8".to_string())
            }
            found => Ok(found),
        });
        match parsed {
            Ok(None) => {}
            Ok(Some((name, value))) => match name.to_ascii_lowercase().as_str() {
                "include" => include_file(&value, true, line, files, contents),
                "include_if_exists" => include_file(&value, false, line, files, contents),
                "include_dir" => include_directory(&value, line, files, contents),
                _ => contents.assignments.push(Assignment {
                    key: name.to_string(),
                    value: RawValue::Text(value),
                    origin: Origin::File { path: path.clone(), line },
                }),
            },
            Err(what) => {
                contents.problems.push(
                    Problem::error("config_syntax", format!("syntax error in configuration file, {what}"))
                        .at(path, line),
                );
                errors += 1;
                if errors == MAX_ERRORS {
                    let message = "too many syntax errors; the rest of the file was not read";
                    contents.problems.push(Problem::error("config_syntax", message).at(path, line));
                    return;
                }
            }
        }
    }
}

/// Reads `name [=] value`; `None` for a line without content. The error says near what it went wrong.
fn parse_line(line: &str) -> Result<Option<(&str, String)>, String> {
    let mut rest = line;
    let Some(first) = next_token(&mut rest) else { return Ok(None) };
    let Token::Word(name) = first else { return Err(first.near()) };
    if !is_name(name) {
        return Err(first.near());
    }
    let mut token = next_token(&mut rest);
    if matches!(token, Some(Token::Equals)) {
        token = next_token(&mut rest);
    }
    let value = match token {
        None => return Err("near end of line".into()),
        Some(Token::Word(text) | Token::Number(text)) => text.to_string(),
        Some(Token::Quoted(text)) => unquote(text)?,
        Some(wrong) => return Err(wrong.near()),
    };
    match next_token(&mut rest) {
        None => Ok(Some((name, value))),
        Some(extra) => Err(extra.near()),
    }
}

/// A piece of a line.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    /// Begins with a letter.
    Word(&'a str),
    /// Begins with a digit, a sign or a point.
    Number(&'a str),
    /// With its quotes.
    Quoted(&'a str),
    Equals,
    /// What the syntax has no use for.
    Stray(&'a str),
}

impl Token<'_> {
    /// Names the token, but not what is quoted: that may be a connection string with a password.
    fn near(self) -> String {
        let text = match self {
            Self::Word(text) | Self::Number(text) | Self::Stray(text) => text,
            Self::Quoted(_) => "'",
            Self::Equals => "=",
        };
        format!("near token \"{text}\"")
    }
}

/// Takes the next token from the front of `rest`; `None` at the end of the line or at a comment.
fn next_token<'a>(rest: &mut &'a str) -> Option<Token<'a>> {
    *rest = rest.trim_start_matches([' ', '\t', '\r']);
    let first = rest.chars().next().filter(|c| *c != '#')?;
    let (length, kind): (usize, fn(&'a str) -> Token<'a>) = match first {
        '=' => (1, |_| Token::Equals),
        '\'' => match quoted_length(rest) {
            Some(length) => (length, Token::Quoted),
            // Not closed: as in repmgr, the quote itself is what cannot be used.
            None => (1, Token::Stray),
        },
        _ if is_letter(first) => {
            (length_while(rest, |c| is_letter(c) || c.is_ascii_digit() || "-.:/".contains(c)), Token::Word)
        }
        _ => match number_length(rest) {
            0 => (first.len_utf8(), Token::Stray),
            length => (length, Token::Number),
        },
    };
    let (token, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(kind(token))
}

/// Bytes above 127 count as letters, as in PostgreSQL.
fn is_letter(c: char) -> bool {
    c.is_ascii_alphabetic() || c == '_' || !c.is_ascii()
}

/// A name has letters and digits, and at most one point, not at its end.
fn is_name(word: &str) -> bool {
    let identifier =
        |part: &str| part.starts_with(is_letter) && part.chars().all(|c| is_letter(c) || c.is_ascii_digit());
    match word.split_once('.') {
        Some((class, name)) => identifier(class) && identifier(name),
        None => identifier(word),
    }
}

fn length_while(text: &str, belongs: impl Fn(char) -> bool) -> usize {
    text.len() - text.trim_start_matches(belongs).len()
}

/// Returns the length of a quoted string with its quotes; `None` if it is not closed.
fn quoted_length(text: &str) -> Option<usize> {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' => {
                chars.next()?;
            }
            '\'' if chars.peek().is_some_and(|(_, next)| *next == '\'') => {
                chars.next();
            }
            '\'' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// Returns the length of `[+-]digits[unit]`, `[+-]0xhex[unit]` or a decimal fraction; 0 if there is none.
fn number_length(text: &str) -> usize {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = text.len() - unsigned.len();
    let digits = length_while(unsigned, |c| c.is_ascii_digit());
    let after = unsigned.get(digits..).unwrap_or_default();
    if let Some(fraction) = after.strip_prefix('.') {
        let fraction_digits = length_while(fraction, |c| c.is_ascii_digit());
        let exponent = exponent_length(fraction.get(fraction_digits..).unwrap_or_default());
        return sign + digits + 1 + fraction_digits + exponent;
    }
    if digits == 0 {
        return 0;
    }
    let hex = unsigned.strip_prefix("0x").map_or(0, |hex| length_while(hex, |c| c.is_ascii_hexdigit()));
    let number = if hex > 0 { 2 + hex } else { digits };
    let unit = unsigned.get(number..).unwrap_or_default();
    sign + number + length_while(unit, |c| c.is_ascii_alphabetic())
}

fn exponent_length(text: &str) -> usize {
    let Some(power) = text.strip_prefix(['e', 'E']) else { return 0 };
    let digits = length_while(power.strip_prefix(['+', '-']).unwrap_or(power), |c| c.is_ascii_digit());
    let sign = usize::from(power.starts_with(['+', '-']));
    if digits == 0 { 0 } else { 1 + sign + digits }
}

/// Removes the quotes, `''` and backslash escapes.
fn unquote(quoted: &str) -> Result<String, String> {
    let inner = quoted.strip_prefix('\'').and_then(|text| text.strip_suffix('\'')).unwrap_or(quoted);
    let mut bytes = Vec::with_capacity(inner.len());
    let mut rest = inner.bytes().peekable();
    while let Some(byte) = rest.next() {
        match byte {
            b'\'' => {
                rest.next_if_eq(&b'\'');
                bytes.push(b'\'');
            }
            b'\\' => match rest.next() {
                Some(b'b') => bytes.push(8),
                Some(b'f') => bytes.push(12),
                Some(b'n') => bytes.push(b'\n'),
                Some(b'r') => bytes.push(b'\r'),
                Some(b't') => bytes.push(b'\t'),
                Some(first @ b'0'..=b'7') => {
                    // Up to three octal digits, cut to a byte as in C.
                    let mut value = u32::from(first - b'0');
                    for _ in 0..2 {
                        let Some(digit) = rest.next_if(|next| (b'0'..=b'7').contains(next)) else { break };
                        value = value * 8 + u32::from(digit - b'0');
                    }
                    bytes.push(u8::try_from(value & 0xff).unwrap_or(0));
                }
                other => bytes.extend(other),
            },
            other => bytes.push(other),
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "the quoted value is not UTF-8")?;
    if text.contains('\0') { Err("the quoted value has a null byte".into()) } else { Ok(text) }
}

/// Reads an included file; a missing one is a problem only if it is `required`.
fn include_file(location: &str, required: bool, line: usize, files: &Files<'_>, contents: &mut ParsedFile) {
    let Some(including) = files.chain.last() else { return };
    let wrong =
        |message: String| Problem::error("config_include", message).at(including, line).key("include");
    if location.trim().is_empty() {
        contents.problems.push(wrong("empty name of an included file".into()));
        return;
    }
    let path = relative_to(including, location);
    let name = path.display();
    if files.chain.len() > MAX_DEPTH {
        let message = format!("could not include \"{name}\": files are nested more than {MAX_DEPTH} deep");
        contents.problems.push(wrong(message));
        return;
    }
    // Compared as the files they are: a link back to an including file recurses as well.
    let identity = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
    if files.chain.iter().any(|file| identity(file) == identity(&path)) {
        contents.problems.push(wrong(format!("could not include \"{name}\": it includes itself")));
        return;
    }
    match guarded_read::read(&path, super::MOST_BYTES) {
        Ok(read) => {
            if let Some(why) = guarded_read::untrusted_writer(&path, &read.about, files.trusted) {
                let message = format!("could not include \"{name}\": other users could have written it");
                contents.problems.push(wrong(message).detail(why));
                return;
            }
            let text = read.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&read.bytes);
            let mut chain = files.chain.clone();
            chain.push(path);
            parse_into(text, &Files { chain, trusted: files.trusted }, contents);
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && !required => {}
        Err(error) => contents.problems.push(wrong(format!("could not include \"{name}\": {error}"))),
    }
}

/// Reads all files `*.conf` of a directory in the order of their names.
fn include_directory(location: &str, line: usize, files: &Files<'_>, contents: &mut ParsedFile) {
    let Some(including) = files.chain.last() else { return };
    let wrong =
        |message: String| Problem::error("config_include", message).at(including, line).key("include_dir");
    if location.trim().is_empty() {
        contents.problems.push(wrong("empty name of an included directory".into()));
        return;
    }
    let directory = relative_to(including, location);
    let entries = fs::read_dir(&directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
    });
    let mut paths = match entries {
        Ok(paths) => paths,
        Err(error) => {
            let message = format!("could not include directory \"{}\": {error}", directory.display());
            contents.problems.push(wrong(message));
            return;
        }
    };
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        !name.starts_with('.') && name.ends_with(".conf") && !path.is_dir()
    });
    paths.sort();
    for path in paths {
        match path.to_str() {
            Some(path) => include_file(path, true, line, files, contents),
            None => contents.problems.push(wrong(format!("file name \"{}\" is not UTF-8", path.display()))),
        }
    }
}

/// Relative names are relative to the including file.
fn relative_to(including: &Path, location: &str) -> PathBuf {
    including.parent().unwrap_or(Path::new("")).join(location)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use snapbox::str;

    use super::*;

    fn parse(text: impl AsRef<[u8]>, path: &Path) -> ParsedFile {
        super::parse(text.as_ref(), path, &[0, rustix::process::geteuid().as_raw()])
    }

    #[test]
    fn a_comment_may_be_in_any_encoding_and_a_value_may_not() {
        let contents = parse(b"# Prim\xe4r\r\npriority = 1 # f\xfcr\n", Path::new("/c"));
        assert_eq!((contents.problems.as_slice(), contents.assignments.len()), (&[][..], 1));
        let contents = parse(b"a = 'Z\xfcrich'\nb\xfc = 1\nc = 'Z\xc3\xbcrich'\n", Path::new("/c"));
        let lines: Vec<_> =
            contents.problems.iter().map(|one| (one.line.unwrap(), one.message.as_str())).collect();
        let wrong = "syntax error in configuration file, the value is not UTF-8";
        assert_eq!(lines, [(1, wrong), (2, wrong)]);
        assert_eq!(contents.assignments.len(), 1);
    }

    #[test]
    fn an_included_file_that_others_may_write_is_an_error() {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let more = directory.path().join("more.conf");
        crate::system::files::write(&more, b"a = 1\n", 0o644).unwrap();
        let main = directory.path().join("main.conf");
        assert_eq!(parse("include 'more.conf'", &main).assignments.len(), 1);
        fs::set_permissions(&more, fs::Permissions::from_mode(0o666)).unwrap();
        for directive in ["include", "include_if_exists"] {
            let contents = parse(format!("{directive} 'more.conf'"), &main);
            assert_eq!(contents.assignments.len(), 0);
            assert!(contents.problems[0].detail.as_deref().unwrap().contains("mode 0666"));
        }
        let main = |trusted: &[u32]| super::parse(b"include 'more.conf'", &main, trusted).problems.len();
        fs::set_permissions(&more, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!((main(&[rustix::process::geteuid().as_raw()]), main(&[u32::MAX])), (0, 1));
    }

    fn pairs(text: &str) -> Vec<(String, String)> {
        let contents = parse(text, Path::new("/etc/repmgr.conf"));
        assert_eq!(contents.problems, [], "{text}");
        contents.assignments.iter().map(|one| (one.key.clone(), one.value.to_string())).collect()
    }

    fn problems(text: &str) -> String {
        let contents = parse(text, Path::new("/etc/repmgr.conf"));
        let lines = contents.problems.iter();
        lines.map(|problem| format!("{}: {}\n", problem.line.unwrap(), problem.message)).collect()
    }

    #[test]
    fn values_are_quoted_or_words_or_numbers() {
        let value = |text: &str| pairs(&format!("x = {text}")).remove(0).1;
        assert_eq!(value("'it''s \\'so\\' \\\\ \\101\\n'"), "it's 'so' \\ A\n");
        assert_eq!(value("'\\303\\244#'   # a comment"), "ä#");
        assert_eq!(value("''"), "");
        assert_eq!(value("node-1.example.org:/a_b#comment"), "node-1.example.org:/a_b");
        assert_eq!(value("-5"), "-5");
        assert_eq!(value("5min"), "5min");
        assert_eq!(value("0x1fG"), "0x1fG");
        assert_eq!(value("1.5e-3"), "1.5e-3");
        assert_eq!(value("bücher\r"), "bücher");
        assert_eq!(pairs("a 'b'\n\n  # c\n\tA=d"), [("a".into(), "b".into()), ("A".into(), "d".into())]);
    }

    #[test]
    fn syntax_errors_name_the_line_and_the_token() {
        let text = "node_id\n\
                    node_name = \"node1\"\n\
                    data_directory = /var/lib\n\
                    conninfo = 'open\n\
                    a = 'b' c\n\
                    a-b = 1\n\
                    1 = 1\n\
                    x = 10.0.0.1\n\
                    x = '\\377'\n\
                    x = '\\0'\n\
                    x = = 1\n\
                    x = 0x1fG5\n\
                    x = 1e5\n";
        snapbox::assert_data_eq!(
            problems(text),
            str![[r#"
1: syntax error in configuration file, near end of line
2: syntax error in configuration file, near token """
3: syntax error in configuration file, near token "/"
4: syntax error in configuration file, near token "'"
5: syntax error in configuration file, near token "c"
6: syntax error in configuration file, near token "a-b"
7: syntax error in configuration file, near token "1"
8: syntax error in configuration file, near token ".0"
9: syntax error in configuration file, the quoted value is not UTF-8
10: syntax error in configuration file, the quoted value has a null byte
11: syntax error in configuration file, near token "="
12: syntax error in configuration file, near token "5"
13: syntax error in configuration file, near token "5"

"#]]
        );
    }

    #[test]
    fn gives_up_after_a_hundred_errors() {
        let contents = parse("?\n".repeat(200), Path::new("/etc/repmgr.conf"));
        assert_eq!(contents.problems.len(), 101);
    }

    #[test]
    fn includes_are_read_where_they_stand() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let mut file = fs::File::create(directory.path().join(name)).unwrap();
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        fs::create_dir(directory.path().join("d")).unwrap();
        fs::create_dir(directory.path().join("d/dir.conf")).unwrap();
        write("d/2.conf", "x = d2\ninclude '../one.conf'");
        write("d/1.conf", "x = d1");
        write("d/.hidden.conf", "x = hidden");
        write("d/no", "x = no");
        write("one.conf", "x = one");
        write("loop.conf", "include 'loop2.conf'");
        write("loop2.conf", "\nInclude = 'loop.conf'");
        let text = "x=0\ninclude_dir 'd'\ninclude_if_exists 'none.conf'\nINCLUDE_IF_EXISTS one.conf\nx=1\n\
                    include 'none.conf'\ninclude ' '\ninclude_dir 'none'\ninclude loop.conf";
        let main = directory.path().join("main.conf");
        let contents = parse(text, &main);
        let values: Vec<_> = contents.assignments.iter().map(|one| one.value.to_string()).collect();
        assert_eq!(values, ["0", "d1", "d2", "one", "one", "1"]);
        let place = |problem: &Problem| {
            format!(
                "{}:{} {}\n",
                problem.file.as_ref().unwrap().file_name().unwrap().display(),
                problem.line.unwrap(),
                problem.message.replace(directory.path().to_str().unwrap(), "")
            )
        };
        snapbox::assert_data_eq!(
            contents.problems.iter().map(place).collect::<String>(),
            str![[r#"
main.conf:6 could not include "/none.conf": No such file or directory (os error 2)
main.conf:7 empty name of an included file
main.conf:8 could not include directory "/none": No such file or directory (os error 2)
loop2.conf:2 could not include "/loop.conf": it includes itself

"#]]
        );
    }

    #[test]
    fn includes_end_at_ten_levels() {
        let directory = tempfile::tempdir().unwrap();
        for level in 1..=11 {
            let mut file = fs::File::create(directory.path().join(format!("{level}.conf"))).unwrap();
            let text = format!("x = {level}\ninclude '{}.conf'", level + 1);
            io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        }
        let contents = parse("include '1.conf'", &directory.path().join("main.conf"));
        assert_eq!(contents.assignments.len(), 10);
        assert_eq!(contents.problems.len(), 1);
        assert!(contents.problems[0].message.ends_with("nested more than 10 deep"));
    }

    /// Writes a value as repmgr's documentation says.
    fn quote(value: &str) -> String {
        let escaped = value.replace('\\', "\\\\").replace('\'', "''").replace('\n', "\\n");
        format!("'{escaped}'")
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            parse(&text, Path::new("/nonexistent/repmgr.conf"));
        }

        #[test]
        fn no_line_of_tokens_panics(text in "([a-z.]{0,3}| |=|'|''|\\\\|\\\\[0-9]{1,3}|[-+0-9.ex]{1,4}|#|ä|\n){0,20}") {
            parse(&text, Path::new("/nonexistent/repmgr.conf"));
        }

        #[test]
        fn a_quoted_value_is_read_back(value in "[^\0]*") {
            let contents = parse(format!("x = {} # comment", quote(&value)), Path::new("/c"));
            prop_assert_eq!(contents.problems, []);
            prop_assert_eq!(contents.assignments.first().map(|one| &one.value), Some(&RawValue::Text(value)));
        }
    }
}
