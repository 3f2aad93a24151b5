//! Other nodes of this cluster that a host knows of while its own server is down.

use std::path::Path;

use crate::commands::context::Context;
use crate::commands::primary::register::own_row;
use crate::pg::conninfo::Conninfo;
use crate::pg::{passfile, tools};
use crate::plan::Command;
use crate::registry::{NodeRow, NodeType};
use crate::system::{files, process};

/// The most places of a file of passwords that are asked: it may be one for a hundred databases.
const PLACES: usize = 16;

/// Returns a server as something to ask that is no registered node, so far as is known.
pub(crate) fn unregistered(context: &Context, conninfo: &Conninfo) -> crate::error::Result<NodeRow> {
    Ok(NodeRow {
        node_id: 0,
        node_name: conninfo.without_secrets().to_string(),
        conninfo: conninfo.to_string(),
        active: false,
        ..own_row(context.config()?, NodeType::Standby, None, None)
    })
}

/// Returns servers that may be nodes of this cluster: where the local server would stream from, and where its passwords lead to.
pub(crate) async fn guesses(context: &Context) -> Vec<NodeRow> {
    let Ok(own) = context.local_conninfo() else { return Vec::new() };
    let mut out = Vec::new();
    if let Some(upstream) = upstream_of_files(context).await {
        let mut conninfo = own.leading_to(&upstream);
        // The walreceiver's file of passwords is the server's; what it names is as good for a question.
        if let Some(passfile) = upstream.get("passfile").filter(|_| own.get("passfile").is_none()) {
            conninfo.set("passfile", passfile);
        }
        out.push(conninfo);
    }
    for (host, port) in passfile_places(context, &own).into_iter().take(PLACES) {
        let mut there = Conninfo::default();
        there.set("host", host);
        there.set("port", port);
        out.push(own.leading_to(&there));
    }
    out.iter().filter_map(|conninfo| unregistered(context, conninfo).ok()).collect()
}

fn passfile_places(context: &Context, own: &Conninfo) -> Vec<(String, String)> {
    let environment = &context.environment;
    let named =
        own.get("passfile").map(Path::new).or_else(|| environment.non_empty("PGPASSFILE").map(Path::new));
    let home = environment.home.as_ref().map(|home| home.join(".pgpass"));
    let config = context.config().ok().and_then(|config| config.passfile.clone());
    let Some(path) = named.map(Path::to_path_buf).or(config).or(home) else { return Vec::new() };
    let Ok((text, _)) = files::read_text(&path) else { return Vec::new() };
    let user = own.get("user").or(environment.user.as_deref()).unwrap_or_default();
    passfile::places(&text, own.get("dbname").unwrap_or(user), user)
}

/// Returns where the local server streams from by its files, as `postgres -C` tells it.
async fn upstream_of_files(context: &Context) -> Option<Conninfo> {
    let config = context.config().ok()?;
    let data = &config.data_directory;
    let major = std::fs::read_to_string(data.join("PG_VERSION")).ok()?;
    let postgres = tools::find(config.pg_bindir.as_deref(), major.trim(), "postgres").ok()?;
    let place = context.config_directory(config).unwrap_or_else(|| data.clone()).display().to_string();
    let program = Command::new(postgres.display().to_string(), ["-D", &place, "-C", "primary_conninfo"]);
    let around =
        process::Surroundings { environment: Some(&context.environment), ..process::Surroundings::default() };
    let said = process::run(&program, &around).await.and_then(process::Finished::success).ok()?;
    Conninfo::parse(said.stdout.trim_end_matches('\n')).ok().filter(|upstream| !upstream.is_empty())
}
