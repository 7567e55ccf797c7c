//! HTTP, against servers on the loopback address.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use extism::{CallError, Manifest, Plugin, PluginBuilder, Wasm};

use crate::{call_error, reason, root_cause};

/// A server that answers each request with what a function makes of it, and keeps the requests.
struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn new(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer) = (kept.clone(), answer.clone());
                thread::spawn(move || {
                    let mut stream = stream.unwrap();
                    let request = read_request(&mut stream);
                    kept.lock().unwrap().push(request.clone());
                    let _ = stream.write_all(answer(&request).as_bytes());
                });
            }
        });
        Self { address, requests }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

pub(super) fn read_request(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            if body.len() >= length.map_or(0, |length| length.parse().unwrap()) {
                break;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(count) => bytes.extend_from_slice(&buffer[..count]),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n{body}"
    )
}

/// `request` makes the request in the input and outputs the response; `post` has the request's JSON as its body, too;
/// `status` is the last response's; `headers` outputs its headers, after a request.
const CLIENT: &str = r#"(module
  (import "extism:host/env" "input_offset" (func $input_offset (result i64)))
  (import "extism:host/env" "input_length" (func $input_length (result i64)))
  (import "extism:host/env" "input_load_u8" (func $input_load_u8 (param i64) (result i32)))
  (import "extism:host/env" "alloc" (func $alloc (param i64) (result i64)))
  (import "extism:host/env" "length" (func $length (param i64) (result i64)))
  (import "extism:host/env" "store_u8" (func $store_u8 (param i64 i32)))
  (import "extism:host/env" "output_set" (func $output_set (param i64 i64)))
  (import "extism:host/env" "http_request" (func $http_request (param i64 i64) (result i64)))
  (import "extism:host/env" "http_status_code" (func $http_status_code (result i32)))
  (import "extism:host/env" "http_headers" (func $http_headers (result i64)))
  (func $output (param $block i64)
    (call $output_set (local.get $block) (call $length (local.get $block))))
  (func $copy (result i64) (local $block i64) (local $i i64)
    (local.set $block (call $alloc (call $input_length)))
    (block $done (loop $next
      (br_if $done (i64.ge_u (local.get $i) (call $input_length)))
      (call $store_u8 (i64.add (local.get $block) (local.get $i)) (call $input_load_u8 (local.get $i)))
      (local.set $i (i64.add (local.get $i) (i64.const 1)))
      (br $next)))
    (local.get $block))
  (func (export "request") (call $output (call $http_request (call $input_offset) (i64.const 0))))
  (func (export "post") (call $output (call $http_request (call $input_offset) (call $copy))))
  (func (export "status") (result i32) (call $http_status_code))
  (func (export "headers")
    (drop (call $http_request (call $input_offset) (i64.const 0)))
    (call $output (call $http_headers)))
  (func (export "bad_handle") (drop (call $http_request (i64.const 12345) (i64.const 0)))))"#;

pub(super) fn manifest(hosts: &[&str]) -> Manifest {
    let manifest = Manifest::new([Wasm::data(CLIENT)]);
    manifest.with_allowed_hosts(hosts.iter().map(ToString::to_string))
}

fn client() -> Plugin {
    Plugin::new(manifest(&["127.0.0.1"]), [], false).unwrap()
}

pub(super) fn get(url: &str) -> String {
    format!(r#"{{"url": "{url}"}}"#)
}

#[test]
fn any_status_is_an_answer() {
    let server = Server::new(|request| {
        let status = request.split_whitespace().nth(1).unwrap()[1..].to_owned();
        answer(
            &format!("{status} Text"),
            "",
            &format!("the body of {status}"),
        )
    });
    let mut plugin = client();
    assert_eq!(plugin.call_raw("status", b"", None).unwrap(), 0);
    for status in [200, 404, 500] {
        let url = server.url(&format!("/{status}"));
        let body: String = plugin.call("request", get(&url)).unwrap();
        assert_eq!(body, format!("the body of {status}"));
        assert_eq!(plugin.call_raw("status", b"", None).unwrap(), status);
    }
    // A request that fails leaves no status behind.
    call_error(&mut plugin, "request", get("http://127.0.0.1:1/"));
    assert_eq!(plugin.call_raw("status", b"", None).unwrap(), 0);
    let head = &server.requests()[0];
    for header in ["accept-encoding: gzip", "accept: */*", "user-agent: "] {
        assert!(head.to_lowercase().contains(header), "{head}");
    }
}

#[test]
fn method_headers_and_body_are_sent() {
    let server = Server::new(|_| answer("200 OK", "", "done"));
    let mut plugin = client();
    let request = format!(
        r#"{{"url": "{}", "method": "post", "headers": {{"x-mine": "yes"}}}}"#,
        server.url("/path?query")
    );
    assert_eq!(plugin.call::<_, String>("post", &request).unwrap(), "done");
    plugin.call::<_, String>("request", &request).unwrap();
    let requests = server.requests();
    assert!(
        requests[0].starts_with("POST /path?query HTTP/1.1\r\n"),
        "{}",
        requests[0]
    );
    assert!(requests[0].contains("x-mine: yes\r\n"));
    assert!(requests[0].ends_with(&request));
    // Without a body it has the length 0.
    assert!(
        requests[1].to_lowercase().contains("content-length: 0\r\n"),
        "{}",
        requests[1]
    );
}

/// The same plugin from before 1.0, whose requests may say `header`.
#[test]
fn requests_from_before_1_0_have_another_word_for_headers() {
    let server = Server::new(|_| answer("200 OK", "", "done"));
    let url = server.url("/");
    let old = CLIENT.replace(r#""extism:host/env" ""#, r#""env" "extism_"#);
    let plugin = |wasm: &str| {
        let manifest = Manifest::new([Wasm::data(wasm)]).with_allowed_host("127.0.0.1");
        Plugin::new(manifest, [], false).unwrap()
    };
    for word in ["header", "headers"] {
        let request = format!(r#"{{"url": "{url}", "{word}": {{"x-it": "is {word}"}}}}"#);
        let response: String = plugin(&old).call("request", &request).unwrap();
        assert_eq!(response, "done");
        let sent = server.requests().pop().unwrap();
        assert!(sent.contains(&format!("x-it: is {word}")), "{sent}");
        let today = plugin(CLIENT).call::<_, String>("request", &request);
        assert_eq!(today.is_ok(), word == "headers");
    }
}

#[test]
fn only_hosts_that_match_are_allowed() {
    let server = Server::new(|_| answer("200 OK", "", "here"));
    let allowed = |patterns: &[&str]| {
        let mut plugin = Plugin::new(manifest(patterns), [], false).unwrap();
        plugin
            .call::<_, String>("request", get(&server.url("/")))
            .is_ok()
    };
    for patterns in [
        &["127.0.0.1"][..],
        &["*"],
        &["127.*"],
        &["127.0.0.?"],
        &["other", "127.0.0.[0-9]"],
    ] {
        assert!(allowed(patterns), "{patterns:?}");
    }
    let with_port = server.address.to_string();
    for patterns in [
        &[][..],
        &["localhost"],
        &["127.0.0"],
        &["127.0.0.1/"],
        &[&with_port],
        &["127.0.0.[2-9]"],
        &["[127.0.0.1"],
    ] {
        assert!(!allowed(patterns), "{patterns:?}");
    }
    let mut none = Plugin::new(Manifest::new([Wasm::data(CLIENT)]), [], false).unwrap();
    let url = server.url("/");
    assert_eq!(
        reason(&mut none, "request", get(&url)),
        Some(CallError::NotAllowed(url))
    );
    // The host is what is asked, whatever else the address says.
    let mut plugin = client();
    for url in [
        "http://127.0.0.1@example.invalid/",
        "http://example.invalid/127.0.0.1",
        "http://EXAMPLE.invalid/",
    ] {
        assert_eq!(
            reason(&mut plugin, "request", get(url)),
            Some(CallError::NotAllowed(url.to_owned()))
        );
    }
    let before = server.requests().len();
    let upper = server.url("/").replace("http", "HTTP");
    client().call::<_, String>("request", get(&upper)).unwrap();
    assert_eq!(server.requests().len(), before + 1);
}

/// D18: they left the list.
#[test]
fn redirects_stay_within_the_allowed_hosts() {
    let other = Server::new(|_| answer("200 OK", "", "secret"));
    let url = other.url("/").replace("127.0.0.1", "localhost");
    let location = url.clone();
    let server =
        Server::new(move |_| answer("302 Found", &format!("location: {location}\r\n"), ""));
    let error = reason(&mut client(), "request", get(&server.url("/")));
    assert_eq!(error, Some(CallError::NotAllowed(url)));
    assert_eq!(other.requests().len(), 0);
    let mut allowed = Plugin::new(manifest(&["127.0.0.1", "localhost"]), [], false).unwrap();
    assert_eq!(
        allowed
            .call::<_, String>("request", get(&server.url("/")))
            .unwrap(),
        "secret"
    );
}

#[test]
fn redirects_are_followed_as_browsers_do() {
    let server = Server::new(|request| {
        let path = request.split_whitespace().nth(1).unwrap();
        match path {
            "/end" => answer("200 OK", "", request.split_whitespace().next().unwrap()),
            "/loop" => answer("302 Found", "location: /loop\r\n", ""),
            status => answer(&format!("{} Text", &status[1..]), "location: end\r\n", ""),
        }
    });
    let mut plugin = client();
    let mut request = |function: &str, method: &str, path: &str| {
        let headers = r#"{"authorization": "secret", "x-mine": "yes"}"#;
        let url = server.url(path);
        let request = format!(r#"{{"url": "{url}", "method": "{method}", "headers": {headers}}}"#);
        plugin
            .call::<_, String>(function, request)
            .map_err(root_cause)
    };
    for status in ["/301", "/302", "/303"] {
        assert_eq!(request("post", "POST", status).unwrap(), "GET", "{status}");
        assert_eq!(
            request("request", "GET", status).unwrap(),
            "GET",
            "{status}"
        );
    }
    for status in ["/307", "/308"] {
        assert_eq!(
            request("request", "GET", status).unwrap(),
            "GET",
            "{status}"
        );
        assert_eq!(
            request("request", "DELETE", status).unwrap(),
            "DELETE",
            "{status}"
        );
        assert!(
            request("post", "POST", status)
                .unwrap_err()
                .starts_with("redirect failed")
        );
    }
    assert_eq!(
        request("request", "GET", "/loop").unwrap_err(),
        "too many redirects"
    );
    for sent in server
        .requests()
        .iter()
        .filter(|sent| sent.contains(" /end "))
    {
        assert!(
            !sent.contains("secret") && sent.contains("x-mine"),
            "{sent}"
        );
    }
}

#[test]
fn headers_are_shown_if_allowed() {
    let headers = "X-Mine: one\r\nx-mine: two\r\nX-Other: \u{e9}\r\n";
    let server = Server::new(move |_| answer("200 OK", headers, ""));
    let request = get(&server.url("/"));
    assert_eq!(client().call::<_, String>("headers", &request).unwrap(), "");
    let builder = PluginBuilder::new(manifest(&["*"])).with_http_response_headers(true);
    let shown: String = builder.build().unwrap().call("headers", &request).unwrap();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    assert_eq!(shown["x-mine"], "two");
    assert_eq!(shown["content-length"], "0");
    assert!(shown.get("x-other").is_none());
}

#[test]
fn responses_have_a_limit() {
    let server = Server::new(|_| answer("200 OK", "", &"x".repeat(1000)));
    let with = |limit| {
        let mut manifest = manifest(&["*"]);
        manifest.memory.max_http_response_bytes = Some(limit);
        let mut plugin = Plugin::new(manifest, [], false).unwrap();
        plugin
            .call::<_, Vec<u8>>("request", get(&server.url("/")))
            .map_err(root_cause)
    };
    assert_eq!(with(1000).unwrap().len(), 1000);
    let error = "HTTP response exceeds the configured maximum number of bytes: 999";
    assert_eq!(with(999).unwrap_err(), error);
}

#[test]
fn gzip_is_unpacked_within_the_limit() {
    // 1000 times "x", as `gzip -n9` makes it.
    const PACKED: [u8; 29] = [
        31, 139, 8, 0, 0, 0, 0, 0, 2, 255, 171, 168, 24, 5, 163, 96, 20, 12, 119, 0, 0, 230, 201,
        65, 59, 232, 3, 0, 0,
    ];
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            read_request(&mut stream);
            let head = format!(
                "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
                PACKED.len()
            );
            let _ = stream.write_all(&[head.as_bytes(), &PACKED].concat());
        }
    });
    let request = get(&format!("http://{address}/"));
    assert_eq!(
        client().call::<_, String>("request", &request).unwrap(),
        "x".repeat(1000)
    );
    let mut manifest = manifest(&["*"]);
    manifest.memory.max_http_response_bytes = Some(500);
    let mut plugin = Plugin::new(manifest, [], false).unwrap();
    assert!(root_cause(call_error(&mut plugin, "request", &request)).ends_with("bytes: 500"));
}

/// D19: cancel didn't reach a request.
#[test]
fn a_request_ends_with_the_call() {
    let server = Server::new(|_| {
        thread::sleep(Duration::from_secs(20));
        answer("200 OK", "", "late")
    });
    let start = Instant::now();
    let timed = manifest(&["*"]).with_timeout(Duration::from_millis(100));
    let mut plugin = Plugin::new(timed, [], false).unwrap();
    let failure = plugin
        .call_raw("request", get(&server.url("/")).as_bytes(), None)
        .unwrap_err();
    assert_eq!((failure.code, failure.text().as_str()), (134, "timeout"));
    let mut plugin = client();
    let handle = plugin.cancel_handle();
    let canceller = thread::spawn(move || {
        thread::sleep(Duration::from_millis(100));
        handle.cancel().unwrap();
    });
    assert_eq!(
        reason(&mut plugin, "request", get(&server.url("/"))),
        Some(CallError::Timeout)
    );
    canceller.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(15));
}

/// The thread of a request that was cancelled stayed as long as the server did not answer.
#[test]
fn a_cancelled_request_leaves_no_thread_behind() {
    // Silent before the answer, and in the middle of it.
    for head in ["", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let mut plugin = client();
        let handle = plugin.cancel_handle();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            read_request(&mut stream);
            stream.write_all(head.as_bytes()).unwrap();
            thread::sleep(Duration::from_millis(50));
            handle.cancel().unwrap();
            // The other side hangs up, long before this one does.
            stream
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            let start = Instant::now();
            let rest = stream.read(&mut [0; 16]);
            assert!(matches!(rest, Ok(0)), "{rest:?}");
            assert!(start.elapsed() < Duration::from_secs(10));
        });
        let request = get(&format!("http://{address}/"));
        assert_eq!(
            reason(&mut plugin, "request", request),
            Some(CallError::Timeout)
        );
        server.join().unwrap();
    }
}

#[test]
fn requests_that_are_none_are_errors() {
    let mut plugin = client();
    for request in [
        r#"{}"#,
        r#"{"url": 1}"#,
        r#"{"url": "http://127.0.0.1/", "other": 1}"#,
        "nonsense",
    ] {
        call_error(&mut plugin, "request", request);
    }
    let error = root_cause(call_error(&mut plugin, "request", get("no url")));
    assert!(error.starts_with("Invalid URL: "), "{error}");
    let error = root_cause(call_error(&mut plugin, "bad_handle", ""));
    assert_eq!(error, "invalid handle offset for http request: 12345");
}

#[test]
fn modules_can_come_from_the_net() {
    let server = Server::new(|request| match request.split_whitespace().nth(1).unwrap() {
        "/module" => answer("200 OK", "", "(module (func (export \"run\")))"),
        "/moved" => answer("302 Found", "location: /module\r\n", ""),
        _ => answer("404 Not Found", "", ""),
    });
    for path in ["/module", "/moved"] {
        let wasm = format!(
            r#"{{"wasm": [{{"url": "{}", "method": "GET", "headers": {{"x-mine": "yes"}}}}]}}"#,
            server.url(path)
        );
        Plugin::new(wasm, [], false)
            .unwrap()
            .call::<_, ()>("run", "")
            .unwrap();
    }
    assert!(server.requests()[0].contains("x-mine: yes\r\n"));
    let missing = Manifest::new([Wasm::url(server.url("/missing"))]);
    assert_eq!(
        root_cause(Plugin::new(missing, [], false).unwrap_err()),
        "http status: 404"
    );
}

/// D7: a module from the net had no limits.
#[test]
fn a_module_from_the_net_is_bounded() {
    let head = "HTTP/1.1 200 OK\r\ncontent-length: 300000000\r\nconnection: close\r\n\r\n";
    let server = Server::new(move |_| head.to_owned());
    let manifest = Manifest::new([Wasm::url(server.url("/"))]);
    let error = root_cause(Plugin::new(manifest, [], false).unwrap_err());
    let expected = "HTTP response exceeds the configured maximum number of bytes: 268435456";
    assert_eq!(error, expected);
}
