//! Tests of `server`.

use super::*;

#[test]
fn names_are_shown_as_each_major_shows_them() {
    assert_eq!(shown_application_name("node1", 150_000), "node1");
    assert_eq!(shown_application_name("nœud", 150_000), "n??ud");
    assert_eq!(shown_application_name("nœud", 160_000), "n\\xc5\\x93ud");
    assert_eq!(shown_application_name(&"x".repeat(80), 150_000).len(), 63);
}

#[test]
fn a_connection_that_has_only_been_opened_attaches_no_standby() {
    let sender = |state: &str| Sender {
        application_name: "node2".into(),
        state: Some(state.into()),
        sync_state: None,
        replay_lag_s: None,
        reply_age_s: None,
    };
    let mut server = ServerFacts::example(false, 1, 1);
    server.senders = vec![sender("startup"), sender("backup")];
    assert_eq!(server.sender_of("node2"), None);
    assert!(server.is_connected_to("node2"));
    server.senders.remove(0);
    assert!(!server.is_connected_to("node2"), "a backup");
    server.senders.push(sender("catchup"));
    assert_eq!(server.sender_of("node2").and_then(|sender| sender.state.as_deref()), Some("catchup"));
}
