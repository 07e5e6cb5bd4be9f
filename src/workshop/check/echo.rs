//! Checks of an echo server: it listens, every byte comes back, clients come one after the other.

use std::time::Duration;

use super::case::{Case, SOON, Step};
use super::report::Kind;
use super::{Client, evidence};

/// How much is echoed: more than any buffer of a server, less than what the kernel's hold.
const MUCH: usize = 256 * 1024;
/// Of servers whose writes do not sleep, how much is under way at once: what fits into any send buffer. That they keep what
/// does not fit is what `all-bytes` asks for.
const PIECE: usize = 8 * 1024;

pub fn listens(case: &mut Case) -> Step {
    case.start()?;
    case.connect("connect").map(drop)
}

pub fn echo(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo a line")?;
    let every_byte: Vec<u8> = (0..=255).collect();
    case.echo(&mut client, &every_byte, "echo every byte there is")?;
    // Not the same in each block: what is lost or comes twice is seen.
    let much: Vec<u8> = (0..MUCH as u32).flat_map(u32::to_le_bytes).take(MUCH).collect();
    let piece = if case.lab() < 5 { MUCH } else { PIECE };
    for bytes in much.chunks(piece) {
        case.quietly(|case| case.echo(&mut client, bytes, "echo 256 KiB"))?;
    }
    case.done("echo 256 KiB");
    nothing_more(case, &mut client)
}

/// A server that adds something does it at the end of what it has read: that is soon.
fn nothing_more(case: &mut Case, client: &mut Client) -> Step {
    case.wait(Duration::from_millis(20))?;
    client.listen();
    match (client.received.is_empty(), client.ended) {
        (true, None) => Ok(()),
        (false, _) => {
            let seen = format!("there were {} more", evidence::bytes(&client.received));
            Err(case.fail(Kind::WrongBytes, "no more than was sent", seen).into())
        }
        (true, Some(_)) => {
            Err(case.fail(Kind::WrongState, "the connection to stay open", "the server has closed it").into())
        }
    }
}

pub fn half_close(case: &mut Case) -> Step {
    case.start()?;
    let mut client = case.connect("connect")?;
    case.echo(&mut client, b"hello\n", "echo")?;
    let last = b"the last words\n";
    let _ = client.write(last);
    client.shutdown_write();
    case.done("client shutdown(WR)");
    // The FIN may come right behind the bytes.
    case.exchange(&mut client, b"", last, "echo of what came before it")?;
    case.expect_fin(&mut client, SOON, "FIN")
}

pub fn next_client(case: &mut Case) -> Step {
    case.start()?;
    for which in ["first", "second", "third"] {
        let mut client = case.connect(&format!("the {which} connects"))?;
        case.echo(&mut client, format!("I am the {which}\n").as_bytes(), "echo")?;
        client.close();
    }
    Ok(())
}

pub fn second_client(case: &mut Case) -> Step {
    case.start()?;
    let mut first = case.connect("the first connects")?;
    case.echo(&mut first, b"hello\n", "echo")?;
    // The kernel does that, whatever the server is busy with.
    let mut second = case.connect("the second connects")?;
    let words = b"I can wait\n";
    let _ = second.write(words);
    let socket = case.servers_end(&second)?;
    case.done(match socket {
        Some(socket) if socket.waits_for_accept() => "it waits in the accept queue",
        _ => "it is accepted",
    });
    case.echo(&mut first, b"still here\n", "echo for the first")?;
    first.close();
    case.exchange(&mut second, b"", words, "the first closes, the second is served")
}
