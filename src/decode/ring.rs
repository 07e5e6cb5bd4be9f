//! The blocks of a packet socket's ring, TPACKET_V3 (`include/uapi/linux/if_packet.h`): numbers in the machine's order.

use std::time::Duration;

use super::{Malformed, Reader};

/// Where in a packet's header the address begins (struct sockaddr_ll): behind struct tpacket3_hdr, aligned to 16.
const ADDRESS: usize = 48;
/// Where in the address the kind of the packet stands, and the one that was sent from this machine.
const KIND: usize = 10;
const OUTGOING: u8 = 4;

/// A packet in a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Captured<'a> {
    /// When the kernel had it, by CLOCK_REALTIME, since 1970.
    pub at: Duration,
    /// It, as much as was captured.
    pub bytes: &'a [u8],
    /// How long it was.
    pub length: u32,
    /// Whether this machine sent it, over this interface.
    pub is_outgoing: bool,
}

/// The packets of a block, in order; it ends after the first malformed one.
pub fn packets(block: &[u8]) -> impl Iterator<Item = Result<Captured<'_>, Malformed>> {
    let (mut offset, mut left) = first(block).unwrap_or_default();
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        left -= 1;
        let read = read_packet(block, offset);
        match read {
            Ok((next, _)) => offset = offset.saturating_add(next),
            Err(_) => left = 0,
        }
        Some(read.map(|(_, packet)| packet))
    })
}

/// Where the first packet begins, and how many there are.
fn first(block: &[u8]) -> Result<(usize, u32), Malformed> {
    let mut reader = Reader::new(block, "block of packets");
    let _version_private_and_status: [u8; 12] = reader.take()?;
    let count = reader.u32()?;
    Ok((reader.u32()? as usize, count))
}

/// The packet that begins there, and how far it is from there to the next one.
fn read_packet(block: &[u8], offset: usize) -> Result<(usize, Captured<'_>), Malformed> {
    let whole = block.get(offset..).ok_or(Malformed { what: "place of a packet", length: block.len() })?;
    let mut reader = Reader::new(whole, "captured packet");
    let next = reader.u32()? as usize;
    let (seconds, nanoseconds) = (reader.u32()?, reader.u32()?);
    let (captured, length) = (reader.u32()? as usize, reader.u32()?);
    let _status: [u8; 4] = reader.take()?;
    let begin = usize::from(u16::from_ne_bytes(reader.take()?));
    let bytes = whole.get(begin..).and_then(|rest| rest.get(..captured)).ok_or_else(|| reader.malformed())?;
    let kind = whole.get(ADDRESS + KIND).ok_or_else(|| reader.malformed())?;
    let at = Duration::from_secs(seconds.into()) + Duration::from_nanos(nanoseconds.into());
    Ok((next, Captured { at, bytes, length, is_outgoing: *kind == OUTGOING }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel lays it out: 48 bytes of block header, then per packet 48 of header, 20 of address, the data at 80.
    fn block(packets: &[(&[u8], u8)]) -> Vec<u8> {
        let mut block = vec![0; 48];
        block[12..16].copy_from_slice(&(packets.len() as u32).to_ne_bytes());
        block[16..20].copy_from_slice(&48_u32.to_ne_bytes());
        for (number, (data, kind)) in (1..).zip(packets) {
            let size = (80 + data.len()).next_multiple_of(16);
            let next = if number == packets.len() { 0 } else { size as u32 };
            let length = data.len() as u32;
            let mut packet: Vec<u8> =
                [next, 7, number as u32, length, length + 100, 1].into_iter().flat_map(u32::to_ne_bytes).collect();
            packet.extend([80_u16, 80].into_iter().flat_map(u16::to_ne_bytes));
            packet.resize(80, 0);
            packet[58] = *kind;
            packet.extend(*data);
            packet.resize(size, 0);
            block.extend(packet);
        }
        block
    }

    #[test]
    fn every_packet_of_a_block_comes_with_its_time_its_length_and_its_direction() {
        let block = block(&[(b"first", 0), (b"second!", OUTGOING)]);
        let read: Vec<_> = packets(&block).map(Result::unwrap).collect();
        let first = Captured { at: Duration::new(7, 1), bytes: b"first".as_slice(), length: 105, is_outgoing: false };
        let second = Captured { at: Duration::new(7, 2), bytes: b"second!", length: 107, is_outgoing: true };
        assert_eq!(read, [first, second]);
    }

    #[test]
    fn a_block_cut_anywhere_ends_in_an_error_or_an_end_and_never_in_a_panic() {
        let whole = block(&[(b"first", 0), (b"second!", 0)]);
        for end in 0..whole.len() {
            let cut: Vec<_> = packets(&whole[..end]).collect();
            assert!(cut.len() <= 2);
            assert!(cut.iter().rev().skip(1).all(Result::is_ok), "nothing comes after an error: cut at {end}");
        }
        assert_eq!(packets(&whole[..130]).filter(Result::is_err).count(), 1);
    }

    #[test]
    fn a_false_offset_leads_nowhere() {
        let mut lying = block(&[(b"first", 0), (b"second!", 0)]);
        lying[48..52].copy_from_slice(&u32::MAX.to_ne_bytes());
        let read: Vec<_> = packets(&lying).collect();
        assert!(matches!(read[..], [Ok(_), Err(_)]), "{read:?}");
    }
}
