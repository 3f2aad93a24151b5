//! What a file would become, as a unified diff.

use similar::TextDiff;

/// Compares two texts line by line, as `diff -u` does. Empty where nothing differs.
pub fn unified(path: &str, old: &str, new: &str) -> String {
    // A line ends with a newline only: other ends of lines are a part of it.
    let (old_lines, new_lines): (Vec<&str>, Vec<&str>) =
        (old.split_inclusive('\n').collect(), new.split_inclusive('\n').collect());
    let existed = if old.is_empty() { "/dev/null" } else { path };
    let mut out = String::new();
    for hunk in TextDiff::from_slices(&old_lines, &new_lines).unified_diff().iter_hunks() {
        if out.is_empty() {
            out = format!("--- {existed}\n+++ {path}\n");
        }
        out.push_str(&format!("{}\n", hunk.header()));
        for change in hunk.iter_changes() {
            let text = change.value().trim_end_matches(['\n', '\r']);
            out.push_str(&format!("{}{}\n", change.tag(), super::table::one_line(text)));
            if !change.value().ends_with('\n') {
                out.push_str("\\ No newline at end of file\n");
            }
        }
    }
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
        assert_eq!(unified("/f", "", "a\n"), "--- /dev/null\n+++ /f\n@@ -0,0 +1 @@\n+a\n");
        let appended = unified("/f", "a", "a\nb\n");
        assert_eq!(appended, "--- /f\n+++ /f\n@@ -1 +1,2 @@\n-a\n\\ No newline at end of file\n+a\n+b\n");
        // Lines that repeat are not counted twice.
        assert_eq!(unified("/f", "a\na\n", "a\na\na\n"), "--- /f\n+++ /f\n@@ -1,2 +1,3 @@\n a\n a\n+a\n");
        assert!(unified("/f", "a\r\n", "a\r\nb\r\n").ends_with(" a\n+b\n"));
    }

    #[test]
    fn what_lies_between_two_changes_is_not_shown() {
        let old: String = (1..=20).map(|n| format!("{n}\n")).collect();
        let new = old.replace("\n3\n", "\nthree\n").replace("\n18\n", "\neighteen\n");
        let hunks: Vec<String> = unified("/f", &old, &new)
            .lines()
            .filter(|line| line.starts_with(['@', '-', '+']))
            .map(str::to_string)
            .collect();
        assert_eq!(
            hunks,
            ["--- /f", "+++ /f", "@@ -1,6 +1,6 @@", "-3", "+three", "@@ -15,6 +15,6 @@", "-18", "+eighteen"]
        );
    }
}
