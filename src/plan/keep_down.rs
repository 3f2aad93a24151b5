//! Keeping the server of the old primary from starting as a primary while another node is promoted: the step, and what takes it back. Pure.
//!
//! The file `standby.signal` prevents it. While the operation is open it must be certain which operation has written the file, no matter
//! which process was killed at what moment: the plan says what is written into it (a server only checks that the file exists), and a file
//! that says this is removed again by the rollback, by `operation abandon` and by a later run that begins anew. Any other file stays.
//! Before the plan is made, the node there is locked and no other operation is at work (`operation/old_primary_host.rs`); after the file is
//! written, the server is looked at, by the step and by the last look before the promotion. After the point of no return nothing removes
//! it.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::error::Exit;
use crate::facts::rejoin::STANDBY_SIGNAL;
use crate::plan::{FarEnd, FileOp, Op, RollbackStep, Step};

/// Seconds that the step may take: a server that is starting or stopping is looked at until it shows what it is.
const TIMEOUT_S: u32 = 15;

/// What makes the next start of a server that of a standby, and what was there before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AsStandby {
    /// Its data directory, which has no `standby.signal`.
    pub data_directory: PathBuf,
    /// The permission bits of a file there.
    pub file_mode: u32,
    /// Clears what would end its recovery, if there is something to clear.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clear: Option<FileOp>,
    /// Puts back what was cleared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unclear: Option<FileOp>,
}

impl AsStandby {
    /// Returns where the file is.
    pub fn signal(&self) -> PathBuf {
        self.data_directory.join(STANDBY_SIGNAL)
    }
}

/// A server that is kept from starting as a primary.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KeepDown {
    /// Its host.
    pub host: FarEnd,
    /// What is written there.
    pub as_standby: AsStandby,
    /// What is in the file, so that it is known again. One line, and different for every operation.
    pub mark: String,
}

impl KeepDown {
    /// Returns the step.
    pub fn step(&self, exit: Exit) -> Step {
        let title = format!(
            "write standby.signal into the data directory of \"{}\", so that its server cannot start as a primary",
            self.host.node_name
        );
        Step::new(self.step_id(), title, Op::KeepDown(Box::new(self.clone())), TIMEOUT_S, exit)
            .at(self.host.node_id)
            .uninterruptible()
    }

    /// Returns what takes it back while nothing is promoted.
    pub fn back(&self, exit: Exit) -> RollbackStep {
        let title = format!("remove standby.signal from the data directory of \"{}\"", self.host.node_name);
        let id = format!("let_start_{}", self.host.node_id);
        let step = Step::new(id, title, Op::LetStart(Box::new(self.clone())), TIMEOUT_S, exit);
        RollbackStep { if_started: vec![self.step_id()], step: step.at(self.host.node_id) }
    }

    fn step_id(&self) -> String {
        format!("keep_down_{}", self.host.node_id)
    }

    /// Writes what the step does, in one line.
    pub(super) fn write_step(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(clear) = &self.as_standby.clear {
            write!(f, "{clear}; ")?;
        }
        write!(f, "write {}", self.as_standby.signal().display())
    }

    /// Writes what takes it back, in one line.
    pub(super) fn write_back(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "rm {}, if this operation has written it", self.as_standby.signal().display())?;
        match &self.as_standby.unclear {
            Some(unclear) => write!(f, "; {unclear}"),
            None => Ok(()),
        }
    }
}
