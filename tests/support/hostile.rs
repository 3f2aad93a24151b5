//! A server that is none: it speaks just enough of the protocol to draw a password out of a client, to keep it waiting, or to fill its
//! memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// What it does after the startup packet.
#[derive(Clone, Copy, Debug)]
pub enum Attack {
    /// Asks for the password as it is.
    Clear,
    /// The same, behind a notice.
    ClearBehindNotice,
    /// Asks for the MD5 hash of the password.
    Md5,
    /// Offers SCRAM, and notes that it was taken.
    Scram,
    /// Asks SCRAM for more work than a life has room for.
    Work,
    /// Says nothing.
    Silent,
    /// Accepts all connections, and sends notices endlessly.
    Flood,
    /// Accepts all connections, and announces a message of 2 GB, and sends it.
    Huge,
}

/// The server, and what it received.
pub struct Hostile {
    /// Its port.
    pub port: u16,
    heard: Arc<Mutex<Vec<String>>>,
}

impl Hostile {
    /// Listens on this address; the port is the system's choice. The thread ends with the test.
    pub fn at(address: &str, attack: Attack) -> Self {
        let listener = TcpListener::bind((address, 0)).unwrap();
        let this = Self { port: listener.local_addr().unwrap().port(), heard: Arc::default() };
        let heard = Arc::clone(&this.heard);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let heard = Arc::clone(&heard);
                std::thread::spawn(move || serve(stream, attack, &heard));
            }
        });
        this
    }

    /// Returns the passwords, or what stands for them, that clients have sent.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

fn message(tag: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap().to_be_bytes();
    [&[tag][..], &length, body].concat()
}

fn notice(length: usize) -> Vec<u8> {
    message(b'N', &[b"SWARNING\0VWARNING\0C01000\0M", vec![b'x'; length].as_slice(), b"\0\0"].concat())
}

fn read(stream: &mut TcpStream, length: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; length];
    stream.read_exact(&mut bytes).ok()?;
    Some(bytes)
}

/// Reads what the client answers: the bytes behind the length.
fn answer(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let header = read(stream, 5)?;
    let length = u32::from_be_bytes(header.get(1..5)?.try_into().ok()?);
    read(stream, usize::try_from(length).ok()?.checked_sub(4)?)
}

fn serve(mut stream: TcpStream, attack: Attack, heard: &Mutex<Vec<String>>) -> Option<()> {
    loop {
        let length = u32::from_be_bytes(read(&mut stream, 4)?.try_into().ok()?);
        let packet = read(&mut stream, usize::try_from(length).ok()?.checked_sub(4)?)?;
        match packet.get(..4)? {
            // SSLRequest and GSSENCRequest.
            [4, 210, 22, 47 | 48] => stream.write_all(b"N").ok()?,
            // CancelRequest.
            [4, 210, 22, 46] => return None,
            _ => break,
        }
    }
    let request = |code: u32, more: &[u8]| message(b'R', &[&code.to_be_bytes()[..], more].concat());
    let opening = match attack {
        Attack::Clear => request(3, b""),
        Attack::ClearBehindNotice => [notice(10), request(3, b"")].concat(),
        Attack::Md5 => request(5, b"abcd"),
        Attack::Scram | Attack::Work => request(10, b"SCRAM-SHA-256\0\0"),
        Attack::Silent => {
            let _gone = stream.read_to_end(&mut Vec::new());
            return None;
        }
        Attack::Flood => {
            stream.write_all(&request(0, b"")).ok()?;
            loop {
                stream.write_all(&notice(20_000)).ok()?;
            }
        }
        Attack::Huge => {
            stream.write_all(&[request(0, b""), vec![b'S', 0x7f, 0xff, 0xff, 0xff]].concat()).ok()?;
            loop {
                stream.write_all(&[b'x'; 100_000]).ok()?;
            }
        }
    };
    stream.write_all(&opening).ok()?;
    let received = answer(&mut stream)?;
    let received = String::from_utf8_lossy(&received).into_owned();
    heard.lock().unwrap().push(received.clone());
    if matches!(attack, Attack::Work) {
        let nonce = received.split("r=").nth(1)?;
        let challenge = format!("r={nonce}more,s=c2FsdHNhbHQ=,i=4000000000");
        stream.write_all(&request(11, challenge.as_bytes())).ok()?;
        heard.lock().unwrap().push(String::from_utf8_lossy(&answer(&mut stream)?).into_owned());
    }
    stream.write_all(&message(b'E', b"SFATAL\0VFATAL\0C28P01\0Mno\0\0")).ok()
}
