//! How far pg_basebackup is, as it prints it.

/// How far pg_basebackup is: `12345/350000 kB (3%), 0/1 tablespace`.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Kilobytes copied so far.
    pub(super) done_kb: u64,
    /// Kilobytes in all.
    pub(super) total_kb: u64,
}

impl Progress {
    /// Recognizes a line of progress.
    pub(super) fn is_one(line: &str) -> bool {
        Self::read(line).is_some()
    }

    fn read(line: &str) -> Option<(u64, u64)> {
        let (done, rest) = line.trim().split_once('/')?;
        let (total, rest) = rest.split_once(" kB (")?;
        rest.contains('%').then_some(())?;
        Some((done.trim().parse().ok()?, total.parse().ok()?))
    }

    /// Takes a line; returns whether it is news.
    pub(super) fn take(&mut self, line: &str) -> bool {
        match Self::read(line) {
            Some((done, total)) => {
                let news = done != self.done_kb || self.total_kb == 0;
                (self.done_kb, self.total_kb) = (done, total);
                news
            }
            // Any other line, such as what it waits for, is news as well.
            None => !line.trim().is_empty(),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
