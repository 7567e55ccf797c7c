//! Servers that answer slowly, for ever, or with what is no answer: what they cost the host in time and in memory is bounded, and
//! the plugin is told that it has no answer.

use std::{
    io::{self, Write},
    net::{TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use extism::{CallError, Manifest, Plugin};
use flate2::{Compression, write::GzEncoder};

use crate::{
    http::{get, manifest, read_request},
    reason, root_cause,
};

/// How long a response may be, in bytes.
const LIMIT: u64 = 1 << 20;

/// What of it waits in the sockets' buffers, at most.
const IN_BUFFERS: u64 = 16 << 20;

/// What ends sooner did not wait for anything.
const AT_ONCE: Duration = Duration::from_secs(10);

/// A server that says to each request what a function sends, and hangs up.
struct Server {
    url: String,
    connections: Arc<AtomicU64>,
    sent: Arc<AtomicU64>,
}

/// Counts what it sends.
struct Connection {
    stream: TcpStream,
    sent: Arc<AtomicU64>,
    /// How many connections there were before.
    number: u64,
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.stream.write(bytes)?;
        self.sent.fetch_add(count as u64, Ordering::SeqCst);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Connection {
    /// Sends the same until the other side hangs up; with a pause each time, unless it is none.
    fn repeat(&mut self, bytes: &[u8], pause: Duration) -> io::Result<()> {
        loop {
            self.write_all(bytes)?;
            if !pause.is_zero() {
                thread::sleep(pause);
            }
        }
    }
}

impl Server {
    fn new(send: impl Fn(&mut Connection) -> io::Result<()> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (connections, sent) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (all, counted, send) = (connections.clone(), sent.clone(), Arc::new(send));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut connection = Connection {
                    stream: stream.unwrap(),
                    sent: counted.clone(),
                    number: all.fetch_add(1, Ordering::SeqCst),
                };
                let send = send.clone();
                thread::spawn(move || {
                    read_request(&mut connection.stream);
                    // The other side may have hung up.
                    let _ = send(&mut connection);
                });
            }
        });
        Self {
            url,
            connections,
            sent,
        }
    }

    /// One that sends these bytes.
    fn with(bytes: impl Into<Vec<u8>>) -> Self {
        let bytes = bytes.into();
        Self::new(move |connection| connection.write_all(&bytes))
    }
}

fn limited() -> Manifest {
    let mut manifest = manifest(&["127.0.0.1"]);
    manifest.memory.max_http_response_bytes = Some(LIMIT);
    manifest
}

/// The plugin's answer, or why it has none. After a failure there is no status, and the plugin can be called again.
fn ask(manifest: Manifest, server: &Server) -> Result<Vec<u8>, String> {
    let mut plugin = Plugin::new(manifest, [], false).unwrap();
    let answer = plugin.call::<_, Vec<u8>>("request", get(&server.url));
    let answer = answer.map_err(root_cause);
    let status = plugin.call_raw("status", b"", None).unwrap();
    assert_eq!(status == 0, answer.is_err(), "{status}, {answer:?}");
    answer
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Starts of answers, and what follows without an end.
fn endless() -> Vec<(&'static str, Vec<u8>, Vec<u8>)> {
    let zeros = gzip(&vec![0; 10 << 20]);
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    let gzipped = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n";
    let many = |text: &str| text.repeat(1000).into_bytes();
    // The flags say that there is a name; that is ended by a zero.
    let gzip_with_name = [gzipped.as_bytes(), &[31, 139, 8, 8, 0, 0, 0, 0, 0, 3]].concat();
    vec![
        ("status", b"HTTP/1.1 200 ".to_vec(), many("endless")),
        ("no answer at all", vec![], many("endless")),
        ("headers", ok.into(), many("x-one: more\r\n")),
        ("header", format!("{ok}x-one: ").into(), many("endless")),
        ("header's name", ok.into(), many("endless")),
        (
            "interim answers",
            vec![],
            many("HTTP/1.1 100 Continue\r\n\r\n"),
        ),
        ("body", format!("{ok}\r\n").into(), many("endless")),
        ("chunks", chunked.into(), many("7\r\nendless\r\n")),
        ("small chunks", chunked.into(), many("1\r\ne\r\n")),
        ("chunk's size", chunked.into(), many("0")),
        (
            "chunk's extension",
            format!("{chunked}1;").into(),
            many("endless"),
        ),
        (
            "trailers",
            format!("{chunked}0\r\n").into(),
            many("x-one: more\r\n"),
        ),
        (
            "trailer",
            format!("{chunked}0\r\nx-one: ").into(),
            many("endless"),
        ),
        ("packed zeros", gzipped.into(), zeros),
        ("name in what is packed", gzip_with_name, many("endless")),
    ]
}

/// However much there is to come, the host takes no more of it than a response may have, and goes on at once.
#[test]
fn what_never_ends_is_left_where_the_limit_is() {
    for (what, start, then) in endless() {
        let server = Server::new(move |connection| {
            connection.write_all(&start)?;
            connection.repeat(&then, Duration::ZERO)
        });
        // Behind the body's end, where nothing is kept any more, only the time ends it.
        let is_behind = what == "trailers";
        let timeout = Duration::from_secs(if is_behind { 1 } else { 30 });
        let start = Instant::now();
        let answer = ask(limited().with_timeout(timeout), &server);
        let (took, sent) = (start.elapsed(), server.sent.load(Ordering::SeqCst));
        println!("{what}: {answer:?} after {took:?} and {sent} bytes");
        assert!(took < AT_ONCE, "{what}: {took:?}");
        let error = answer.expect_err(what);
        if !is_behind {
            assert_ne!(error, "timeout", "{what}");
            assert!(sent < LIMIT + IN_BUFFERS, "{what}: {sent}");
        }
    }
}

/// The same, a little at a time: the call's time is the limit.
#[test]
fn what_comes_slowly_ends_with_the_call() {
    for (what, start, then) in endless() {
        let server = Server::new(move |connection| {
            connection.write_all(&start)?;
            connection.repeat(&then[..1.min(then.len())], Duration::from_millis(20))
        });
        let start = Instant::now();
        let answer = ask(limited().with_timeout(Duration::from_millis(200)), &server);
        let took = start.elapsed();
        println!("{what}: {answer:?} after {took:?}");
        assert!(answer.is_err(), "{what}");
        assert!(took < AT_ONCE, "{what}: {took:?}");
    }
    for silence in ["", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhalf"] {
        let server = Server::new(move |connection| {
            connection.write_all(silence.as_bytes())?;
            thread::sleep(Duration::from_secs(30));
            Ok(())
        });
        let start = Instant::now();
        let answer = ask(limited().with_timeout(Duration::from_millis(200)), &server);
        assert_eq!(answer, Err("timeout".to_owned()), "{silence}");
        assert!(start.elapsed() < AT_ONCE);
    }
}

#[test]
fn what_is_packed_is_unpacked_no_further_than_the_limit() {
    // Half a gigabyte, packed to a thousandth.
    let zeros = gzip(&vec![0; 64 << 20]).repeat(8);
    assert!((zeros.len() as u64) < LIMIT);
    let gzipped = "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n";
    let too_long = format!("HTTP response exceeds the configured maximum number of bytes: {LIMIT}");
    for length in [
        format!("content-length: {}\r\n", zeros.len()),
        String::new(),
    ] {
        let head = format!("{gzipped}{length}\r\n");
        let server = Server::with([head.as_bytes(), &zeros].concat());
        let start = Instant::now();
        assert_eq!(ask(limited(), &server), Err(too_long.clone()));
        assert!(start.elapsed() < AT_ONCE);
    }
    // Damaged, cut off, or not packed at all.
    let packed = gzip(b"the answer");
    let mut damaged = packed.clone();
    let last = damaged.len() - 6;
    damaged[last] ^= 1;
    for wrong in [
        &damaged,
        &packed[..packed.len() / 2],
        &packed[..5],
        b"the answer",
    ] {
        let head = format!("{gzipped}\r\n");
        let server = Server::with([head.as_bytes(), wrong].concat());
        ask(limited(), &server).unwrap_err();
    }
}

#[test]
fn what_is_no_answer_is_an_error() {
    let ok = "HTTP/1.1 200 OK\r\n";
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
    for wrong in [
        "",
        "\r\n\r\n",
        "nonsense\r\n\r\n",
        "here",
        "HTTP/1.1\r\n\r\n",
        "HTTP/9.9 200 OK\r\n\r\nhere",
        "HTTP/1.1 20\r\n\r\nhere",
        "HTTP/1.1 -200 OK\r\n\r\nhere",
        "HTTP/1.1 20000 OK\r\n\r\nhere",
        // Hangs up in the middle.
        "HTTP/1.1 2",
        "HTTP/1.1 200 OK\r\nx-one: ",
        &format!("{ok}content-length: 5\r\n\r\nhere"),
        &format!("{ok}content-length: 1000000\r\n\r\nhere"),
        &format!("{chunked}4\r\nhe"),
        &format!("{chunked}4\r\nhere\r\n"),
        // Lengths that are none.
        &format!("{ok}content-length: -4\r\n\r\nhere"),
        &format!("{ok}content-length: four\r\n\r\nhere"),
        &format!("{ok}content-length: 4 4\r\n\r\nhere"),
        &format!("{ok}content-length: 99999999999999999999\r\n\r\nhere"),
        &format!("{ok}content-length: 18446744073709551615\r\n\r\nhere"),
        &format!("{ok}content-length: 4\r\ncontent-length: 3\r\n\r\nhere"),
        &format!("{chunked}here\r\n"),
        &format!("{chunked}-4\r\nhere\r\n0\r\n\r\n"),
        &format!("{chunked}ffffffffffffffffff\r\nhere\r\n0\r\n\r\n"),
        &format!("{chunked}4\r\nhereand more\r\n0\r\n\r\n"),
        // Headers that are none.
        &format!("{ok}no colon\r\n\r\nhere"),
        &format!("{ok}: no name\r\n\r\nhere"),
        &format!("{ok}x-\0one: 1\r\n\r\nhere"),
    ] {
        let answer = ask(
            limited().with_timeout(Duration::from_secs(30)),
            &Server::with(wrong),
        );
        println!("{wrong:?}: {answer:?}");
        assert!(answer.is_err(), "{wrong:?}: {answer:?}");
        assert_ne!(answer, Err("timeout".to_owned()), "{wrong:?}");
    }
}

/// What is behind the answer's end is none of it.
#[test]
fn an_answer_is_as_long_as_it_says() {
    let ok = "HTTP/1.1 200 OK\r\n";
    for right in [
        format!("{ok}content-length: 4\r\n\r\nhere and more"),
        format!("{ok}content-length: 4\r\ncontent-length: 4\r\n\r\nhere"),
        format!(
            "{ok}transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n2;x=y\r\nre\r\n0\r\n\r\nand more"
        ),
        format!("{ok}\r\nhere"),
        "HTTP/1.0 200 OK\r\n\r\nhere".to_owned(),
    ] {
        assert_eq!(
            ask(limited(), &Server::with(&*right)),
            Ok(b"here".to_vec()),
            "{right:?}"
        );
    }
}

#[test]
fn ten_redirects_are_followed_and_no_more() {
    for (redirects, answer) in [
        (10, Ok(b"here".to_vec())),
        (11, Err("too many redirects".to_owned())),
    ] {
        let server = Server::new(move |connection| {
            match connection.number < redirects {
            true => connection.write_all(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            false => connection.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere"),
        }
        });
        assert_eq!(ask(limited(), &server), answer);
        assert_eq!(server.connections.load(Ordering::SeqCst), 11);
    }
}

/// The call's time is for all of them together; what a redirect says beside where it leads isn't read.
#[test]
fn redirects_have_no_time_of_their_own() {
    let server = Server::new(|connection| {
        thread::sleep(Duration::from_millis(100));
        connection.write_all(b"HTTP/1.1 302 Found\r\nlocation: /\r\n\r\n")?;
        connection.repeat(&[b'x'; 1000], Duration::ZERO)
    });
    let start = Instant::now();
    let answer = ask(limited().with_timeout(Duration::from_millis(450)), &server);
    assert_eq!(answer, Err("timeout".to_owned()));
    assert!(start.elapsed() < AT_ONCE);
    let connections = server.connections.load(Ordering::SeqCst);
    assert!((1..=5).contains(&connections), "{connections}");
    assert!(server.sent.load(Ordering::SeqCst) < connections * IN_BUFFERS);
}

/// D18: wherever they lead, `allowed_hosts` is asked.
#[test]
fn redirects_lead_nowhere_else() {
    let bystander = Server::with("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret");
    let port = bystander.url.rsplit(':').next().unwrap().to_owned();
    for (location, is_refused) in [
        (format!("http://localhost:{port}"), true),
        (format!("//localhost:{port}"), true),
        (format!("http://127.0.0.1@localhost:{port}"), true),
        (format!("http://127.0.0.2:{port}"), true),
        (format!("http://[::1]:{port}"), true),
        ("file:///etc/hosts".to_owned(), true),
        ("data:text/plain,secret".to_owned(), true),
        // To the right host, in a way that there is none.
        (format!("https://127.0.0.1:{port}"), false),
        (format!("ftp://127.0.0.1:{port}"), false),
        ("http://".to_owned(), false),
        ("http://127.0.0.1:99999/".to_owned(), false),
    ] {
        let head =
            format!("HTTP/1.1 302 Found\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n");
        let server = Server::with(head);
        let mut plugin =
            Plugin::new(limited().with_timeout(Duration::from_secs(1)), [], false).unwrap();
        let start = Instant::now();
        let found = reason(&mut plugin, "request", get(&server.url));
        let is_not_allowed = matches!(found, Some(CallError::NotAllowed(_)));
        assert_eq!(is_not_allowed, is_refused, "{location}: {found:?}");
        assert!(start.elapsed() < AT_ONCE, "{location}");
    }
    // TLS is spoken to whoever is there; nobody else had a word.
    assert!(bystander.connections.load(Ordering::SeqCst) <= 1);
}
