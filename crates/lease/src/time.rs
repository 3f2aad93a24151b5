//! Points in time, as they are given in: nothing here reads a clock.

/// A span of time in milliseconds.
pub type Ms = u64;

/// A point in time, in milliseconds of a clock that never goes back and also runs while the machine sleeps (`CLOCK_BOOTTIME`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub u64);

impl Time {
    /// Returns the point in time that is `span` later.
    #[must_use]
    pub const fn after(self, span: Ms) -> Self {
        Self(self.0.saturating_add(span))
    }

    /// Returns the point in time that is `span` earlier, not before the beginning.
    #[must_use]
    pub const fn before(self, span: Ms) -> Self {
        Self(self.0.saturating_sub(span))
    }

    /// Returns how much later this is than `earlier`; 0 if it is not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Ms {
        self.0.saturating_sub(earlier.0)
    }
}

/// A place in the order in which this daemon has learnt things: the number of events before it.
///
/// Times in milliseconds cannot say which of two things in the same millisecond came first, and some rules rest on exactly that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Moment(pub u64);
