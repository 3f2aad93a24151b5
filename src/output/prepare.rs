//! `node prepare` as a table, as a plan with diffs, and as statements and lines for an administrator.

use serde_json::{Value, json};

use super::diff::unified;
use super::plan;
use super::table::draw;
use crate::plan::Plan;
use crate::plan::prepare::{FileChange, Printed, Requirement, ServerUse};

/// What `node prepare` has found, and what would be done.
#[derive(Debug)]
pub struct Preparation {
    /// The requirements.
    pub requirements: Vec<Requirement>,
    /// The plan, with `--dry-run`.
    pub plan: Option<Plan>,
    /// What becomes of files.
    pub files: Vec<FileChange>,
    /// What an administrator has to do, with `--print`.
    pub printed: Option<Printed>,
}

/// Writes it for people.
pub fn text(preparation: &Preparation) -> String {
    if let Some(printed) = &preparation.printed {
        return lines(printed);
    }
    let Some(plan) = &preparation.plan else { return table(&preparation.requirements) };
    let mut out = plan::text(plan);
    for diff in diffs(&preparation.files) {
        out.push('\n');
        out.push_str(&diff);
    }
    out
}

/// Returns it as `--format json` shows it.
pub fn json(preparation: &Preparation) -> Value {
    let requirements = super::to_value(&preparation.requirements);
    if let Some(printed) = &preparation.printed {
        return json!({ "requirements": requirements, "print": super::to_value(printed) });
    }
    let Some(plan) = &preparation.plan else { return json!({ "requirements": requirements }) };
    json!({ "requirements": requirements, "plan": plan::json(plan), "diffs": diffs(&preparation.files) })
}

fn diffs(files: &[FileChange]) -> Vec<String> {
    let diffs = files.iter().map(|file| unified(&file.path, &file.old, &file.new));
    diffs.filter(|diff| !diff.is_empty()).collect()
}

fn table(requirements: &[Requirement]) -> String {
    let row = |requirement: &Requirement| {
        let uses = match requirement.uses.len() == ServerUse::ALL.len() {
            true => "all".to_string(),
            false => requirement.uses.iter().map(|one| one.name()).collect::<Vec<_>>().join(", "),
        };
        vec![
            requirement.name.clone(),
            uses,
            requirement.has.clone(),
            requirement.needs.clone(),
            requirement.status.name().to_string(),
        ]
    };
    draw(&["Requirement", "For", "Has", "Needs", "Status"], requirements.iter().map(row).collect())
}

/// Writes what an administrator has to do: a script for psql, with the lines for files as comments.
fn lines(printed: &Printed) -> String {
    let mut out = String::new();
    let mut section = |heading: &str, comment: bool, lines: &[String]| {
        if lines.is_empty() {
            return;
        }
        out.push_str(&format!("-- {heading}\n"));
        for line in lines {
            out.push_str(&format!("{}{line}\n", if comment { "--   " } else { "" }));
        }
    };
    section(&format!("add to \"{}\", before the first rule:", printed.pg_hba_file), true, &printed.pg_hba);
    section(
        &format!("add to \"{}\" (mode 0600) of the user that runs pgbaton:", printed.pgpass_file),
        true,
        &printed.pgpass,
    );
    section("run as a superuser:", false, &printed.sql);
    // The last one reloads the configuration, which can be run in any database.
    if printed.sql_in_database.len() > 1 {
        let mut lines = vec![connect(&printed.database)];
        lines.extend(printed.sql_in_database.clone());
        section(&format!("run in database \"{}\":", printed.database), false, &lines);
    } else {
        section("run last:", false, &printed.sql_in_database);
    }
    if !printed.pending_restart.is_empty() {
        let names = printed.pending_restart.join(", ");
        out.push_str(&format!("-- then restart the server for {names}\n"));
    }
    if out.is_empty() {
        out.push_str("-- nothing to do\n");
    }
    out
}

/// psql's command for another database; a name in it is quoted as an identifier is.
fn connect(database: &str) -> String {
    format!("\\connect {}", crate::pg::quote::quote_ident(database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_somebody_else_does_is_a_script() {
        let printed = Printed {
            sql: vec!["CREATE ROLE \"r\";".into()],
            sql_in_database: vec!["GRANT x;".into(), "SELECT pg_reload_conf();".into()],
            database: "d".into(),
            pg_hba: vec!["host d r 10.0.0.1/32 md5".into()],
            pg_hba_file: "/d/pg_hba.conf".into(),
            pending_restart: vec!["wal_level".into()],
            ..Printed::default()
        };
        let expected = [
            "-- add to \"/d/pg_hba.conf\", before the first rule:",
            "--   host d r 10.0.0.1/32 md5",
            "-- run as a superuser:",
            "CREATE ROLE \"r\";",
            "-- run in database \"d\":",
            "\\connect \"d\"",
            "GRANT x;",
            "SELECT pg_reload_conf();",
            "-- then restart the server for wal_level",
        ];
        assert_eq!(lines(&printed).lines().collect::<Vec<_>>(), expected);
        assert_eq!(lines(&Printed::default()), "-- nothing to do\n");
    }
}
