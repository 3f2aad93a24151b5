//! What is committed although the program could print it: completion scripts and manual pages. And what is written twice:
//! codes in the sources and in the manual.
//!
//! After an intended change the program writes them: `cargo run -- man --directory man`, `cargo run -- completions bash
//! >completions/pgbaton.bash`, and so on. `SNAPSHOTS=overwrite cargo test --test all generated::` writes all of them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use pgbaton::error::{Exit, ISSUE_CODES};
use pgbaton::facts::check_name::CheckName;
use regex::Regex;

use crate::support::{Pgbaton, run_tool};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Fails unless the directory holds exactly these files with these contents; writes them where that is requested.
fn compare(directory: &str, wanted: &[(String, String)], command: &str) {
    let directory = root().join(directory);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).unwrap();
        for (name, text) in wanted {
            std::fs::write(directory.join(name), text).unwrap();
        }
    }
    let there: BTreeSet<String> = std::fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(there, wanted.iter().map(|(name, _)| name.clone()).collect());
    for (name, text) in wanted {
        let committed = std::fs::read_to_string(directory.join(name)).unwrap();
        assert!(
            committed == *text,
            "{}/{name} is not what the program prints; to write it: {command}",
            directory.display()
        );
    }
}

fn pgbaton(dir: &Path, words: &[&str]) -> String {
    Pgbaton::new(dir).args(words).run().code(0).stdout.clone()
}

#[test]
fn completions_are_those_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let script = |shell| pgbaton(dir.path(), &["completions", shell]);
    compare(
        "completions",
        &[
            ("_pgbaton".into(), script("zsh")),
            ("pgbaton.bash".into(), script("bash")),
            ("pgbaton.fish".into(), script("fish")),
        ],
        "cargo run -- completions SHELL >FILE",
    );
    let bash = root().join("completions/pgbaton.bash");
    run_tool(Path::new("/bin/bash"), ["-n".as_ref(), bash.as_os_str()]).code(0);
}

#[test]
fn manual_pages_are_those_of_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    assert_eq!(pgbaton(dir.path(), &["man", "--directory", pages.to_str().unwrap()]), "");
    let mut all: Vec<(String, String)> = std::fs::read_dir(&pages)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| {
            (path.file_name().unwrap().to_str().unwrap().to_string(), std::fs::read_to_string(path).unwrap())
        })
        .collect();
    all.sort();
    assert_eq!(pgbaton(dir.path(), &["man"]), all.iter().find(|(name, _)| name == "pgbaton.1").unwrap().1);
    compare("man", &all, "cargo run -- man --directory man");
}

/// Where groff is installed, it has nothing to complain about.
#[test]
fn manual_pages_are_well_formed() {
    let Some(groff) =
        ["/usr/bin/groff", "/usr/local/bin/groff"].iter().map(Path::new).find(|path| path.exists())
    else {
        return;
    };
    for entry in std::fs::read_dir(root().join("man")).unwrap() {
        let page = entry.unwrap().path();
        let output = run_tool(groff, ["-man".as_ref(), "-Tutf8".as_ref(), "-ww".as_ref(), page.as_os_str()]);
        assert_eq!(output.code(0).stderr, "", "{}", page.display());
    }
}

/// Returns all sources but the tests within them.
fn sources() -> Vec<(PathBuf, String)> {
    fn collect(directory: &Path, into: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, into);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                let program = text.split("\n#[cfg(test)]\nmod tests {").next().unwrap().to_string();
                into.push((path, program));
            }
        }
    }
    let mut out = Vec::new();
    collect(&root().join("src"), &mut out);
    out.retain(|(path, _)| !path.ends_with("config/tests.rs"));
    out
}

#[test]
fn every_issue_code_is_in_the_manual() {
    // How issues are made, in all the ways that the sources have.
    let forms = [
        r#"\.issue\(\s*[A-Za-z:]+,\s*"([a-z_]+)""#,
        r#"\.issue\(\s*[A-Za-z:]+,\s*if [^{]+\{\s*"([a-z_]+)"\s*\} else \{\s*"([a-z_]+)"\s*\}"#,
        r#"\bcode: "([a-z_]+)""#,
        r#"\bcode: if [^{]+\{\s*"([a-z_]+)"\s*\} else \{\s*"([a-z_]+)"\s*\}"#,
        r#"Problem::(?:error|warning)\(\s*"([a-z_]+)""#,
        r#"\bfound\(\s*"([a-z_]+)""#,
        r#""(config_[a-z_]+)""#,
    ]
    .map(|form| Regex::new(form).unwrap());
    let listed: BTreeSet<&str> = ISSUE_CODES.iter().map(|(code, _)| *code).collect();
    assert_eq!(listed.len(), ISSUE_CODES.len(), "a code is listed twice");
    let sources = sources();
    for (path, text) in &sources {
        for captures in forms.iter().flat_map(|form| form.captures_iter(text)) {
            for code in captures.iter().skip(1).flatten().map(|code| code.as_str()) {
                // A name of a parameter that looks like a code.
                if matches!(code, "config_file" | "config_directory" | "config_archive_dir") {
                    continue;
                }
                assert!(listed.contains(code), "{code} of {} is not in ISSUE_CODES", path.display());
            }
        }
    }
    for code in &listed {
        let quoted = format!("\"{code}\"");
        let used =
            sources.iter().any(|(path, text)| !path.ends_with("src/error.rs") && text.contains(&quoted));
        assert!(used, "nothing reports {code}");
    }
    let page = std::fs::read_to_string(root().join("man/pgbaton.1")).unwrap();
    for (code, meaning) in ISSUE_CODES {
        assert!(
            Regex::new(&format!(r"(?m)^{code} +{}$", regex::escape(meaning))).unwrap().is_match(&page),
            "{code}"
        );
    }
}

#[test]
fn every_check_is_in_the_manual() {
    let page = std::fs::read_to_string(root().join("man/pgbaton.1")).unwrap();
    for name in CheckName::ALL {
        let line = format!("{:<21} {}\n", name.as_str(), name.meaning());
        assert!(page.contains(&line), "{line}");
    }
}

#[test]
fn every_exit_code_is_in_the_manual_and_the_readme() {
    let source = std::fs::read_to_string(root().join("src/error.rs")).unwrap();
    let body = source.split("pub enum Exit {").nth(1).unwrap().split("\n}").next().unwrap();
    let numbers: Vec<u8> = Regex::new(r"(?m)^    [A-Za-z]+ = (\d+),$")
        .unwrap()
        .captures_iter(body)
        .map(|captures| captures[1].parse().unwrap())
        .collect();
    assert_eq!(numbers, Exit::ALL.map(Exit::code));
    let page = std::fs::read_to_string(root().join("man/pgbaton.1")).unwrap();
    for exit in Exit::ALL {
        let line = format!("{:<5} {}\n", exit.code(), exit.meaning());
        assert!(page.contains(&line), "{line}");
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let named = Regex::new(r"(?m)^\| (\d+) \| ").unwrap();
    for captures in named.captures_iter(&readme) {
        let number: u8 = captures[1].parse().unwrap();
        assert!(numbers.contains(&number), "README.md names an exit code {number}");
    }
    let plain = readme.replace('`', "");
    // The two signals share a row; no command starts or stops a daemon.
    let listed = |exit: &Exit| exit.code() < 128 && *exit != Exit::Daemon;
    for exit in Exit::ALL.into_iter().filter(listed) {
        let row = format!("| {} | {} |\n", exit.code(), exit.meaning());
        assert!(plain.contains(&row), "{row}");
    }
}
