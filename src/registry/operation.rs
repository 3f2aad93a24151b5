//! Operations as the cluster sees them: rows of `pgbaton.operation`, beside the journal that the node keeps for itself.

use crate::error::Exit;
use crate::plan::Statement;

/// Returns the statement that tells of an operation that is about to begin.
pub fn begun(operation_id: &str, command: &str, node_id: i32) -> Statement {
    Statement::new(
        "INSERT INTO pgbaton.operation (operation_id, command, node_id) VALUES ($1, $2, $3::integer)",
    )
    .bind(operation_id)
    .bind(command)
    .bind(node_id)
}

/// Returns the statement that tells how an operation ended.
pub fn ended(operation_id: &str, exit: Exit) -> Statement {
    Statement::new(
        "UPDATE pgbaton.operation SET finished_at = current_timestamp, exit_code = $2::integer WHERE operation_id = $1",
    )
    .bind(operation_id)
    .bind(exit.code())
}
