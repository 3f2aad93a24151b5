//! Tests of `files`.

use std::os::unix::fs::symlink;

use super::*;

fn mode_of(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn names(path: &Path) -> Vec<String> {
    names_in(path).unwrap().into_iter().map(|name| name.into_string().unwrap()).collect()
}

fn strings<const N: usize>(names: [&str; N]) -> [String; N] {
    names.map(str::to_string)
}

#[test]
fn what_was_copied_and_has_not_changed_is_not_copied_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (source, copy) = (from.path().join("a"), to.path().join("a"));
    let names = ["a".to_string()];
    let ino = || fs::metadata(&copy).unwrap().ino();
    let age = |seconds| {
        let at = std::time::SystemTime::now() - Duration::from_secs(seconds);
        File::options().write(true).open(&source).unwrap().set_modified(at).unwrap();
    };
    write(&source, b"old", 0o600).unwrap();
    age(3600);
    copy_all(&names, from.path(), to.path()).unwrap();
    let first = ino();
    copy_all(&names, from.path(), to.path()).unwrap();
    assert_eq!(ino(), first);
    // As long, but written to.
    write(&source, b"new", 0o600).unwrap();
    copy_all(&names, from.path(), to.path()).unwrap();
    assert_eq!(bytes(&copy).unwrap(), b"new");
    // What is as young as its copy may have been written to in the same tick.
    let second = ino();
    copy_all(&names, from.path(), to.path()).unwrap();
    assert_ne!(ino(), second);
}

#[test]
fn several_files_are_copied_and_one_that_cannot_be_is_named() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let names: Vec<String> = (0..9).map(|n| format!("file{n}")).collect();
    for name in &names {
        write(&from.path().join(name), name.as_bytes(), 0o640).unwrap();
    }
    let target = to.path().join("new");
    copy_all(&names, from.path(), &target).unwrap();
    for name in &names {
        assert_eq!(read(&target.join(name)).unwrap().unwrap(), name.as_bytes());
        assert_eq!(fs::metadata(target.join(name)).unwrap().permissions().mode() & 0o777, 0o640);
    }
    assert_eq!(names_in(&target).unwrap().len(), 9);
    fs::create_dir(from.path().join("directory")).unwrap();
    let error = copy_all(&["file1".into(), "directory".into()], from.path(), &target).unwrap_err();
    assert!(format!("{error:#}").contains("directory\""), "{error:#}");
    copy_all(&[], from.path(), &target).unwrap();
}

#[test]
fn a_file_is_replaced_with_its_mode_and_leaves_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("file");
    write(&path, b"one", 0o644).unwrap();
    write(&path, b"two", 0o600).unwrap();
    assert_eq!((read(&path).unwrap().unwrap(), mode_of(&path)), (b"two".to_vec(), 0o600));
    write_without_waiting(&path, b"2", 0o640).unwrap();
    assert_eq!((read(&path).unwrap().unwrap(), mode_of(&path)), (b"2".to_vec(), 0o640));
    assert_eq!(names(directory.path()), ["file"]);
    let error = write_new(&path, b"three", 0o600).unwrap_err();
    assert!(format!("{error:#}").contains("file\": File exists"), "{error:#}");
    assert_eq!(names(directory.path()), ["file"]);
}

#[test]
fn what_is_not_there_is_empty_or_removed_already() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("nothing");
    assert_eq!(read(&path).unwrap(), None);
    remove_file(&path).unwrap();
    remove_tree(&path).unwrap();
    clear_directory(&path, &[]).unwrap();
    move_entries(&path, directory.path(), &[], &[]).unwrap();
    assert!(!path.exists());
}

#[test]
fn a_directory_gets_its_mode_whether_it_was_there_or_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    make_directory(&path, 0o750).unwrap();
    assert_eq!(mode_of(&path), 0o750);
    make_directory(&path, 0o700).unwrap();
    assert_eq!(mode_of(&path), 0o700);
    write(&path.join("file"), b"", 0o600).unwrap();
    assert!(make_directory(&path.join("file"), 0o700).is_err());
}

#[test]
fn clearing_a_directory_keeps_what_is_named_and_never_follows_a_link_out() {
    let directory = tempfile::tempdir().unwrap();
    let (data, outside) = (directory.path().join("data"), directory.path().join("outside"));
    make_directory(&data.join("base/1"), 0o700).unwrap();
    make_directory(&outside, 0o700).unwrap();
    write(&outside.join("wal"), b"x", 0o600).unwrap();
    write(&data.join("base/1/file"), b"x", 0o600).unwrap();
    write(&data.join("marker"), b"x", 0o600).unwrap();
    symlink(&outside, data.join("pg_wal")).unwrap();
    symlink(&outside, data.join("base/link")).unwrap();
    clear_directory(&data, &strings(["marker"])).unwrap();
    assert_eq!((names(&data), names(&outside)), (vec!["marker".to_string()], vec!["wal".to_string()]));
    symlink(&outside, data.join("pg_wal")).unwrap();
    remove_tree(&data.join("pg_wal")).unwrap();
    assert_eq!(names(&outside), ["wal"]);
    remove_tree(&data).unwrap();
    assert!(!data.exists() && outside.exists());
}

#[test]
fn entries_are_moved_and_what_comes_last_comes_last() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    make_directory(&from.join("base"), 0o700).unwrap();
    make_directory(&to, 0o700).unwrap();
    for name in ["PG_VERSION", "global", "standby.signal"] {
        write(&from.join(name), b"x", 0o600).unwrap();
    }
    // Something stands in the way of the second group: the last one must not have been moved then.
    write(&to.join("global"), b"mine", 0o600).unwrap();
    let (first, last) = (strings(["standby.signal"]), strings(["PG_VERSION"]));
    let error = move_entries(&from, &to, &first, &last).unwrap_err();
    assert!(format!("{error:#}").ends_with("global\": the target exists"), "{error:#}");
    assert_eq!(names(&to), ["base", "global", "standby.signal"]);
    assert_eq!(read(&to.join("global")).unwrap().unwrap(), b"mine");
    // Out of the way, and repeated.
    remove_file(&to.join("global")).unwrap();
    move_entries(&from, &to, &first, &last).unwrap();
    assert_eq!(names(&to), ["PG_VERSION", "base", "global", "standby.signal"]);
    assert!(!from.exists());
}

#[test]
fn a_name_with_a_slash_is_no_entry() {
    let directory = tempfile::tempdir().unwrap();
    let (from, to) = (directory.path().join("from"), directory.path().join("to"));
    make_directory(&from, 0o700).unwrap();
    make_directory(&to, 0o700).unwrap();
    for name in ["../to", "a/b", "..", "/etc"] {
        assert!(move_entries(&from, &to, &[name.to_string()], &[]).is_err(), "{name}");
    }
}

#[test]
fn free_space_is_known_also_where_nothing_is_yet() {
    assert!(free_space(Path::new("/tmp/not/made/yet")).unwrap() > 0);
}

#[test]
fn appended_lines_follow_whole_lines_only() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    write(&path, b"one\ntwo", 0o600).unwrap();
    let mut file = AppendFile::open(&path).unwrap();
    file.append(b"three\n", true).unwrap();
    assert_eq!(read(&path).unwrap().unwrap(), b"one\ntwo\nthree\n");
    file.cut_to_last_line().unwrap();
    file.reserve(65536);
    file.append(b"four\n", false).unwrap();
    assert_eq!(read(&path).unwrap().unwrap(), b"one\ntwo\nfour\n");
}
