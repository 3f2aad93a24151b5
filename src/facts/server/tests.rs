//! Tests of `server`.

use super::*;

#[test]
fn sizes_are_read() {
    assert_eq!(bytes("16MB"), Some(16 << 20));
    assert_eq!(bytes("1GB"), Some(1 << 30));
    assert_eq!(bytes("8192"), Some(8192));
    assert_eq!(bytes("1 apple"), None);
    assert_eq!(duration_s("0"), Some(0.0));
    assert_eq!(duration_s("1500ms"), Some(1.5));
    assert_eq!(duration_s("5min"), Some(300.0));
    assert_eq!(duration_s("5 apples"), None);
}

#[test]
fn intervals_are_read() {
    assert_eq!(seconds("00:00:00"), Some(0.0));
    assert_eq!(seconds("00:00:00.000213"), Some(0.000_213));
    assert_eq!(seconds("127:01:02.5"), Some(127.0 * 3600.0 + 62.5));
    assert_eq!(seconds("-00:00:01"), Some(-1.0));
    assert_eq!(seconds("soon"), None);
}

#[test]
fn ages_are_worked_out_here() {
    let now = "2026-11-21T06:40:07.75+00:00".parse().unwrap();
    let age = |text: &str| Moment(text.into()).age_s(now);
    assert_eq!(age("2026-11-21T07:40:07.5+01:00"), Some(0.25));
    assert_eq!(age("infinity"), None);
}

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
