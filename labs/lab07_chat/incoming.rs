//! What a line from the server is.

use serde::Deserialize;
use serde_json::Value;

/// A line from the server. The protocol's page (docs/chat-protocol.md) says what each is for.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "UPPERCASE")]
pub enum Incoming {
    /// Yes, and what was asked for.
    Ok {
        /// The word of the request.
        re: Option<String>,
        /// What was asked for.
        #[serde(default)]
        data: Value,
    },
    /// No, and why; or why the connection ends.
    Error {
        /// The word of the request, where it is an answer to one that could be read.
        re: Option<String>,
        /// The reason, for programs.
        code: String,
        /// The reason, for people.
        #[serde(default)]
        message: String,
    },
    /// Somebody else has said something.
    Broadcast(Said),
    /// Somebody has registered.
    Joined {
        /// Under this name.
        data: String,
    },
    /// Somebody is gone.
    Left {
        /// Who it was.
        data: String,
    },
    /// No line of the protocol that this client knows.
    #[serde(skip)]
    Unknown,
}

/// Something that was said: in a broadcast, and in the list of LIST_MESSAGES.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct Said {
    /// Who said it.
    pub from: String,
    /// What was said.
    pub data: String,
    /// When: RFC 3339.
    #[serde(default)]
    pub time: String,
}

impl Incoming {
    /// Reads a line, without its newline. Whatever it holds, it is something, if only [`Unknown`](Self::Unknown).
    pub fn read(line: &[u8]) -> Self {
        serde_json::from_slice(line).unwrap_or(Self::Unknown)
    }

    /// Whether it says that the server is about to end the connection, and answers no request.
    pub fn is_farewell(&self) -> bool {
        let Self::Error { re: None, code, .. } = self else { return false };
        // A client that has not registered is let go after a while.
        matches!(code.as_str(), "SHUTTING_DOWN" | "SLOW_CONSUMER" | "SERVER_FULL" | "NOT_REGISTERED")
    }

    /// Whether it answers a request. A request that could not be read has an answer too, one without `re`.
    pub fn is_answer(&self) -> bool {
        matches!(self, Self::Ok { .. } | Self::Error { .. }) && !self.is_farewell()
    }

    /// Of an answer to the request to be known by a name: whether it is yes.
    pub fn is_welcome(&self) -> Option<bool> {
        match self {
            Self::Ok { re: Some(re), .. } if re == "REGISTER" => Some(true),
            Self::Error { re: Some(re), .. } if re == "REGISTER" => Some(false),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_of_the_protocol_is_what_it_says() {
        let said = Said { from: "Alice".into(), data: "hi".into(), time: "2026-01-02T03:04:05Z".into() };
        for (line, expected) in [
            (
                r#"{"type":"BROADCAST","from":"Alice","data":"hi","time":"2026-01-02T03:04:05Z"}"#,
                Incoming::Broadcast(said),
            ),
            (r#"{"type":"JOINED","data":"Bob","more":[1]}"#, Incoming::Joined { data: "Bob".into() }),
            (r#"{"type":"LEFT","data":"Bob"}"#, Incoming::Left { data: "Bob".into() }),
            (
                r#" {"type":"OK","re":"MESSAGE","id":7,"data":2}"#,
                Incoming::Ok { re: Some("MESSAGE".into()), data: 2.into() },
            ),
            (r#"{"type":"OK","re":"ECHO","data":null}"#, Incoming::Ok { re: Some("ECHO".into()), data: Value::Null }),
            (
                r#"{"type":"ERROR","re":null,"code":"BAD_JSON","message":"no"}"#,
                Incoming::Error { re: None, code: "BAD_JSON".into(), message: "no".into() },
            ),
        ] {
            assert_eq!(Incoming::read(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn anything_else_is_unknown_and_nothing_worse() {
        let deep = "[".repeat(100_000);
        let nested = format!(r#"{{"type":"OK","re":"ECHO","data":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        for line in ["", "{", "null", "[]", "HTTP/1.1 400 Bad Request\r", &deep, &nested].into_iter().chain([
            r#"{"type":"FUTURE"}"#,
            r#"{"type":"JOINED"}"#,
            r#"{"type":"JOINED","data":5}"#,
            r#"{"type":3}"#,
        ]) {
            assert_eq!(Incoming::read(line.as_bytes()), Incoming::Unknown, "{:.40}", line);
        }
        assert_eq!(Incoming::read(b"{\"type\":\"LEFT\",\"data\":\"\xff\"}"), Incoming::Unknown);
    }

    #[test]
    fn an_error_is_an_answer_unless_it_tells_of_the_connections_end() {
        let error = |re: &str, code: &str| {
            Incoming::read(format!(r#"{{"type":"ERROR","re":{re},"code":"{code}","message":""}}"#).as_bytes())
        };
        for code in ["SHUTTING_DOWN", "SLOW_CONSUMER", "SERVER_FULL", "NOT_REGISTERED"] {
            assert!(error("null", code).is_farewell() && !error("null", code).is_answer(), "{code}");
        }
        assert!(error("null", "TOO_LONG").is_answer());
        assert!(error(r#""MESSAGE""#, "NOT_REGISTERED").is_answer());
        assert!(!Incoming::read(br#"{"type":"JOINED","data":"Bob"}"#).is_answer());
    }
}
