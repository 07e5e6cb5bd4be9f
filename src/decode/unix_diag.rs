//! Questions about Unix sockets, and the kernel's answers (sock_diag(7), `linux/unix_diag.h`).

use super::{Malformed, Reader, netlink};
use crate::event::{Endpoint, Protocol, Socket, State};

const AF_UNIX: u8 = 1;
const SHOW_NAME: u32 = 0x01;
const SHOW_PEER: u32 = 0x04;
const SHOW_QUEUES: u32 = 0x10;
const ATTRIBUTE_NAME: u16 = 0;
const ATTRIBUTE_PEER: u16 = 2;
const ATTRIBUTE_QUEUES: u16 = 4;

/// The body of a request for every Unix socket: a `unix_diag_req` of 24 bytes.
pub fn query() -> Vec<u8> {
    let mut body = vec![AF_UNIX, 0, 0, 0];
    for word in [u32::MAX, 0, SHOW_NAME | SHOW_PEER | SHOW_QUEUES, 0, 0] {
        body.extend(word.to_ne_bytes());
    }
    body
}

/// A `unix_diag_msg` of 16 bytes and its attributes, and the inode of the peer's socket (0 where there is none).
///
/// A peer has no address of its own here; who knows all sockets can look its name up by the inode.
pub fn socket(body: &[u8]) -> Result<(Socket, u32), Malformed> {
    let malformed = Malformed { what: "unix_diag message", length: body.len() };
    let mut reader = Reader::new(body, malformed.what);
    let [_family, kind, state, _pad] = reader.take()?;
    let inode = reader.u32()?;
    let cookie = u64::from(reader.u32()?) | u64::from(reader.u32()?) << 32;
    let mut socket = Socket {
        protocol: match kind {
            1 => Protocol::UnixStream,
            2 => Protocol::UnixDatagram,
            5 => Protocol::UnixSeqpacket,
            _ => return Err(malformed),
        },
        state: State::from_kernel(state).ok_or(malformed)?,
        local: Endpoint::Unnamed,
        remote: Endpoint::Unnamed,
        receive_queue: 0,
        send_queue: 0,
        uid: 0,
        inode,
        cookie,
        timer: None,
        owners: Vec::new(),
    };
    let mut peer = 0;
    for (kind, value) in netlink::attributes(reader.rest) {
        let mut value_reader = Reader::new(value, "unix_diag attribute");
        match kind {
            ATTRIBUTE_NAME => socket.local = name(value),
            ATTRIBUTE_PEER => peer = value_reader.u32()?,
            ATTRIBUTE_QUEUES => {
                socket.receive_queue = value_reader.u32()?;
                socket.send_queue = value_reader.u32()?;
            }
            _ => {}
        }
    }
    Ok((socket, peer))
}

/// A path ends at a NUL; an abstract name begins with one, and `ss` writes `@` for it. Any other byte may be in it.
fn name(bytes: &[u8]) -> Endpoint {
    match bytes {
        [] => Endpoint::Unnamed,
        [0, name @ ..] => Endpoint::Path(format!("@{}", String::from_utf8_lossy(name))),
        path => {
            let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
            Endpoint::Path(String::from_utf8_lossy(&path[..end]).into_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut bytes = vec![AF_UNIX, 1, 10, 0];
        for word in [77_u32, 1, 0] {
            bytes.extend(word.to_ne_bytes());
        }
        for (kind, value) in attributes {
            bytes.extend((4 + value.len() as u16).to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(*value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
        }
        bytes
    }

    #[test]
    fn a_listening_socket_is_read_with_its_path_and_its_accept_queue() {
        let queues = [1_u32.to_ne_bytes(), 128_u32.to_ne_bytes()].concat();
        let bytes = message(&[(ATTRIBUTE_NAME, b"/tmp/x.sock\0"), (ATTRIBUTE_QUEUES, &queues)]);
        let (socket, peer) = socket(&bytes).unwrap();
        assert_eq!((socket.local, socket.state), (Endpoint::Path("/tmp/x.sock".into()), State::Listen));
        assert_eq!((socket.receive_queue, socket.send_queue, socket.inode, peer), (1, 128, 77, 0));
    }

    #[test]
    fn an_abstract_name_begins_with_an_at_sign() {
        let (socket, _) = socket(&message(&[(ATTRIBUTE_NAME, b"\0bus")])).unwrap();
        assert_eq!(socket.local, Endpoint::Path("@bus".into()));
    }

    #[test]
    fn a_cut_message_is_an_error_or_a_socket_without_the_cut_attribute() {
        let whole = message(&[(ATTRIBUTE_NAME, b"/tmp/x.sock\0"), (ATTRIBUTE_PEER, &5_u32.to_ne_bytes())]);
        for end in 0..16 {
            assert!(socket(&whole[..end]).is_err());
        }
        for end in 16..whole.len() {
            let _ = socket(&whole[..end]);
        }
        assert!(socket(&message(&[(ATTRIBUTE_PEER, &[1, 2])])).is_err());
    }
}
