//! `archive_command` and `restore_command`: what PostgreSQL puts into them.

/// Puts the path and the name of a segment into the places for them in `archive_command` or `restore_command`.
pub fn fill_placeholders(command: &str, path: &str, name: &str) -> String {
    let mut out = String::new();
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        if c != '%' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('p') => out.push_str(path),
            Some('f') => out.push_str(name),
            Some('%') => out.push('%'),
            Some(other) => out.extend(['%', other]),
            None => out.push('%'),
        }
    }
    out
}
