//! Making the metadata, or taking over what is there.

use serde::Deserialize;

use crate::pg::client::{Session, SqlError};
use crate::plan::Statement;

/// What a database holds of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Present {
    /// Version of the repmgr extension, if it is installed in this database.
    pub extension: Option<String>,
    /// Schema `repmgr` exists.
    pub schema: bool,
    /// Columns of `repmgr.nodes`, in order; empty if there is no such table.
    pub node_columns: Vec<String>,
    /// `repmgr.events` exists.
    pub events: bool,
    /// Schema `pgbaton` has all its tables.
    pub own: bool,
    /// The role may read and write the tables that exist, and use their schemas.
    pub usable: bool,
    /// The role may make a schema in this database.
    pub may_create: bool,
    /// The role may make tables in schema `repmgr` (true where there is no such schema).
    pub may_create_in_schema: bool,
    /// The database's name.
    pub database: String,
    /// The role's name.
    pub role: String,
    /// The owner of schema `repmgr`.
    pub schema_owner: Option<String>,
}

/// The columns that `repmgr.nodes` must have; more do no harm.
const NODE_COLUMNS: [&str; 11] = [
    "node_id",
    "upstream_node_id",
    "active",
    "node_name",
    "type",
    "location",
    "priority",
    "conninfo",
    "repluser",
    "slot_name",
    "config_file",
];

/// What has to be done about the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything is there.
    Complete,
    /// The tables of `repmgr` are there, those of `pgbaton` are not.
    OwnMissing,
    /// Nothing is there.
    Missing,
    /// Tables of that name exist, but not as repmgr 5 has them.
    Foreign,
}

/// Looks at what there is.
///
/// # Errors
/// Those of the query.
pub async fn look(session: &Session) -> Result<Present, SqlError> {
    session
        .query_json(
            "SELECT json_build_object(\
               'extension', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'repmgr'), \
               'schema', s.oid IS NOT NULL, \
               'node_columns', COALESCE((SELECT json_agg(a.attname ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
                  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = s.oid AND c.relname = 'nodes' \
                  AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
               'events', EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.relnamespace = s.oid AND c.relname = 'events'), \
               'own', (SELECT count(*) = 3 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = 'pgbaton' AND c.relname IN ('node', 'operation', 'promotion')), \
               'usable', COALESCE((SELECT bool_and(has_schema_privilege(n.oid, 'USAGE') AND \
                  has_table_privilege(c.oid, 'SELECT, INSERT') AND has_table_privilege(c.oid, 'UPDATE')) \
                  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE (n.nspname, c.relname) IN (('repmgr', 'nodes'), ('pgbaton', 'node'), \
                  ('pgbaton', 'operation'), ('pgbaton', 'promotion'))), true), \
               'may_create', has_database_privilege(current_database(), 'CREATE'), \
               'may_create_in_schema', s.oid IS NULL OR has_schema_privilege(s.oid, 'CREATE'), \
               'database', current_database(), \
               'role', current_user, \
               'schema_owner', pg_get_userbyid(s.nspowner))::text \
             FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = 'repmgr'",
            &[],
        )
        .await
}

impl Present {
    /// Judges what is there.
    pub fn verdict(&self) -> Verdict {
        let has = |column: &&str| self.node_columns.iter().any(|name| name == column);
        if self.node_columns.is_empty() && !self.events {
            // An installed extension without its tables has been taken apart by hand.
            if self.extension.is_some() { Verdict::Foreign } else { Verdict::Missing }
        } else if !NODE_COLUMNS.iter().all(has) || !self.events {
            Verdict::Foreign
        } else if self.own {
            Verdict::Complete
        } else {
            Verdict::OwnMissing
        }
    }

    /// Returns the statements that make what is missing; the tables of the repmgr extension are never touched.
    pub fn install(&self) -> Vec<Statement> {
        let repmgr = include_str!("schema.sql");
        let own = include_str!("own_schema.sql");
        match self.verdict() {
            Verdict::Missing => split(repmgr).chain(split(own)).map(Statement::new).collect(),
            Verdict::OwnMissing => split(own).map(Statement::new).collect(),
            Verdict::Complete | Verdict::Foreign => Vec::new(),
        }
    }
}

/// Splits one of our scripts into statements: none of them holds a semicolon anywhere but at its end.
fn split(script: &str) -> impl Iterator<Item = String> + '_ {
    script.split(';').filter_map(|statement| {
        let text: Vec<&str> = statement
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        (!text.is_empty()).then(|| text.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> Present {
        Present {
            extension: None,
            schema: false,
            node_columns: Vec::new(),
            events: false,
            own: false,
            usable: true,
            may_create: true,
            may_create_in_schema: true,
            database: "repmgr".into(),
            role: "repmgr".into(),
            schema_owner: None,
        }
    }

    #[test]
    fn an_empty_database_gets_both_schemas() {
        let statements = nothing().install();
        let first_words: Vec<&str> =
            statements.iter().filter_map(|statement| statement.text.split_whitespace().next()).collect();
        assert!(first_words.iter().all(|word| *word == "CREATE"), "{first_words:?}");
        assert_eq!(
            statements.iter().filter(|s| s.text.contains("CREATE OR REPLACE FUNCTION repmgr.")).count(),
            9
        );
    }

    #[test]
    fn the_tables_of_the_extension_are_not_touched() {
        let columns = NODE_COLUMNS.iter().map(ToString::to_string).collect();
        let adopted = Present {
            extension: Some("5.3".into()),
            schema: true,
            node_columns: columns,
            events: true,
            ..nothing()
        };
        assert_eq!(adopted.verdict(), Verdict::OwnMissing);
        assert!(adopted.install().iter().all(|statement| !statement.text.contains("repmgr")));
    }

    #[test]
    fn other_columns_are_somebody_elses() {
        let foreign = Present { schema: true, node_columns: vec!["id".into()], events: true, ..nothing() };
        assert_eq!(foreign.verdict(), Verdict::Foreign);
        assert!(foreign.install().is_empty());
    }
}
