//! Checks that only an exercise asks for: what its reader builds is not in the lab, or only with an option.

use std::time::Duration;

use nix::sys::signal::Signal;

use super::case::{Case, SOON, Step};
use super::life;
use super::report::Kind;
use crate::event::{Socket, State};

/// Lab 1: the server prints `state ESTABLISHED` for a connection, as getsockopt(TCP_INFO) tells it. That it does not just
/// say so is seen from a client that has sent its FIN before it is accepted.
pub fn tells_state(case: &mut Case) -> Step {
    case.start()?;
    let (_, mark) = case.printed_since(u64::MAX);
    let mut first = case.connect("a client connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    let socket = case.servers_end(&first)?;
    says(case, mark, socket.as_ref())?;
    first.close();

    let (_, mark) = case.printed_since(u64::MAX);
    let main = case.main();
    case.signal(main, Signal::SIGSTOP)?;
    let mut second = case.connect("one connects while the server is stopped")?;
    let _ = second.write(b"hello\n");
    second.shutdown_write();
    let ended =
        case.until(SOON, |case| Ok(case.servers_end(&second)?.filter(|socket| socket.state == State::CloseWait)))?;
    case.done("it sends its FIN");
    case.signal(main, Signal::SIGCONT)?;
    case.exchange(&mut second, b"", b"hello\n", "the server goes on: echo")?;
    says(case, mark, ended.as_ref())
}

/// Expects a line with the state that the kernel's table showed.
fn says(case: &mut Case, mark: u64, socket: Option<&Socket>) -> Step {
    let Some(state) = socket.map(|socket| socket.state) else {
        let seen = "the kernel has none any more";
        return Err(case.fail(Kind::WrongState, "the server's end of the connection", seen).into());
    };
    let said =
        case.until(SOON, |case| Ok(case.printed_since(mark).0.iter().any(|line| names(line, state)).then_some(())))?;
    if said.is_some() {
        case.done(format!("it prints {state}"));
        return Ok(());
    }
    let (lines, _) = case.printed_since(mark);
    let expected = format!("a line with: state {state}");
    let seen = match lines.iter().find(|line| line.to_lowercase().contains("state")) {
        Some(line) => format!("it printed: {line}"),
        None => format!("it printed {} lines, none of them with: state", lines.len()),
    };
    let failure = case.fail(Kind::WrongState, expected, seen);
    Err(failure.because(format!("the kernel's table had it in {state}")))
}

/// Whether a line says `state` and, behind it, this state; `CLOSE_WAIT` and `Close-Wait` count as well.
fn names(line: &str, state: State) -> bool {
    let plain = line.to_uppercase().replace('_', "-");
    let Some((_, behind)) = plain.split_once("STATE") else { return false };
    let behind = behind.trim_start_matches([' ', ':', '=']);
    behind
        .strip_prefix(state.name())
        .is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '-'))
}

/// Lab 3 with `--max-clients 2`.
pub fn max_clients(case: &mut Case) -> Step {
    case.start()?;
    let mut first = case.connect("the first connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    let mut second = case.connect("the second connects")?;
    case.echo(&mut second, b"hello\n", "echo")?;
    let mut third = case.connect("the third connects")?;
    let words = b"I can wait\n";
    let _ = third.write(words);
    let served = case.until(Duration::from_millis(300), |case| {
        third.listen();
        let is_accepted = case.servers_end(&third)?.is_some_and(|socket| !socket.waits_for_accept());
        Ok((is_accepted || !third.received.is_empty() || third.ended.is_some()).then_some(()))
    })?;
    if served.is_some() {
        let expected = "the third to wait in the accept queue";
        let (seen, why) = match third.ended {
            Some(_) => ("the server has ended its connection", "a client that is turned away does not wait"),
            None => ("it was accepted", "the server calls accept() though it serves two clients already"),
        };
        return Err(case.fail(Kind::WrongState, expected, seen).because(why));
    }
    case.done("it waits in the accept queue");
    let why = "it looks again and again whether there is room: the end of a child is a SIGCHLD, which wakes who sleeps";
    life::sleeps_on(case, "the server sleeps meanwhile", why)?;
    case.echo(&mut first, b"still here\n", "echo for the first")?;
    first.close();
    case.exchange(&mut third, b"", words, "the first closes, the third is served")?;
    case.echo(&mut second, b"still here\n", "echo for the second")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_read_out_of_a_line_however_it_is_written_and_not_out_of_another_word() {
        for line in ["state ESTABLISHED", "127.0.0.1:5 connected, state: established", "state=Established\r"] {
            assert!(names(line, State::Established), "{line}");
        }
        assert!(names("state CLOSE_WAIT", State::CloseWait));
        for line in ["ESTABLISHED", "state ESTABLISHEDX", "state CLOSE-WAIT", "state CLOSED-"] {
            assert!(!names(line, State::Established), "{line}");
        }
        assert!(!names("state CLOSE-WAIT", State::Closed));
    }
}
