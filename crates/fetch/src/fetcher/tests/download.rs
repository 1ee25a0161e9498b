//! Files that come piece by piece.

use crate::{Opened, Pass, Version, Wanted};

use super::*;

fn wanted(url: &str) -> Wanted<'_> {
    Wanted { url, max_bytes: 1000, known: None, pass: None }
}

async fn all(opened: Result<Opened>) -> Result<String> {
    let Opened::File(mut file) = opened? else { return Ok("unchanged".to_owned()) };
    let mut bytes = Vec::new();
    while let Some(piece) = file.next().await? {
        bytes.extend_from_slice(&piece);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[tokio::test]
async fn a_file_comes_in_pieces_and_says_what_it_is() {
    let host = Host::new(INTERNET, |request| {
        if request.contains("\r\nif-none-match: \"one\"\r\n") {
            return say("HTTP/1.1 304 Not Modified\r\netag: \"one\"\r\n\r\n");
        }
        say("HTTP/1.1 200 OK\r\netag: \"one\"\r\ncontent-length: 7\r\n\r\nweights")
    })
    .await;
    let url = format!("http://far.example:{}/a.safetensors", host.port);
    let Ok(Opened::File(file)) = online().open(wanted(&url)).await else { panic!("no file") };
    assert_eq!((file.length, file.version.clone()), (Some(7), Some(Version::Tag("\"one\"".into()))));
    assert_eq!(all(Ok(Opened::File(file))).await.as_deref(), Ok("weights"));
    for (tag, expected) in [("\"one\"", "unchanged"), ("\"two\"", "weights")] {
        let known = Version::Tag(tag.to_owned());
        let again = online().open(Wanted { known: Some(&known), ..wanted(&url) }).await;
        assert_eq!(all(again).await.as_deref(), Ok(expected), "{tag}");
    }
}

#[tokio::test]
async fn what_is_cut_or_too_long_or_no_file_is_an_error() {
    let open = async |reply: Reply| {
        let host = Host::new(INTERNET, move |_| reply.clone()).await;
        all(online().open(wanted(&format!("http://far.example:{}/", host.port))).await).await
    };
    let cut = open(say("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nbroken off")).await;
    assert!(matches!(cut, Err(Error::Protocol { .. })), "{cut:?}");
    let endless = Reply::Flood(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), vec![b'x'; 300]);
    assert_eq!(open(endless).await, Err(Error::TooLarge { max: 1000 }));
    let announced = Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 1001\r\n\r\n".to_vec());
    assert_eq!(open(announced).await, Err(Error::TooLarge { max: 1000 }));
    let silent = open(Reply::Hang(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec())).await;
    assert!(matches!(silent, Err(Error::TooSlow { doing: "to send more of the file", .. })), "{silent:?}");
    // nobody asked for a part, and nobody has a version that could be unchanged
    for status in [206, 304, 401, 404] {
        let refused = open(say(&format!("HTTP/1.1 {status} No\r\ncontent-length: 0\r\n\r\n"))).await;
        assert_eq!(refused, Err(Error::Status { host: "far.example".into(), status }));
    }
}

#[tokio::test]
async fn a_pass_is_for_one_host_alone() {
    let elsewhere = Host::new(INTERNET, |_| ok("weights")).await;
    let port = elsewhere.port;
    let hub = Host::new(INTERNET, move |request| match request.split(' ').nth(1) {
        Some("/away") => to(&format!("http://far.example:{port}/file")),
        Some("/again") => to("/here"),
        _ => ok("weights"),
    })
    .await;
    let own = format!("http://far.example:{}", hub.port);
    let pass = Pass::bearer(&own, "s3cret").expect("a pass");
    assert!(!format!("{pass:?}").contains("s3cret"));
    for path in ["/here", "/again", "/away"] {
        let url = format!("{own}{path}");
        let opened = online().open(Wanted { pass: Some(&pass), ..wanted(&url) }).await;
        assert_eq!(all(opened).await.as_deref(), Ok("weights"), "{path}");
    }
    assert_eq!(hub.heard().len(), 4);
    assert!(hub.heard().iter().all(|request| request.contains("\r\nauthorization: Bearer s3cret\r\n")));
    assert_eq!(elsewhere.heard().len(), 1);
    assert!(!elsewhere.heard()[0].contains("s3cret"), "{}", elsewhere.heard()[0]);
    assert!(Pass::bearer(&own, "two\nlines").is_err() && Pass::bearer("nowhere", "s3cret").is_err());
}
