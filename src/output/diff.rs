//! What a file would become, as a unified diff.

/// Lines around a change.
const CONTEXT: usize = 3;

/// Compares two texts. What the program changes in a file stands together, so there is one hunk, from the first line that
/// differs to the last one. Empty where nothing differs.
pub fn unified(path: &str, old: &str, new: &str) -> String {
    if old == new {
        return String::new();
    }
    let (old_lines, new_lines): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let same = |pair: &(&&str, &&str)| pair.0 == pair.1;
    let head = old_lines.iter().zip(&new_lines).take_while(same).count();
    let rest = old_lines.len().min(new_lines.len()) - head;
    let tail = old_lines.iter().rev().zip(new_lines.iter().rev()).take(rest).take_while(same).count();
    let from = head.saturating_sub(CONTEXT);
    let (old_to, new_to) = (old_lines.len() - tail, new_lines.len() - tail);
    let after = tail.min(CONTEXT);
    // Counted from 1; of no lines, the one before them.
    let range = |to: usize| {
        let count = to + after - from;
        format!("{},{count}", if count == 0 { from } else { from + 1 })
    };
    let existed = if old.is_empty() { "/dev/null" } else { path };
    let mut out = format!("--- {existed}\n+++ {path}\n@@ -{} +{} @@\n", range(old_to), range(new_to));
    let mut write = |sign: char, lines: Option<&[&str]>| {
        for line in lines.unwrap_or_default() {
            let text = line.trim_end_matches(['\n', '\r']);
            out.push_str(&format!("{sign}{}\n", super::table::one_line(text)));
            if !line.ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    };
    write(' ', old_lines.get(from..head));
    write('-', old_lines.get(head..old_to));
    write('+', new_lines.get(head..new_to));
    write(' ', old_lines.get(old_to..old_to + after));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_shown_with_what_is_around_it() {
        let old = "1\n2\n3\n4\n5\n6\n7\n8\n";
        let new = "1\n2\n3\n4\nnew\n6\n7\n8\n";
        snapbox::assert_data_eq!(
            unified("/f", old, new),
            snapbox::str![[r#"
--- /f
+++ /f
@@ -2,7 +2,7 @@
 2
 3
 4
-5
+new
 6
 7
 8

"#]]
        );
        assert_eq!(unified("/f", old, old), "");
    }

    #[test]
    fn the_ends_of_a_file_are_no_trouble() {
        assert_eq!(unified("/f", "", "a\n"), "--- /dev/null\n+++ /f\n@@ -0,0 +1,1 @@\n+a\n");
        let appended = unified("/f", "a", "a\nb\n");
        assert_eq!(appended, "--- /f\n+++ /f\n@@ -1,1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n");
        // Lines that repeat are not counted twice.
        assert_eq!(unified("/f", "a\na\n", "a\na\na\n"), "--- /f\n+++ /f\n@@ -1,2 +1,3 @@\n a\n a\n+a\n");
        assert!(unified("/f", "a\r\n", "a\r\nb\r\n").ends_with(" a\n+b\n"));
    }
}
