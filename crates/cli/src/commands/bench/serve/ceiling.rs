//! What the generator reaches when the server costs nothing: if a measured rate comes near this one, the generator was
//! measured and not the server.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use crate::commands::bench::serve::load::{self, Load, Tally};
use crate::commands::bench::serve::shape::{Call, Shape};
use crate::http::Place;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// Drives threads that answer every request with the same bytes, unread.
pub(crate) fn measure(like: &Load) -> std::io::Result<Tally> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let place = Place::at(listener.local_addr()?);
    let load = Load { place, shape: Shape::PlainDirect, call: Call::Direct, seconds: 1.0, ..like.clone() };
    let length = load.shape.direct(&load.place, &load.endpoint).len();
    let accepting = load.connections;
    std::thread::spawn(move || {
        for stream in listener.incoming().take(accepting).flatten() {
            std::thread::spawn(move || answer(stream, length));
        }
    });
    load::run(&load)
}

/// All requests are alike, so counting their bytes is enough.
fn answer(mut stream: TcpStream, length: usize) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut request = vec![0; length];
    loop {
        stream.read_exact(&mut request)?;
        stream.write_all(ANSWER)?;
    }
}
