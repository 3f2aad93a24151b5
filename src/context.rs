//! What every command needs, built once in `start` and handed down: this node ([`Site`]), the command line, the streams and the look of the
//! answer.

use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;

use futures_util::future::LocalBoxFuture;

use crate::cli::{Global, Noun};
use crate::error::{Issue, Result};
use crate::output::{Report, Style};
pub use crate::site::not_connected;
use crate::site::{Messages, Options, Site};
use crate::system::environment::Environment;
use crate::ui::{Level, Ui};
use crate::verb::{OptionGroup, Verb};

/// How a command is carried out. In a value, because what resumes operations stands below the commands.
pub type Dispatch = for<'a> fn(&'a Context, &'a Noun) -> LocalBoxFuture<'a, Result<Report>>;

/// What every command needs. It is a [`Site`] for everything that only has to find something out.
#[derive(Debug)]
pub struct Context {
    /// This node.
    pub site: Site,
    /// The options of every command that were typed, as they are called in messages. Their values are in the site.
    given: Vec<(OptionGroup, &'static str)>,
    /// The words that the program was called with, passwords taken out.
    pub command_line: Vec<String>,
    /// The streams.
    pub ui: Rc<Ui>,
    /// How the answer looks.
    pub style: Style,
    /// Carries a command line out, for an operation that begins anew.
    pub dispatch: Dispatch,
}

impl Context {
    /// Puts together what is known before a command starts.
    pub fn new(
        global: Global,
        verb: Verb,
        command_line: Vec<String>,
        environment: Environment,
        ui: Ui,
        style: Style,
        dispatch: Dispatch,
    ) -> Self {
        let ui = Rc::new(ui);
        let given = OptionGroup::ALL
            .into_iter()
            .filter_map(|option| Some((option, option.given(&global)?)))
            .collect();
        let options = options(global, verb == Verb::FarEnd);
        Self {
            site: Site::new(options, verb, environment, Rc::<Ui>::clone(&ui)),
            given,
            command_line,
            ui,
            style,
            dispatch,
        }
    }

    /// Returns the name of the first of these options that was typed.
    pub fn given(&self, option: OptionGroup) -> Option<&'static str> {
        self.given.iter().find(|(given, _)| *given == option).map(|(_, name)| *name)
    }
}

impl Deref for Context {
    type Target = Site;

    fn deref(&self) -> &Site {
        &self.site
    }
}

/// Returns what the options ask of this node. The command that opens a far end has the name of its file from the metadata.
fn options(global: Global, is_far_end: bool) -> Options {
    Options {
        config_file: global.config_file,
        is_file_of_metadata: is_far_end,
        pgdata: global.pgdata,
        pg_bindir: global.pg_bindir,
        host: global.host,
        port: global.port,
        username: global.username,
        dbname: global.dbname,
        superuser: global.superuser,
        node_id: global.node_id,
        node_name: global.node_name,
        force: global.force,
        accept_data_loss: global.accept_data_loss,
        yes: global.yes,
        dry_run: global.dry_run,
        log_to_file: global.log_to_file,
        timeout: global.timeout,
    }
}

impl Messages for Ui {
    fn debug(&self, primary: &str) {
        self.say(Level::Debug, primary);
    }

    fn notice(&self, primary: &str, detail: Option<&str>, hint: Option<&str>) {
        self.message(Level::Notice, primary, detail, hint);
    }

    fn warning(&self, primary: &str, detail: Option<&str>, hint: Option<&str>) {
        self.message(Level::Warning, primary, detail, hint);
    }

    fn issue(&self, issue: &Issue) {
        Self::issue(self, issue);
    }

    fn log_to(&self, path: &Path) -> anyhow::Result<()> {
        Self::log_to(self, path)
    }
}
