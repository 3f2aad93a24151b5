//! The text of a message: the primary text, the detail and the hint.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What a message says, worded after PostgreSQL's error style guide.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The primary text: one line that starts in lower case and has no full stop.
    pub message: String,
    /// Facts, as whole sentences.
    pub detail: Option<String>,
    /// What to type or do next, as whole sentences.
    pub hint: Option<String>,
}

impl Text {
    /// Appends facts to the detail.
    pub fn add_detail(&mut self, text: impl Into<String>) {
        append(&mut self.detail, text.into());
    }

    /// Appends advice to the hint.
    pub fn add_hint(&mut self, text: impl Into<String>) {
        let text = text.into();
        // One that ends with a command to type has no full stop of its own.
        if let Some(hint) = self
            .hint
            .as_mut()
            .filter(|hint| !text.is_empty() && !hint.is_empty() && !hint.ends_with(['.', ';', ':', '?', '!']))
        {
            hint.push('.');
        }
        append(&mut self.hint, text);
    }

    /// Adds what has caused it: its text to the facts, its hint to the advice.
    pub fn add_cause(&mut self, cause: &Self) {
        self.add_detail(cause.sentences());
        self.add_hint(cause.hint.as_deref().unwrap_or_default());
    }

    /// Returns the primary text and the detail as sentences, for the detail of another message.
    pub fn sentences(&self) -> String {
        let mut out = Some(sentence(&self.message));
        append(&mut out, self.detail.clone().unwrap_or_default());
        out.unwrap_or_default()
    }
}

/// A primary text alone.
impl<T: Into<String>> From<T> for Text {
    fn from(message: T) -> Self {
        Self { message: message.into(), detail: None, hint: None }
    }
}

/// One line: the primary text, with the detail in parentheses.
impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}

/// Lets a struct with a field `text` be read and built like the [`Text`] in it.
macro_rules! carries_text {
    ($of:ty) => {
        impl std::ops::Deref for $of {
            type Target = $crate::error::Text;

            fn deref(&self) -> &Self::Target {
                &self.text
            }
        }

        impl std::ops::DerefMut for $of {
            fn deref_mut(&mut self) -> &mut Self::Target {
                &mut self.text
            }
        }

        impl $of {
            /// Adds facts, as whole sentences; a second call appends.
            #[must_use]
            pub fn detail(mut self, text: impl Into<String>) -> Self {
                self.text.add_detail(text);
                self
            }

            /// Adds advice, as whole sentences; a second call appends.
            #[must_use]
            pub fn hint(mut self, text: impl Into<String>) -> Self {
                self.text.add_hint(text);
                self
            }

            /// Adds what has caused it: its text to the facts, its hint to the advice.
            #[must_use]
            pub fn because(mut self, cause: &$crate::error::Text) -> Self {
                self.text.add_cause(cause);
                self
            }
        }
    };
}
pub(crate) use carries_text;

fn append(to: &mut Option<String>, text: String) {
    match to {
        _ if text.is_empty() => {}
        Some(old) => {
            // What follows several lines, which are another program's, begins a line.
            old.push(if old.contains('\n') { '\n' } else { ' ' });
            old.push_str(&text);
        }
        None => *to = Some(text),
    }
}

/// Makes a whole sentence of a message: a capital first, a full stop last.
///
/// Text that begins with something quoted or with a name in mixed case keeps its first letter only if that letter is
/// no lower-case word start.
pub fn sentence(text: &str) -> String {
    let text = text.trim();
    let mut chars = text.chars();
    // The name of a program, a parameter or a file is written as it is.
    let first_word = text.split_whitespace().next().unwrap_or_default();
    let is_name = first_word.starts_with("pg") || first_word.contains(['_', '/', '=']);
    let mut out = match chars.next() {
        Some(_) if is_name => text.to_string(),
        Some(first) => first.to_uppercase().chain(chars).collect::<String>(),
        None => return String::new(),
    };
    if !out.ends_with(['.', '!', '?', ':']) && !out.ends_with(".)") {
        out.push('.');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_becomes_facts_and_advice() {
        let mut cause = Text::from("connection refused");
        cause.add_hint("Start the server.");
        let mut text = Text::from("could not connect");
        text.add_detail("Tried once.");
        text.add_cause(&cause);
        text.add_detail("");
        assert_eq!(text.detail.as_deref(), Some("Tried once. Connection refused."));
        assert_eq!(text.hint.as_deref(), Some("Start the server."));
        // Another program's lines are followed by a line.
        text.add_detail("It said:\nno");
        text.add_detail("Nothing was changed.");
        assert!(text.detail.unwrap().ends_with("It said:\nno\nNothing was changed."));
    }
}
