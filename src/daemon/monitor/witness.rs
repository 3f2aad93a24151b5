//! The copy of the metadata that a witness has, which gets no WAL: kept up to date every `witness_sync_interval`.

use super::{Monitor, rest};
use crate::pg::statement::Statement;
use crate::registry::NodeRow;
use crate::registry::node::{self, conninfo_secret};
use crate::ui::Level;

/// Puts the conninfos back that the statements only name: here they go straight into the server.
fn with_secrets(mut statements: Vec<Statement>, rows: &[NodeRow]) -> Vec<Statement> {
    for statement in &mut statements {
        for (index, name) in std::mem::take(&mut statement.secrets) {
            let row = rows.iter().find(|row| conninfo_secret(row.node_id) == name);
            if let (Some(row), Some(param)) = (row, statement.params.get_mut(index)) {
                *param = Some(row.conninfo.clone());
            }
        }
    }
    statements
}

impl Monitor<'_> {
    /// Copies the nodes from the primary, for ever.
    pub(super) async fn keep_copy(&self) {
        if !self.is_witness {
            return;
        }
        let mut said = None;
        loop {
            match self.copy_nodes().await {
                Ok(0) => said = None,
                Ok(count) => {
                    said = None;
                    self.say(
                        Level::Info,
                        &format!("the records of {count} nodes were copied from the primary"),
                    );
                }
                Err(error) => {
                    let text = format!("could not copy the metadata from the primary: {error:#}");
                    if said.as_ref() != Some(&text) {
                        self.say(Level::Warning, &text);
                        said = Some(text);
                    }
                }
            }
            rest(self.config().witness_sync_interval).await;
        }
    }

    /// Returns how many rows were copied, 0 if the copy is up to date. Without a primary there is nothing to copy.
    async fn copy_nodes(&self) -> anyhow::Result<usize> {
        let Some((_, primary)) = self.open_primary().await else { return Ok(0) };
        let rows = node::read_all(&primary).await?;
        let local = self.open_local().await?;
        let own = self.config().node_id;
        // A primary that does not know this witness is of another cluster, or the witness was unregistered.
        if node::read_all(&local).await? == rows || !rows.iter().any(|row| row.node_id == own) {
            return Ok(0);
        }
        local.transaction(&with_secrets(node::replace_all(&rows), &rows)).await?;
        let count = rows.len();
        *self.rows.borrow_mut() = rows;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::NodeType;

    #[test]
    fn a_password_in_a_conninfo_is_copied_as_it_is() {
        let mut rows = vec![NodeRow::example(1, NodeType::Primary), NodeRow::example(2, NodeType::Standby)];
        rows[1].conninfo = "host=h2 password=secret".into();
        let plain = node::replace_all(&rows);
        assert!(!format!("{plain:?}").contains("password=secret"));
        let copied = with_secrets(plain, &rows);
        let params: Vec<&Option<String>> = copied.iter().flat_map(|statement| &statement.params).collect();
        for row in &rows {
            assert!(params.contains(&&Some(row.conninfo.clone())), "{params:?}");
        }
        assert!(copied.iter().all(|statement| statement.secrets.is_empty()));
    }
}
