//! How answers look. A command returns a [`Report`]; what becomes of it on standard output is decided here, once.

pub mod check;
pub mod client_string;
pub mod cluster;
pub mod diff;
pub mod event;
pub mod matrix;
pub mod node;
pub mod operation;
pub mod plan;
pub mod prepare;
pub mod service;
pub mod table;
pub mod visible;

use serde::Serialize;
use serde_json::{Value, json};

use crate::assess::cluster::ClusterReport;
use crate::config::ConfigCheck;
use crate::config::show::Shown;
use crate::error::{Error, Exit, Issue};
use crate::facts::matrix::Matrix;
use crate::output::check::CheckReport;
use crate::output::client_string::ClientString;
use crate::output::node::{NodeStatus, ServiceAction};
use crate::output::operation::OperationView;
use crate::plan::Plan;
use crate::registry::Event;

/// The layout of the JSON documents.
const FORMAT: u32 = 1;

/// What a command that did not fail has to say.
#[derive(Debug)]
pub struct Report {
    /// The exit code.
    pub exit: Exit,
    /// Whether anything was changed.
    pub changed: bool,
    /// The answer.
    pub data: Data,
    /// What is wrong.
    pub issues: Vec<Issue>,
}

/// The answers there are.
#[derive(Debug)]
pub enum Data {
    /// `cluster show`.
    Cluster(Box<ClusterReport>),
    /// `node check` and `cluster check`.
    Checks(Box<CheckReport>),
    /// `cluster matrix` and `cluster crosscheck`.
    Matrix(Box<Matrix>),
    /// `cluster uri`.
    ClientString(Box<ClientString>),
    /// `cluster event`.
    Events(Vec<Event>),
    /// `node status`.
    NodeStatus(Box<NodeStatus>),
    /// `service status`.
    Service(Box<service::ServiceReport>),
    /// `node service --list-actions`.
    ServiceActions(Vec<ServiceAction>),
    /// A dry run.
    Plan(Box<Plan>),
    /// `node prepare`, without doing it.
    Preparation(Box<prepare::Preparation>),
    /// A mutating command that was carried out; its facts for scripts.
    Done(Value),
    /// `operation list`.
    Operations(Vec<OperationView>),
    /// `operation show`.
    Operation(Box<OperationView>),
    /// `config show`.
    ConfigShown(Box<Shown>),
    /// `config check`.
    ConfigChecked(Box<ConfigCheck>),
    /// A text that is the same in every format: a completion script, a manual page.
    Text(String),
    /// It is on the screen already.
    Nothing,
}

/// What decides how an answer looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Style {
    /// The format.
    pub format: Format,
    /// Narrower tables.
    pub compact: bool,
    /// More to read.
    pub verbose: bool,
}

/// The formats there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Table,
    /// One document.
    Json,
    /// As repmgr prints it.
    Csv,
}

impl Report {
    /// A report of a command that found what it looked for.
    pub fn new(data: Data) -> Self {
        Self { exit: Exit::Done, changed: false, data, issues: Vec::new() }
    }
}

/// Returns what goes to standard output.
///
/// # Errors
/// Exit code 1 where the command has no such format.
pub fn render(command: &str, report: &Report, style: Style) -> Result<String, Error> {
    if style.format == Format::Json {
        let data = match &report.data {
            Data::Cluster(cluster) => to_value(cluster),
            Data::Checks(checks) => to_value(checks),
            Data::Matrix(matrix) => to_value(matrix),
            Data::ClientString(string) => to_value(string),
            Data::Events(events) => json!({ "events": to_value(events) }),
            Data::NodeStatus(status) => to_value(status),
            Data::Service(report) => to_value(report),
            Data::ServiceActions(actions) => json!({ "actions": to_value(actions) }),
            Data::Plan(plan) => json!({ "plan": plan::json(plan) }),
            Data::Preparation(preparation) => prepare::json(preparation),
            Data::Done(value) => value.clone(),
            Data::Operations(list) => json!({ "operations": to_value(list) }),
            Data::Operation(one) => to_value(one),
            Data::ConfigShown(shown) => to_value(shown),
            Data::ConfigChecked(checked) => to_value(checked),
            Data::Text(text) => json!({ "text": text }),
            Data::Nothing => return Ok(String::new()),
        };
        return Ok(document(command, report.exit, report.changed, &data, &report.issues, None));
    }
    let csv = style.format == Format::Csv;
    Ok(match &report.data {
        Data::Cluster(cluster) if csv => cluster::csv(cluster),
        Data::Cluster(cluster) => cluster::table(cluster, style.compact),
        Data::Checks(checks) if csv => check::csv(checks),
        Data::Checks(checks) => check::text(checks),
        Data::Matrix(matrix) if csv => matrix::csv(matrix),
        Data::Matrix(matrix) => matrix::table(matrix),
        Data::Events(events) if csv => event::csv(events),
        Data::Events(events) => event::table(events, style.compact),
        Data::NodeStatus(status) if csv => node::csv(status),
        Data::NodeStatus(status) => node::text(status, style.verbose),
        Data::Service(report) if csv => service::csv(report),
        Data::Service(report) => service::table(report, style.compact),
        _ if csv => {
            return Err(no_csv(command));
        }
        Data::ClientString(string) => format!("{}\n", string.connection_string),
        Data::ServiceActions(actions) => node::actions(actions),
        Data::Plan(plan) => plan::text(plan),
        Data::Preparation(preparation) => prepare::text(preparation),
        Data::Done(_) | Data::Nothing => String::new(),
        Data::Operations(list) => operation::table(list),
        Data::Operation(one) => operation::text(one),
        Data::ConfigShown(shown) => shown.to_toml(),
        Data::ConfigChecked(checked) => config_checked(checked),
        Data::Text(text) => text.clone(),
    })
}

/// The error of a command that has no such output.
pub fn no_csv(command: &str) -> Error {
    Error::failed(format!("\"{command}\" has no CSV output"))
        .hint("Use --format json, or no --format at all.")
}

/// What is wrong goes to standard error with all other warnings; the answer is whether anything is.
fn config_checked(checked: &ConfigCheck) -> String {
    match checked.config {
        Some(_) => format!("\"{}\" is valid\n", checked.file.display()),
        None => format!("\"{}\" is invalid\n", checked.file.display()),
    }
}

/// Returns the JSON document of a command that failed.
pub fn render_error(command: &str, error: &Error) -> String {
    let failure = json!({ "message": error.message, "detail": error.detail, "hint": error.hint });
    let data = if error.data.is_null() { json!({}) } else { error.data.clone() };
    document(command, error.exit, error.changed, &data, &error.issues, Some(&failure))
}

fn document(
    command: &str,
    exit: Exit,
    changed: bool,
    data: &Value,
    issues: &[Issue],
    error: Option<&Value>,
) -> String {
    let document = json!({
        "pgbaton": env!("CARGO_PKG_VERSION"),
        "format": FORMAT,
        "command": command,
        "exit_code": exit.code(),
        "ok": exit == Exit::Done,
        "changed": changed,
        "data": data,
        "issues": to_value(issues),
        "error": error,
    });
    format!("{}\n", visible::json(&document.to_string()))
}

/// Every type that is handed in here serialises without fail: no maps with keys that are no strings.
fn to_value(value: &(impl Serialize + ?Sized)) -> Value {
    serde_json::to_value(value).unwrap_or(Value::Null)
}
