//! Whole clusters of registered nodes.

use super::{Pg, SOON, TestCluster, TestServer};

/// A registered primary and standbys.
pub struct Nodes {
    /// The servers, by node id.
    pub servers: Vec<TestServer>,
    /// Where they live; dropped after them.
    pub cluster: TestCluster,
}

impl Nodes {
    /// Makes node 1, the primary, and so many standbys, each with its slot.
    pub fn new(pg: &Pg, standbys: usize) -> Self {
        let cluster = TestCluster::new(pg);
        let primary = cluster.primary("node1");
        primary.node_config(1, "");
        primary.pgbaton(["primary", "register"]).run().code(0);
        let mut servers = vec![primary];
        for i in 0..standbys {
            let server = cluster.standby(&format!("node{}", i + 2), &servers[0]);
            let id = i32::try_from(i).unwrap() + 2;
            server.node_config(id, "");
            servers[0].psql(&format!("SELECT pg_create_physical_replication_slot('repmgr_slot_{id}', true)"));
            server.psql(&format!("ALTER SYSTEM SET primary_slot_name = 'repmgr_slot_{id}'"));
            server.reload();
            servers[0].wait_until("SELECT bool_and(active) FROM pg_replication_slots", "t", SOON);
            server.pgbaton(["standby", "register"]).run().code(0);
            servers.push(server);
        }
        Self { servers, cluster }
    }

    /// Returns a node by its id.
    pub fn node(&self, id: usize) -> &TestServer {
        &self.servers[id - 1]
    }

    /// How many of the servers that answer take writes.
    pub fn primaries(&self) -> Vec<&str> {
        self.servers
            .iter()
            .filter(|server| server.is_running() && server.psql("SELECT pg_is_in_recovery()") == "f")
            .map(|server| server.name.as_str())
            .collect()
    }
}
