//! Tests of `live`.

use super::*;

#[test]
fn progress_is_read_from_pg_basebackup() {
    let mut progress = Progress::default();
    assert!(progress.take("    0/350000 kB (0%), 0/1 tablespace"));
    assert!(!progress.take("    0/350000 kB (0%), 0/1 tablespace"));
    assert!(progress.take("175000/350000 kB (50%), 0/1 tablespace (...base/5/1234)"));
    assert_eq!((progress.done_kb, progress.total_kb), (175_000, 350_000));
    assert!(!Progress::is_one("pg_basebackup: error: something"));
}
