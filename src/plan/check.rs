//! Checks: what was examined before anything is done.

use serde::{Deserialize, Serialize};

use crate::error::{Exit, Text, carries_text};

/// One thing that was examined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Check {
    /// A stable name for scripts.
    pub name: String,
    /// The node concerned, if it is one node.
    pub node_id: Option<i32>,
    /// The result.
    pub verdict: CheckResult,
    /// What was found, worded as the primary text of an error when it failed.
    #[serde(flatten)]
    pub text: Text,
    /// The exit code if this is what stops the command.
    pub exit: Exit,
    /// The option that overrides this check, if one does.
    #[serde(rename = "waiver")]
    pub override_by: Option<Override>,
    /// The failure was overridden by that option.
    #[serde(rename = "waived", default)]
    pub overridden: bool,
}

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CheckResult {
    /// No problem.
    Pass,
    /// The operation continues, but there is something to know.
    Warning,
    /// The operation does not start.
    Fail,
}

/// The option that lets an operation start although a check failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Override {
    /// `-F`, `--force`.
    Force,
    /// `--accept-data-loss`.
    AcceptDataLoss,
}

impl Override {
    /// Returns the option as it is typed.
    pub fn option(self) -> &'static str {
        match self {
            Self::Force => "--force",
            Self::AcceptDataLoss => "--accept-data-loss",
        }
    }
}

carries_text!(Check);

impl Check {
    /// A check that passed.
    pub fn pass(name: &str, text: impl Into<Text>) -> Self {
        Self {
            name: name.to_string(),
            node_id: None,
            verdict: CheckResult::Pass,
            text: text.into(),
            exit: Exit::Failed,
            override_by: None,
            overridden: false,
        }
    }

    /// A check that found something to know.
    pub fn warning(name: &str, text: impl Into<Text>) -> Self {
        Self { verdict: CheckResult::Warning, ..Self::pass(name, text) }
    }

    /// A check that stops the command with exit code 1, unless [`Check::exit`] says otherwise.
    pub fn fail(name: &str, text: impl Into<Text>) -> Self {
        Self { verdict: CheckResult::Fail, ..Self::pass(name, text) }
    }

    /// Names the node.
    #[must_use]
    pub fn node(mut self, node_id: i32) -> Self {
        self.node_id = Some(node_id);
        self
    }

    /// Sets the exit code.
    #[must_use]
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }

    /// Makes an option override the failure; `given` says whether it was given.
    #[must_use]
    pub fn overridable_by(mut self, option: Override, given: bool) -> Self {
        self.override_by = Some(option);
        self.overridden = given && self.verdict == CheckResult::Fail;
        self
    }

    /// Returns whether this check stops the command.
    pub fn stops(&self) -> bool {
        self.verdict == CheckResult::Fail && !self.overridden
    }
}
