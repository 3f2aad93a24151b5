//! Quoting of SQL and of pg_hba.conf: the one place. Everything that can be a parameter is one; this is for what cannot, and for what people
//! are shown.

/// Quotes an identifier, always: a name that is a keyword today may not have been one yesterday.
pub fn quote_ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Quotes a string literal, right whatever `standard_conforming_strings` is.
pub fn quote_literal(value: &str) -> String {
    let quoted = value.replace('\'', "''");
    match quoted.contains('\\') {
        true => format!(" E'{}'", quoted.replace('\\', "\\\\")),
        false => format!("'{quoted}'"),
    }
}

/// Quotes a name for pg_hba.conf, where spaces end a word and some words are keywords.
pub fn quote_hba(name: &str) -> String {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && !matches!(name, "" | "all" | "replication" | "sameuser" | "samerole" | "samegroup");
    if plain { name.to_string() } else { quote_ident(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_backslashes_escaped() {
        assert_eq!(quote_ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(quote_literal("it's"), "'it''s'");
        // The space keeps the E apart from a keyword written right before it, as in quote_literal() of libpq.
        assert_eq!(quote_literal("a\\'b"), " E'a\\\\''b'");
    }
}
