//! How far pg_basebackup is, as it prints it.

use tokio::time::Instant;

use crate::units::size;

/// How far pg_basebackup is: `12345/350000 kB (3%), 0/1 tablespace`.
#[derive(Debug, Default)]
pub(super) struct Progress {
    done_kb: u64,
    total_kb: u64,
    began: Option<Instant>,
    /// Bytes and time of the news before, for the rate.
    tail: String,
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
                let news = done != self.done_kb || self.began.is_none();
                self.began.get_or_insert_with(Instant::now);
                (self.done_kb, self.total_kb) = (done, total);
                news
            }
            // Any other line, such as what it waits for, is news as well.
            None => {
                self.tail = line.trim().chars().take(60).collect();
                !line.trim().is_empty()
            }
        }
    }
}

impl std::fmt::Display for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const WIDTH: u64 = 24;
        let total = self.total_kb.max(self.done_kb).max(1);
        let filled = usize::try_from(self.done_kb * WIDTH / total).unwrap_or(0);
        let bar: String =
            (0..usize::try_from(WIDTH).unwrap_or(0)).map(|i| if i < filled { '#' } else { '.' }).collect();
        write!(
            f,
            "[{bar}] {:>3}%  {} of {}",
            self.done_kb * 100 / total,
            size(self.done_kb * 1024),
            size(total * 1024)
        )?;
        let elapsed = self.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        if elapsed > 0.5 && self.done_kb > 0 {
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let rate = self.done_kb as f64 / elapsed;
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let left = (total - self.done_kb) as f64 / rate.max(1.0);
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
            let (rate, left) = (rate as u64, left.ceil() as u64);
            write!(f, ", {}/s, {}:{:02} left", size(rate * 1024), left / 60, left % 60)?;
        }
        Ok(())
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
        assert!(progress.to_string().starts_with("[############............]  50%  171 MB of 342 MB"));
        assert!(!Progress::is_one("pg_basebackup: error: something"));
    }
}
