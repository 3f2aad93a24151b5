//! A value that must not be seen.

use std::collections::BTreeMap;
use std::fmt;

/// A password or passphrase.
///
/// It has no `Display`, does not serialise, and its `Debug` hides the value, so it cannot reach a plan, a journal, a
/// log, an event or JSON by accident. The one way out is [`Secret::reveal`], which a reader can search for.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// Returns the value, for the protocol or the environment of one child process.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Values that plans name and do not hold.
pub type Secrets = BTreeMap<String, Secret>;
