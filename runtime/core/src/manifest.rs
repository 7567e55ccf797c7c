//! What to load: WebAssembly, its text format, or a manifest in TOML or JSON.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
    path::PathBuf,
    time::Duration,
};

use anyhow::{Context, anyhow, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use extism_manifest::{HttpRequest, Manifest, MemoryOptions, Wasm, WasmMetadata};
use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, Visitor},
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::{Error, host::http};

/// The name of the module whose functions are called.
pub(crate) const MAIN: &str = "main";

/// What a plugin is made of. Anything that converts into it can be given to [`Plugin::new`](crate::Plugin::new).
#[derive(Debug, Clone)]
pub enum WasmInput<'a> {
    /// WebAssembly, binary or text, or a manifest in TOML or JSON. In a manifest, `{"ptr", "len"}` is refused: only the
    /// C API may read memory by its address.
    Data(Cow<'a, [u8]>),
    /// A manifest.
    Manifest(Manifest),
    /// A manifest that stays the caller's.
    ManifestRef(&'a Manifest),
}

impl WasmInput<'_> {
    /// The text of a manifest; `None` if it isn't text that a manifest could be.
    pub fn manifest_text(&self) -> Option<&str> {
        match self {
            Self::Data(data) => manifest_text(data),
            _ => None,
        }
    }
}

macro_rules! input_from {
    ($($(<$lt:lifetime>)? $ty:ty, $value:ident => $make:expr;)*) => {$(
        impl<'a> From<$ty> for WasmInput<'a> {
            fn from($value: $ty) -> Self {
                $make
            }
        }
    )*};
}

input_from! {
    Manifest, manifest => Self::Manifest(manifest);
    &'a Manifest, manifest => Self::ManifestRef(manifest);
    &'a mut Manifest, manifest => Self::ManifestRef(manifest);
    &'a [u8], data => Self::Data(data.into());
    &'a str, text => Self::Data(text.as_bytes().into());
    Vec<u8>, data => Self::Data(data.into());
    &'a Vec<u8>, data => Self::Data(data.into());
    String, text => Self::Data(text.into_bytes().into());
}

/// Reads `len` bytes of this process at an address; only the C API, whose callers vouch for it, has one.
pub type ReadMemory = fn(address: usize, len: usize) -> Vec<u8>;

/// A module before it is compiled.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

/// A manifest without its modules, and these, in its order; exactly one is named [`MAIN`].
pub(crate) struct Loaded {
    pub(crate) manifest: Manifest,
    pub(crate) sources: Vec<Source>,
}

impl Loaded {
    pub(crate) fn new(input: WasmInput<'_>, memory: Option<ReadMemory>) -> Result<Self, Error> {
        let manifest = match input {
            WasmInput::Manifest(manifest) => manifest,
            WasmInput::ManifestRef(manifest) => manifest.clone(),
            WasmInput::Data(data) => match manifest_text(&data) {
                Some(text) => parse(text, memory)?,
                None => {
                    let main = Source {
                        name: MAIN.to_owned(),
                        bytes: data.into_owned(),
                    };
                    return Ok(Self {
                        manifest: Manifest::default(),
                        sources: vec![main],
                    });
                }
            },
        };
        Self::from_manifest(manifest)
    }

    fn from_manifest(mut manifest: Manifest) -> Result<Self, Error> {
        let wasm = std::mem::take(&mut manifest.wasm);
        let count = wasm.len();
        let mut sources = Vec::with_capacity(count);
        let mut names = HashSet::new();
        for (index, wasm) in wasm.into_iter().enumerate() {
            let is_last = index + 1 == count;
            let name = match wasm.meta().name.clone() {
                _ if is_last && !names.contains(MAIN) => MAIN.to_owned(),
                name => name.unwrap_or_else(|| MAIN.to_owned()),
            };
            let hash = wasm.meta().hash.clone();
            let bytes = bytes(wasm)?;
            check_hash(&bytes, hash)?;
            if !names.insert(name.clone()) || name == crate::EXTISM_ENV_MODULE {
                bail!("Duplicate module name found in Extism manifest: {name}");
            }
            sources.push(Source { name, bytes });
        }
        if sources.is_empty() {
            bail!("No wasm files specified in Extism manifest");
        }
        Ok(Self { manifest, sources })
    }
}

/// `None` for what the WebAssembly parser shall have: its binary and text formats, and anything that is no text.
fn manifest_text(data: &[u8]) -> Option<&str> {
    if data.starts_with(b"\0asm") {
        return None;
    }
    let text = std::str::from_utf8(data).ok()?;
    let start = text.trim_start();
    let is_module = |text: &str| text.trim_start().starts_with("module");
    let is_wat = start.starts_with(";;")
        || start.starts_with("(;")
        || start.strip_prefix('(').is_some_and(is_module);
    (!is_wat).then_some(text)
}

fn bytes(wasm: Wasm) -> Result<Vec<u8>, Error> {
    match wasm {
        Wasm::Data { data, .. } => Ok(data),
        Wasm::File { path, .. } => std::fs::read(&path).map_err(|error| {
            let path = path.display();
            anyhow!("Unable to load Wasm file \"{path}\": {}", error.kind())
        }),
        Wasm::Url { req, .. } => download(&req),
    }
}

/// How long getting one module from the net may take, and how long it may be.
const DOWNLOAD_TIME: Duration = Duration::from_secs(60);
const DOWNLOAD_BYTES: u64 = 256 << 20;

fn download(request: &HttpRequest) -> Result<Vec<u8>, Error> {
    let exchange = http::Exchange {
        request,
        body: None,
        allow: &|_| Ok(()),
        max_bytes: DOWNLOAD_BYTES,
        timeout: Some(DOWNLOAD_TIME),
        agent: http::agent(),
    };
    let response = exchange.run()?;
    if response.status >= 400 {
        bail!("http status: {}", response.status);
    }
    Ok(response.body)
}

fn check_hash(bytes: &[u8], expected: Option<String>) -> Result<(), Error> {
    let Some(expected) = expected else {
        return Ok(());
    };
    let found = hex(&Sha256::digest(bytes));
    if !found.eq_ignore_ascii_case(&expected) {
        bail!("Hash mismatch, found {found} but expected {expected}");
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn parse(text: &str, memory: Option<ReadMemory>) -> Result<Manifest, Error> {
    // TOML first: a manifest in JSON is none, but an empty text is one.
    let toml_error = match toml::Deserializer::parse(text) {
        Ok(toml) => match with_path(toml) {
            Ok(parsed) => return Text::into_manifest(parsed, None),
            Err(error) => error,
        },
        Err(error) => last_line(&error),
    };
    let looks_like_json = text.trim_start().starts_with('{');
    let reason = match parse_json(text) {
        Ok(parsed) => return Text::into_manifest(parsed, memory),
        Err(json_error) if looks_like_json => json_error,
        Err(_) => toml_error,
    };
    bail!("Unknown manifest format: {reason}")
}

fn parse_json(text: &str) -> Result<Text, String> {
    // Serde takes an array for a struct, too. A manifest has none in these places.
    let value: Value = serde_json::from_str(text).map_err(|error| last_line(&error))?;
    let object = |place: &str, value: &Value| match value {
        Value::Object(_) => Ok(()),
        _ => Err(format!("{place}: expected an object")),
    };
    object("the manifest", &value)?;
    if let Some(memory) = value.get("memory") {
        object("memory", memory)?;
    }
    for wasm in value
        .get("wasm")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        object("wasm", wasm)?;
    }
    // From the text, not from the value: that has lost fields that are there twice.
    with_path(&mut serde_json::Deserializer::from_str(text))
}

/// Says where in the manifest the error is.
fn with_path<'de, T: DeserializeOwned, D: Deserializer<'de>>(deserializer: D) -> Result<T, String> {
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let inner = last_line(error.inner());
        match error.path().to_string().as_str() {
            "." => inner,
            path => format!("{path}: {inner}"),
        }
    })
}

/// The errors of `toml` draw the place in the text; what is wrong is below the drawing.
fn last_line(error: &impl fmt::Display) -> String {
    let text = error.to_string();
    let mut lines = text.lines().filter(|line| !line.is_empty());
    lines.next_back().unwrap_or_default().to_owned()
}

/// A manifest as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    #[serde(default)]
    wasm: Vec<WasmText>,
    #[serde(default)]
    memory: MemoryText,
    #[serde(default)]
    config: BTreeMap<String, String>,
    #[serde(default)]
    allowed_hosts: Option<Vec<String>>,
    #[serde(default)]
    allowed_paths: Option<BTreeMap<String, PathBuf>>,
    #[serde(default)]
    timeout_ms: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct MemoryText {
    max_pages: Option<u32>,
    max_http_response_bytes: Option<u64>,
    max_var_bytes: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WasmText {
    #[serde(default, deserialize_with = "present")]
    path: Option<PathBuf>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Data>,
    #[serde(default, deserialize_with = "present")]
    url: Option<String>,
    method: Option<String>,
    #[serde(default, deserialize_with = "present")]
    headers: Option<BTreeMap<String, String>>,
    name: Option<String>,
    hash: Option<String>,
}

/// An optional field that can't be null.
fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    value: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(value).map(Some)
}

/// A module's bytes, or where in this process they are.
enum Data {
    Bytes(Vec<u8>),
    Memory { ptr: u64, len: u64 },
}

impl<'de> Deserialize<'de> for Data {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DataVisitor;

        impl<'de> Visitor<'de> for DataVisitor {
            type Value = Data;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("base64, or an object with `ptr` and `len`")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Data, E> {
                let bytes = STANDARD.decode(text);
                bytes
                    .map(Data::Bytes)
                    .map_err(|error| E::custom(format!("not base64: {error}")))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Data, A::Error> {
                let (mut ptr, mut len) = (None, None);
                while let Some(key) = map.next_key::<String>()? {
                    let field = match key.as_str() {
                        "ptr" => &mut ptr,
                        "len" => &mut len,
                        _ => return Err(de::Error::unknown_field(&key, &["ptr", "len"])),
                    };
                    if field.replace(map.next_value::<u64>()?).is_some() {
                        return Err(de::Error::custom(format!("duplicate field `{key}`")));
                    }
                }
                let missing = de::Error::missing_field;
                let ptr = ptr.ok_or_else(|| missing("ptr"))?;
                let len = len.ok_or_else(|| missing("len"))?;
                Ok(Data::Memory { ptr, len })
            }
        }

        deserializer.deserialize_any(DataVisitor)
    }
}

impl Text {
    fn into_manifest(self, memory: Option<ReadMemory>) -> Result<Manifest, Error> {
        let wasm = self.wasm.into_iter().enumerate().map(|(index, wasm)| {
            wasm.into_wasm(memory)
                .with_context(|| format!("wasm[{index}]"))
                .map_err(|error| anyhow!("Unknown manifest format: {error:#}"))
        });
        let mut manifest = Manifest::new(wasm.collect::<Result<Vec<_>, _>>()?);
        manifest.memory = MemoryOptions {
            max_pages: self.memory.max_pages,
            max_http_response_bytes: self.memory.max_http_response_bytes,
            max_var_bytes: self.memory.max_var_bytes,
        };
        manifest.config = self.config;
        manifest.allowed_hosts = self.allowed_hosts;
        manifest.allowed_paths = self.allowed_paths;
        manifest.timeout_ms = self.timeout_ms;
        Ok(manifest)
    }
}

impl WasmText {
    fn into_wasm(self, memory: Option<ReadMemory>) -> Result<Wasm, Error> {
        let meta = WasmMetadata {
            name: self.name,
            hash: self.hash,
        };
        if self.url.is_none() && (self.method.is_some() || self.headers.is_some()) {
            bail!("`method` and `headers` go with `url` only");
        }
        match (self.path, self.data, self.url) {
            (Some(path), None, None) => Ok(Wasm::File { path, meta }),
            (None, Some(data), None) => Ok(Wasm::Data {
                data: data.read(memory)?,
                meta,
            }),
            (None, None, Some(url)) => {
                let req = HttpRequest {
                    url,
                    headers: self.headers.unwrap_or_default(),
                    method: self.method,
                };
                Ok(Wasm::Url { req, meta })
            }
            _ => bail!("one of `path`, `data` and `url` has to be there, and only one"),
        }
    }
}

impl Data {
    fn read(self, memory: Option<ReadMemory>) -> Result<Vec<u8>, Error> {
        let (ptr, len) = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::Memory { ptr, len } => (ptr, len),
        };
        let memory = memory.context("data: `ptr` is for JSON that is given to the C API")?;
        match (usize::try_from(ptr), usize::try_from(len)) {
            (Ok(address), Ok(len)) if address != 0 && isize::try_from(len).is_ok() => {
                Ok(memory(address, len))
            }
            _ => bail!("data: there are no {len} bytes at {ptr}"),
        }
    }
}
