//! An SQL statement as a value, with parameters that may be secrets.

use std::fmt;

use serde::{Deserialize, Serialize};

/// An SQL statement with its parameters, which are sent as text.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Statement {
    /// The text, with `$1`, `$2`, … cast to what they should be.
    pub text: String,
    /// The values; None is NULL.
    pub params: Vec<Option<String>>,
    /// Parameters whose values are secrets: (index into `params`, name of the secret).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<(usize, String)>,
}

impl Statement {
    /// A statement without parameters.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), params: Vec::new(), secrets: Vec::new() }
    }

    /// Adds a parameter.
    #[must_use]
    #[expect(clippy::needless_pass_by_value, reason = "a caller has a number as often as a reference")]
    pub fn bind(mut self, value: impl ToString) -> Self {
        self.params.push(Some(value.to_string()));
        self
    }

    /// Adds a parameter whose value is a secret that the world knows by this name.
    #[must_use]
    pub fn bind_secret(mut self, name: impl Into<String>) -> Self {
        self.secrets.push((self.params.len(), name.into()));
        self.params.push(Some("********".to_string()));
        self
    }

    /// Adds a parameter that may be NULL.
    #[must_use]
    pub fn bind_opt(mut self, value: Option<impl ToString>) -> Self {
        self.params.push(value.map(|value| value.to_string()));
        self
    }
}

impl fmt::Display for Statement {
    /// Writes the statement with its parameters in place, as it could be typed in psql.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.text.as_str();
        while let Some(at) = rest.find('$') {
            let (before, after) = rest.split_at(at);
            f.write_str(before)?;
            let digits = after.chars().skip(1).take_while(char::is_ascii_digit).count();
            let (marker, tail) = after.split_at(1 + digits);
            let number = marker.get(1..).and_then(|n| n.parse::<usize>().ok());
            match number.and_then(|n| self.params.get(n.wrapping_sub(1))) {
                Some(Some(value)) => write!(f, "'{}'", value.replace('\'', "''"))?,
                Some(None) => f.write_str("NULL")?,
                None => f.write_str(marker)?,
            }
            rest = tail;
        }
        f.write_str(rest)
    }
}
