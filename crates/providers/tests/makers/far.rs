//! A far end that does what a test says, and remembers what it heard.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What came in.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) method: String,
    pub(crate) path: String,
    /// In lower case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

/// What goes out.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// Status, further headers, body.
    Answer(u16, Vec<(&'static str, String)>, Vec<u8>),
    /// As an answer, but it ends after so many bytes of its body.
    Cut(u16, &'static str, Vec<u8>, usize),
    /// The head of an answer, and then silence.
    Silence,
    /// The connection is closed without a word.
    Gone,
}

pub(crate) struct Far {
    pub(crate) url: String,
    heard: Arc<Mutex<Vec<Heard>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Far {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Far {
    /// Answers with what `say` makes of a request and the number of requests for the same path before it.
    pub(crate) async fn new(say: impl Fn(&Heard, usize) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, say) = (Arc::<Mutex<Vec<Heard>>>::default(), Arc::new(say));
        let hears = heard.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (hears, say) = (hears.clone(), say.clone());
                tokio::spawn(async move { serve(stream, &hears, &*say).await });
            }
        });
        Self { url, heard, task }
    }

    /// Everything so far.
    pub(crate) fn heard(&self) -> Vec<Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Heard {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// The parts of a form, by name: content type, file name, bytes.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let kind = self.header("content-type").unwrap();
        let boundary = kind.strip_prefix("multipart/form-data; boundary=").unwrap();
        let mark = format!("--{boundary}");
        let mut parts = Vec::new();
        let mut rest = &self.body[..];
        assert!(rest.starts_with(mark.as_bytes()));
        loop {
            rest = &rest[mark.len()..];
            if rest.starts_with(b"--") {
                return parts;
            }
            let head_end = find(rest, b"\r\n\r\n").unwrap();
            let head = String::from_utf8(rest[2..head_end].to_vec()).unwrap();
            let value = |key: &str| head.split(key).nth(1).map(|after| after.split('"').next().unwrap().to_owned());
            let body = &rest[head_end + 4..];
            let end = find(body, format!("\r\n{mark}").as_bytes()).unwrap();
            parts.push(Part {
                name: value("; name=\"").unwrap(),
                file: value("; filename=\""),
                kind: head.lines().find_map(|line| line.strip_prefix("content-type: ")).map(str::to_owned),
                bytes: body[..end].to_vec(),
            });
            rest = &body[end + 2..];
        }
    }
}

#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) file: Option<String>,
    pub(crate) kind: Option<String>,
    pub(crate) bytes: Vec<u8>,
}

impl Part {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.bytes.clone()).unwrap()
    }
}

fn find(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    bytes.windows(mark.len()).position(|part| part == mark)
}

/// A body of JSON.
pub(crate) fn json(status: u16, body: serde_json::Value) -> Say {
    Say::Answer(status, vec![("content-type", "application/json".to_owned())], body.to_string().into_bytes())
}

/// A file.
pub(crate) fn file(kind: &'static str, bytes: &[u8]) -> Say {
    Say::Answer(200, vec![("content-type", kind.to_owned())], bytes.to_vec())
}

/// Plain text.
pub(crate) fn text(status: u16, body: &str) -> Say {
    Say::Answer(status, vec![("content-type", "text/plain".to_owned())], body.as_bytes().to_vec())
}

async fn serve(
    mut stream: TcpStream,
    heard: &Mutex<Vec<Heard>>,
    say: &(dyn Fn(&Heard, usize) -> Say + Send + Sync),
) -> Option<()> {
    let request = read(&mut stream).await?;
    let before = {
        let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        let before = heard.iter().filter(|other| other.path == request.path).count();
        heard.push(request.clone());
        before
    };
    let head = |status: u16, headers: &[(&str, String)], length: usize| {
        let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        format!("HTTP/1.1 {status} X\r\n{lines}content-length: {length}\r\n\r\n")
    };
    match say(&request, before) {
        Say::Answer(status, headers, body) => {
            stream.write_all(head(status, &headers, body.len()).as_bytes()).await.ok()?;
            stream.write_all(&body).await.ok()?;
        }
        Say::Cut(status, kind, body, end) => {
            let headers = [("content-type", kind.to_owned())];
            stream.write_all(head(status, &headers, body.len()).as_bytes()).await.ok()?;
            stream.write_all(&body[..end]).await.ok()?;
        }
        Say::Silence => {
            stream.write_all(head(200, &[], 1000).as_bytes()).await.ok()?;
            stream.flush().await.ok()?;
            std::future::pending::<()>().await;
        }
        Say::Gone => {}
    }
    stream.shutdown().await.ok()
}

async fn read(stream: &mut TcpStream) -> Option<Heard> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some(end) = find(&bytes, b"\r\n\r\n") else { continue };
        let head = String::from_utf8(bytes[..end].to_vec()).ok()?;
        let mut lines = head.lines();
        let mut first = lines.next()?.split(' ');
        let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
        let header = |line: &str| {
            let (name, value) = line.split_once(": ")?;
            Some((name.to_lowercase(), value.to_owned()))
        };
        let headers: BTreeMap<_, _> = lines.filter_map(header).collect();
        let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
        if bytes.len() - end - 4 >= length {
            let body = bytes[end + 4..end + 4 + length].to_vec();
            return Some(Heard { method, path, headers, body });
        }
    }
}
