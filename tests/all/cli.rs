//! What a user sees of pgbaton without any server: help, usage errors, configuration, streams and formats.
//!
//! Whole outputs are compared. After an intended change: `SNAPSHOTS=overwrite cargo test --test all cli::`, and read the diff.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use pgbaton::verb::{NodeOption, OptionGroup, Verb};
use serde_json::Value;
use snapbox::{assert_data_eq, file, str};

use crate::support::{self, Output, Pgbaton, clean_command, refuse_root};

/// The keys of every document, in order.
const KEYS: [&str; 9] =
    ["pgbaton", "format", "command", "exit_code", "ok", "changed", "data", "issues", "error"];

/// A complete configuration, in repmgr's syntax, with one line that only draws a warning.
const REPMGR_CONF: &str = "node_id=1
node_name=node1
conninfo='host=127.0.0.1 port=1 user=repmgr dbname=repmgr password=geheim'
data_directory='/nowhere/data'
frobnicate=1
";

/// A directory to run in, without a configuration unless a test puts one there.
struct Ground {
    dir: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        refuse_root();
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn with(name: &str, text: &str) -> Self {
        let ground = Self::new();
        std::fs::write(ground.path(name), text).unwrap();
        ground
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs pgbaton in the directory with words separated by blanks; no configuration of the machine is found.
    fn run(&self, words: &str) -> Output {
        self.program(words).run()
    }

    fn program(&self, words: &str) -> Pgbaton {
        Pgbaton::new(self.dir.path()).current_dir(self.dir.path()).args(words.split_whitespace())
    }
}

/// Returns the words of every command, `cluster show`, in the order of the help.
fn commands() -> Vec<String> {
    fn collect(command: &clap::Command, name: &str, into: &mut Vec<String>) {
        let mut leaf = true;
        for sub in command.get_subcommands() {
            leaf = false;
            collect(sub, &format!("{name} {}", sub.get_name()), into);
        }
        if leaf {
            into.push(name.trim().to_string());
        }
    }
    let mut out = Vec::new();
    collect(&pgbaton::cli::tree(), "", &mut out);
    out
}

/// Fails unless stdout is exactly one document of the fixed form that agrees with the exit code.
#[track_caller]
fn envelope(output: &Output, command: &str) -> Value {
    let document = output.json();
    let keys: Vec<&String> = document.as_object().unwrap().keys().collect();
    assert_eq!(keys, KEYS, "{output:?}");
    assert_eq!(document["command"], command, "{output:?}");
    assert_eq!(document["exit_code"], output.status.code().unwrap(), "{output:?}");
    assert_eq!(document["ok"], output.status.success(), "{output:?}");
    assert_eq!(document["format"], 1);
    assert_eq!(document["pgbaton"], env!("CARGO_PKG_VERSION"));
    assert!(document["data"].is_object() && document["issues"].is_array(), "{output:?}");
    if document["error"].is_object() {
        let keys: Vec<&String> = document["error"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["message", "detail", "hint"]);
    }
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
    document
}

// ---- help -----------------------------------------------------------------------------------------------------------

/// Options that many commands have are shown in full once; of each command only their names.
#[test]
fn help_of_every_command() {
    let ground = Ground::new();
    let headings = ["\nConfiguration:\n", "\nConnection:\n", "\nOutput:\n"];
    let whole = ground.run("--help").code(0).stdout.clone();
    let blocks = |text: &str| -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for line in text.lines() {
            if line.starts_with("  -") || line.starts_with("      --") {
                out.push(line.trim().to_string());
            } else if let Some(last) = out.last_mut().filter(|_| line.starts_with("   ")) {
                last.push_str(line);
            }
        }
        out
    };
    let everywhere = blocks(whole.split("\nExit codes:").next().unwrap());
    let mut all = format!("$ pgbaton --help\n{whole}");
    for command in commands() {
        let help = ground.run(&format!("{command} --help")).code(0).stdout.clone();
        let place = headings.iter().filter_map(|heading| help.find(heading)).min().unwrap();
        let (own, common) = help.split_at(place);
        let common = blocks(common);
        // They are the same wherever they are.
        common.iter().for_each(|option| assert!(everywhere.contains(option), "{command}: {option}"));
        let names: Vec<&str> = common
            .iter()
            .map(|block| block.split_whitespace().find(|word| word.starts_with("--")).unwrap())
            .collect();
        all += &format!("\n$ pgbaton {command} --help\n{own}\n[as above: {}]\n", names.join(" "));
        // The first letter of the option is not -h, which is the host, as in psql.
        assert_eq!(ground.run(&format!("help {command}")).code(0).stdout, help);
        let short = ground.run(&format!("{command} -?")).code(0).stdout.clone();
        let connects = Verb::parse(&command).unwrap().has(OptionGroup::Connection);
        assert_eq!(short.contains("-h, --host <HOST>"), connects, "{command}");
    }
    assert_data_eq!(all, file!["../snapshots/help.txt"].raw());
}

/// What means nothing for a command is refused before anything else is looked at, also the configuration.
#[test]
fn no_option_is_ignored() {
    let ground = Ground::new();
    let given = |option: OptionGroup| -> &[&str] {
        match option {
            OptionGroup::Files => &["-f none.toml", "-D /nowhere", "-b /nowhere"],
            OptionGroup::Connection => &["-h db9", "-p 5999", "-U nobody", "-d nothing"],
            OptionGroup::Superuser => &["-S nobody"],
            OptionGroup::Node => &["--node-id 2", "--node-name node2"],
            OptionGroup::Force => &["-F"],
            OptionGroup::AcceptDataLoss => &["--accept-data-loss"],
            OptionGroup::DryRun => &["--dry-run"],
            OptionGroup::Yes => &["-y"],
            OptionGroup::Csv => &["--csv", "--format csv"],
            OptionGroup::Compact => &["--compact"],
            OptionGroup::Timeout => &["--timeout 3"],
        }
    };
    let mut refused = 0;
    for verb in Verb::ALL {
        let more = match verb.words() {
            "completions" => "bash",
            "node service" => "--action stop",
            "operation cleanup" => "--newest 1",
            _ => "",
        };
        for option in OptionGroup::ALL.into_iter().filter(|option| !verb.has(*option)) {
            for words in given(option) {
                let output = ground.run(&format!("{words} {} {more}", verb.words()));
                let says = match option {
                    OptionGroup::Csv => format!("\"{}\" has no CSV output", verb.words()),
                    _ => format!("cannot be used with \"{}\"", verb.words()),
                };
                if verb.traits().of_repmgr.contains(&option) {
                    output.says(&format!("has no effect on \"{}\"", verb.words()));
                    continue;
                }
                let unknown = ["cluster check", "node guard"].contains(&verb.words());
                output.code(if unknown { 3 } else { 1 }).says(&says);
                assert_eq!(output.stdout, "", "{output:?}");
                refused += 1;
            }
        }
    }
    assert!(refused > 100, "{refused}");
    // Where another server could be meant, the message says how to name it.
    let output = ground.run("node stop -h db9");
    output.code(1).says("option \"--host\" cannot be used with \"node stop\"").says("--node-id");
    let document = ground.run("--json cluster show --node-id 2");
    envelope(document.code(1), "cluster show");
    assert_eq!(Verb::ClusterShow.traits().node, NodeOption::Meaningless);
}

#[test]
fn version() {
    let ground = Ground::new();
    for words in ["--version", "-V"] {
        assert_eq!(ground.run(words).code(0).stdout, format!("pgbaton {}\n", env!("CARGO_PKG_VERSION")));
    }
}

#[test]
fn help_and_version_are_documents_too() {
    let ground = Ground::new();
    for (words, command) in [
        ("--json --help", "help"),
        ("cluster show -? --format json", "help"),
        ("help node --json", "help"),
        ("--json --version", "version"),
    ] {
        let document = envelope(ground.run(words).code(0), command);
        assert!(document["data"]["text"].as_str().unwrap().contains("pgbaton"), "{words}");
    }
}

#[test]
fn without_arguments_the_help_is_an_error() {
    let output = Ground::new().run("");
    output.code(1).says("Usage: pgbaton [OPTIONS] <COMMAND>");
    assert_eq!(output.stdout, "");
}

// ---- usage errors ---------------------------------------------------------------------------------------------------

#[test]
fn usage_errors() {
    let ground = Ground::new();
    let mut all = String::new();
    for words in [
        "primary",
        "primray register",
        "PRIMARY Registr",
        "help bogus",
        "cluster show --frmat json",
        "cluster show --format xml",
        "cluster show --format",
        "cluster show --csv --format table",
        "cluster show extra",
        "cluster show --json=1",
        "cluster show --watch=often",
        "cluster event --limit 3 --all",
        "cluster event --limit many",
        "node service",
        "node service --action=frobnicate",
        "standby clone -h",
        "standby clone -C /etc/repmgr.conf -h node1",
        "standby clone --copy-external-config-files=elsewhere -h node1",
        "cluster cleanup -k soon",
        "--node-id one node status",
        "--log-level loud config show",
        "completions tcsh",
    ] {
        let output = ground.run(words);
        assert_eq!(output.stdout, "", "{words}");
        output.code(1);
        all += &format!("$ pgbaton {words}\n{}", output.stderr);
    }
    assert_data_eq!(
        all,
        str![[r#"
$ pgbaton primary
ERROR: "pgbaton primary" needs one more word
DETAIL: It is one of register, unregister.
HINT: Try "pgbaton primary --help".
$ pgbaton primray register
ERROR: unrecognized command "primray"
HINT: Did you mean "primary"? Try "pgbaton --help".
$ pgbaton PRIMARY Registr
ERROR: unrecognized command "primary Registr"
HINT: Did you mean "register"? Try "pgbaton primary --help".
$ pgbaton help bogus
ERROR: unrecognized command "bogus"
HINT: Try "pgbaton --help".
$ pgbaton cluster show --frmat json
ERROR: unrecognized option "--frmat"
HINT: Did you mean "--format"? Try "pgbaton cluster show --help".
$ pgbaton cluster show --format xml
ERROR: invalid value "xml" for option "--format"
DETAIL: It is one of table, json, csv.
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster show --format
ERROR: option "--format" needs a value
DETAIL: It is one of table, json, csv.
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster show --csv --format table
ERROR: option "--csv" cannot be used with "--format"
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster show extra
ERROR: unexpected argument "extra"
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster show --json=1
ERROR: option "--json" takes no value
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster show --watch=often
ERROR: invalid value "often" for option "--watch"
DETAIL: It is a number.
HINT: Try "pgbaton cluster show --help".
$ pgbaton cluster event --limit 3 --all
ERROR: option "--limit" cannot be used with "--all"
HINT: Try "pgbaton cluster event --help".
$ pgbaton cluster event --limit many
ERROR: invalid value "many" for option "--limit"
DETAIL: It is a number.
HINT: Try "pgbaton cluster event --help".
$ pgbaton node service
ERROR: option "--action" is missing
HINT: Try "pgbaton node service --help".
$ pgbaton node service --action=frobnicate
ERROR: invalid value "frobnicate" for option "--action"
DETAIL: It is one of start, stop, restart, reload, promote.
HINT: Try "pgbaton node service --help".
$ pgbaton standby clone -h
ERROR: option "--host" needs a value
HINT: Try "pgbaton standby clone --help".
$ pgbaton standby clone -C /etc/repmgr.conf -h node1
ERROR: unrecognized option "-C"
DETAIL: repmgr has dropped it; the configuration file of a node is in its record.
HINT: Try "pgbaton standby clone --help".
$ pgbaton standby clone --copy-external-config-files=elsewhere -h node1
ERROR: invalid value "elsewhere" for option "--copy-external-config-files"
DETAIL: It is one of samepath, pgdata.
HINT: Try "pgbaton standby clone --help".
$ pgbaton cluster cleanup -k soon
ERROR: invalid value "soon" for option "--keep-history"
DETAIL: It is a number.
HINT: Try "pgbaton cluster cleanup --help".
$ pgbaton --node-id one node status
ERROR: invalid value "one" for option "--node-id"
DETAIL: It is a number.
HINT: To name the node by its name, use --node-name. Try "pgbaton node status --help".
$ pgbaton --log-level loud config show
ERROR: invalid value "loud" for option "--log-level"
DETAIL: It is one of DEBUG, INFO, NOTICE, WARNING, ERROR.
$ pgbaton completions tcsh
ERROR: invalid value "tcsh" for argument SHELL
DETAIL: It is one of bash, elvish, fish, powershell, zsh.
HINT: Did you mean "zsh"? Try "pgbaton completions --help".

"#]]
    );
}

#[test]
fn usage_errors_as_documents() {
    let ground = Ground::new();
    for (words, command) in [
        ("--json", ""),
        ("--format json primary", "primary"),
        ("-f x --format=json CLUSTER Show --bogus", "cluster show"),
        ("cluster events --limit x --json", "cluster event"),
        ("master frobnicate --format JSON", "primary"),
        ("-d cluster --json node", "node"),
    ] {
        let output = ground.run(words);
        let document = envelope(output.code(1), command);
        assert!(document["error"]["message"].is_string(), "{words}");
        assert_eq!(document["changed"], false);
    }
    assert_data_eq!(
        ground.run("cluster show --json --frmat x").visible(),
        str![[r#"
{"pgbaton":"0.2.0","format":1,"command":"cluster show","exit_code":1,"ok":false,"changed":false,"data":{},"issues":[],"error":{"message":"unrecognized option /"--frmat/"","detail":null,"hint":"Did you mean /"--format/"? Try /"pgbaton cluster show --help/"."}}
------- stderr -------
ERROR: unrecognized option "--frmat"
HINT: Did you mean "--format"? Try "pgbaton cluster show --help".
[exit status: 1]

"#]]
    );
}

#[test]
fn an_argument_that_is_not_text() {
    use std::os::unix::ffi::OsStringExt;
    let ground = Ground::new();
    let bad = std::ffi::OsString::from_vec(b"host=\xff".to_vec());
    for json in [false, true] {
        let mut command = clean_command(env!("CARGO_BIN_EXE_pgbaton").as_ref());
        command.current_dir(ground.dir.path()).args(["cluster", "show", "-d"]).arg(&bad);
        if json {
            command.arg("--json");
        }
        let output = support::Running::start(command).wait(Duration::from_secs(30));
        output.code(1).says("ERROR: an argument is not valid UTF-8");
        if json {
            envelope(&output, "cluster show");
        }
    }
}

// ---- as repmgr takes it ---------------------------------------------------------------------------------------------

/// Command lines from runbooks for repmgr with the one word replaced: they are understood, and fail only because there is no
/// server; or the message says what is not there, and why.
#[test]
fn command_lines_of_repmgr() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    let config = ground.path("repmgr.conf");
    let mut wrong = Vec::new();
    for line in support::runbook::lines() {
        let words = line.words(&config, |_| 1);
        // The document says what was understood. CSV and it exclude each other, and what repmgr processes exchange is no document.
        let document =
            !words.iter().any(|word| ["--csv", "--optformat", "--has-passfile"].contains(&word.as_str()))
                && !line.command.is_empty();
        let output = ground.program("").args(&words).args(document.then_some("--json")).run();
        let code = output.status.code().unwrap();
        let usage = output.stderr.contains("HINT: ") && output.stderr.contains("Try \"pgbaton ");
        let right = match &line.refused {
            Some(why) => code != 0 && output.stderr.contains(why),
            None => !usage && matches!(code, 0 | 1 | 2 | 3 | 6 | 25),
        };
        let command = document.then(|| output.json()["command"].as_str().unwrap().to_string());
        let understood = command.is_none_or(|command| {
            command == line.command || (line.command == "help" && command == "version")
        });
        if !right || !understood {
            wrong.push(format!("{line}\n{output:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

// ---- the document ---------------------------------------------------------------------------------------------------

#[test]
fn every_command_fails_with_a_document() {
    let ground = Ground::new();
    for command in commands() {
        let more = match command.as_str() {
            "completions" => "bash",
            "node service" => "--action stop",
            "operation cleanup" => "--newest 1",
            "standby clone" => "-h 127.0.0.1 -p 1",
            _ => "",
        };
        let without_any = matches!(command.as_str(), "completions" | "man");
        let file = if without_any { "" } else { "-f none.toml" };
        let output = ground.run(&format!("{file} --json {command} {more}"));
        let document = envelope(&output, &command);
        if without_any {
            assert_eq!(document["exit_code"], 0);
            continue;
        }
        // Callers of these read the exit code, and nothing else may look like an answer.
        output.code(if ["cluster check", "node guard"].contains(&command.as_str()) { 3 } else { 1 });
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains("none.toml\": No such file or directory"), "{command}: {message}");
        assert_eq!(document["issues"][0]["code"], "config_unreadable", "{command}");
    }
}

#[test]
fn every_command_that_needs_the_server_fails_with_a_document() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    for command in ["primary register", "standby register", "cluster event", "node status"] {
        let output = ground.run(&format!("--json {command}"));
        let document = envelope(output.code(6), command);
        // What stopped nothing is there all the same.
        assert_eq!(document["issues"][0]["code"], "config_unrecognized_parameter", "{command}");
        assert_eq!(document["issues"][0]["severity"], "warning");
        assert!(!output.stdout.contains("geheim") && !output.stderr.contains("geheim"), "{output:?}");
    }
}

#[test]
fn quiet_removes_nothing_from_the_document() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    let output = ground.run("-q --json config show");
    let document = envelope(output.code(0), "config show");
    assert_eq!(document["issues"][0]["code"], "config_unrecognized_parameter");
    assert_eq!(output.stderr, "");
}

#[test]
fn a_format_that_a_command_does_not_have() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    assert_data_eq!(
        ground.run("-q config show --csv").visible(),
        str![[r#"
------- stderr -------
ERROR: "config show" has no CSV output
HINT: Use --format json, or no --format at all.
[exit status: 1]

"#]]
    );
    let output = ground.run("standby clone -h 127.0.0.1 -p 1 --csv");
    output.code(1).says("ERROR: \"standby clone\" has no CSV output");
    assert_eq!(output.stdout, "");
}

// ---- configuration --------------------------------------------------------------------------------------------------

#[test]
fn no_configuration() {
    let ground = Ground::new();
    assert_data_eq!(
        ground.run("-f none.toml node status").visible(),
        str![[r#"
------- stderr -------
ERROR: could not open configuration file "[DIR]/none.toml": No such file or directory (os error 2)
DETAIL: It is named by "-f". The file is "[DIR]/none.toml".
[exit status: 1]

"#]]
    );
    assert_data_eq!(
        ground.program("config check").env("PGBATON_CONFIG", "none.toml").run().visible(),
        str![[r#"
------- stderr -------
ERROR: could not open configuration file "[DIR]/none.toml": No such file or directory (os error 2)
DETAIL: It is named by PGBATON_CONFIG. The file is "[DIR]/none.toml".
[exit status: 1]

"#]]
    );
}

#[test]
fn a_configuration_with_many_errors() {
    let text = "node_id = 0\nnode_nmae = \"node1\"\nconninfo = \"host=a hots=b\"\npriority = \"high\"\n";
    let ground = Ground::with("pgbaton.toml", text);
    assert_data_eq!(
        ground.run("config check").visible(),
        str![[r#"
"[DIR]/pgbaton.toml" is invalid
------- stderr -------
ERROR: invalid value for parameter "node_id": "0"
DETAIL: The allowed value is an integer, at least 1. It is in line 1 of "[DIR]/pgbaton.toml".
ERROR: unrecognized configuration parameter "node_nmae"
DETAIL: It is in line 2 of "[DIR]/pgbaton.toml".
HINT: Perhaps you meant "node_name".
ERROR: invalid value for parameter "conninfo": unrecognized connection option "hots"; did you mean "host"?
DETAIL: It is in line 3 of "[DIR]/pgbaton.toml".
ERROR: invalid value for parameter "priority": "high"
DETAIL: The allowed value is an integer, at least 0. It is in line 4 of "[DIR]/pgbaton.toml".
ERROR: parameter "node_name" is missing
DETAIL: Name of the node; also the application_name of its replication connection. The file is "[DIR]/pgbaton.toml".
HINT: Add a line such as: node_name = "node1"
ERROR: parameter "data_directory" is missing
DETAIL: Data directory of this node. The file is "[DIR]/pgbaton.toml".
HINT: Add a line such as: data_directory = "/var/lib/postgresql/17/main"
[exit status: 1]

"#]]
    );
    assert_data_eq!(
        ground.run("node status").visible(),
        str![[r#"
------- stderr -------
ERROR: invalid value for parameter "node_id": "0"
DETAIL: The allowed value is an integer, at least 1. It is in line 1 of "[DIR]/pgbaton.toml".
ERROR: unrecognized configuration parameter "node_nmae"
DETAIL: It is in line 2 of "[DIR]/pgbaton.toml".
HINT: Perhaps you meant "node_name".
ERROR: invalid value for parameter "conninfo": unrecognized connection option "hots"; did you mean "host"?
DETAIL: It is in line 3 of "[DIR]/pgbaton.toml".
ERROR: invalid value for parameter "priority": "high"
DETAIL: The allowed value is an integer, at least 0. It is in line 4 of "[DIR]/pgbaton.toml".
ERROR: parameter "node_name" is missing
DETAIL: Name of the node; also the application_name of its replication connection. The file is "[DIR]/pgbaton.toml".
HINT: Add a line such as: node_name = "node1"
ERROR: parameter "data_directory" is missing
DETAIL: Data directory of this node. The file is "[DIR]/pgbaton.toml".
HINT: Add a line such as: data_directory = "/var/lib/postgresql/17/main"
ERROR: invalid configuration file "[DIR]/pgbaton.toml"
DETAIL: It has 6 errors; each is listed.
[exit status: 1]

"#]]
    );
    let document = envelope(ground.run("config check --json").code(1), "config check");
    assert_eq!(document["error"], Value::Null);
    let codes: Vec<&str> =
        document["issues"].as_array().unwrap().iter().map(|issue| issue["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"config_unrecognized_parameter") && codes.contains(&"config_missing_parameter"));
}

#[test]
fn a_configuration_of_repmgr() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    assert_data_eq!(
        ground.run("config check").visible(),
        str![[r#"
"[DIR]/repmgr.conf" is valid
------- stderr -------
WARNING: unrecognized configuration parameter "frobnicate"
DETAIL: It is ignored, as repmgr ignores it. It is in line 5 of "[DIR]/repmgr.conf".
[exit status: 0]

"#]]
    );
    let output = ground.run("config show");
    assert_data_eq!(output.visible(), file!["../snapshots/config-show.txt"].raw());
    // What it prints is a configuration.
    std::fs::write(ground.path("again.toml"), &output.stdout).unwrap();
    ground.run("-f again.toml config check").code(0);
}

#[test]
fn a_configuration_of_repmgr_is_read_as_it_is() {
    let ground = Ground::new();
    let write = |name: &str, text: &[u8]| std::fs::write(ground.path(name), text).unwrap();
    let good = REPMGR_CONF.replace("frobnicate=1\n", "");
    let latin = [b"# Prim\xe4rserver, f\xfcr Z\xfcrich\n", good.as_bytes()].concat();
    write("latin.conf", &latin);
    write("mark.conf", &[b"\xef\xbb\xbf", good.as_bytes()].concat());
    write("windows.conf", good.replace('\n', "\r\n").as_bytes());
    write("more.conf", b"# \xe4\nlocation=dc1\n");
    write("including.conf", format!("{good}include 'more.conf'\n").as_bytes());
    write("twice.conf", format!("{good}location=a\nlocation=b\n").as_bytes());
    for name in ["latin", "mark", "windows", "including", "twice"] {
        let output = ground.run(&format!("-f {name}.conf config check"));
        assert_eq!(output.stderr, "", "{name}");
        output.code(0);
    }
    let location = |name: &str| {
        let shown = ground.run(&format!("-f {name}.conf config show --json")).json();
        let parameters = shown["data"]["parameters"].as_array().unwrap().clone();
        parameters.into_iter().find(|one| one["name"] == "location").unwrap()["value"].clone()
    };
    assert_eq!((location("including"), location("twice")), ("dc1".into(), "b".into()));
    write("value.conf", &[good.as_bytes(), b"location='Z\xfcrich'\n"].concat());
    let refused = ground.run("-f value.conf config check").code(1).stderr.clone();
    assert!(refused.contains("the value is not UTF-8") && refused.contains("line 5"), "{refused}");
}

/// Sets the mode of a file.
fn chmod(path: &std::path::Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_file_writable_by_others_is_refused_as_configuration() {
    let text = REPMGR_CONF.replace("frobnicate=1\n", "");
    let ground = Ground::with("repmgr.conf", &text);
    let file = ground.path("repmgr.conf");
    chmod(ground.dir.path(), 0o755);
    for (file_mode, directory_mode, found, named) in [
        (0o644, 0o755, true, true),
        (0o664, 0o755, false, true),
        (0o646, 0o755, false, false),
        (0o644, 0o777, false, true),
        (0o644, 0o1777, true, true),
    ] {
        chmod(&file, file_mode);
        chmod(ground.dir.path(), directory_mode);
        for (words, good) in [("config check", found), ("-f repmgr.conf config check", named)] {
            let output = ground.run(words);
            assert_eq!(
                output.status.code(),
                Some(i32::from(!good)),
                "{file_mode:o} {directory_mode:o} {words}"
            );
            assert_eq!(output.stderr.contains("other users could have written it"), !good, "{output:?}");
            // What is typed has to be what helps.
            assert_eq!(output.stderr.contains("chmod"), !good, "{output:?}");
        }
    }
    chmod(ground.dir.path(), 0o755);
    std::fs::remove_file(&file).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o600), 0)
        .unwrap();
    for words in ["config check", "-f repmgr.conf config check", "-f /dev/zero config check"] {
        let output = ground.program(words).spawn().wait(Duration::from_secs(20));
        output.code(1);
        assert!(output.stderr.contains("it is not a regular file"), "{output:?}");
    }
}

#[test]
fn the_fixtures_are_shown_alike() {
    let ground = Ground::new();
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/config");
    let values = |name: &str| {
        let output = ground.run(&format!("-f {fixtures}/{name} config show --json"));
        let document = envelope(output.code(0), "config show");
        let parameters = document["data"]["parameters"].as_array().unwrap().clone();
        parameters.into_iter().map(|one| (one["name"].clone(), one["value"].clone())).collect::<Vec<_>>()
    };
    let ours = values("pgbaton.toml");
    assert!(ours.len() > 60);
    assert_eq!(ours, values("repmgr.conf"));
    envelope(ground.run(&format!("-f {fixtures}/repmgr.conf config check --json")).code(0), "config check");
}

#[test]
fn options_come_before_the_file() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    let document = envelope(&ground.run("-q config show --json -D data"), "config show");
    let parameters = document["data"]["parameters"].as_array().unwrap();
    let found = parameters.iter().find(|one| one["name"] == "data_directory").unwrap();
    assert_eq!(found["value"], ground.path("data").to_str().unwrap());
    assert_eq!(found["source"], "command_line");
}

// ---- streams --------------------------------------------------------------------------------------------------------

#[test]
fn the_log_level_selects_the_messages() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    let stderr = |words: &str| ground.run(words).code(0).stderr.clone();
    let all = stderr("config show");
    assert!(all.starts_with("WARNING: ") && all.contains("\nDETAIL: "), "{all}");
    let terse = stderr("config show -t");
    assert!(
        terse.starts_with("WARNING: ") && !terse.contains("DETAIL") && !terse.contains("HINT"),
        "{terse}"
    );
    assert_eq!(stderr("config show -L WARNING"), all);
    assert_eq!(stderr("config show --log-level=error"), "");
    assert_eq!(stderr("config show --quiet"), "");
    assert_eq!(stderr("config show --verbose"), all);
}

#[test]
fn colour_only_where_it_is_requested() {
    let ground = Ground::with("repmgr.conf", REPMGR_CONF);
    let coloured = |words: &str| ground.run(words).stderr.contains('\x1b');
    assert!(coloured("config show --color always"));
    assert!(!coloured("config show --color never"));
    assert!(!coloured("config show"), "no terminal");
    let output = ground.program("config show --color always").env("NO_COLOR", "1").run();
    assert!(output.stderr.contains('\x1b'), "the option is nearer than the variable");
    assert!(!output.stdout.contains('\x1b'));
}

#[test]
fn messages_go_to_the_log_file() {
    let ground = Ground::new();
    let log = ground.path("pgbaton.log");
    let text = format!("{REPMGR_CONF}log_file='{}'\n", log.display());
    std::fs::write(ground.path("repmgr.conf"), text).unwrap();
    assert_eq!(ground.run("config show --log-to-file").code(0).stderr, "");
    let text = std::fs::read_to_string(&log).unwrap();
    let form = regex::Regex::new(r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] \[WARNING\] ").unwrap();
    assert!(form.is_match(&text), "{text}");
    ground.run("config show").code(0).says("WARNING: ");
}

/// `pgbaton man | head -0`: a reader that closes the pipe is no error.
#[test]
fn a_closed_output_is_not_an_error() {
    let ground = Ground::new();
    for words in [&["man"][..], &["completions", "zsh"], &["--help"], &["--json", "man"]] {
        let mut command = clean_command(env!("CARGO_BIN_EXE_pgbaton").as_ref());
        command.current_dir(ground.dir.path()).args(words);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
    }
    // And so is a standard error without a reader.
    let mut command = clean_command(env!("CARGO_BIN_EXE_pgbaton").as_ref());
    command.current_dir(ground.dir.path()).args(["primary"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}
