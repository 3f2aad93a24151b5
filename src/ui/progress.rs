//! How far a copy is: on a terminal a bar, elsewhere a line now and then.

use std::cell::Cell;
use std::fmt;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

use super::{Level, Ui};
use crate::units::size;

/// The least time between two lines, and the time after which one is written although less than 10 % were added.
const BETWEEN_LINES: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(60));

/// How long a copy runs before its rate is known.
const RATE_AFTER: Duration = Duration::from_millis(500);

/// A copy whose progress is shown until this value is dropped.
#[derive(Debug)]
pub struct Transfer<'a> {
    ui: &'a Ui,
    bar: ProgressBar,
    /// How many tenths were copied when the last line was written, and when that was.
    last_line: Cell<(u64, Duration)>,
}

impl<'a> Transfer<'a> {
    /// Begins to show a copy on `target`, or in lines where that is hidden.
    pub(super) fn new(ui: &'a Ui, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(None, target).with_style(style());
        Self { ui, bar, last_line: Cell::default() }
    }

    /// Shows how many bytes of how many are copied. A total of 0 is not known yet.
    pub fn advance(&self, done: u64, total: u64) {
        if total == 0 {
            return;
        }
        let total = total.max(done);
        if self.bar.length() != Some(total) {
            self.bar.set_length(total);
        }
        self.bar.set_position(done);
        if !self.bar.is_hidden() {
            self.ui.bar.replace(Some(self.bar.clone()));
            return;
        }
        let line = (done * 10 / total, self.bar.elapsed());
        if is_line_due(self.last_line.get(), line) {
            self.last_line.set(line);
            let so_far = amounts(done, total, self.bar.per_sec(), self.bar.eta());
            self.ui.say(Level::Info, &format!("{}% copied: {so_far}", done * 100 / total));
        }
    }
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.ui.bar.take();
        self.bar.finish_and_clear();
    }
}

/// Returns the look of the bar, which takes the width of the terminal that the text leaves.
fn style() -> ProgressStyle {
    ProgressStyle::with_template("[{wide_bar}] {text}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("#.")
        .with_key("text", write_text)
}

/// Writes the text at the end of the bar.
fn write_text(state: &ProgressState, out: &mut dyn fmt::Write) {
    let (done, total) = (state.pos(), state.len().unwrap_or(0).max(1));
    let rate = if state.elapsed() > RATE_AFTER { state.per_sec() } else { 0.0 };
    let so_far = amounts(done, total, rate, state.eta());
    // A string takes everything.
    let _never = write!(out, "{:>3}%  {so_far}", done * 100 / total);
}

/// Says whether a line is to be written, given tenths and time of the last line and of now.
fn is_line_due(last: (u64, Duration), now: (u64, Duration)) -> bool {
    let since = now.1.saturating_sub(last.1);
    since >= BETWEEN_LINES.1 || (since >= BETWEEN_LINES.0 && now.0 > last.0)
}

/// Writes how many bytes of how many are copied, and with a rate, in bytes per second, how long the rest will take.
fn amounts(done: u64, total: u64, rate: f64, left: Duration) -> String {
    let out = format!("{} of {}", size(done), size(total));
    if rate < 1.0 {
        return out;
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "for people")]
    let rate = size(rate as u64);
    format!("{out}, {rate}/s, {} left", clock(left))
}

/// Writes a time as `5:09`, from an hour on as `1:05:09`.
fn clock(time: Duration) -> String {
    let s = time.as_secs();
    match s / 3600 {
        0 => format!("{}:{:02}", s / 60, s % 60),
        hours => format!("{hours}:{:02}:{:02}", s / 60 % 60, s % 60),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use indicatif::TermLike;

    use super::*;

    /// A terminal of 60 columns that keeps what is written.
    #[derive(Clone, Debug, Default)]
    struct Screen(Arc<Mutex<String>>);

    impl Screen {
        fn add(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
    }

    impl TermLike for Screen {
        fn width(&self) -> u16 {
            60
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.add(text)
        }
        fn clear_line(&self) -> io::Result<()> {
            self.add("<wiped>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_bar_has_the_width_of_the_terminal_and_is_wiped_at_the_end() {
        let screen = Screen::default();
        let ui = Ui::new(Level::Info, false, false);
        let transfer = Transfer::new(&ui, ProgressDrawTarget::term_like(Box::new(screen.clone())));
        transfer.advance(0, 0);
        assert_eq!(*screen.0.lock().unwrap(), "");
        transfer.advance(175_000 * 1024, 350_000 * 1024);
        assert!(ui.bar.borrow().is_some());
        transfer.bar.force_draw();
        drop(transfer);
        assert!(ui.bar.borrow().is_none());
        let shown = screen.0.lock().unwrap();
        let bar = shown.strip_suffix("<wiped>").unwrap().rsplit("<wiped>").next().unwrap();
        assert_eq!(bar.len(), 60, "{shown}");
        assert!(bar.starts_with("[#") && bar.contains(".]  50%  171 MB of 342 MB"), "{shown}");
    }

    #[test]
    fn a_line_is_written_every_tenth_or_every_minute() {
        let due = |last: (u64, u64), now: (u64, u64)| {
            let at = |(tenths, s)| (tenths, Duration::from_secs(s));
            is_line_due(at(last), at(now))
        };
        assert!(!due((0, 0), (0, 59)));
        assert!(due((0, 0), (0, 60)));
        assert!(due((0, 0), (1, 5)));
        assert!(!due((0, 0), (9, 4)));
        assert!(!due((3, 100), (3, 110)));
        assert!(due((3, 100), (4, 110)));
    }

    #[test]
    fn the_time_left_is_shown_with_hours() {
        let shown = |rate, s| amounts(20 << 20, 3 << 30, rate, Duration::from_secs(s));
        assert_eq!(shown(0.0, 0), "20 MB of 3.0 GB");
        assert_eq!(shown(8e6, 309), "20 MB of 3.0 GB, 7.6 MB/s, 5:09 left");
        assert_eq!(shown(8e6, 3909), "20 MB of 3.0 GB, 7.6 MB/s, 1:05:09 left");
        assert_eq!(clock(Duration::from_secs(100 * 3600)), "100:00:00");
    }
}
