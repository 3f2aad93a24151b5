//! What an event does: a row in `repmgr.events`, and the user's hook.

use crate::config::Config;
use crate::context::Context;
use crate::error::Error;
use crate::pg::client::Session;
use crate::plan::parts::events::{EventUpstream, PlannedEvent};
use crate::registry::event;
use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process;
use crate::ui::{Level, Ui};

/// Something that happened, with what a hook may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event<'a> {
    /// The node that it happened to.
    pub node_id: i32,
    /// repmgr's name of it.
    pub event: &'a str,
    /// Whether it went well.
    pub successful: bool,
    /// More about it.
    pub details: String,
    /// The upstream or primary, for `%p`, `%a` and `%c`.
    pub upstream: Option<&'a EventUpstream>,
}

impl<'a> Event<'a> {
    /// A notification of a plan, with success or the reason of the failure.
    pub fn of(notification: &'a PlannedEvent, result: Result<(), &str>) -> Self {
        Self {
            node_id: notification.node_id,
            event: &notification.event,
            successful: result.is_ok(),
            details: result.err().unwrap_or(&notification.details).to_string(),
            upstream: notification.upstream.as_ref(),
        }
    }
}

/// Seconds that a hook may take: it is notified, its result is not used.
const HOOK_S: u64 = 60;

/// Records an event and runs the hook. Neither can fail the command: what happened has happened.
///
/// `primary` is a session to the primary; without one there is no row, and the hook runs all the same, as in repmgr.
pub(super) async fn notify(context: &Context, primary: Option<&Session>, event: &Event<'_>) {
    if let Some(session) = primary {
        record_event(context, session, event).await;
    }
    let Ok(config) = context.config() else { return };
    let Some(command) = hook(config, &context.ui, event) else { return };
    let setting = process::ChildContext {
        environment: Some(&context.environment),
        secrets: Secrets::new(),
        inherit_pg: true,
    };
    if let Some(problem) = run_hook(&command, &setting).await {
        context.ui.message(
            Level::Warning,
            &format!("the notification command for event \"{}\" failed", event.event),
            Some(&crate::error::sentence(&problem)),
            None,
        );
    }
}

/// Returns the command that is to be run for an event; None where none is configured, or it does not want this one.
pub(crate) fn hook(config: &Config, ui: &Ui, event: &Event<'_>) -> Option<Command> {
    let template = match config.command("event_notification_command", &config.event_notification_command) {
        Ok(Some(template)) => template,
        Ok(None) => return None,
        Err(error) => {
            ui.text(Level::Warning, &Error::from(error).text);
            return None;
        }
    };
    let wanted = &config.event_notifications;
    if !wanted.is_empty() && !wanted.iter().any(|name| name == event.event) {
        return None;
    }
    let (id, name, conninfo) = match event.upstream {
        Some(EventUpstream { node_id, node_name, conninfo }) => {
            (node_id.to_string(), node_name.clone(), conninfo.clone())
        }
        None => Default::default(),
    };
    let values = [
        ('n', "NODE_ID", event.node_id.to_string()),
        ('e', "EVENT", event.event.to_string()),
        ('s', "SUCCESS", if event.successful { "1" } else { "0" }.to_string()),
        // As PostgreSQL writes it, which is what repmgr hands on.
        ('t', "TIMESTAMP", jiff::ZonedDateTime::now().strftime("%Y-%m-%d %H:%M:%S%.6f%:::z").to_string()),
        ('d', "DETAILS", event.details.clone()),
        ('p', "UPSTREAM_ID", id),
        ('a', "UPSTREAM_NAME", name),
        ('c', "UPSTREAM_CONNINFO", conninfo),
    ];
    let mut command = Command::new("/bin/sh", ["-c".to_string(), expand(template, variable)]);
    command.env = values.iter().map(|(_, name, value)| (format!("PGBATON_{name}"), value.clone())).collect();
    Some(command)
}

/// Runs a hook; returns what was wrong with it.
pub(crate) async fn run_hook(command: &Command, setting: &process::ChildContext<'_>) -> Option<String> {
    let run = tokio::time::timeout(std::time::Duration::from_secs(HOOK_S), process::run(command, setting));
    match run.await {
        Ok(Ok(finished)) => finished.success().err().map(|error| format!("{error:#}")),
        Ok(Err(error)) => Some(format!("{error:#}")),
        Err(_) => Some(format!("it did not finish within {HOOK_S} seconds and was terminated")),
    }
}

/// Writes the row of an event.
pub(super) async fn record_event(context: &Context, session: &Session, event: &Event<'_>) {
    let row = event::insert(event.node_id, event.event, event.successful, &event.details);
    if let Err(error) = session.transaction(&[row]).await {
        context.ui.message(
            Level::Warning,
            &format!("could not record event \"{}\"", event.event),
            Some(&crate::error::sentence(&error.to_string())),
            None,
        );
    }
}

/// Returns the variable that has the value of a placeholder of repmgr's.
fn variable(placeholder: char) -> Option<&'static str> {
    Some(match placeholder {
        'n' => "NODE_ID",
        'e' => "EVENT",
        's' => "SUCCESS",
        't' => "TIMESTAMP",
        'd' => "DETAILS",
        'p' => "UPSTREAM_ID",
        'a' => "UPSTREAM_NAME",
        'c' => "UPSTREAM_CONNINFO",
        _ => return None,
    })
}

/// Replaces repmgr's placeholders by references to variables, so that the shell never reads a value as code.
///
/// repmgr pastes the values into the line; a node name or a server's message with a quote in it is then executed. Here `%d` becomes a quoted
/// `"${PGBATON_DETAILS}"`, fitted into whatever quotes the user has written around it. What the user hands on to another shell
/// (`sh -c '… %d'`, `ssh host "… %d"`) that shell reads as code; a script does better with the variable.
pub(crate) fn expand(template: &str, variable: impl Fn(char) -> Option<&'static str>) -> String {
    #[derive(Clone, Copy, PartialEq)]
    enum Quotes {
        None,
        Single,
        Double,
    }
    /// What ends a substitution, inside which quotes begin anew.
    #[derive(Clone, Copy, PartialEq)]
    enum Until {
        Parenthesis(u32),
        Backtick,
    }
    let mut quotes = Quotes::None;
    let mut outer: Vec<(Until, Quotes)> = Vec::new();
    let mut out = String::new();
    let mut chars = template.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, quotes) {
            ('\\', Quotes::None | Quotes::Double) => {
                out.push(c);
                out.extend(chars.next());
            }
            ('$', Quotes::None | Quotes::Double) if chars.peek() == Some(&'(') => {
                out.push(c);
                out.extend(chars.next());
                outer.push((Until::Parenthesis(0), quotes));
                quotes = Quotes::None;
            }
            ('(' | ')', Quotes::None) => {
                out.push(c);
                match outer.last_mut() {
                    Some((Until::Parenthesis(depth), _)) if c == '(' => *depth += 1,
                    Some((Until::Parenthesis(depth @ 1..), _)) => *depth -= 1,
                    Some((Until::Parenthesis(0), before)) => {
                        quotes = *before;
                        outer.pop();
                    }
                    _ => {}
                }
            }
            ('`', Quotes::None | Quotes::Double) => {
                out.push(c);
                match outer.last() {
                    Some((Until::Backtick, before)) if quotes == Quotes::None => {
                        quotes = *before;
                        outer.pop();
                    }
                    _ => {
                        outer.push((Until::Backtick, quotes));
                        quotes = Quotes::None;
                    }
                }
            }
            ('\'', Quotes::None) => {
                quotes = Quotes::Single;
                out.push(c);
            }
            ('\'', Quotes::Single) | ('"', Quotes::Double) => {
                quotes = Quotes::None;
                out.push(c);
            }
            ('"', Quotes::None) => {
                quotes = Quotes::Double;
                out.push(c);
            }
            ('%', _) => {
                let Some(variable) = chars.peek().copied().and_then(&variable) else {
                    // "%%" is a percent sign; what is no placeholder stays as it is.
                    out.push('%');
                    out.extend(chars.next().filter(|next| *next != '%'));
                    continue;
                };
                chars.next();
                match quotes {
                    Quotes::Double => out.push_str(&format!("${{PGBATON_{variable}}}")),
                    Quotes::None => out.push_str(&format!("\"${{PGBATON_{variable}}}\"")),
                    Quotes::Single => out.push_str(&format!("'\"${{PGBATON_{variable}}}\"'")),
                }
            }
            (other, _) => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::variable;

    fn expand(template: &str) -> String {
        super::expand(template, variable)
    }

    #[test]
    fn placeholders_become_quoted_variables_in_any_quotes() {
        assert_eq!(
            expand(r#"/opt/notify %n "%e: %d" 'x %s' 100%% \"%t"#),
            r#"/opt/notify "${PGBATON_NODE_ID}" "${PGBATON_EVENT}: ${PGBATON_DETAILS}" 'x '"${PGBATON_SUCCESS}"'' 100% \""${PGBATON_TIMESTAMP}""#
        );
        assert_eq!(expand("date +%Y %"), "date +%Y %");
        let n = "${PGBATON_NODE_ID}";
        for (template, expected) in [
            ("\"$(f \"%n\" '%n' %n)%n\"", format!("\"$(f \"{n}\" ''\"{n}\"'' \"{n}\"){n}\"")),
            ("\"$(f (\"%n\") )\"%n", format!("\"$(f (\"{n}\") )\"\"{n}\"")),
            ("\"`f %n`%n\" '$(%n'", format!("\"`f \"{n}\"`{n}\" '$('\"{n}\"''")),
        ] {
            assert_eq!(expand(template), expected);
        }
    }
}
