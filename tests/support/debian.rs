//! Clusters as Debian's tools have them.

use std::path::Path;

use super::{Running, SOON, StopMode, TestServer, clean_command, run_tool};

/// Makes the server a cluster of Debian's with this name, stopped. The configuration of all of them is in `root`; `settings` says what
/// becomes of the server's own.
pub fn made_debian(server: &TestServer, root: &Path, name: &str, settings: impl Fn(&str) -> String) {
    let user = run_tool("/usr/bin/id".as_ref(), ["-un"]).stdout.trim().to_string();
    // pg_ctlcluster tries to log in as the user that starts it. A standby gets the role from its primary.
    server.try_psql_as("postgres", "postgres", &format!("CREATE ROLE \"{user}\" LOGIN"));
    server.stop(StopMode::Fast);
    let conf = server.data.join("postgresql.conf");
    let text = settings(&std::fs::read_to_string(&conf).unwrap());
    // The path in the settings is relative to where they are, which is another place soon.
    let own = format!("'{}'", server.dir.join("server.conf").display());
    std::fs::write(&conf, text.replace("'../server.conf'", &own)).unwrap();
    std::fs::create_dir_all(root).unwrap();
    let mut create = clean_command("/usr/bin/pg_createcluster".as_ref());
    create.env("PG_CLUSTER_CONF_ROOT", root);
    create.args(["15", name, "--user", &user, "--start-conf=manual", "-p"]).arg(server.port.to_string());
    create.arg("-d").arg(&server.data).arg("-s").arg(&server.socket_dir);
    create.arg("-l").arg(server.dir.join("log/cluster.log"));
    Running::start(create).wait(SOON).code(0);
}
