//! A channel to pgbaton on another host: numbered requests and answers over any pair of streams.
//!
//! Many requests are on their way at once, each with its own deadline; a request is cancelled there when its caller stops waiting.
//! What leads there is usually a child, ssh or pgbaton itself: it gets a process group of its own, so that a Ctrl-C does not reach it, and
//! is never killed once it has answered. It may be in the middle of something; that the channel has closed it sees by itself.

use std::collections::BTreeMap;
use std::future::Future;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::Pid;
use serde_json::Value;
use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::far_end::checks::ChannelFailure;
use crate::far_end::protocol::{BEAT, Call, Frame, ResponseLine};
use crate::system::command::Command;
use crate::system::process::{self, ChildContext, Group};

/// The longest line that is taken for an answer.
const LONGEST: u64 = 16 * 1024 * 1024;

/// How much of standard error is kept.
const SAID_BYTES: usize = 2000;

/// How long a child that has closed its output may take to end, and its standard error to be read.
const END: Duration = Duration::from_secs(2);

/// A channel that is open, or was.
#[derive(Debug)]
pub struct Channel {
    shared: Arc<Shared>,
    outgoing: mpsc::UnboundedSender<String>,
}

type Waiting = oneshot::Sender<Result<Value, ChannelFailure>>;

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    last_number: u64,
    waiting: BTreeMap<u64, Waiting>,
    /// Why nothing comes any more.
    over: Option<ChannelFailure>,
    /// The end of what the child wrote to standard error.
    said: Vec<u8>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&self.state().said).trim().to_string()
    }

    fn answer(&self, number: u64, reply: Value) {
        if let Some(waiting) = self.state().waiting.remove(&number) {
            let _gone = waiting.send(Ok(reply));
        }
    }

    fn end(&self, why: &ChannelFailure) {
        let mut state = self.state();
        state.over.get_or_insert_with(|| why.clone());
        for (_, waiting) in std::mem::take(&mut state.waiting) {
            let _gone = waiting.send(Err(why.clone()));
        }
    }
}

impl Channel {
    /// Starts what leads to the far end and asks it who it is; returns what it says.
    ///
    /// # Errors
    /// Whatever does not answer within this time is killed.
    pub async fn open(
        command: &Command,
        around: &ChildContext<'_>,
        within: Duration,
    ) -> Result<(Self, Value), ChannelFailure> {
        let not_started = |error: anyhow::Error| ChannelFailure::NotStarted(format!("{error:#}"));
        #[expect(clippy::disallowed_methods, reason = "processes are started in this room")]
        let mut child = tokio::process::Command::new(&command.program);
        child.args(&command.args).process_group(0);
        child.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        process::set_environment(&mut child, command, around).map_err(not_started)?;
        let program = &command.program;
        let mut child = child
            .spawn()
            .map_err(|error| ChannelFailure::NotStarted(format!("could not start \"{program}\": {error}")))?;
        // Until it has answered it is a process that may hang forever; dropped on every way out but the good one.
        let mut group = Group::of(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)));
        let (Some(stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(ChannelFailure::NotStarted(format!("\"{program}\" has no pipes")));
        };
        let shared = Arc::new(Shared::default());
        let listening = tokio::spawn(keep_the_end(stderr, Arc::clone(&shared)));
        let ending = {
            let shared = Arc::clone(&shared);
            async move {
                let status = timeout(END, child.wait()).await;
                let _ = timeout(END, listening).await;
                let status = status.ok().and_then(Result::ok).and_then(|status| status.code());
                ChannelFailure::Ended { status, said: shared.said() }
            }
        };
        let channel = Self::with(shared, stdout, stdin, ending);
        let hello = channel.call(&Call::Hello, within).await?;
        group.disarm();
        Ok((channel, hello))
    }

    /// A channel that has ended: it takes the place of one that is closed on purpose.
    pub fn closed() -> Self {
        let shared = Arc::new(Shared::default());
        shared.end(&ChannelFailure::Ended { status: None, said: String::new() });
        let (outgoing, _) = mpsc::unbounded_channel();
        Self { shared, outgoing }
    }

    /// Makes a channel of two streams.
    pub fn over(
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
    ) -> Self {
        let ended = std::future::ready(ChannelFailure::Ended { status: None, said: String::new() });
        Self::with(Arc::default(), reader, writer, ended)
    }

    fn with(
        shared: Arc<Shared>,
        reader: impl AsyncRead + Unpin + Send + 'static,
        writer: impl AsyncWrite + Unpin + Send + 'static,
        ending: impl Future<Output = ChannelFailure> + Send + 'static,
    ) -> Self {
        let (outgoing, lines) = mpsc::unbounded_channel();
        tokio::spawn(write(writer, lines));
        tokio::spawn(read(reader, Arc::clone(&shared), ending));
        Self { shared, outgoing }
    }

    /// Asks, and waits for the answer. Dropping the future cancels the request there.
    ///
    /// # Errors
    /// Fails if the channel is closed or closes, or if the answer does not come in time; in the last case the channel stays open.
    pub async fn call(&self, call: &Call, within: Duration) -> Result<Value, ChannelFailure> {
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut state = self.shared.state();
            if let Some(why) = &state.over {
                return Err(why.clone());
            }
            state.last_number += 1;
            let number = state.last_number;
            state.waiting.insert(number, sender);
            number
        };
        let _cancelled_if_dropped = PendingRequest { channel: self, number };
        self.send(&Frame::Call { number, call: call.clone() });
        match timeout(within, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(ChannelFailure::Ended { status: None, said: self.shared.said() }),
            Err(_) => Err(ChannelFailure::Silent { seconds: within.as_secs(), said: self.shared.said() }),
        }
    }

    /// Says whether nothing comes any more.
    pub fn is_over(&self) -> bool {
        self.shared.state().over.is_some()
    }

    fn send(&self, frame: &Frame) {
        // A frame serialises without fail; and if the writer is gone, the reader has noticed it.
        let Ok(mut line) = serde_json::to_string(frame) else { return };
        line.push('\n');
        let _gone = self.outgoing.send(line);
    }
}

/// A request whose answer is waited for.
struct PendingRequest<'a> {
    channel: &'a Channel,
    number: u64,
}

impl Drop for PendingRequest<'_> {
    fn drop(&mut self) {
        let unanswered = self.channel.shared.state().waiting.remove(&self.number).is_some();
        if unanswered {
            self.channel.send(&Frame::Cancel { number: self.number });
        }
    }
}

/// Writes lines, and a sign of life where there are none. Ends, and so closes the stream, when the channel is dropped.
async fn write(mut writer: impl AsyncWrite + Unpin, mut lines: mpsc::UnboundedReceiver<String>) {
    let beat = serde_json::to_string(&Frame::Beat).unwrap_or_default() + "\n";
    loop {
        let line = match timeout(BEAT, lines.recv()).await {
            Ok(Some(line)) => line,
            // A socket has two directions, and only this one ends.
            Ok(None) => {
                let _gone = writer.shutdown().await;
                return;
            }
            Err(_) => beat.clone(),
        };
        if writer.write_all(line.as_bytes()).await.is_err() || writer.flush().await.is_err() {
            return;
        }
    }
}

/// Hands answers to those who wait for them, until the stream ends or says something else.
async fn read(
    reader: impl AsyncRead + Unpin,
    shared: Arc<Shared>,
    ending: impl Future<Output = ChannelFailure>,
) {
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = (&mut reader).take(LONGEST).read_until(b'\n', &mut line).await;
        let whole = matches!(read, Ok(1..)) && line.ends_with(b"\n");
        let text = String::from_utf8_lossy(&line);
        match serde_json::from_str(&text) {
            Ok(ResponseLine { number, reply }) => shared.answer(number, reply),
            Err(_) if whole && text.trim().is_empty() => {}
            Err(_) if whole => {
                let line = text.trim().chars().take(200).collect();
                shared.end(&ChannelFailure::Noise { line, said: shared.said() });
                return;
            }
            // The beginning of a line says less than how its writer ended.
            Err(_) => {
                let why = ending.await;
                shared.end(&why);
                return;
            }
        }
    }
}

/// Reads standard error and keeps its end.
async fn keep_the_end(mut stderr: impl AsyncRead + Unpin, shared: Arc<Shared>) {
    let mut buffer = [0; 1024];
    while let Ok(count @ 1..) = stderr.read(&mut buffer).await {
        let said = &mut shared.state().said;
        said.extend_from_slice(buffer.get(..count).unwrap_or_default());
        let excess = said.len().saturating_sub(SAID_BYTES);
        said.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tokio::io::DuplexStream;

    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    fn position(path: &str) -> Call {
        Call::ShutdownPosition { data_directory: PathBuf::from(path) }
    }

    struct Peer {
        lines: BufReader<tokio::io::ReadHalf<DuplexStream>>,
        out: tokio::io::WriteHalf<DuplexStream>,
    }

    impl Peer {
        /// Returns the next line that is no sign of life.
        async fn next(&mut self) -> Frame {
            loop {
                let mut line = String::new();
                self.lines.read_line(&mut line).await.unwrap();
                match serde_json::from_str(&line).unwrap() {
                    Frame::Beat => {}
                    frame => return frame,
                }
            }
        }

        /// Returns the number and the path of the next request.
        async fn asked(&mut self) -> (u64, String) {
            match self.next().await {
                Frame::Call { number, call: Call::ShutdownPosition { data_directory } } => {
                    (number, data_directory.display().to_string())
                }
                other => panic!("{other:?}"),
            }
        }

        async fn say(&mut self, text: &str) {
            self.out.write_all(text.as_bytes()).await.unwrap();
        }
    }

    fn pair() -> (Channel, Peer) {
        let (near, far) = tokio::io::duplex(1024);
        let (reader, writer) = tokio::io::split(near);
        let (lines, out) = tokio::io::split(far);
        (Channel::over(reader, writer), Peer { lines: BufReader::new(lines), out })
    }

    #[tokio::test]
    async fn answers_find_their_requests_in_any_order() {
        let (channel, mut peer) = pair();
        let (a, b) = (position("a"), position("b"));
        let (first, second, ()) = tokio::join!(channel.call(&a, SOON), channel.call(&b, SOON), async {
            let one = peer.asked().await;
            let two = peer.asked().await;
            let answer = |(number, path)| format!("{{\"number\":{number},\"reply\":\"for {path}\"}}\n");
            peer.say(&answer(two)).await;
            peer.say("{\"number\":77,\"reply\":\"not asked for\"}\n\n").await;
            peer.say(&answer(one)).await;
        });
        assert_eq!((first.unwrap(), second.unwrap()), (Value::from("for a"), Value::from("for b")));
    }

    #[tokio::test]
    async fn a_caller_that_stops_waiting_has_the_request_cancelled() {
        let (channel, mut peer) = pair();
        let call = position("a");
        let dropped = channel.call(&call, SOON);
        let number =
            tokio::select! { _ = dropped => panic!("no answer"), (number, _) = peer.asked() => number };
        assert!(matches!(peer.next().await, Frame::Cancel { number: cancelled } if cancelled == number));

        let late = channel.call(&call, Duration::ZERO).await.unwrap_err();
        assert_eq!(late, ChannelFailure::Silent { seconds: 0, said: String::new() });
        let (number, _) = peer.asked().await;
        assert!(matches!(peer.next().await, Frame::Cancel { number: cancelled } if cancelled == number));
        // The late answer is dropped; the next one is not.
        peer.say(&format!("{{\"number\":{number},\"reply\":1}}\n")).await;
        let (answer, ()) = tokio::join!(channel.call(&call, SOON), async {
            let (number, _) = peer.asked().await;
            peer.say(&format!("{{\"number\":{number},\"reply\":2}}\n")).await;
        });
        assert_eq!(answer.unwrap(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_coordinator_with_nothing_to_say_gives_a_sign_of_life() {
        let (_channel, mut peer) = pair();
        for _ in 0..3 {
            let mut line = String::new();
            timeout(BEAT * 2, peer.lines.read_line(&mut line)).await.unwrap().unwrap();
            assert!(matches!(serde_json::from_str(&line).unwrap(), Frame::Beat), "{line}");
        }
    }

    #[tokio::test]
    async fn noise_and_the_end_fail_all_waiting_and_all_later_requests() {
        for (said, expected) in [
            (
                Some("Welcome to db1!\n"),
                ChannelFailure::Noise { line: "Welcome to db1!".into(), said: String::new() },
            ),
            (None, ChannelFailure::Ended { status: None, said: String::new() }),
        ] {
            let (channel, mut peer) = pair();
            let call = position("a");
            let (one, two, ()) = tokio::join!(channel.call(&call, SOON), channel.call(&call, SOON), async {
                peer.asked().await;
                match said {
                    Some(text) => peer.say(text).await,
                    None => peer.out.shutdown().await.unwrap(),
                }
            });
            assert_eq!((one.unwrap_err(), two.unwrap_err()), (expected.clone(), expected.clone()));
            assert_eq!(channel.call(&call, SOON).await.unwrap_err(), expected);
        }
    }

    #[tokio::test]
    async fn a_dropped_channel_closes_the_stream() {
        let (channel, mut peer) = pair();
        drop(channel);
        let mut rest = String::new();
        timeout(SOON, peer.lines.read_to_string(&mut rest)).await.unwrap().unwrap();
        assert_eq!(rest, "");
    }

    #[tokio::test]
    async fn a_child_is_judged_by_its_end_or_its_silence() {
        let around = ChildContext::default();
        let open = async |script: &str, within| {
            let command = Command::new("/bin/sh", ["-c", script]);
            Channel::open(&command, &around, within).await.unwrap_err()
        };
        let ended = open("echo 'no key' >&2; exit 255", SOON).await;
        assert_eq!(ended, ChannelFailure::Ended { status: Some(255), said: "no key".into() });
        let noise = open("echo; echo Welcome; sleep 60", SOON).await;
        assert_eq!(noise, ChannelFailure::Noise { line: "Welcome".into(), said: String::new() });
        let half = open("printf half; exit 3", SOON).await;
        assert_eq!(half, ChannelFailure::Ended { status: Some(3), said: String::new() });
        let nothing = Channel::open(&Command::new("/nowhere/x", ["a"]), &around, SOON).await.unwrap_err();
        assert!(
            matches!(&nothing, ChannelFailure::NotStarted(why) if why.contains("/nowhere/x")),
            "{nothing:?}"
        );

        // What hangs is killed with all that it has started.
        let directory = tempfile::tempdir().unwrap();
        let pid = directory.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let silent = open(&script, Duration::from_millis(500)).await;
        assert_eq!(silent, ChannelFailure::Silent { seconds: 0, said: String::new() });
        let pid = crate::system::files::text(pid).unwrap();
        let stat = || crate::system::files::text(format!("/proc/{}/stat", pid.trim()));
        while stat().is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
