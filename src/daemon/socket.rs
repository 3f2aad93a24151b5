//! The daemon's socket in its runtime directory: what the start guard and commands on this host ask it. One line there, one line back.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::lease::Told;
use crate::observe::local_daemon::{ANSWERS, MAY_START, PATIENCE, SOCKET, WHO};

/// Listens, for this user only.
///
/// # Errors
/// Those of the system.
pub fn listen(runtime: &Path) -> io::Result<UnixListener> {
    let path = runtime.join(SOCKET);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Answers, for ever.
pub async fn serve(listener: UnixListener, told: mpsc::UnboundedSender<Told>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PATIENCE).await;
            continue;
        };
        let told = told.clone();
        tokio::spawn(async move { timeout(2 * PATIENCE, answer(stream, told)).await });
    }
}

async fn answer(stream: UnixStream, told: mpsc::UnboundedSender<Told>) -> Option<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    BufReader::new(read).read_line(&mut line).await.ok()?;
    let word = match line.trim_end() {
        WHO => std::process::id().to_string(),
        MAY_START => {
            let (here, there) = oneshot::channel();
            told.send(Told::MayStart(here)).ok()?;
            let said = there.await.ok()?;
            ANSWERS.iter().find(|(_, answer)| *answer == said)?.0.to_string()
        }
        _ => return None,
    };
    write.write_all(format!("{word}\n").as_bytes()).await.ok()
}
