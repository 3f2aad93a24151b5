//! The text of `pg_hba.conf`: one marked block that is ours, and nothing else is touched.

use std::collections::BTreeSet;
use std::fmt;

/// The line that begins the block.
pub const BEGIN: &str = "# pgbaton: begin";
/// The line that ends it.
pub const END: &str = "# pgbaton: end";
const ABOUT: &str = "# Written by \"pgbaton node prepare\", which changes what is between these two marks.";

/// A line for the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The rule.
    pub rule: String,
    /// Whose it is; stands behind the rule as a comment.
    pub of: String,
}

impl fmt::Display for Line {
    /// Writes it as it stands in the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}  # {}", self.rule, comment(&self.of))
    }
}

/// Returns a name as it can stand in a comment. It comes from a table that others write: what ends the line, or lets it go on in the
/// next one, would make a rule of it.
fn comment(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_control() || c == '\\' { ' ' } else { c }).collect();
    name.trim().to_string()
}

/// The lines, counted from 0, in which the block stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// That of [`BEGIN`].
    pub begin: usize,
    /// That of [`END`].
    pub end: usize,
}

/// Finds the block.
///
/// # Errors
/// Fails where one mark is there without the other, or there are several: what would be replaced then is not certain to be ours.
pub fn find(text: &str) -> Result<Option<Block>, String> {
    let at = |mark: &str| -> Vec<usize> {
        let lines = text.lines().enumerate();
        lines.filter(|(_, line)| line.trim() == mark).map(|(number, _)| number).collect()
    };
    match (at(BEGIN).as_slice(), at(END).as_slice()) {
        ([], []) => Ok(None),
        ([begin], [end]) if begin < end => Ok(Some(Block { begin: *begin, end: *end })),
        (begins, ends) => {
            let mut lines: Vec<usize> = begins.iter().chain(ends).map(|line| line + 1).collect();
            lines.sort_unstable();
            let lines: Vec<String> = lines.iter().map(ToString::to_string).collect();
            Err(format!("the marks \"{BEGIN}\" and \"{END}\" are no pair (lines {})", lines.join(", ")))
        }
    }
}

/// Puts lines into the block, and makes it if there is none: before the first rule, so that no rule decides before it. Lines in it
/// that say the same of other methods, or of earlier addresses of the same nodes, are replaced; all others stay.
///
/// `current` holds the addresses that are right now of nodes, as (node, rule without its method): a line of such a node with another
/// one is outdated. With `to_top` a block further down is moved there.
///
/// # Errors
/// As [`find`].
pub fn with_lines(
    text: &str,
    lines: &[Line],
    current: &BTreeSet<(String, String)>,
    to_top: bool,
) -> Result<String, String> {
    let end_of_line = if text.split_inclusive('\n').next().is_some_and(|line| line.ends_with("\r\n")) {
        "\r\n"
    } else {
        "\n"
    };
    let block = find(text)?;
    let all: Vec<&str> = text.split_inclusive('\n').collect();
    let (before, inside, after) = match block {
        Some(Block { begin, end }) => (
            all.get(..begin).unwrap_or_default(),
            all.get(begin + 1..end).unwrap_or_default(),
            all.get(end + 1..).unwrap_or_default(),
        ),
        None => (all.as_slice(), [].as_slice(), [].as_slice()),
    };
    let new: BTreeSet<String> = lines.iter().filter_map(|line| key(&line.rule)).collect();
    let current: BTreeSet<(String, &str)> =
        current.iter().map(|(node, rule)| (comment(node), rule.as_str())).collect();
    let stays = |line: &&str| {
        let (words, of) = split(line);
        let Some(key) = key_of(&words) else { return line.trim() != ABOUT };
        // No node's name is empty, so that a line without a comment stays.
        let known = !of.is_empty() && current.iter().any(|(node, _)| node == of);
        !new.contains(&key) && (!known || current.contains(&(of.to_string(), key.as_str())))
    };
    let mut ours = vec![BEGIN.to_string(), ABOUT.to_string()];
    ours.extend(inside.iter().filter(|line| stays(line)).map(|line| line.trim_end().to_string()));
    ours.extend(lines.iter().map(ToString::to_string));
    ours.push(END.to_string());
    let ours: String = ours.iter().map(|line| format!("{line}{end_of_line}")).collect();
    if block.is_some() && !to_top {
        return Ok(format!("{}{ours}{}", before.concat(), after.concat()));
    }
    let rest: Vec<&str> = before.iter().chain(after).copied().collect();
    let at = top(&rest);
    let (head, tail) = rest.split_at(at);
    let gap = |needed: bool| if needed { end_of_line } else { "" };
    let head = head.concat();
    let unended = !head.is_empty() && !head.ends_with('\n');
    let tail_text = tail.concat();
    let blank = tail.first().is_none_or(|line| line.trim().is_empty());
    Ok(format!("{head}{}{ours}{}{tail_text}", gap(unended), gap(!blank)))
}

/// Returns the number of the line before which the block goes: that of the first rule, or of the comment right above it.
fn top(lines: &[&str]) -> usize {
    let is_comment = |line: &str| line.trim_start().starts_with('#');
    // A line that ends with a backslash goes on in the next one (from PostgreSQL 14 on).
    let goes_on = |line: &str| line.trim_end_matches(['\r', '\n']).ends_with('\\');
    let first = lines.iter().position(|line| !is_comment(line) && !line.trim().is_empty());
    let mut at = first.unwrap_or(lines.len());
    while at > 0 && lines.get(at - 1).is_some_and(|line| is_comment(line) || goes_on(line)) {
        at -= 1;
    }
    at
}

/// Returns what a rule is about, without its method: type, database, role, address. None for what is no rule. Where only TLS is allowed
/// it is about the same as where any connection is: our line may have been written before the server had TLS.
pub fn key(rule: &str) -> Option<String> {
    key_of(&split(rule).0)
}

fn key_of(words: &[String]) -> Option<String> {
    let fields = if words.first().is_some_and(|kind| *kind == "local") { 3 } else { 4 };
    let key = (words.len() > fields).then(|| words.get(..fields).map(|words| words.join(" ")))??;
    Some(match key.strip_prefix("hostssl ") {
        Some(rest) => format!("host {rest}"),
        None => key,
    })
}

/// Splits a line as the server does: into its words, quotes and all, and its comment. In double quotes blanks and `#` are as any other
/// character; a quote in them is doubled, which closes and opens them.
fn split(line: &str) -> (Vec<String>, &str) {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut comment = "";
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        match c {
            '#' if !quoted => {
                comment = rest.as_str().trim();
                break;
            }
            ' ' | '\t' | '\r' | '\n' if !quoted => words.push(std::mem::take(&mut word)),
            c => {
                quoted ^= c == '"';
                word.push(c);
            }
        }
    }
    words.push(word);
    words.retain(|word| !word.is_empty());
    (words, comment)
}
