//! HTTP requests of plugins, within the manifest's `allowed_hosts`, and of manifests for their modules.

use std::{
    collections::BTreeMap,
    io::Read,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{anyhow, bail};
use extism_manifest::HttpRequest;
use serde::Deserialize;
use ureq::{
    Agent, Body,
    http::{Method, Request, Response as HttpResponse, StatusCode, header},
};
use url::Url;

use crate::{CallError, CurrentPlugin, Error, compiled::Compiled, deadline::Waited};

/// How many redirects are followed.
const MAX_REDIRECTS: usize = 10;

/// The longest response, in bytes, unless the manifest says otherwise.
const MAX_RESPONSE_BYTES: u64 = 50 << 20;

/// A request and its redirects, up to the answer.
pub(crate) struct Exchange<'a> {
    pub(crate) request: &'a HttpRequest,
    pub(crate) body: Option<&'a [u8]>,
    /// Asked before each request, also that of a redirect.
    pub(crate) allow: &'a dyn Fn(&Url) -> Result<(), Error>,
    pub(crate) max_bytes: u64,
    /// For all of it.
    pub(crate) timeout: Option<Duration>,
    /// What connects, made for this exchange: no connection outlives it, so none is shared with a forked process.
    pub(crate) agent: Agent,
}

/// For one [`Exchange`]. Whoever has a clone of it can end that by [`Agent::shutdown`].
pub(crate) fn agent() -> Agent {
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0);
    config.build().new_agent()
}

/// An answer, of whatever status.
pub(crate) struct Response {
    pub(crate) status: u16,
    /// Names in lower case; those values that are ASCII, the last one of those with the same name.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: Vec<u8>,
}

impl Exchange<'_> {
    pub(crate) fn run(&self) -> Result<Response, Error> {
        let until = self
            .timeout
            .and_then(|timeout| Instant::now().checked_add(timeout));
        let method = self
            .request
            .method
            .as_deref()
            .unwrap_or("GET")
            .to_uppercase();
        let mut method = Method::from_bytes(method.as_bytes())?;
        let mut url =
            Url::parse(&self.request.url).map_err(|error| anyhow!("Invalid URL: {error}"))?;
        let mut body = self.body;
        for hop in 0..=MAX_REDIRECTS {
            (self.allow)(&url)?;
            let response = self.send(&url, &method, body, hop > 0, until)?;
            let Some(target) = redirect(&response, &url)? else {
                return self.read(response);
            };
            match response.status() {
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT
                    if body.is_some() =>
                {
                    bail!("redirect failed: a body isn't sent twice")
                }
                StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT => {}
                _ if method != Method::HEAD => {
                    method = Method::GET;
                    body = None;
                }
                _ => {}
            }
            url = target;
        }
        bail!("too many redirects")
    }

    /// One request. The address is what [`allow`](Self::allow) was asked about, as written by the same parser.
    fn send(
        &self,
        url: &Url,
        method: &Method,
        body: Option<&[u8]>,
        redirected: bool,
        until: Option<Instant>,
    ) -> Result<HttpResponse<Body>, Error> {
        let mut builder = Request::builder().method(method).uri(url.as_str());
        for (name, value) in &self.request.headers {
            let is_for_the_first = name.eq_ignore_ascii_case(header::AUTHORIZATION.as_str())
                || name.eq_ignore_ascii_case(header::COOKIE.as_str());
            let is_of_the_body = name.eq_ignore_ascii_case(header::CONTENT_LENGTH.as_str())
                || name.eq_ignore_ascii_case(header::CONTENT_TYPE.as_str());
            if redirected && (is_for_the_first || (is_of_the_body && body.is_none())) {
                continue;
            }
            builder = builder.header(name, value);
        }
        let takes_body = [Method::POST, Method::PUT, Method::PATCH].contains(method);
        let body = body.or(takes_body.then_some(&[][..]));
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(CallError::Timeout.into());
        }
        let response = match body {
            Some(body) => {
                let request = self.agent.configure_request(builder.body(body)?);
                self.agent.run(request.timeout_global(left).build())
            }
            None => {
                let request = self.agent.configure_request(builder.body(())?);
                self.agent.run(request.timeout_global(left).build())
            }
        };
        response.map_err(failed)
    }

    fn read(&self, response: HttpResponse<Body>) -> Result<Response, Error> {
        let status = response.status().as_u16();
        let headers = response.headers().iter();
        let headers = headers.filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        });
        let headers = headers.collect();
        let max = self.max_bytes;
        let too_long =
            || anyhow!("HTTP response exceeds the configured maximum number of bytes: {max}");
        if response
            .body()
            .content_length()
            .is_some_and(|length| length > max)
        {
            return Err(too_long());
        }
        let mut body = Vec::new();
        let mut reader = response.into_body().into_reader();
        let read = (&mut reader)
            .take(max.saturating_add(1))
            .read_to_end(&mut body);
        read.map_err(|error| match error.downcast::<ureq::Error>() {
            Ok(error) => failed(error),
            Err(error) => error.into(),
        })?;
        if body.len() as u64 > max {
            return Err(too_long());
        }
        Ok(Response {
            status,
            headers,
            body,
        })
    }
}

fn failed(error: ureq::Error) -> Error {
    match error {
        ureq::Error::Timeout(_) => CallError::Timeout.into(),
        error => anyhow!("{error}"),
    }
}

/// Where the response leads, if it does.
fn redirect(response: &HttpResponse<Body>, from: &Url) -> Result<Option<Url>, Error> {
    if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
        return Ok(None);
    }
    let Some(location) = response.headers().get(header::LOCATION) else {
        return Ok(None);
    };
    let target = location.to_str().map(|location| from.join(location));
    match target {
        Ok(Ok(target)) => Ok(Some(target)),
        _ => bail!("redirect failed: {location:?} is no location"),
    }
}

/// Whether a plugin may speak to the URL's host: a pattern of `allowed_hosts` has to match it. One that isn't a pattern is
/// taken literally.
fn check_allowed(hosts: Option<&[String]>, url: &Url) -> Result<(), Error> {
    let host = url.host_str().unwrap_or_default();
    let matches = |pattern: &String| match glob::Pattern::new(pattern) {
        Ok(pattern) => pattern.matches(host),
        Err(_) => pattern == host,
    };
    if hosts.is_some_and(|hosts| hosts.iter().any(matches)) {
        return Ok(());
    }
    Err(CallError::NotAllowed(url.to_string()).into())
}

/// A request as it was written before 1.0.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OldRequest {
    url: String,
    #[serde(default, alias = "header")]
    headers: BTreeMap<String, String>,
    method: Option<String>,
}

impl From<OldRequest> for HttpRequest {
    fn from(request: OldRequest) -> Self {
        Self {
            url: request.url,
            headers: request.headers,
            method: request.method,
        }
    }
}

/// `http_request(request, body) -> response`: the request as JSON, the body as it is, 0 for none; the response's body.
pub(crate) fn http_request(
    plugin: &mut CurrentPlugin<'_>,
    request: u64,
    body: u64,
) -> Result<u64, Error> {
    let last = &mut plugin.state().lasting.http;
    last.status = 0;
    last.headers.clear();
    let json = plugin.argument(request, "http request")?.to_vec();
    let bytes = match body {
        0 => None,
        body => Some(plugin.argument(body, "http request body")?.to_vec()),
    };
    plugin.give_back(request)?;
    plugin.give_back(body)?;
    let request = match plugin.by_old_name {
        true => serde_json::from_slice::<OldRequest>(&json)?.into(),
        false => serde_json::from_slice(&json)?,
    };
    refuse_by_text(plugin, &request)?;

    let response = in_time(plugin, request, bytes)?;
    let block = plugin.new_block(&response.body)?;
    let last = &mut plugin.state().lasting.http;
    last.status = response.status;
    last.headers = response.headers;
    Ok(block)
}

/// Refuses the request under the name that the plugin gave it.
fn refuse_by_text(plugin: &CurrentPlugin<'_>, request: &HttpRequest) -> Result<(), Error> {
    let url = Url::parse(&request.url).map_err(|error| anyhow!("Invalid URL: {error}"))?;
    let refused = |_| CallError::NotAllowed(request.url.clone());
    let hosts = plugin.manifest().allowed_hosts.as_deref();
    Ok(check_allowed(hosts, &url).map_err(refused)?)
}

/// Makes the exchange in a thread of its own, so that this one can leave when the call is cancelled or its time is up. The
/// exchange is ended then: at once, or when the system has found the host or given up.
fn in_time(
    plugin: &mut CurrentPlugin<'_>,
    request: HttpRequest,
    body: Option<Vec<u8>>,
) -> Result<Response, Error> {
    let timeout = plugin.time_remaining();
    let state = plugin.state();
    let (deadline, watch, compiled) = (state.deadline, state.watch.clone(), state.compiled.clone());
    let answer = Arc::new(Mutex::new(None));
    let (place, waiter) = (answer.clone(), watch.clone());
    let connected = agent();
    let agent = connected.clone();
    thread::Builder::new()
        .name("extism-http".to_owned())
        .spawn(move || {
            let response = exchange(&compiled, &request, body.as_deref(), timeout, agent);
            *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(response);
            waiter.notify();
        })?;
    let mut response = None;
    let waited = watch.wait(deadline, || {
        response = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
        response.is_some()
    });
    match (waited, response) {
        (Waited::Done, Some(response)) => response,
        _ => {
            connected.shutdown();
            Err(CallError::Timeout.into())
        }
    }
}

fn exchange(
    compiled: &Compiled,
    request: &HttpRequest,
    body: Option<&[u8]>,
    timeout: Option<Duration>,
    agent: Agent,
) -> Result<Response, Error> {
    let manifest = &compiled.manifest;
    let max_bytes = manifest.memory.max_http_response_bytes;
    let exchange = Exchange {
        request,
        body,
        allow: &|url| check_allowed(manifest.allowed_hosts.as_deref(), url),
        max_bytes: max_bytes.unwrap_or(MAX_RESPONSE_BYTES),
        timeout,
        agent,
    };
    exchange.run()
}

/// `http_status_code() -> code`: of the last response; 0 if there was none, or the last request failed.
pub(crate) fn http_status_code(plugin: &mut CurrentPlugin<'_>) -> Result<i32, Error> {
    Ok(plugin.state().lasting.http.status.into())
}

/// `http_headers() -> headers`: of the last response, as a JSON object; 0 unless the host allows plugins to see them.
pub(crate) fn http_headers(plugin: &mut CurrentPlugin<'_>) -> Result<u64, Error> {
    let last = &plugin.state().lasting.http;
    if !last.headers_allowed {
        return Ok(0);
    }
    let headers = serde_json::to_vec(&last.headers)?;
    plugin.new_block(&headers)
}
