//! `pgbaton.toml`: repmgr's names as flat keys, with TOML's own types.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::repmgr_conf::ParsedFile;
use super::value::RawValue;
use super::{Assignment, Origin};

/// Parses a file's text, and finds as many errors in it as it can.
///
/// One error a line is enough, and what else such a line seems to say is not used.
pub fn parse(text: &str, path: &Path) -> ParsedFile {
    let line = |span: Range<usize>| 1 + text.get(..span.start).unwrap_or(text).matches('\n').count();
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut problems: Vec<Problem> = Vec::new();
    for error in &errors {
        let place = error.span().map(line);
        if place.is_none() || problems.iter().all(|problem| problem.line != place) {
            let what = error.message().lines().collect::<Vec<_>>().join("; ");
            let message = format!("syntax error in configuration file: {what}");
            problems.push(Problem::error("config_syntax", message).at(path, place));
        }
    }
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.retain(|(key, _)| problems.iter().all(|problem| problem.line != Some(line(key.span()))));
    entries.sort_by_key(|(key, _)| key.span().start);
    let assignments = entries.into_iter().map(|(key, value)| Assignment {
        key: key.get_ref().to_string(),
        value: given(value, text),
        origin: Origin::File { path: path.to_path_buf(), line: line(key.span()) },
    });
    ParsedFile { assignments: assignments.collect(), problems }
}

fn given(value: &Spanned<DeValue<'_>>, text: &str) -> RawValue {
    let single = match value.get_ref() {
        // No program can be given a null byte.
        DeValue::String(string) if !string.contains('\0') => Some(RawValue::Text(string.to_string())),
        DeValue::Boolean(boolean) => Some(RawValue::Boolean(*boolean)),
        DeValue::Integer(integer) => {
            i64::from_str_radix(integer.as_str(), integer.radix()).ok().map(RawValue::Integer)
        }
        DeValue::Array(array) => {
            let texts = array.iter().map(|item| item.get_ref().as_str().map(str::to_string));
            texts.collect::<Option<_>>().map(RawValue::Texts)
        }
        DeValue::Table(table) => {
            let pairs = table
                .iter()
                .map(|(key, item)| Some((key.get_ref().to_string(), item.get_ref().as_str()?.to_string())));
            pairs.collect::<Option<_>>().map(RawValue::Pairs)
        }
        DeValue::String(_) | DeValue::Float(_) | DeValue::Datetime(_) => None,
    };
    single.unwrap_or_else(|| RawValue::Other(text.get(value.span()).unwrap_or_default().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_keep_their_types_and_lines() {
        let text = "b = true\na = \"x\"\n\nn = 1_000\nf = 1.5\nl = [\"x\", \"y\"]\nm = [1]\nh = 0x1F\n[t]\n\"/a\" = \"/b\"\n";
        let contents = parse(text, Path::new("/c.toml"));
        assert_eq!(contents.problems, []);
        let found: Vec<_> = contents
            .assignments
            .into_iter()
            .map(|one| match one.origin {
                Origin::File { line, .. } => (line, one.key, one.value),
                _ => panic!("{one:?}"),
            })
            .collect();
        let expected = [
            (1, "b", RawValue::Boolean(true)),
            (2, "a", RawValue::Text("x".into())),
            (4, "n", RawValue::Integer(1000)),
            (5, "f", RawValue::Other("1.5".into())),
            (6, "l", RawValue::Texts(vec!["x".into(), "y".into()])),
            (7, "m", RawValue::Other("[1]".into())),
            (8, "h", RawValue::Integer(31)),
            (9, "t", RawValue::Pairs(vec![("/a".into(), "/b".into())])),
        ];
        assert_eq!(found, expected.map(|(line, key, value)| (line, key.to_string(), value)));
    }

    #[test]
    fn all_syntax_errors_are_found() {
        let contents = parse("a = \nb = 1\nb = 2\nc = 'open\nd = 1\n", Path::new("/c.toml"));
        let lines: Vec<_> = contents.problems.iter().map(|problem| problem.line.unwrap()).collect();
        assert_eq!(lines, [1, 3, 4], "{:?}", contents.problems);
    }
}
