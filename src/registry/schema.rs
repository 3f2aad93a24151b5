//! Making the metadata, or taking over what is there.

use serde::Deserialize;

use crate::pg::client::{Session, SqlError};
use crate::pg::quote::quote_ident;
use crate::pg::statement::Statement;

/// What a database holds of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct PresentMetadata {
    /// Version of the repmgr extension, if it is installed in this database.
    pub extension: Option<String>,
    /// Schema `repmgr` exists.
    pub schema: bool,
    /// Something in it is called `nodes` or `events`.
    pub occupied: bool,
    /// Columns of the table `repmgr.nodes`, in order, each with its kind of type: `node_id integer`.
    pub node_columns: Vec<String>,
    /// The table `repmgr.events` exists.
    pub events: bool,
    /// Schema `pgbaton` has all its tables.
    pub own: bool,
    /// Its table of operations has the columns that version 0.1.0 did not have.
    #[serde(default)]
    pub scoped: bool,
    /// The role may change that table (true where there is none).
    #[serde(default)]
    pub may_alter_operation: bool,
    /// Schemas with tables of ours that the role may not use.
    pub closed_schemas: Vec<String>,
    /// Tables that the role may not read or write, with their schemas.
    pub closed_tables: Vec<String>,
    /// The role may make a schema in this database.
    pub may_create: bool,
    /// The role may make tables in schema `repmgr` (true where there is no such schema).
    pub may_create_in_schema: bool,
    /// The role may make tables in schema `pgbaton` (true where there is no such schema).
    pub may_create_in_own: bool,
    /// The database's name.
    pub database: String,
    /// The role's name.
    pub role: String,
    /// The owner of schema `repmgr`.
    pub schema_owner: Option<String>,
}

/// The columns that `repmgr.nodes` must have; more do no harm.
pub const NODE_COLUMNS: [&str; 11] = [
    "node_id integer",
    "upstream_node_id integer",
    "active boolean",
    "node_name text",
    "type text",
    "location text",
    "priority integer",
    "conninfo text",
    "repluser text",
    "slot_name text",
    "config_file text",
];

/// What has to be done about the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SchemaState {
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
pub async fn inspect_metadata(session: &Session) -> Result<PresentMetadata, SqlError> {
    session
        .query_json(
            "WITH tables AS (SELECT c.oid, c.relname, c.relnamespace, n.nspname FROM pg_catalog.pg_class c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE (n.nspname, c.relname) IN \
               (('repmgr', 'nodes'), ('repmgr', 'events'), ('repmgr', 'voting_term'), \
                ('pgbaton', 'node'), ('pgbaton', 'operation'), ('pgbaton', 'promotion'))) \
             SELECT json_build_object(\
               'extension', (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'repmgr'), \
               'schema', s.oid IS NOT NULL, \
               'occupied', EXISTS (SELECT FROM pg_catalog.pg_class c \
                  WHERE c.relnamespace = s.oid AND c.relname IN ('nodes', 'events')), \
               'node_columns', COALESCE((SELECT json_agg(a.attname || ' ' || CASE WHEN t.typcategory = 'S' THEN 'text' \
                  ELSE pg_catalog.format_type(t.oid, NULL) END ORDER BY a.attnum) FROM pg_catalog.pg_attribute a \
                  JOIN pg_catalog.pg_class c ON c.oid = a.attrelid JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
                  WHERE c.relnamespace = s.oid AND c.relname = 'nodes' AND c.relkind = 'r' \
                  AND a.attnum > 0 AND NOT a.attisdropped), '[]'), \
               'events', EXISTS (SELECT FROM pg_catalog.pg_class c \
                  WHERE c.relnamespace = s.oid AND c.relname = 'events' AND c.relkind = 'r'), \
               'own', (SELECT count(*) = 3 FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                  WHERE n.nspname = 'pgbaton' AND c.relname IN ('node', 'operation', 'promotion')), \
               'scoped', EXISTS (SELECT FROM pg_catalog.pg_attribute a JOIN tables t ON t.oid = a.attrelid \
                  WHERE (t.nspname, t.relname, a.attname) = ('pgbaton', 'operation', 'system_identifier') AND NOT a.attisdropped), \
               'may_alter_operation', COALESCE((SELECT pg_has_role(c.relowner, 'USAGE') FROM pg_catalog.pg_class c \
                  JOIN tables t ON t.oid = c.oid WHERE (t.nspname, t.relname) = ('pgbaton', 'operation')), true), \
               'closed_schemas', COALESCE((SELECT json_agg(DISTINCT t.nspname) FROM tables t \
                  WHERE NOT has_schema_privilege(t.relnamespace, 'USAGE')), '[]'), \
               'closed_tables', COALESCE((SELECT json_agg(t.nspname || '.' || t.relname) FROM tables t \
                  WHERE NOT (has_table_privilege(t.oid, 'SELECT') AND has_table_privilege(t.oid, 'INSERT') \
                  AND has_table_privilege(t.oid, 'UPDATE') AND has_table_privilege(t.oid, 'DELETE'))), '[]'), \
               'may_create', has_database_privilege(current_database(), 'CREATE'), \
               'may_create_in_schema', s.oid IS NULL OR \
                  (has_schema_privilege(s.oid, 'CREATE') AND has_schema_privilege(s.oid, 'USAGE')), \
               'may_create_in_own', COALESCE((SELECT has_schema_privilege(oid, 'CREATE') \
                  AND has_schema_privilege(oid, 'USAGE') FROM pg_catalog.pg_namespace WHERE nspname = 'pgbaton'), true), \
               'database', current_database(), \
               'role', current_user, \
               'schema_owner', pg_get_userbyid(s.nspowner))::text \
             FROM (SELECT 1) one LEFT JOIN pg_catalog.pg_namespace s ON s.nspname = 'repmgr'",
            &[],
        )
        .await
}

impl PresentMetadata {
    /// Judges what is there.
    pub fn verdict(&self) -> SchemaState {
        let has = |column: &&str| self.node_columns.iter().any(|name| name == column);
        if self.is_other_version() {
            SchemaState::Foreign
        } else if !self.occupied {
            // An installed extension without its tables has been taken apart by hand.
            if self.extension.is_some() { SchemaState::Foreign } else { SchemaState::Missing }
        } else if !NODE_COLUMNS.iter().all(has) || !self.events {
            SchemaState::Foreign
        } else if self.own {
            SchemaState::Complete
        } else {
            SchemaState::OwnMissing
        }
    }

    /// Says whether the repmgr extension is installed in a version that pgbaton does not know.
    pub fn is_other_version(&self) -> bool {
        self.extension.as_ref().is_some_and(|version| !version.starts_with("5."))
    }

    /// Returns what the role may not do and would have to, each with the statement that allows it.
    pub fn missing_privileges(&self) -> Vec<(String, String)> {
        let mut out = Vec::new();
        if !self.install().is_empty() && !self.may_create {
            out.push((
                format!("create schemas in database \"{}\"", self.database),
                format!(
                    "GRANT CREATE ON DATABASE {} TO {};",
                    quote_ident(&self.database),
                    quote_ident(&self.role)
                ),
            ));
        }
        out.extend(self.lacking_in_schemas());
        out
    }

    /// Returns what the role may not do with the tables that are there, each with the statement that allows it.
    pub fn closed(&self) -> Vec<(String, String)> {
        let role = quote_ident(&self.role);
        let mut out = Vec::new();
        for schema in &self.closed_schemas {
            out.push((
                format!("use schema \"{schema}\""),
                format!("GRANT USAGE ON SCHEMA {} TO {role};", quote_ident(schema)),
            ));
        }
        for schema in ["repmgr", "pgbaton"] {
            let inside =
                |table: &&String| table.strip_prefix(schema).is_some_and(|rest| rest.starts_with('.'));
            let tables: Vec<&str> = self.closed_tables.iter().filter(inside).map(String::as_str).collect();
            if !tables.is_empty() {
                out.push((
                    format!("read and write {}", tables.join(", ")),
                    format!("GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role};"),
                ));
            }
        }
        out
    }

    fn lacking_in_schemas(&self) -> Vec<(String, String)> {
        let role = quote_ident(&self.role);
        let mut out = self.closed();
        let (install, own) = match self.verdict() {
            SchemaState::Missing => (true, true),
            SchemaState::OwnMissing => (false, true),
            SchemaState::Complete | SchemaState::Foreign => (false, false),
        };
        for (needed, allowed, schema) in
            [(install, self.may_create_in_schema, "repmgr"), (own, self.may_create_in_own, "pgbaton")]
        {
            if needed && !allowed {
                out.push((
                    format!("create tables in schema \"{schema}\""),
                    format!("GRANT ALL ON SCHEMA {schema} TO {role};"),
                ));
            }
        }
        out
    }

    /// Returns the statements after which schema `pgbaton` has its tables, none where it has them already; None where the role may not use
    /// or make them.
    pub fn own_schema_statements(&self) -> Option<Vec<Statement>> {
        let is_closed = self.closed_tables.iter().any(|table| table.starts_with("pgbaton."))
            || self.closed_schemas.iter().any(|schema| schema == "pgbaton");
        if self.own {
            return (!is_closed).then(Vec::new);
        }
        Some(self.install()).filter(|install| self.missing_privileges().is_empty() && !install.is_empty())
    }

    /// Returns the statements that make what is missing; the tables of the repmgr extension are never touched.
    pub fn install(&self) -> Vec<Statement> {
        let repmgr = include_str!("schema.sql");
        let own = include_str!("own_schema.sql");
        match self.verdict() {
            SchemaState::Missing => split(repmgr).chain(split(own)).map(Statement::new).collect(),
            SchemaState::OwnMissing => split(own).map(Statement::new).collect(),
            SchemaState::Complete | SchemaState::Foreign => Vec::new(),
        }
    }

    /// Returns the statements with which a superuser makes what is missing so that the role owns it, and gives the role the use of what
    /// was there.
    pub fn install_as_superuser(&self) -> Vec<Statement> {
        let role = quote_ident(&self.role);
        let (schemas, rest): (Vec<_>, Vec<_>) =
            self.install().into_iter().partition(|statement| statement.text.starts_with("CREATE SCHEMA"));
        let mut out: Vec<Statement> = schemas
            .iter()
            .map(|statement| Statement::new(format!("{} AUTHORIZATION {role}", statement.text)))
            .collect();
        let grants = self.lacking_in_schemas();
        out.extend(grants.iter().map(|(_, grant)| Statement::new(grant.trim_end_matches(';'))));
        if !rest.is_empty() {
            out.push(Statement::new(format!("SET LOCAL ROLE {role}")));
            out.extend(rest);
        }
        out
    }

    /// Returns the statements with which a superuser makes the repmgr extension and our own tables, and gives the role the use of them.
    pub fn install_extension(&self) -> Vec<Statement> {
        let role = quote_ident(&self.role);
        let mut out: Vec<Statement> = [
            "CREATE EXTENSION IF NOT EXISTS repmgr".to_string(),
            format!("GRANT USAGE ON SCHEMA repmgr TO {role}"),
            format!("GRANT ALL ON ALL TABLES IN SCHEMA repmgr TO {role}"),
            format!("CREATE SCHEMA IF NOT EXISTS pgbaton AUTHORIZATION {role}"),
            format!("SET LOCAL ROLE {role}"),
        ]
        .into_iter()
        .map(Statement::new)
        .collect();
        let own = split(include_str!("own_schema.sql"));
        out.extend(own.filter(|text| !text.starts_with("CREATE SCHEMA")).map(Statement::new));
        out
    }
}

#[cfg(test)]
impl PresentMetadata {
    /// Metadata for tests: everything is there, or nothing.
    pub(crate) fn example(there: bool) -> Self {
        Self {
            extension: None,
            schema: there,
            occupied: there,
            node_columns: if there { NODE_COLUMNS.map(String::from).to_vec() } else { Vec::new() },
            events: there,
            own: there,
            scoped: there,
            may_alter_operation: true,
            closed_schemas: Vec::new(),
            closed_tables: Vec::new(),
            may_create: true,
            may_create_in_schema: true,
            may_create_in_own: true,
            database: "repmgr".into(),
            role: "repmgr".into(),
            schema_owner: None,
        }
    }
}

/// What a server offers of the repmgr extension.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
pub struct OfferedExtension {
    /// The version that would be installed; None where its package is not there.
    pub version: Option<String>,
    /// The role may install it: it is a superuser.
    pub may_install: bool,
}

impl OfferedExtension {
    /// Says whether it is a version with whose tables pgbaton works.
    pub fn is_usable(&self) -> bool {
        self.version.as_ref().is_some_and(|version| version.starts_with("5."))
    }
}

/// Asks what the server offers of the repmgr extension.
///
/// # Errors
/// Those of the query.
pub async fn offered(session: &Session) -> Result<OfferedExtension, SqlError> {
    session
        .query_json(
            "SELECT json_build_object('version', \
               (SELECT default_version FROM pg_catalog.pg_available_extensions WHERE name = 'repmgr'), \
               'may_install', (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user))::text",
            &[],
        )
        .await
}

/// Says whether elections have no term to count from: the extension makes the table without a row, and repmgr writes the first one
/// when it registers a primary.
///
/// # Errors
/// Those of the query; a table that is not there lacks nothing.
pub async fn lacks_term(session: &Session) -> Result<bool, SqlError> {
    match session.query_one("SELECT (count(*) = 0)::text FROM repmgr.voting_term", &[]).await {
        Ok(row) => Ok(row.get(0) == Some("true")),
        Err(error) if error.sqlstate.as_deref() == Some("42P01") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the statement that writes the first term.
pub fn first_term() -> Statement {
    Statement::new(
        "INSERT INTO repmgr.voting_term (term) SELECT 1 WHERE NOT EXISTS (SELECT FROM repmgr.voting_term)",
    )
}

/// Splits one of our scripts into statements: none of them holds a semicolon anywhere but at its end.
fn split(script: &str) -> impl Iterator<Item = String> + '_ {
    script.split(';').filter_map(|statement| {
        let text: Vec<&str> = statement
            .lines()
            .filter(|line| !line.trim_start().starts_with("--"))
            .flat_map(str::split_whitespace)
            .collect();
        (!text.is_empty()).then(|| text.join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing() -> PresentMetadata {
        PresentMetadata::example(false)
    }

    #[test]
    fn an_empty_database_gets_both_schemas() {
        let statements = nothing().install();
        let first_words: Vec<&str> =
            statements.iter().filter_map(|statement| statement.text.split_whitespace().next()).collect();
        assert!(first_words.iter().all(|word| ["CREATE", "INSERT"].contains(word)), "{first_words:?}");
        assert_eq!(
            statements.iter().filter(|s| s.text.contains("CREATE OR REPLACE FUNCTION repmgr.")).count(),
            9
        );
    }

    #[test]
    fn the_tables_of_the_extension_are_not_touched() {
        let columns = NODE_COLUMNS.iter().map(ToString::to_string).collect();
        let adopted = PresentMetadata {
            extension: Some("5.3".into()),
            schema: true,
            occupied: true,
            node_columns: columns,
            events: true,
            // Only the extension's owner can create tables there, and that is not needed.
            may_create_in_schema: false,
            ..nothing()
        };
        assert_eq!(adopted.verdict(), SchemaState::OwnMissing);
        assert_eq!(adopted.missing_privileges(), []);
        let old = PresentMetadata { extension: Some("4.4".into()), ..adopted.clone() };
        assert_eq!(old.verdict(), SchemaState::Foreign);
        assert!(adopted.install().iter().all(|statement| !statement.text.contains("repmgr")));
    }

    #[test]
    fn a_superuser_makes_everything_for_the_role() {
        let poor = PresentMetadata { may_create: false, role: "it\"s".into(), ..nothing() };
        let statements = poor.install_as_superuser();
        let texts: Vec<&str> = statements.iter().map(|statement| statement.text.as_str()).collect();
        assert_eq!(
            texts.get(..3).unwrap(),
            [
                "CREATE SCHEMA IF NOT EXISTS repmgr AUTHORIZATION \"it\"\"s\"",
                "CREATE SCHEMA IF NOT EXISTS pgbaton AUTHORIZATION \"it\"\"s\"",
                "SET LOCAL ROLE \"it\"\"s\""
            ]
        );
        assert_eq!(texts.len(), poor.install().len() + 1);
        assert!(texts.iter().skip(3).all(|text| !text.contains("SCHEMA") && !text.contains("GRANT")));
        // Where everything is there and closed, nothing but grants.
        let columns = NODE_COLUMNS.iter().map(ToString::to_string).collect();
        let closed = PresentMetadata {
            schema: true,
            occupied: true,
            node_columns: columns,
            events: true,
            own: true,
            scoped: true,
            closed_schemas: vec!["repmgr".into()],
            closed_tables: vec!["repmgr.nodes".into()],
            ..poor
        };
        let texts: Vec<String> = closed.install_as_superuser().into_iter().map(|s| s.text).collect();
        assert_eq!(
            texts,
            [
                "GRANT USAGE ON SCHEMA \"repmgr\" TO \"it\"\"s\"",
                "GRANT ALL ON ALL TABLES IN SCHEMA repmgr TO \"it\"\"s\""
            ]
        );
    }

    #[test]
    fn other_columns_are_somebody_elses() {
        let node_columns = vec!["id integer".into()];
        let foreign =
            PresentMetadata { schema: true, occupied: true, node_columns, events: true, ..nothing() };
        assert_eq!(foreign.verdict(), SchemaState::Foreign);
        assert!(foreign.install().is_empty());
    }
}
