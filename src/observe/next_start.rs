//! What the next start of the local server will find: its configuration files and the options of its last start.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::postgresql::{self, Line};
use crate::facts::settings::{self, NextStart, PlacedSetting, SettingPlace, Settings};
use crate::system::files;

/// The file that overrides the others.
const AUTO_CONF: &str = "postgresql.auto.conf";

/// Looks at the files of a data directory; `config_directory` is where postgresql.conf is, if not there.
pub(crate) fn inspect_next_start(data: &Path, config_directory: Option<&Path>) -> NextStart {
    let mut settings = Settings::default();
    let mut own = Vec::new();
    let take = |path: &Path, settings: &mut Settings| {
        let (lines, wrong) = postgresql::read(path);
        if let Err(why) = wrong {
            settings.unread.get_or_insert(why);
        }
        for Line { name, value, path, line } in &lines {
            let place = SettingPlace::File { path: path.display().to_string(), line: Some(*line) };
            settings.add(PlacedSetting::new(name, value, place));
        }
        lines
    };
    let main = config_directory.unwrap_or(data).join("postgresql.conf");
    if !main.exists() {
        settings.unread = Some(format!("there is no \"{}\"", main.display()));
    }
    take(&main, &mut settings);
    let mut in_auto = Settings::default();
    for line in take(&data.join(AUTO_CONF), &mut settings) {
        in_auto.add(PlacedSetting::new(&line.name, &line.value, SettingPlace::Other(AUTO_CONF.into())));
    }
    for set in in_auto.stops() {
        own.extend(set.value.clone().map(|value| (set.name.clone(), value)));
    }
    for set in settings::options(&last_start_options(data)) {
        settings.add(set);
    }
    NextStart {
        settings,
        own,
        file_mode: file_mode(data),
        recovery_signal: data.join("recovery.signal").exists(),
    }
}

/// Returns the options of the last start.
fn last_start_options(data: &Path) -> Vec<String> {
    let text = files::text(data.join("postmaster.opts")).unwrap_or_default();
    shell_words::split(text.trim()).unwrap_or_default().into_iter().skip(1).collect()
}

/// Returns the mode of files in a data directory: where the group may enter it, it may read them, as PostgreSQL has it.
pub(crate) fn file_mode(data: &Path) -> u32 {
    let mode = std::fs::metadata(data).map_or(0o700, |about| about.permissions().mode());
    if mode & 0o050 == 0o050 { 0o640 } else { 0o600 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_place_counts_and_what_stands_in_the_servers_own_file_is_remembered() {
        let place = tempfile::tempdir().unwrap();
        files::make_directory(place.path(), 0o700).unwrap();
        let write = |name: &str, text: &str| {
            files::write(&place.path().join(name), text.as_bytes(), 0o600).unwrap();
        };
        write(
            "postgresql.conf",
            "recovery_target_name = 'a'\nmax_connections = 20\nrecovery_target = 'immediate'\n",
        );
        write(AUTO_CONF, "recovery_target_name = 'b'\nrecovery_target = ''\nmax_connections = '30'\n");
        write("postmaster.opts", "/bin/postgres \"-D\" \"/data\" \"-c\" \"max_connections=40\"\n");
        let found = inspect_next_start(place.path(), None);
        assert_eq!(found.settings.clearable(), ["recovery_target_name"]);
        assert_eq!(found.settings.number("max_connections", 100), Some(40));
        assert_eq!(found.own, [("recovery_target_name".to_string(), "b".to_string())]);
        assert_eq!(found.file_mode, 0o600);
        assert!(!found.recovery_signal && found.settings.unread.is_none());
        files::make_directory(place.path(), 0o750).unwrap();
        assert_eq!(inspect_next_start(place.path(), None).file_mode, 0o640);
    }
}
