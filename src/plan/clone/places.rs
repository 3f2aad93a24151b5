//! Directories that a clone fills must not lie in each other, nor in what belongs to another server. Pure: the paths come without symbolic
//! links.

use std::path::{Path, PathBuf};

use crate::plan::Check;

/// A directory that the clone fills.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilledDirectory {
    /// What it is: `data directory`, `tablespace directory`.
    pub what: &'static str,
    /// Its path as it was given.
    pub given: PathBuf,
    /// Where that leads.
    pub real: PathBuf,
    /// The directory of the tablespace on the source.
    pub from: Option<String>,
}

/// A directory that is not the clone's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ForeignDirectory {
    /// What it is, as in `the data directory of the source`.
    pub what: String,
    /// Where it is.
    pub real: PathBuf,
}

/// Compares every directory that is filled with the others.
pub(super) fn overlaps(filled: &[FilledDirectory], foreign: &[ForeignDirectory]) -> Vec<Check> {
    let mut checks = Vec::new();
    for (i, one) in filled.iter().enumerate() {
        for other in filled.iter().skip(i + 1) {
            // The directory that can be mapped elsewhere is the one that is reported.
            let (moved, stays) =
                if one.from.is_some() && other.from.is_none() { (one, other) } else { (other, one) };
            if let Some(how) = lies(&moved.real, &stays.real) {
                let stays = format!("the {} \"{}\"", stays.what, stays.given.display());
                checks.push(overlap(moved, how, &stays));
            }
        }
        let found = foreign.iter().find_map(|other| Some((lies(&one.real, &other.real)?, other)));
        if let Some((how, other)) = found {
            checks.push(overlap(one, how, &format!("{}, \"{}\"", other.what, other.real.display())));
        }
    }
    checks
}

fn lies(one: &Path, other: &Path) -> Option<&'static str> {
    if one == other {
        Some("is")
    } else if one.starts_with(other) {
        Some("lies inside")
    } else {
        other.starts_with(one).then_some("contains")
    }
}

fn overlap(filled: &FilledDirectory, how: &str, other: &str) -> Check {
    let FilledDirectory { what, given, real, from } = filled;
    let path = given.display();
    let check = Check::fail("places", format!("the {what} \"{path}\" {how} {other}"));
    let check = if given == real {
        check.detail("The clone would write into it, or remove its contents.")
    } else {
        check.detail(format!(
            "\"{path}\" leads to \"{}\". The clone would write into it, or remove its contents.",
            real.display()
        ))
    };
    check.hint(match from {
        Some(from) => format!(
            "Map it to another directory: tablespace_mapping = {{ \"{from}\" = \"/another/directory\" }}"
        ),
        None if *what == "data directory" => "Set data_directory to a path outside of it.".into(),
        None => "Choose another directory for --waldir in pg_basebackup_options.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(what: &'static str, path: &str, from: Option<&str>) -> FilledDirectory {
        FilledDirectory { what, given: path.into(), real: path.into(), from: from.map(str::to_string) }
    }

    fn messages(filled: &[FilledDirectory], foreign: &[ForeignDirectory]) -> Vec<String> {
        overlaps(filled, foreign).into_iter().map(|check| check.text.message).collect()
    }

    #[test]
    fn what_lies_in_each_other_is_named_whichever_way_round() {
        let data = filled("data directory", "/pg/node2", None);
        let inside = filled("tablespace directory", "/pg/node2/ts", Some("/pg/node1/ts"));
        let around = filled("tablespace directory", "/pg", Some("/ts"));
        let same = filled("tablespace directory", "/pg/node2", Some("/ts"));
        let sibling = filled("tablespace directory", "/pg/node2_ts", Some("/ts"));
        for (other, how) in [(inside, "lies inside"), (around, "contains"), (same, "is")] {
            let [check] = overlaps(&[data.clone(), other], &[]).try_into().unwrap();
            assert!(check.stops() && check.message.contains(how), "{check:?}");
            assert!(check.text.hint.unwrap().contains("tablespace_mapping"));
        }
        assert!(messages(&[data, sibling], &[]).is_empty());
    }

    #[test]
    fn two_tablespaces_that_are_mapped_onto_each_other_are_refused() {
        let one = filled("tablespace directory", "/ts/x", Some("/a"));
        let two = filled("tablespace directory", "/ts/x", Some("/b"));
        assert_eq!(messages(&[one, two], &[]).len(), 1);
    }

    #[test]
    fn what_belongs_to_another_server_is_named() {
        let source =
            ForeignDirectory { what: "the data directory of the source".into(), real: "/pg/node1".into() };
        let inside = filled("data directory", "/pg/node1/copy", None);
        let around = filled("data directory", "/pg", None);
        let [first] = messages(&[inside], std::slice::from_ref(&source)).try_into().unwrap();
        assert_eq!(
            first,
            "the data directory \"/pg/node1/copy\" lies inside the data directory of the source, \"/pg/node1\""
        );
        assert_eq!(messages(&[around], std::slice::from_ref(&source)).len(), 1);
        assert!(messages(&[filled("data directory", "/pg/node10", None)], &[source]).is_empty());
    }
}
