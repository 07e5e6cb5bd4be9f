//! A case as a client that speaks in lines of JSON: the labs from 4 on, apart from the echoes.

use std::time::Duration;

use serde_json::{Value, json};

use super::case::{Case, SOON, Step, Stopped};
use super::client::{Client, EndedBy};
use super::evidence;
use super::report::Kind;
use crate::view::paint::harmless;

/// How much of a line is shown.
const SHOWN: usize = 160;

impl Case<'_> {
    /// Whether this lab's server speaks in lines of JSON.
    pub fn speaks_lines(&self) -> bool {
        matches!(self.lab(), 4 | 7)
    }

    /// Sends a text and expects it back: as it is, or as this lab says it; a step.
    pub fn echo(&mut self, client: &mut Client, text: &[u8], step: &str) -> Step {
        if self.speaks_lines() {
            let data = String::from_utf8_lossy(text);
            let answer = json!({"type": "OK", "re": "ECHO", "data": data});
            return self.ask(client, &json!({"type": "ECHO", "data": data}), &answer, step);
        }
        self.exchange(client, text, text, step)
    }

    /// What a client can send again and again, to be sent as much: whole lines where this lab has lines.
    pub fn something_long(&self) -> Vec<u8> {
        if self.speaks_lines() {
            line(&json!({"type": "ECHO", "data": "x".repeat(60_000)}))
        } else {
            vec![b'x'; 60_000]
        }
    }

    /// Sends a request and expects such an answer; a step.
    pub fn ask(&mut self, client: &mut Client, request: &Value, wanted: &Value, step: &str) -> Step {
        self.say(client, &line(request), step)?;
        self.hear(client, wanted, step)
    }

    /// Sends bytes, however long that takes.
    pub fn say(&mut self, client: &mut Client, bytes: &[u8], step: &str) -> Step {
        let (mut written, mut broken) = (0, None);
        self.until(SOON, |_| {
            match client.write(&bytes[written..]) {
                Ok(count) => written += count,
                Err(errno) => broken = Some(errno),
            }
            Ok((written == bytes.len() || broken.is_some()).then_some(()))
        })?;
        match broken {
            // What was said before that is still to be read, and says more.
            Some(_) => Ok(()),
            None if written == bytes.len() => Ok(()),
            None => {
                let socket = self.servers_end(client)?;
                let expected = format!("{step}: the server to take {}", evidence::bytes(bytes));
                let failure = self.fail(Kind::TimedOut, expected, format!("after 1 s it had taken {written} of them"));
                Err(failure.because(evidence::why_not_served(socket.as_ref(), self.main())))
            }
        }
    }

    /// Expects a line with these keys and values, whatever else is in it; a step.
    pub fn hear(&mut self, client: &mut Client, wanted: &Value, step: &str) -> Step {
        let heard = self.hear_a_line(client, &format!("{step}: {wanted}"))?;
        if has(&heard, wanted) {
            self.done(step);
            return Ok(());
        }
        Err(self.heard_wrongly(&format!("{step}: {wanted}"), &heard))
    }

    /// That a line is not the one that was expected.
    pub fn heard_wrongly(&mut self, expected: &str, heard: &Value) -> Stopped {
        self.fail(Kind::WrongBytes, expected, format!("it got {}", shown(heard.to_string().as_bytes()))).into()
    }

    /// The next line, which has to be JSON.
    pub fn hear_a_line(&mut self, client: &mut Client, expected: &str) -> Step<Value> {
        let line = self.until(SOON, |_| {
            client.listen();
            let line = client.take_line();
            Ok((line.is_some() || client.ended.is_some()).then_some(line))
        })?;
        match line.flatten() {
            Some(line) => match serde_json::from_slice(&line) {
                Ok(value) => Ok(value),
                Err(error) => {
                    let seen = format!("it got {}", shown(&line));
                    Err(self.fail(Kind::WrongBytes, expected, seen).because(format!("that is no JSON: {error}")))
                }
            },
            None => Err(self.heard_nothing(client, expected)),
        }
    }

    fn heard_nothing(&mut self, client: &Client, expected: &str) -> Stopped {
        let rest = match client.received.as_slice() {
            [] => "no line".into(),
            rest => format!("no whole line, but {}", shown(rest)),
        };
        match client.ended {
            Some(EndedBy::Fin) => {
                self.fail(Kind::WrongBytes, expected, format!("{rest}, and the server closed (FIN)")).into()
            }
            Some(EndedBy::Errno(errno)) => {
                let seen = format!("{rest}, and the connection broke: {errno:?} ({})", errno.desc());
                self.fail(Kind::WrongState, expected, seen).into()
            }
            None => {
                let socket = self.servers_end(client).ok().flatten();
                let failure = self.fail(Kind::TimedOut, expected, format!("{rest} within 1 s"));
                failure.because(evidence::why_not_served(socket.as_ref(), self.main()))
            }
        }
    }

    /// Expects that nothing has been said to a client: the next that it hears is the answer to what it asks now; a step.
    pub fn hears_nothing(&mut self, client: &mut Client, step: &str) -> Step {
        let marker = "is anything there?";
        let wanted = json!({"type": "OK", "re": "ECHO", "data": marker});
        self.say(client, &line(&json!({"type": "ECHO", "data": marker})), step)?;
        let heard = self.hear_a_line(client, &format!("{step}: {wanted}"))?;
        if has(&heard, &wanted) {
            self.done(step);
            return Ok(());
        }
        let seen = format!("it got {}", shown(heard.to_string().as_bytes()));
        Err(self.fail(Kind::WrongBytes, format!("{step}: no line but the answer to its own ECHO"), seen).into())
    }

    /// Waits until the server has read all that this client has sent, but no longer than that takes a server that reads.
    pub fn is_read(&mut self, client: &Client) -> Step {
        self.until(Duration::from_millis(200), |case| {
            let socket = case.servers_end(client)?;
            Ok(socket.is_none_or(|socket| socket.receive_queue == 0).then_some(()))
        })?;
        Ok(())
    }
}

/// A value as it goes over the wire.
pub fn line(value: &Value) -> Vec<u8> {
    format!("{value}\n").into_bytes()
}

/// Whether all that is in the object `wanted` is in the other one, too.
pub fn has(heard: &Value, wanted: &Value) -> bool {
    match wanted.as_object() {
        Some(keys) => keys.iter().all(|(key, value)| heard.get(key) == Some(value)),
        None => heard == wanted,
    }
}

/// The beginning of a line as it may be shown.
pub fn shown(line: &[u8]) -> String {
    let text = harmless(&line[..line.len().min(SHOWN)]);
    if line.len() > SHOWN { format!("{text}… ({} bytes)", line.len()) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_may_have_more_in_it_than_was_asked_for_and_not_less() {
        let heard = json!({"type": "OK", "re": null, "data": [1, {"a": "b"}]});
        assert!(has(&heard, &json!({"type": "OK", "data": [1, {"a": "b"}]})));
        assert!(has(&heard, &json!({"re": null})));
        assert!(!has(&heard, &json!({"type": "OK", "id": null})));
        assert!(!has(&json!("OK"), &json!({"type": "OK"})));
    }

    #[test]
    fn a_line_is_shown_without_what_could_act_on_a_terminal_and_not_at_any_length() {
        assert!(!shown(b"\x1b[2J").contains('\x1b'));
        assert!(shown(&[b'x'; 1000]).ends_with("… (1000 bytes)"));
    }
}
