//! Connections by the thousand, and what the system lets a process open.

#![cfg(target_os = "linux")] // where all of 127.0.0.0/8 is this machine
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod common;

use std::fs::File;
use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{Desk, Serving, plain};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// `scumble serve`, where a shell has set these limits of open files before.
fn serve(desk: &Desk, limits: &str, settings: &str) -> Serving {
    desk.write("scumble.toml", settings);
    let serve = desk.command(&["serve", "--listen", "127.0.0.1:0", "--data-dir", "data", "--config", "scumble.toml"]);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("{limits}; exec \"$0\" \"$@\"")]).arg(serve.get_program()).args(serve.get_args());
    command.current_dir(serve.get_current_dir().unwrap()).env_clear().env("HOME", desk.path(""));
    command.env("NO_COLOR", "1").stderr(File::create(desk.path("log")).unwrap());
    Serving::start(command)
}

async fn connect(server: &Serving, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(from.parse().unwrap(), 0)).unwrap();
    socket.connect(server.address).await.unwrap()
}

/// The soft limit of open files of a server's process.
fn open_files(server: &Serving) -> usize {
    let limits = server.proc("limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[tokio::test]
async fn thousands_of_half_heads_from_one_address_leave_health_to_others() {
    const HALVES: usize = 4200;
    let desk = Desk::new();
    let server = serve(&desk, "ulimit -S -n 1024", "");
    assert!(open_files(&server) >= 4096, "it has asked for more than it was given");
    let limit = getrlimit(Resource::Nofile);
    let needed = HALVES as u64 + 200;
    assert!(limit.maximum.is_none_or(|most| most >= needed), "this test opens {HALVES} connections");
    if limit.current.is_some_and(|now| now < needed) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(needed), maximum: limit.maximum }).unwrap();
    }
    let mut held = Vec::new();
    for _ in 0..HALVES {
        let mut stream = connect(&server, "127.0.0.2").await;
        // the server closes those that are too many
        let _ = stream.write_all(b"POST /run/scumble/starter HTTP/1.1\r\nx-a: ").await;
        held.push(stream);
    }
    for path in ["/health", "/ready"] {
        let began = Instant::now();
        let answer = plain().get(server.url(path)).timeout(Duration::from_secs(4)).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert!(began.elapsed() < Duration::from_secs(1), "{path} took {:?}", began.elapsed());
    }
    let call = plain().post(server.url("/run/scumble/starter")).json(&common::star()).send().await.unwrap();
    assert_eq!(call.status(), 200, "and all others are served");
}

#[tokio::test]
async fn with_few_files_fewer_connections_are_taken_and_the_rest_goes_on() {
    let desk = Desk::new();
    let server = serve(&desk, "ulimit -n 200", "[limits]\nconnections = 1000\n");
    let log = std::fs::read_to_string(desk.path("log")).unwrap();
    assert!(log.contains("may open 200 files, so it takes 100 connections at once and not 1000"), "{log}");
    let mut held = Vec::new();
    for n in 0..150 {
        let mut stream = connect(&server, &format!("127.0.2.{}", n % 10 + 1)).await;
        let _ = stream.write_all(b"POST /run/scumble/starter HTTP/1.1\r\nx-a: ").await;
        held.push(stream);
    }
    drop(held.split_off(100));
    // those that are left hold no file that a picture needs
    let drawn = async {
        loop {
            let call = plain().post(server.url("/run/scumble/starter")).json(&common::star()).send().await.unwrap();
            match call.status().as_u16() {
                200 => return,
                status => assert_eq!(status, 503),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), drawn).await.expect("a picture");
}
