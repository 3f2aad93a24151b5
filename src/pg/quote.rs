//! Quoting of SQL and of shell words: the one place. Everything that can be a parameter is one; this is for what cannot, and for what
//! people are shown.

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

/// Writes a word as one would type it in a shell: in quotes only where the shell needs them, and of `--name=value` only the value.
pub fn quote_shell(word: &str) -> String {
    let is_plain = |text: &str| text.chars().all(|c| c.is_ascii_alphanumeric() || "_@%+:,./=-".contains(c));
    let option = word.find('=').filter(|at| word.starts_with('-') && word.get(..*at).is_some_and(is_plain));
    let (name, value) = word.split_at(option.map_or(0, |at| at + 1));
    // A leading "=" is a path to zsh, a leading "~" to all of them; the rest of a word after "--name=" none of both.
    let plain = is_plain(value) && (!name.is_empty() || !value.is_empty() && !value.starts_with('='));
    if plain { word.to_string() } else { format!("{name}{}", shell_words::quote(value)) }
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
    #[test]
    fn words_are_quoted_where_a_shell_needs_it() {
        for (word, shown) in [
            ("--pgdata=/var/lib/17/main", "--pgdata=/var/lib/17/main"),
            ("--label=pgbaton base backup", "--label='pgbaton base backup'"),
            ("--dbname=host=a port=1", "--dbname='host=a port=1'"),
            ("--tablespace-mapping=/a\\=b=/c", "--tablespace-mapping='/a\\=b=/c'"),
            ("--slot=", "--slot="),
            ("-c", "-c"),
            ("-o-p 5433", "'-o-p 5433'"),
            ("--it's=x", "'--it'\\''s=x'"),
            ("", "''"),
            ("=ls", "'=ls'"),
            ("~/x", "'~/x'"),
            ("a;b", "'a;b'"),
            ("n\u{f6}de", "n\u{f6}de"),
        ] {
            assert_eq!(quote_shell(word), shown);
            // Whatever it looks like, a shell reads the word.
            assert_eq!(shell_words::split(shown).unwrap(), [word]);
        }
    }
}
