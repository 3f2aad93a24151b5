//! What is found out before anything is decided: the cluster, the hosts, the local node, and the facts of each operation. Read-only but for
//! locks, the saved topology and the journals of this node. May use `far_end`, `site` and what is below them, and types of `plan`.

pub mod clone;
pub mod daemons;
pub mod discovery;
pub mod history;
pub mod hosts;
pub mod local_daemon;
pub mod next_start;
pub mod node_location;
pub mod open_operations;
pub mod own_node;
pub mod own_operations;
pub mod own_server;
pub mod peers;
pub mod prepare;
pub mod prepare_passwords;
pub mod promotion;
pub mod rejoin;
pub mod rejoin_primary;
pub mod replication_login;
pub mod repmgr_activity;
pub mod server_log;
pub mod service;
pub mod superuser;
pub mod switchover;
pub mod under_locks;
pub mod witness;
