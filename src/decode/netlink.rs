//! Netlink messages and their attributes (netlink(7)).

use super::{Malformed, Reader};

/// `NLMSG_ERROR`: the body begins with a negative errno, or 0 for an acknowledgement.
pub const ERROR: u16 = 2;
/// `NLMSG_DONE`: the dump is complete.
pub const DONE: u16 = 3;
/// `NLM_F_REQUEST`.
pub const REQUEST: u16 = 0x01;

/// `NLM_F_DUMP`: every object that fits the request, not a single one.
pub const DUMP: u16 = 0x300;

const HEADER_LENGTH: usize = 16;
const ATTRIBUTE_HEADER_LENGTH: usize = 4;

/// One message: a header of 16 bytes, and a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Message<'a> {
    /// What the body is.
    pub kind: u16,
    /// `NLM_F_…` flags.
    pub flags: u16,
    /// The number of the request that this answers.
    pub sequence: u32,
    /// What follows the header, without padding.
    pub body: &'a [u8],
}

/// The messages of one datagram, in order; it ends after the first malformed one.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Result<Message<'_>, Malformed>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let message = read_message(bytes);
        bytes = match message {
            Ok((_, rest)) => rest,
            Err(_) => &[],
        };
        Some(message.map(|(message, _)| message))
    })
}

fn read_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), Malformed> {
    let mut reader = Reader::new(bytes, "netlink message");
    let length = reader.u32()? as usize;
    let kind = u16::from_ne_bytes(reader.take()?);
    let flags = u16::from_ne_bytes(reader.take()?);
    let sequence = reader.u32()?;
    let body = bytes.get(HEADER_LENGTH..length).ok_or(Malformed { what: "netlink message", length: bytes.len() })?;
    let rest = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Ok((Message { kind, flags, sequence, body }, rest))
}

/// The attributes of a message, each a type and its bytes; it ends after the first malformed one.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let mut reader = Reader::new(bytes, "netlink attribute");
        let length = u16::from_ne_bytes(reader.take().ok()?) as usize;
        let kind = u16::from_ne_bytes(reader.take().ok()?);
        let value = bytes.get(ATTRIBUTE_HEADER_LENGTH..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

/// A request with its header in front. `body` is a whole number of 32-bit words.
pub fn request(kind: u16, flags: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LENGTH + body.len());
    bytes.extend(((HEADER_LENGTH + body.len()) as u32).to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend((flags | REQUEST).to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend(0_u32.to_ne_bytes());
    bytes.extend(body);
    bytes
}

/// The errno of an `ERROR` message's body, as a positive number; 0 where it is an acknowledgement.
pub fn errno(body: &[u8]) -> Result<i32, Malformed> {
    Reader::new(body, "netlink error").take().map(|bytes| i32::from_ne_bytes(bytes).saturating_neg())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_read_back_as_they_were_written() {
        let mut bytes = request(20, DUMP, 7, &[1, 2, 3, 4]);
        bytes.extend(request(DONE, 0, 7, &[]));
        let read: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
        assert_eq!(read[0], Message { kind: 20, flags: DUMP | REQUEST, sequence: 7, body: &[1, 2, 3, 4] });
        assert_eq!((read[1].kind, read.len()), (DONE, 2));
    }

    #[test]
    fn a_body_that_is_no_whole_number_of_words_is_padded_but_not_longer() {
        let mut bytes = request(20, 0, 1, &[]);
        bytes[0] = 18;
        bytes.extend([9, 9, 0, 0]);
        bytes.extend(request(DONE, 0, 1, &[]));
        let read: Vec<_> = messages(&bytes).map(Result::unwrap).collect();
        assert_eq!((read[0].body, read[1].kind), ([9, 9].as_slice(), DONE));
    }

    #[test]
    fn every_cut_and_every_false_length_ends_in_an_error_or_an_end_and_never_in_a_panic() {
        let whole = request(20, DUMP, 7, &[0; 12]);
        for end in 0..whole.len() {
            assert!(messages(&whole[..end]).all(|message| message.is_err()), "cut at {end}");
        }
        for length in [0_u32, 1, 15, 29, u32::MAX] {
            let mut false_length = whole.clone();
            false_length[..4].copy_from_slice(&length.to_ne_bytes());
            assert!(messages(&false_length).count() <= 1);
            assert!(messages(&false_length).all(|message| message.is_err()), "length {length}");
        }
    }

    #[test]
    fn attributes_end_at_the_first_malformed_one() {
        let bytes = [8, 0, 3, 0, 1, 2, 3, 4, 200, 0, 4, 0, 5];
        let mut read = attributes(if cfg!(target_endian = "little") { &bytes } else { &[] });
        if cfg!(target_endian = "little") {
            assert_eq!(read.next(), Some((3, [1, 2, 3, 4].as_slice())));
        }
        assert_eq!(read.next(), None);
    }
}
