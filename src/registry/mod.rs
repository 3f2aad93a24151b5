//! What the cluster knows about itself: the schemas `repmgr` and `pgbaton`, and the lock that all hosts see.

pub mod lock;
