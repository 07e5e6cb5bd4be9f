//! What a client says to an echo server, and how much it gets back.

use std::io::{self, Read, Write};
use std::net::TcpStream;

/// The bytes of text in each request.
const SIZE: usize = 64;
/// No answer is longer.
const ANSWER_LIMIT: usize = 4096;

/// How a server is spoken to.
#[derive(Clone, Copy, PartialEq)]
pub enum Language {
    /// What is sent comes back as it is.
    Bytes,
    /// Lab 4: a line of JSON there, a line of JSON back, both with the same text in them.
    Json,
}

/// A request, and the number of bytes that its answer has.
#[derive(Clone)]
pub struct Exchange {
    /// What is sent.
    pub request: Vec<u8>,
    /// What has to come back.
    pub answer: Vec<u8>,
}

impl Language {
    /// Has the first exchange with a server, and checks it: every later one goes the same way.
    pub fn try_out(self, mut connection: &TcpStream) -> io::Result<Exchange> {
        let text = ".".repeat(SIZE);
        let request = match self {
            Language::Bytes => text.clone().into_bytes(),
            Language::Json => format!("{{\"type\":\"ECHO\",\"data\":\"{text}\"}}\n").into_bytes(),
        };
        connection.write_all(&request)?;
        let mut answer = Vec::new();
        let is_whole = |answer: &[u8]| match self {
            Language::Bytes => answer.len() >= SIZE,
            Language::Json => answer.contains(&b'\n'),
        };
        while !is_whole(&answer) && answer.len() < ANSWER_LIMIT {
            let mut some = [0; ANSWER_LIMIT];
            let length = connection.read(&mut some)?;
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            answer.extend_from_slice(&some[..length]);
        }
        let is_right = match self {
            Language::Bytes => answer == request,
            Language::Json => {
                let parsed: Option<serde_json::Value> = serde_json::from_slice(&answer).ok();
                parsed.is_some_and(|answer| answer["type"] == "OK" && answer["data"] == text.as_str())
            }
        };
        if is_right { Ok(Exchange { request, answer }) } else { Err(io::Error::other("it answers something else")) }
    }
}

impl Exchange {
    /// One request, one answer. The connection blocks.
    pub fn have(&self, mut connection: &TcpStream) -> io::Result<()> {
        connection.write_all(&self.request)?;
        let mut answer = [0; ANSWER_LIMIT];
        let answer = &mut answer[..self.answer.len()];
        connection.read_exact(answer)?;
        if *answer == self.answer { Ok(()) } else { Err(io::Error::other("it answers something else")) }
    }
}
