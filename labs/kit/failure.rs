use std::error::Error;
use std::fmt::{self, Display};
use std::io;

use nix::errno::Errno;

use crate::printable;

/// A system call that failed: which call, on what, with which errno, and what a learner can do about it.
///
/// It prints as `bind 127.0.0.1:7001: EADDRINUSE (Address already in use)`, with a line of advice below where there is
/// one. First used in lab 1.
pub struct Failure {
    call: &'static str,
    object: String,
    error: io::Error,
}

impl Failure {
    /// The failure of `call`, named as its man page does, on `object`.
    pub fn new(call: &'static str, object: impl Display, error: impl Into<io::Error>) -> Self {
        Self { call, object: object.to_string(), error: error.into() }
    }

    /// The errno, where it was the kernel that refused.
    pub fn errno(&self) -> Option<Errno> {
        match self.error.kind() {
            // The standard library's own time-out, of a connect that it let run without blocking.
            io::ErrorKind::TimedOut => Some(Errno::ETIMEDOUT),
            _ => self.error.raw_os_error().map(Errno::from_raw),
        }
    }

    fn hint(&self) -> Option<String> {
        let port = self.object.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let of_port = |end: &str| port.map_or(String::new(), |port| format!(" '{end} = :{port}'"));
        let advice = match (self.call, self.errno()?) {
            ("bind", Errno::EADDRINUSE) if port.is_some() => format!(
                "another program listens there, or connections of an earlier run are not over (TIME-WAIT lasts a \
                 minute): ss -tanp{}",
                of_port("sport")
            ),
            ("bind", Errno::EADDRINUSE) => "a server listens on that file, or it is no socket: ss -xl".into(),
            ("bind", Errno::EACCES) if port.is_some() => "a port below 1024 needs a right that this user lacks \
                 (CAP_NET_BIND_SERVICE); take a higher one with --port"
                .into(),
            ("bind", Errno::EADDRNOTAVAIL) => "no interface of this machine has that address: ip addr".into(),
            ("connect", Errno::ECONNREFUSED) if port.is_some() => format!(
                "the host answered, but nobody listens there; is the server running? ss -tln{}",
                of_port("sport")
            ),
            ("connect", Errno::ECONNREFUSED | Errno::ENOENT) => "nobody listens there; is the server running?".into(),
            ("connect", Errno::ETIMEDOUT | Errno::EINPROGRESS) => "the SYN was not answered: a wrong address, a \
                 firewall on the way, or a server whose accept queue is full"
                .into(),
            ("connect", Errno::ENETUNREACH | Errno::EHOSTUNREACH) => {
                "no way leads there from this machine: ip route".into()
            }
            ("read", Errno::ECONNRESET) => {
                "the peer sent RST: it ended without reading everything, or threw the connection away".into()
            }
            ("write", Errno::EPIPE | Errno::ECONNRESET) => "the peer is gone: it answers segments with RST".into(),
            (_, Errno::EAFNOSUPPORT) => "the address is of another family than the socket: see --family".into(),
            (_, Errno::EMFILE) => "this process may not open more file descriptors: ulimit -n".into(),
            ("fork", Errno::EAGAIN) => "this user may not start more processes: ulimit -u".into(),
            ("pthread_create", Errno::EAGAIN) => {
                "this user may not start more threads, which count as processes: ulimit -u".into()
            }
            _ => return None,
        };
        Some(advice)
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: ", self.call, printable(self.object.as_bytes()))?;
        match self.errno() {
            Some(errno) => write!(f, "{errno:?} ({})", errno.desc())?,
            None => write!(f, "{}", self.error)?,
        }
        match self.hint() {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// As [`Display`]: this is what a `main` that returns a `Failure` prints after `Error: `.
impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

impl Error for Failure {}

/// Gives an error its context: `socket.bind(&address).during("bind", address)?`.
pub trait During<T> {
    /// Names the call that failed, as its man page does, and the object it was called on.
    fn during(self, call: &'static str, object: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, call: &'static str, object: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(call, object, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(call: &'static str, object: &str, errno: Errno) -> String {
        Err::<(), _>(errno).during(call, object).unwrap_err().to_string()
    }

    #[test]
    fn a_failure_names_the_call_the_object_and_the_errno() {
        let text = failed("bind", "127.0.0.1:7001", Errno::EADDRINUSE);
        assert!(text.starts_with("bind 127.0.0.1:7001: EADDRINUSE (Address already in use)\n"), "{text}");
    }

    #[test]
    fn a_hint_names_the_port_that_was_meant() {
        assert!(failed("bind", "[::1]:7001", Errno::EADDRINUSE).contains("ss -tanp 'sport = :7001'"));
    }

    #[test]
    fn an_errno_without_advice_has_no_hint() {
        assert_eq!(
            failed("listen", "127.0.0.1:7001", Errno::EINVAL),
            "listen 127.0.0.1:7001: EINVAL (Invalid argument)"
        );
    }

    #[test]
    fn a_failure_that_no_errno_names_keeps_its_own_words() {
        let error = io::Error::other("failed to lookup address information");
        let text = Err::<(), _>(error).during("getaddrinfo", "nosuch.invalid").unwrap_err().to_string();
        assert_eq!(text, "getaddrinfo nosuch.invalid: failed to lookup address information");
    }

    #[test]
    fn an_object_cannot_carry_an_escape_sequence_to_the_terminal() {
        assert!(!failed("connect", "\x1b[2J", Errno::ECONNREFUSED).contains('\x1b'));
    }
}
