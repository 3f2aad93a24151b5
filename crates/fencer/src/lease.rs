//! The deadline, and what may be done with it.

/// A point in time by `CLOCK_BOOTTIME`, in milliseconds: the clock goes on while the machine sleeps.
pub type Time = u64;

/// The lease of the server, as the fencer holds it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    deadline: Option<Time>,
    has_ended: bool,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// The lease has ended. That is final until the server is a standby.
    Ended,
    /// There is no lease.
    NotArmed,
}

impl Lease {
    /// A lease that was found: of a fencer that ended before its deadline. If that has passed, the lease has ended.
    #[must_use]
    pub const fn found(deadline: Time, now: Time) -> Self {
        Self { deadline: Some(deadline), has_ended: deadline <= now }
    }

    /// The deadline; None without a lease.
    #[must_use]
    pub const fn deadline(&self) -> Option<Time> {
        self.deadline
    }

    /// Says whether the lease has ended, and the server is to be stopped.
    #[must_use]
    pub const fn has_ended(&self) -> bool {
        self.has_ended
    }

    /// Looks at the clock. It comes before every request: what arrives after the deadline is too late, in whatever order it is read.
    pub fn look(&mut self, now: Time) {
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.has_ended = true;
        }
    }

    /// Begins or extends the lease. A deadline never moves backwards.
    ///
    /// # Errors
    /// `Ended` once it has.
    pub fn arm(&mut self, deadline: Time, now: Time) -> Result<(), Refused> {
        self.look(now);
        if self.has_ended {
            return Err(Refused::Ended);
        }
        self.deadline = self.deadline.max(Some(deadline));
        self.look(now);
        Ok(())
    }

    /// Gives the lease up: the node is paused, and does not fence itself.
    ///
    /// # Errors
    /// `Ended` once it has.
    pub fn disarm(&mut self, now: Time) -> Result<(), Refused> {
        self.look(now);
        if self.has_ended {
            return Err(Refused::Ended);
        }
        self.deadline = None;
        Ok(())
    }

    /// Says whether something may be done that only a leader may do: the lease is there, and lasts.
    ///
    /// # Errors
    /// `Ended` or `NotArmed`.
    pub fn lasts(&mut self, now: Time) -> Result<(), Refused> {
        self.look(now);
        match (self.has_ended, self.deadline) {
            (true, _) => Err(Refused::Ended),
            (false, None) => Err(Refused::NotArmed),
            (false, Some(_)) => Ok(()),
        }
    }

    /// Ends the lease, whatever the deadline. It is final as at the deadline.
    pub fn end(&mut self, now: Time) {
        self.deadline = Some(now);
        self.look(now);
    }

    /// The server is down: the deadline has done its work. That the lease has ended stays.
    pub const fn fenced(&mut self) {
        self.deadline = None;
        self.has_ended = true;
    }

    /// The server is a standby: nothing is left to be fenced.
    pub const fn reset(&mut self) {
        *self = Self { deadline: None, has_ended: false };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_extended_and_never_shortened() {
        let mut lease = Lease::default();
        assert_eq!(lease.lasts(5), Err(Refused::NotArmed));
        lease.arm(100, 10).unwrap();
        lease.arm(90, 20).unwrap();
        assert_eq!(lease.deadline(), Some(100));
        lease.arm(150, 99).unwrap();
        assert_eq!((lease.lasts(149), lease.has_ended()), (Ok(()), false));
    }

    #[test]
    fn an_end_is_final_whatever_is_asked_afterwards() {
        let mut lease = Lease::default();
        lease.arm(100, 10).unwrap();
        assert_eq!(lease.arm(200, 100), Err(Refused::Ended));
        assert_eq!(lease.disarm(50), Err(Refused::Ended));
        assert_eq!(lease.lasts(50), Err(Refused::Ended));
        lease.reset();
        assert_eq!(lease, Lease::default());
        lease.arm(300, 200).unwrap();
        lease.disarm(250).unwrap();
        lease.look(1000);
        assert!(!lease.has_ended());
    }

    #[test]
    fn a_lease_that_is_ended_before_its_deadline_has_ended_for_good() {
        let mut lease = Lease::default();
        lease.arm(100, 10).unwrap();
        lease.end(20);
        assert!(lease.has_ended());
        assert_eq!(lease.arm(200, 21), Err(Refused::Ended));
        let mut none = Lease::default();
        none.end(20);
        assert!(none.has_ended());
    }

    #[test]
    fn a_deadline_that_has_passed_already_ends_the_lease_at_once() {
        let mut lease = Lease::default();
        lease.arm(100, 200).unwrap();
        assert!(lease.has_ended());
        assert!(Lease::found(100, 100).has_ended() && !Lease::found(101, 100).has_ended());
    }
}
