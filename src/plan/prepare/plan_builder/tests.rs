//! Tests of `act`.

use super::*;

#[test]
fn what_is_included_is_seen() {
    assert!(includes("include_if_exists = 'pgbaton.conf'\n", "pgbaton.conf"));
    assert!(includes("  include 'pgbaton.conf' # x\n", "pgbaton.conf"));
    assert!(!includes("#include 'pgbaton.conf'\ninclude_dir 'pgbaton.conf'\n", "pgbaton.conf"));
    let once = with_include("port = 1", "pgbaton.conf");
    assert!(once.starts_with("port = 1\n\n# Written") && includes(&once, "pgbaton.conf"), "{once}");
    assert!(with_include("a = 1\r\n", "x").ends_with("'x'\r\n"));
    let directory =
        included_directory("#include_dir = 'a'\ninclude_dir = 'conf.d'  # x\n", Path::new("/etc/pg"));
    assert_eq!(directory, Some("/etc/pg/conf.d".into()));
    assert_eq!(included_directory("include_dir = ''\n", Path::new("/etc/pg")), None);
}

#[test]
fn secrets_of_other_lines_are_hidden() {
    let text = "host all all all ldap ldapbindpasswd=\"x y\" ldapport=1\nhost all all all md5\n";
    assert_eq!(
        without_secrets(text),
        "host all all all ldap ldapbindpasswd=********\nhost all all all md5\n"
    );
}
