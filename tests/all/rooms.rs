//! The rooms of the source: the table in `src/lib.rs` is a law.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use regex::Regex;

/// The rooms from the top down, each with what it may use.
fn table() -> Vec<(String, BTreeSet<String>)> {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let row = Regex::new(r"(?m)^//! \| \[`(\w+)`\] \| [^|]+ \|([^|]*)\|$").unwrap();
    let rows: Vec<(String, String)> =
        row.captures_iter(&text).map(|row| (row[1].to_string(), row[2].trim().to_string())).collect();
    let below = |at: usize| rows.iter().skip(at + 1).map(|(room, _)| room.clone()).collect();
    let uses = |at: usize, may: &str| match may {
        "all that follow" => below(at),
        named => named.split(", ").filter(|room| !room.is_empty()).map(str::to_string).collect(),
    };
    rows.iter().enumerate().map(|(at, (room, may))| (room.clone(), uses(at, may))).collect()
}

fn files(directory: &Path, out: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files(&path, out),
            false => out.extend(path.extension().is_some_and(|ext| ext == "rs").then_some(path)),
        }
    }
}

/// The rooms that each room uses, with a file of each arrow; tests and comments left out.
fn arrows() -> BTreeMap<(String, String), PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    files(&root, &mut found);
    let tests = Regex::new(r"(?m)^#\[cfg\(test\)\]\n(?:pub(?:\(crate\))? )?mod \w+ \{").unwrap();
    let is_test = Regex::new(r"(^|/)(tests|examples)\.rs$|(^|/)(proofs|scripted)/").unwrap();
    let comment = Regex::new(r"(?m)//.*$").unwrap();
    let path_of = Regex::new(r"\bcrate::(?:\{([^}]*)\}|(\w+))").unwrap();
    let mut out = BTreeMap::new();
    for file in found {
        let name = file.strip_prefix(&root).unwrap();
        if is_test.is_match(&name.to_string_lossy()) {
            continue;
        }
        let room = name.components().next().unwrap().as_os_str().to_string_lossy();
        let room = room.trim_end_matches(".rs").to_string();
        if room == "lib" || room == "main" {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let text = comment.replace_all(&text[..tests.find(&text).map_or(text.len(), |at| at.start())], "");
        for used in path_of.captures_iter(&text) {
            let several = used.get(1).map(|list| list.as_str().split(',').map(str::trim).collect::<Vec<_>>());
            for used in several.unwrap_or_else(|| vec![used.get(2).unwrap().as_str()]) {
                let used = used.split("::").next().unwrap().to_string();
                if used != room && used.starts_with(char::is_lowercase) {
                    out.insert((room.clone(), used), name.to_path_buf());
                }
            }
        }
    }
    out
}

#[test]
fn no_room_uses_what_the_table_does_not_allow() {
    let table = table();
    let rooms: BTreeMap<&str, &BTreeSet<String>> =
        table.iter().map(|(room, may)| (room.as_str(), may)).collect();
    let arrows = arrows();
    let wrong: Vec<String> = arrows
        .iter()
        .filter(|((from, to), _)| !rooms.get(from.as_str()).is_some_and(|may| may.contains(to)))
        .map(|((from, to), file)| format!("{from} uses {to} (src/{})", file.display()))
        .collect();
    assert!(wrong.is_empty(), "not in the table of src/lib.rs:\n{}", wrong.join("\n"));
    assert!(arrows.len() > 60, "the paths are not recognised any more: {arrows:?}");
}

#[test]
fn every_room_is_in_the_table_and_uses_only_what_stands_below_it() {
    let table = table();
    let order: Vec<&str> = table.iter().map(|(room, _)| room.as_str()).collect();
    for (at, (room, may)) in table.iter().enumerate() {
        for used in may {
            let place = order.iter().position(|other| other == used);
            assert!(
                place.is_some_and(|place| place > at),
                "\"{room}\" may use \"{used}\", which is not below it"
            );
        }
    }
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs")).unwrap();
    let module = Regex::new(r"(?m)^pub mod (\w+);$").unwrap();
    let modules: BTreeSet<&str> =
        module.captures_iter(&text).map(|row| row.get(1).unwrap().as_str()).collect();
    assert_eq!(modules, order.into_iter().collect());
}
