//! `cluster event` in repmgr's shapes.

use crate::output::table::{csv_field, draw};
use crate::registry::Event;

/// Draws repmgr's table; details are left out of the narrower form.
pub fn table(events: &[Event], compact: bool) -> String {
    let header: &[&str] = if compact {
        &["Node ID", "Name", "Event", "OK", "Timestamp"]
    } else {
        &["Node ID", "Name", "Event", "OK", "Timestamp", "Details"]
    };
    let rows = events.iter().map(|event| {
        let mut row = fields(event);
        if !compact {
            row.push(event.details.clone().unwrap_or_default());
        }
        row
    });
    // repmgr prints a blank line after this table.
    draw(header, rows.collect()) + "\n"
}

/// Writes repmgr's lines, without a header and without details.
pub fn csv(events: &[Event]) -> String {
    events
        .iter()
        .map(|event| {
            let fields: Vec<String> = fields(event).iter().map(|field| csv_field(field)).collect();
            fields.join(",") + "\n"
        })
        .collect()
}

fn fields(event: &Event) -> Vec<String> {
    vec![
        event.node_id.to_string(),
        event.node_name.clone().unwrap_or_default(),
        event.event.clone(),
        if event.successful { "t" } else { "f" }.to_string(),
        event.local_timestamp.clone(),
    ]
}
