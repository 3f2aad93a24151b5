//! What is true now: read-only, gathered from all nodes at once, each with its own deadline.
//!
//! A node that does not respond is a value here, not an error.

pub mod branch;
pub mod check_facts;
pub mod check_name;
pub mod cluster;
pub mod daemon_flag;
pub mod daemon_info;
pub mod daemons;
pub mod directory;
pub mod host;
pub mod identity;
pub mod lineage;
pub mod matrix;
pub mod paused;
pub mod prepare;
pub mod rejoin;
pub mod repmgr;
pub mod role;
pub mod server;
pub mod settings;
pub mod slots;
pub mod source;
pub mod start_log;
pub mod topology;
pub mod write_locations;
pub mod written_since;

pub use cluster::{ClusterFacts, NodeFacts, gather};
pub use server::ServerFacts;
