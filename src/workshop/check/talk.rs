//! A case as a client: what it says to the server, and what it expects to hear. Each is a step of a check.

use std::time::Duration;

use super::case::{Case, SOON, Step, Stopped};
use super::client::{Client, Connecting, EndedBy};
use super::evidence;
use super::report::Kind;
use crate::event::Endpoint;
use crate::workshop::Problem;

impl Case<'_> {
    /// Connects a client; a step.
    pub fn connect(&mut self, step: &str) -> Step<Client> {
        let connecting = Connecting::to(self.address()).map_err(Problem::while_doing("make a socket for a client"))?;
        let connected = self.until(SOON, |_| Ok(connecting.look().transpose()))?;
        match connected {
            Some(Ok(client)) => {
                self.done(step);
                Ok(client)
            }
            Some(Err(error)) => Err(self.not_let_in(step, &error)),
            None => {
                let listener = self.listener()?;
                let expected = format!("{step}: {} to let a client in within 1 s", self.address());
                let failure = self.fail(Kind::TimedOut, expected, "its SYN was not answered");
                Err(match listener {
                    Some(full) if full.receive_queue > full.send_queue => failure.because(format!(
                        "the accept queue is full ({}/{}): nobody calls accept()",
                        full.receive_queue, full.send_queue
                    )),
                    _ => failure.into(),
                })
            }
        }
    }

    fn not_let_in(&mut self, step: &str, error: &std::io::Error) -> Stopped {
        let expected = format!("{step}: {} to let a client in", self.address());
        let seen = format!("connect() said {}", crate::sys::with_name(error));
        match self.listener().ok().flatten().map(|listener| listener.local) {
            Some(Endpoint::Inet(local)) if local.is_ipv6() && self.address().is_ipv4() => {
                self.fail(Kind::NeverListened, expected, seen).because(evidence::only_ipv6(local))
            }
            _ => self.fail(Kind::WrongState, expected, seen).into(),
        }
    }

    /// Sends bytes, and expects these as the answer; a step.
    pub fn exchange(&mut self, client: &mut Client, sent: &[u8], wanted: &[u8], step: &str) -> Step {
        let mut written = 0;
        let mut broken = None;
        let limit = SOON + Duration::from_millis(sent.len() as u64 / 1024);
        self.until(limit, |_| {
            if written < sent.len() && broken.is_none() {
                match client.write(&sent[written..]) {
                    Ok(count) => written += count,
                    Err(errno) => broken = Some(errno),
                }
            }
            client.listen();
            let is_through = client.received.len() >= wanted.len() || client.ended.is_some();
            Ok((is_through || !wanted.starts_with(&client.received)).then_some(()))
        })?;
        if client.received.starts_with(wanted) {
            client.take(wanted.len());
            self.done(step);
            return Ok(());
        }
        Err(self.wrong_answer(client, sent, wanted, step))
    }

    fn wrong_answer(&mut self, client: &Client, sent: &[u8], wanted: &[u8], step: &str) -> Stopped {
        let expected = match sent == wanted {
            true => format!("{step}: {} to come back", evidence::bytes(wanted)),
            false => format!("{step}: {}", evidence::bytes(wanted)),
        };
        let got = client.received.as_slice();
        let (kind, seen) = match client.ended {
            _ if !wanted.starts_with(got) => (Kind::WrongBytes, evidence::difference(wanted, got)),
            Some(EndedBy::Fin) => (Kind::WrongBytes, format!("after {} bytes the server closed (FIN)", got.len())),
            Some(EndedBy::Errno(errno)) => (
                Kind::WrongState,
                format!("after {} bytes the connection broke: {errno:?} ({})", got.len(), errno.desc()),
            ),
            None => (Kind::TimedOut, format!("after 1 s there were {} of {} bytes", got.len(), wanted.len())),
        };
        let socket = self.servers_end(client).ok().flatten();
        let failure = self.fail(kind, expected, seen);
        if client.ended.is_none() && kind == Kind::TimedOut {
            return failure.because(evidence::why_not_served(socket.as_ref(), self.main()));
        }
        failure.into()
    }

    /// Expects the server's FIN; a step. What comes before it stays in what was received.
    pub fn expect_fin(&mut self, client: &mut Client, limit: Duration, step: &str) -> Step {
        let ended = self.until(limit, |_| {
            client.listen();
            Ok(client.ended)
        })?;
        let expected = format!("a FIN from the server within {} s", limit.as_secs_f32());
        match ended {
            Some(EndedBy::Fin) => {
                self.done(step);
                Ok(())
            }
            Some(EndedBy::Errno(errno)) => {
                Err(self.fail(Kind::WrongState, expected, format!("{errno:?} ({})", errno.desc())).into())
            }
            None => {
                let socket = self.servers_end(client)?;
                let why = evidence::why_no_fin(socket.as_ref(), self.main(), self.is_parent());
                Err(self.fail(Kind::WrongState, expected, "none was seen").because(why))
            }
        }
    }
}
