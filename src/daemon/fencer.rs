//! The link to the fencer: what is wanted goes there, what holds there comes back. It never lets the lease's thread wait.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pgbaton_fencer::protocol::{ANSWER, Answer, Request};
use pgbaton_fencer::run::SOCKET;
use pgbaton_fencer::server::DataDirectory;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::secret::Secrets;
use crate::system::command::Command;
use crate::system::process::{self, ChildContext};

/// How long a fencer may take to answer. It does nothing else.
const PATIENCE: Duration = Duration::from_millis(500);

/// The pause before a fencer that does not answer is started again.
const AGAIN: Duration = Duration::from_millis(100);

/// How often the fencer is asked although nothing has changed, so that one that has died is replaced.
const LOOK: Duration = Duration::from_secs(1);

/// How long a fencer that was started may take to listen.
const STARTS: Duration = Duration::from_secs(2);

/// What the fencer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing is to be fenced; `is_standby`: the server is a standby, and what was fenced is over.
    Nothing {
        /// See above.
        is_standby: bool,
    },
    /// Fence when this has passed (milliseconds of `CLOCK_BOOTTIME`).
    At(u64),
    /// Fence now.
    Now,
}

/// What holds at the fencer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    /// Its last answer; None while it does not answer.
    pub answer: Option<Answer>,
}

impl Held {
    /// Says whether the fencer will fence, and not before `now`.
    pub fn is_armed(&self, now: u64) -> bool {
        self.answer
            .is_some_and(|answer| !answer.has_ended && answer.deadline.is_some_and(|deadline| deadline > now))
    }
}

/// Where the fencer is, and how it is started.
#[derive(Clone, Debug)]
pub struct Place {
    /// The program.
    pub program: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// The runtime directory.
    pub runtime: PathBuf,
}

/// Connects to the fencer of a runtime directory.
async fn connect(runtime: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(runtime.join(SOCKET)).await
}

/// Asks a fencer once.
///
/// # Errors
/// Those of the socket; `TimedOut` for one that does not answer.
pub async fn ask(stream: &mut UnixStream, request: Request) -> io::Result<Answer> {
    let talk = async {
        stream.write_all(&request.bytes()).await?;
        let mut bytes = [0; ANSWER];
        stream.read_exact(&mut bytes).await?;
        Answer::parse(&bytes).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
    };
    timeout(PATIENCE, talk).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Says whether a fencer holds the data directory of this place: one that a unit has started for another one would stop no server of this node.
pub fn is_of(place: &Place, answer: &Answer) -> bool {
    DataDirectory::open(&place.data).is_ok_and(|directory| directory.number() == answer.directory)
}

/// Connects to the fencer, and starts it where none runs. It outlives this process: it has a session of its own.
///
/// # Errors
/// Those of the system; what a fencer that cannot run has said is on standard error.
pub async fn find_or_start(place: &Place) -> io::Result<UnixStream> {
    if let Ok(stream) = connect(&place.runtime).await {
        return Ok(stream);
    }
    let mut command = Command::new(
        place.program.display().to_string(),
        [place.data.display().to_string(), place.runtime.display().to_string()],
    );
    command.log = Some(place.runtime.join("fencer.log"));
    let around = ChildContext { environment: None, secrets: Secrets::new(), inherit_pg: false };
    let begun = process::spawn(&command, &around).map_err(io::Error::other)?;
    let until = tokio::time::Instant::now() + STARTS;
    loop {
        match connect(&place.runtime).await {
            Ok(stream) => return Ok(stream),
            Err(error) if tokio::time::Instant::now() >= until => return Err(error),
            Err(_) => {}
        }
        if let Some(failure) = begun.failure() {
            return Err(io::Error::other(failure));
        }
        sleep(Duration::from_millis(5)).await;
    }
}

/// Keeps what is wanted and what holds at the fencer the same, for ever.
pub async fn keep(place: Place, mut wanted: watch::Receiver<Wanted>, held: watch::Sender<Held>) {
    loop {
        if let Ok(mut stream) = find_or_start(&place).await {
            let _lost = serve(&place, &mut stream, &mut wanted, &held).await;
        }
        held.send_replace(Held::default());
        if wanted.has_changed().is_err() {
            return;
        }
        sleep(AGAIN).await;
    }
}

async fn serve(
    place: &Place,
    stream: &mut UnixStream,
    wanted: &mut watch::Receiver<Wanted>,
    held: &watch::Sender<Held>,
) -> io::Result<()> {
    let mut answer = ask(stream, Request::Status).await?;
    let mut known = None;
    loop {
        if known != Some(answer.directory) {
            // A disk that hangs keeps nothing else waiting.
            let place = place.clone();
            let is_ours = tokio::task::spawn_blocking(move || is_of(&place, &answer)).await;
            if !is_ours.unwrap_or(false) {
                return Err(io::ErrorKind::InvalidData.into());
            }
            known = Some(answer.directory);
        }
        held.send_replace(Held { answer: Some(answer) });
        let now = *wanted.borrow_and_update();
        let request = match now {
            Wanted::Now if !answer.has_ended => Some(Request::Fence),
            Wanted::At(deadline)
                if answer.deadline.is_none_or(|known| known < deadline) && !answer.has_ended =>
            {
                Some(Request::Arm(deadline))
            }
            Wanted::Nothing { is_standby: true } if answer.has_ended => Some(Request::Reset),
            Wanted::Nothing { .. } if answer.deadline.is_some() && !answer.has_ended => Some(Request::Disarm),
            _ => None,
        };
        if let Some(request) = request {
            answer = ask(stream, request).await?;
            held.send_replace(Held { answer: Some(answer) });
        }
        match timeout(LOOK, wanted.changed()).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return Ok(()),
            Err(_) => answer = ask(stream, Request::Status).await?,
        }
    }
}
