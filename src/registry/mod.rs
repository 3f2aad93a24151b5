//! What the cluster knows about itself: the schemas `repmgr` and `pgbaton`, and the lock that all hosts see.
//!
//! Reads return rows; writes are [`Statement`](crate::pg::statement::Statement)s, so that they can stand in a plan.

pub mod event;
pub mod lock;
pub mod monitoring;
pub mod node;
pub mod operation;
pub mod schema;

pub use event::Event;
pub use node::{NodeRow, NodeType};
