//! What a frame says: requests and answers, as one JSON object each.
//!
//! A frame ends at a newline, and JSON never holds one: within a string it is written as the two characters `\n`. That is
//! why the two go together so well.

use std::io;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// What a client asks for: `{"type":"ECHO","data":"hello"}` or `{"type":"TIME"}`.
///
/// The attribute says how a variant becomes JSON: its name under `type`, what it holds under `data`.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(tag = "type", content = "data", rename_all = "UPPERCASE")]
pub enum Request {
    /// The same data back, whatever JSON it is.
    Echo(Value),
    /// The server's time.
    Time,
}

/// What the server answers: `{"type":"OK","re":"ECHO","data":"hello"}` or `{"type":"ERROR","code":"BAD_JSON",…}`.
///
/// `re` is the type of the request, where one could be read, and `id` what the request had under that name, if anything.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum Response {
    /// It was done.
    #[expect(missing_docs, reason = "the fields are described above, or are what was asked for")]
    Ok {
        re: String,
        data: Value,
        #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
    /// It was not: why, for programs and for people.
    #[expect(missing_docs, reason = "the fields are described above")]
    Error {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        re: Option<String>,
        code: Code,
        message: String,
        #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
        id: Option<Value>,
    },
}

/// Why a request was not carried out. A program compares codes; messages may be worded better one day.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// Not one JSON object, or one that is nested too deeply.
    BadJson,
    /// Bytes that are not UTF-8.
    BadUtf8,
    /// No `type`, or none that this server knows.
    UnknownType,
    /// This type of request needs a `data`.
    MissingData,
    /// A frame longer than the server is ready to keep.
    TooLong,
    /// A code that a newer server knows and this program does not.
    #[serde(other)]
    Other,
}

impl Request {
    /// Reads a frame: the request and its `id`, or the answer that a frame gets which is no request.
    pub fn read(frame: &[u8]) -> Result<(Self, Option<Value>), Response> {
        let refused = |code, message| Response::Error { re: None, code, message, id: None };
        let text = str::from_utf8(frame)
            .map_err(|error| refused(Code::BadUtf8, format!("not UTF-8 from byte {} on", error.valid_up_to())))?;
        // serde_json goes 127 levels deep and no further: deeper JSON is an error, and not the end of this thread's stack.
        let value = serde_json::from_str(text).map_err(|error| refused(Code::BadJson, error.to_string()))?;
        let Value::Object(mut object) = value else {
            return Err(refused(Code::BadJson, "JSON, but not an object".into()));
        };

        // Not a derived Deserialize: each of these faults has a code of its own, and the answer shall repeat the id.
        let (kind, data, id) = (object.remove("type"), object.remove("data"), object.remove("id"));
        let Some(Value::String(kind)) = kind else {
            let message = "there is no \"type\" that is a string".into();
            return Err(Response::Error { re: None, code: Code::UnknownType, message, id });
        };
        let kind = kind.to_ascii_uppercase();
        let (code, message) = match (kind.as_str(), data) {
            // `null` is data as well: only what is not there is missing.
            ("ECHO", Some(data)) => return Ok((Self::Echo(data), id)),
            ("ECHO", None) => (Code::MissingData, "ECHO needs \"data\""),
            ("TIME", _) => return Ok((Self::Time, id)),
            _ => (Code::UnknownType, "known types are ECHO and TIME"),
        };
        Err(Response::Error { re: Some(kind), code, message: message.into(), id })
    }
}

/// A message as it goes over the wire: JSON without spaces, and the newline that ends the frame.
pub fn to_line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}

/// `null` is an id as well, though serde would read it as `None`.
fn given<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(field).map(Some)
}
