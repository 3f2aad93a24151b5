//! What to do about replay that is paused: to resume it is not always harmless.

use crate::facts::server::ServerFacts;

/// What to do, and whether to type `pg_wal_replay_resume()` is known to be harmless.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advice {
    /// For a HINT.
    pub text: String,
    /// It may be resumed.
    pub resume: bool,
}

/// Says what to do about the paused replay of a standby. `primary` is whose WAL it replays, if that one answers.
///
/// A server that has paused at a recovery target becomes a primary when it is resumed, and one on the way to a target does there what
/// `recovery_target_action` says. One that has paused itself because a setting is lower than the primary's shuts down.
pub fn advice(name: &str, server: &ServerFacts, primary: Option<&ServerFacts>) -> Advice {
    let lower = primary.map(|primary| server.lower_than(primary)).unwrap_or_default();
    let (text, resume) = if server.has_recovery_target {
        let text = format!(
            "Do not resume it: \"{name}\" has a recovery target, at which it would end its recovery and accept writes as a second primary, or \
             shut down (recovery_target_action). Remove the recovery_target settings, then run \"pgbaton node restart\" on \"{name}\"."
        );
        (text, false)
    } else if !lower.is_empty() {
        let text = format!(
            "Do not resume it: the server would shut down, because {}. Raise that on \"{name}\", then run \"pgbaton node restart\" there.",
            lower.join("; ")
        );
        (text, false)
    } else if primary.is_none() {
        let text = format!(
            "If it was paused by hand, run \"SELECT pg_wal_replay_resume()\" on \"{name}\". If it is paused because a setting is lower than \
             on the primary, which does not answer, that would shut the server down: its log says so."
        );
        (text, false)
    } else {
        (format!("To carry on, run \"SELECT pg_wal_replay_resume()\" on \"{name}\"."), true)
    };
    Advice { text, resume }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_advised_to_resume_only_where_that_is_harmless() {
        let primary = ServerFacts::example(false, 1, 0x900);
        let standby = ServerFacts::example(true, 1, 0x900);
        let advised = |standby: &ServerFacts, primary: Option<&ServerFacts>| advice("n2", standby, primary);
        assert!(advised(&standby, Some(&primary)).resume);
        let unknown = advised(&standby, None);
        assert!(!unknown.resume && unknown.text.contains("If it was paused by hand"), "{unknown:?}");
        let limits = |value: i64| vec![("max_connections".to_string(), value)];
        let low = ServerFacts { recovery_limits: limits(10), ..standby.clone() };
        let high = ServerFacts { recovery_limits: limits(20), ..primary.clone() };
        let lower = advised(&low, Some(&high));
        assert!(!lower.resume && lower.text.contains("max_connections is 10, but 20"), "{lower:?}");
        assert!(advised(&ServerFacts { recovery_limits: limits(20), ..standby.clone() }, Some(&high)).resume);
        let target = advised(&ServerFacts { has_recovery_target: true, ..standby }, Some(&primary));
        assert!(!target.resume && target.text.starts_with("Do not resume it"), "{target:?}");
    }
}
