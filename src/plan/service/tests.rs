//! Tests of `service`.

use super::*;

fn facts(manager: Manager) -> ServiceFacts {
    ServiceFacts {
        node_name: "node1".into(),
        data_directory: "/data".into(),
        config_directory: None,
        leftover: None,
        running: Some(7),
        manager,
        pg_ctl: "/bin/pg_ctl".into(),
        pg_ctl_options: Vec::new(),
        last_start: LastStart { options: Some("-p 5433".into()), ..LastStart::default() },
        log: StartLog { path: "/pg.log".into(), is_ours: false },
        standby: None,
        places: Vec::new(),
        start_timeout_s: 60,
        stop_timeout_s: 60,
        user: "postgres".into(),
    }
}

/// The words of a command, without the quotes of a shell.
fn words(facts: &ServiceFacts, action: Action) -> String {
    let command = command(facts, action);
    format!("{} {}", command.program, command.args.join(" "))
}

fn service(action: Action) -> Service {
    let on = Endpoint { name: "node1".into(), conninfo: String::new(), secret: None };
    Service { action, checkpoint: None, on }
}

const LINES: &str = "Add to the configuration:
service_start_command = 'sudo systemctl start postgresql@15-main.service'
service_stop_command = 'sudo systemctl stop postgresql@15-main.service'
service_restart_command = 'sudo systemctl restart postgresql@15-main.service'
and to a file in /etc/sudoers.d:
postgres ALL = NOPASSWD: /usr/bin/systemctl start postgresql@15-main.service, \
/usr/bin/systemctl stop postgresql@15-main.service, /usr/bin/systemctl restart postgresql@15-main.service";

#[test]
fn a_standby_that_would_promote_itself_is_started_without_its_target() {
    use crate::facts::settings::{PlacedSetting, SettingPlace, Settings, in_file};
    let standby = |settings| Some(NextStart { settings, ..NextStart::default() });
    let ids = |facts: &ServiceFacts, action| {
        let plan = plan(facts, &service(action));
        let ids: Vec<String> = plan.steps().map(|step| step.id.clone()).collect();
        assert_eq!(plan.defect(), None);
        (ids, plan.checks.iter().any(Check::stops), plan.checks.len())
    };
    for (action, running) in [(Action::Start, None), (Action::Restart, Some(7))] {
        let facts = ServiceFacts { running, ..facts(Manager::PgCtl) };
        let clear = ServiceFacts { standby: standby(Settings::default()), ..facts.clone() };
        assert_eq!(ids(&clear, action), (vec![action.name().to_string()], false, 0));
        let target = standby(in_file(&[("recovery_target", "immediate")]));
        let target = ServiceFacts { standby: target, ..facts.clone() };
        let steps = vec!["no_recovery_target".to_string(), action.name().to_string()];
        assert_eq!(ids(&target, action), (steps, false, 1));
        let mut fixed = Settings::default();
        fixed.add(PlacedSetting::new("recovery_target_lsn", "0/5", SettingPlace::CommandLine));
        assert!(ids(&ServiceFacts { standby: standby(fixed), ..facts.clone() }, action).1);
    }
}

#[test]
fn what_systemd_runs_is_left_to_systemd_but_may_be_reloaded() {
    let facts = facts(Manager::Systemd { unit: "postgresql@15-main.service".into() });
    for action in [Action::Start, Action::Stop, Action::Restart] {
        let plan = plan(&facts, &service(action));
        let failed: Vec<&Check> = plan.checks.iter().filter(|check| check.stops()).collect();
        assert_eq!(failed.len(), 1);
        assert_eq!(failed[0].hint.as_deref(), Some(LINES));
    }
    let plan = plan(&facts, &service(Action::Reload));
    assert!(plan.checks.iter().all(|check| !check.stops()));
    assert_eq!(words(&facts, Action::Reload), "/bin/pg_ctl reload --pgdata=/data");
}

fn debian(unit: Option<&str>) -> ServiceFacts {
    facts(Manager::Debian(DebianCluster {
        version: "15".into(),
        name: "main".into(),
        conf_root: None,
        unit: unit.map(str::to_string),
    }))
}

#[test]
fn debian_has_a_tool_of_its_own() {
    let mut facts = debian(None);
    assert_eq!(words(&facts, Action::Start), "pg_ctlcluster 15 main start -- --timeout=60");
    assert_eq!(words(&facts, Action::Stop), "pg_ctlcluster 15 main stop --mode=fast -- --timeout=60");
    assert_eq!(words(&facts, Action::Reload), "pg_ctlcluster 15 main reload");
    facts.pg_ctl_options = vec!["--silent".into()];
    assert_eq!(words(&facts, Action::Reload), "pg_ctlcluster 15 main reload -- --silent");
}

#[test]
fn who_starts_a_service_of_systemd_behind_its_back_is_warned() {
    let mut facts = debian(Some("postgresql@15-main.service"));
    let hints = |facts: &ServiceFacts, action| -> Vec<String> {
        let plan = plan(facts, &service(action));
        assert!(plan.checks.iter().all(|check| !check.stops()));
        plan.checks.into_iter().filter_map(|check| check.text.hint).collect()
    };
    // It runs, and systemd does not know of it: then systemd loses nothing by its end.
    assert_eq!(hints(&facts, Action::Restart), [LINES]);
    assert!(hints(&facts, Action::Start).is_empty() && hints(&facts, Action::Stop).is_empty());
    facts.running = None;
    assert_eq!(hints(&facts, Action::Start), [LINES]);
    assert!(plan(&debian(None), &service(Action::Restart)).checks.is_empty());
}

#[test]
fn pg_ctl_gets_the_options_of_the_last_start_and_a_time() {
    let facts = facts(Manager::PgCtl);
    assert_eq!(
        words(&facts, Action::Start),
        "/bin/pg_ctl start --pgdata=/data --wait --timeout=60 --log=/pg.log --silent --options=-p 5433"
    );
    assert_eq!(
        words(&facts, Action::Stop),
        "/bin/pg_ctl stop --pgdata=/data --wait --timeout=60 --mode=fast"
    );
    // It keeps them by itself when it restarts a running server.
    assert!(!words(&facts, Action::Restart).contains("5433"));
}

#[test]
fn a_place_that_cannot_be_written_to_stops_what_starts_a_server_before_it_is_stopped() {
    let mut facts = facts(Manager::PgCtl);
    let place = |what, problem: Option<&str>| WriteLocation {
        what,
        path: "/data".into(),
        problem: problem.map(str::to_string),
    };
    facts.places = vec![place("the data directory", None), place("a tablespace", Some("read-only"))];
    let stops = |facts: &ServiceFacts, action| -> Vec<String> {
        let plan = plan(facts, &service(action));
        plan.checks.into_iter().filter(Check::stops).map(|check| check.text.message).collect()
    };
    assert_eq!(stops(&facts, Action::Restart), ["cannot write to a tablespace of node \"node1\""]);
    facts.places.truncate(1);
    assert!(stops(&facts, Action::Restart).is_empty());
}

#[test]
fn it_is_said_where_messages_go_if_not_where_they_went() {
    let mut facts = facts(Manager::PgCtl);
    let titles = |facts: &ServiceFacts| -> Vec<String> {
        plan(facts, &service(Action::Restart)).steps().map(|step| step.title.clone()).collect()
    };
    assert_eq!(titles(&facts), ["restart the server of node \"node1\""]);
    facts.log.is_ours = true;
    let title = "restart the server of node \"node1\" (its first messages go to \"/pg.log\")";
    assert_eq!(titles(&facts), [title]);
    // Debian's tool has a log of its own.
    facts.manager = debian(None).manager;
    assert_eq!(titles(&facts), ["restart the server of node \"node1\""]);
}

#[test]
fn options_that_are_not_used_again_are_named_and_kept_from_a_restart() {
    let mut facts = facts(Manager::PgCtl);
    assert!(plan(&facts, &service(Action::Restart)).checks.is_empty());
    facts.last_start.left_out = vec!["-b".into(), "-c fsync=off".into()];
    facts.last_start.origin = OptionsOrigin::Upgrade;
    assert!(words(&facts, Action::Restart).ends_with("--options=-p 5433"));
    let said = |facts: &ServiceFacts, action| -> Vec<String> {
        plan(facts, &service(action)).checks.into_iter().filter_map(|check| check.text.detail).collect()
    };
    let detail = "\"/data/postmaster.opts\" has: -b -c fsync=off. They are those of pg_upgrade, which last started the server.";
    assert_eq!(said(&facts, Action::Restart), [detail]);
    // It runs, and goes on as it is.
    assert!(said(&facts, Action::Start).is_empty() && said(&facts, Action::Stop).is_empty());
    facts.running = None;
    assert_eq!(said(&facts, Action::Start), [detail]);
    facts.last_start.options = None;
    assert!(words(&facts, Action::Restart).ends_with("--options="));
    assert!(!words(&facts, Action::Start).contains("--options"));
    // Debian's tool does not read that file.
    facts.manager = debian(None).manager;
    assert!(said(&facts, Action::Start).is_empty());
}
