//! A TCP proxy that can fail in the ways a network does.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::claims::Port;
use super::wait_for;

/// What the proxy does with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Pass everything on.
    None,
    /// No listener: connections are refused. Those that are open are cut.
    Refuse,
    /// Accept, and say nothing; open connections stay open and go silent. What was sent meanwhile arrives when the
    /// fault ends. (A host that is down drops even the first packet. To a client with a deadline that is the same.)
    BlackHole,
    /// Pass on every piece this much later.
    Delay(Duration),
}

/// A listening port that stands for a server's.
pub struct Proxy {
    /// Its port on 127.0.0.1.
    pub port: u16,
    shared: Arc<Shared>,
    acceptor: Option<JoinHandle<()>>,
    _port: Port,
}

struct Shared {
    target: u16,
    fault: Mutex<Fault>,
    /// Connections of an older generation close themselves.
    generation: AtomicU64,
    listening: AtomicBool,
    ended: AtomicBool,
}

const TICK: Duration = Duration::from_millis(10);

impl Proxy {
    /// Starts a proxy for a port on 127.0.0.1.
    pub fn to(target: u16) -> Self {
        let port = Port::reserve();
        let number = port.number;
        let shared = Arc::new(Shared {
            target,
            fault: Mutex::new(Fault::None),
            generation: AtomicU64::new(0),
            listening: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let acceptor = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept(&shared, number)
        });
        let proxy = Self { port: number, shared, acceptor: Some(acceptor), _port: port };
        proxy.set(Fault::None);
        proxy
    }

    /// Changes what happens to connections, open ones included, and returns when it holds.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap() = fault;
        if fault == Fault::Refuse {
            self.cut();
        }
        wait_for("the proxy to change", super::SOON, || {
            self.shared.listening.load(Ordering::SeqCst) == (fault != Fault::Refuse)
        });
    }

    /// Closes all open connections.
    pub fn cut(&self) {
        self.shared.generation.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::SeqCst);
        self.cut();
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap()
    }

    fn is_current(&self, generation: u64) -> bool {
        self.generation.load(Ordering::SeqCst) == generation && !self.ended.load(Ordering::SeqCst)
    }

    /// Waits while nothing passes. False if the connection is to be closed.
    fn may_pass(&self, generation: u64) -> bool {
        while self.is_current(generation) && self.fault() == Fault::BlackHole {
            std::thread::sleep(TICK);
        }
        self.is_current(generation)
    }
}

fn accept(shared: &Arc<Shared>, port: u16) {
    let mut listener = None;
    while !shared.ended.load(Ordering::SeqCst) {
        if shared.fault() == Fault::Refuse {
            listener = None;
        } else if listener.is_none() {
            let new = TcpListener::bind(("127.0.0.1", port)).unwrap();
            new.set_nonblocking(true).unwrap();
            listener = Some(new);
        }
        shared.listening.store(listener.is_some(), Ordering::SeqCst);
        match listener.as_ref().map(TcpListener::accept) {
            Some(Ok((client, _))) => {
                let shared = Arc::clone(shared);
                let generation = shared.generation.load(Ordering::SeqCst);
                std::thread::spawn(move || connect(&shared, generation, client));
            }
            _ => std::thread::sleep(TICK),
        }
    }
}

fn connect(shared: &Arc<Shared>, generation: u64, client: TcpStream) {
    client.set_nonblocking(false).unwrap();
    if !shared.may_pass(generation) {
        return;
    }
    let Ok(server) = TcpStream::connect(("127.0.0.1", shared.target)) else { return };
    let (from_client, to_client) = (client.try_clone().unwrap(), client);
    let (from_server, to_server) = (server.try_clone().unwrap(), server);
    let there = Arc::clone(shared);
    std::thread::spawn(move || pump(&there, generation, from_client, to_server));
    pump(shared, generation, from_server, to_client);
}

/// Copies one direction until one side closes or the connection is cut.
fn pump(shared: &Shared, generation: u64, mut from: TcpStream, mut to: TcpStream) {
    from.set_read_timeout(Some(TICK)).unwrap();
    let mut buffer = [0; 65536];
    while shared.is_current(generation) {
        let count = match from.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        if let Fault::Delay(delay) = shared.fault() {
            std::thread::sleep(delay);
        }
        // The end of a connection is news too, and does not pass a black hole either.
        if !shared.may_pass(generation) || count == 0 || to.write_all(&buffer[..count]).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
