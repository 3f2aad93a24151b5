//! Tables and CSV in repmgr's shapes.

use comfy_table::{ContentArrangement, ContentLineStyle, LineStyle, Table, TableStyle};

pub use super::visible::one_line;

/// As psql and repmgr draw it: a space before every cell, bars between columns, a rule below the header.
const PSQL: TableStyle = TableStyle::new()
    .header_lines(ContentLineStyle::none().junction('|'))
    .header_separator(LineStyle::none().fill('-').junction('+'))
    .content_lines(ContentLineStyle::none().junction('|'));

/// Draws a table. Line breaks within a cell become spaces, so that a row is a line.
pub fn draw(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(PSQL).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(header.to_vec());
    for row in rows {
        table.add_row(row.into_iter().map(|cell| one_line(&cell)).collect::<Vec<_>>());
    }
    let mut out: String = table.lines().map(|line| line + "\n").collect();
    if table.row_count() == 0 {
        // Without rows the header alone would be taken for an answer that was cut off.
        out.push_str("(none)\n");
    }
    out
}

/// Writes a CSV field: quoted only if it has to be. A row is a line: a line break in a field becomes a space.
pub fn csv_field(text: &str) -> String {
    if text.contains([',', '"']) { quoted(text) } else { one_line(text) }
}

/// Writes a CSV field in quotes.
pub fn quoted(text: &str) -> String {
    format!("\"{}\"", one_line(text).replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_looks_like_repmgrs() {
        let rows = vec![vec!["1".into(), "node1".into()], vec!["22".into(), "n".into()]];
        snapbox::assert_data_eq!(
            draw(&["ID", "Name"], rows).replace(' ', "."),
            snapbox::str![[r#"
.ID.|.Name..
----+-------
.1..|.node1.
.22.|.n.....

"#]]
        );
    }
    #[test]
    fn csv_fields_are_quoted_when_they_must_be() {
        assert_eq!(csv_field("a b"), "a b");
        assert_eq!(csv_field("a\"b,c"), "\"a\"\"b,c\"");
    }
}
