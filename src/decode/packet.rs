//! Packets: Ethernet, IPv4 (RFC 791), IPv6 (RFC 8200), TCP (RFC 9293) and UDP (RFC 768).
//!
//! A packet may have been cut short when it was captured. Its headers have to be there; how much data it carries follows
//! from them, and the data need not be there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::event::{Flags, SegmentOption, Transport};

use super::{Malformed, Reader};

/// `ETHERTYPE_VLAN` (802.1Q), 802.1ad, and what was used before 802.1ad: a tag of four bytes stands before the real type.
const VLAN_TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];

const TCP: u8 = 6;
const UDP: u8 = 17;
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION: u8 = 60;

const IPV6_HEADER_LENGTH: u32 = 40;
const TCP_HEADER_LENGTH: usize = 20;
const UDP_HEADER_LENGTH: u32 = 8;

/// The headers of a TCP segment or UDP datagram, from IP upwards.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Header {
    /// TCP or UDP.
    pub transport: Transport,
    /// The address and port that it comes from.
    pub from: SocketAddr,
    /// The address and port that it is for.
    pub to: SocketAddr,
    /// TCP's flags; of UDP none.
    pub flags: Flags,
    /// TCP's sequence number; of UDP 0.
    pub seq: u32,
    /// TCP's acknowledgement number, whether or not the flag ACK says that it means something; of UDP 0.
    pub ack: u32,
    /// TCP's window as it stands in the header, not scaled; of UDP 0.
    pub window: u16,
    /// TCP's options in their order, without those that only fill up.
    pub options: Vec<SegmentOption>,
    /// How many bytes of data it carries. Of a TCP segment in IP fragments, those in the first one.
    pub length: u32,
}

/// The type of an Ethernet frame and what it carries, VLAN tags taken off. A type below 1536 is a length (802.3).
pub fn ethernet(frame: &[u8]) -> Result<(u16, &[u8]), Malformed> {
    let mut reader = Reader::new(frame, "Ethernet header");
    let _addresses: [u8; 12] = reader.take()?;
    let mut kind = reader.big_endian_u16()?;
    while VLAN_TAGS.contains(&kind) {
        let _tag: [u8; 2] = reader.take()?;
        kind = reader.big_endian_u16()?;
    }
    Ok((kind, reader.rest))
}

/// Reads a packet from its IP header on. `whole` is its length before it was cut: the length field of a packet above
/// 64 KiB, as the kernel hands it to itself, is 0.
///
/// `None` where it carries neither TCP nor UDP, and for every fragment but the first, which has no port.
pub fn ip(packet: &[u8], whole: u32) -> Result<Option<Header>, Malformed> {
    let network = match packet.first().map(|byte| byte >> 4) {
        Some(4) => ipv4(packet, whole)?,
        Some(6) => ipv6(packet, whole)?,
        _ => return Err(Malformed { what: "IP packet", length: packet.len() }),
    };
    match network {
        Some(network) if network.protocol == TCP => tcp(&network).map(Some),
        Some(network) if network.protocol == UDP => udp(&network).map(Some),
        _ => Ok(None),
    }
}

/// What the network layer says, and what it carries.
struct Network<'a> {
    from: IpAddr,
    to: IpAddr,
    protocol: u8,
    /// As much of it as was captured, and nothing that comes after it.
    payload: &'a [u8],
    /// How long it really is.
    length: u32,
    is_fragment: bool,
}

impl<'a> Network<'a> {
    /// `rest` may be shorter than the payload (cut) and longer (Ethernet frames are filled up to 60 bytes).
    fn with_payload(self, rest: &'a [u8], length: u32) -> Self {
        Self { payload: rest.get(..length as usize).unwrap_or(rest), length, ..self }
    }
}

fn ipv4(packet: &[u8], whole: u32) -> Result<Option<Network<'_>>, Malformed> {
    let mut reader = Reader::new(packet, "IPv4 header");
    let [version_and_length, _class_of_service] = reader.take()?;
    let header_length = u32::from(version_and_length & 15) * 4;
    let total_length = match reader.big_endian_u16()? {
        0 => whole,
        length => u32::from(length),
    };
    let _identification: [u8; 2] = reader.take()?;
    let flags_and_offset = reader.big_endian_u16()?;
    let [_time_to_live, protocol] = reader.take()?;
    let _checksum: [u8; 2] = reader.take()?;
    let (from, to): ([u8; 4], [u8; 4]) = (reader.take()?, reader.take()?);
    let options_length = header_length.checked_sub(20).ok_or_else(|| reader.malformed())?;
    reader.slice(options_length as usize)?;
    let length = total_length.checked_sub(header_length).ok_or_else(|| reader.malformed())?;
    if flags_and_offset & 0x1fff != 0 {
        return Ok(None);
    }
    let network = Network {
        from: Ipv4Addr::from(from).into(),
        to: Ipv4Addr::from(to).into(),
        protocol,
        payload: &[],
        length: 0,
        is_fragment: flags_and_offset & 0x2000 != 0,
    };
    Ok(Some(network.with_payload(reader.rest, length)))
}

fn ipv6(packet: &[u8], whole: u32) -> Result<Option<Network<'_>>, Malformed> {
    let mut reader = Reader::new(packet, "IPv6 header");
    let _version_class_and_flow: [u8; 4] = reader.take()?;
    let payload_length = match reader.big_endian_u16()? {
        0 => whole.saturating_sub(IPV6_HEADER_LENGTH),
        length => u32::from(length),
    };
    let [mut protocol, _hop_limit] = reader.take()?;
    let (from, to): ([u8; 16], [u8; 16]) = (reader.take()?, reader.take()?);
    let (mut length, mut is_fragment) = (payload_length, false);
    loop {
        // Each of these headers says what comes next, and, the fragment header excepted, how long it is.
        let extension_length = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION | AUTHENTICATION => {
                let of_what = protocol;
                let [next, units] = reader.take()?;
                protocol = next;
                let units = u32::from(units);
                let extension_length = if of_what == AUTHENTICATION { (units + 2) * 4 } else { (units + 1) * 8 };
                reader.slice(extension_length as usize - 2)?;
                extension_length
            }
            FRAGMENT => {
                let [next, _reserved] = reader.take()?;
                protocol = next;
                let offset_and_more = reader.big_endian_u16()?;
                let _identification: [u8; 4] = reader.take()?;
                if offset_and_more >> 3 != 0 {
                    return Ok(None);
                }
                is_fragment |= offset_and_more & 1 != 0;
                8
            }
            _ => break,
        };
        length = length.checked_sub(extension_length).ok_or_else(|| reader.malformed())?;
    }
    let (from, to) = (Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into());
    let network = Network { from, to, protocol, payload: &[], length: 0, is_fragment };
    Ok(Some(network.with_payload(reader.rest, length)))
}

fn tcp(network: &Network) -> Result<Header, Malformed> {
    let mut reader = Reader::new(network.payload, "TCP header");
    let (from, to) = (reader.big_endian_u16()?, reader.big_endian_u16()?);
    let (seq, ack) = (reader.big_endian_u32()?, reader.big_endian_u32()?);
    let [offset, flags] = reader.take()?;
    let window = reader.big_endian_u16()?;
    let _checksum_and_urgent_pointer: [u8; 4] = reader.take()?;
    let header_length = usize::from(offset >> 4) * 4;
    let options_length = header_length.checked_sub(TCP_HEADER_LENGTH).ok_or_else(|| reader.malformed())?;
    let options = tcp_options(reader.slice(options_length)?)?;
    Ok(Header {
        transport: Transport::Tcp,
        from: SocketAddr::new(network.from, from),
        to: SocketAddr::new(network.to, to),
        flags: Flags(flags),
        seq,
        ack,
        window,
        options,
        length: network.length.checked_sub(header_length as u32).ok_or_else(|| reader.malformed())?,
    })
}

fn tcp_options(bytes: &[u8]) -> Result<Vec<SegmentOption>, Malformed> {
    const END: u8 = 0;
    const NO_OPERATION: u8 = 1;
    let mut reader = Reader::new(bytes, "TCP options");
    let mut options = Vec::new();
    while !reader.rest.is_empty() {
        let kind = reader.u8()?;
        match kind {
            END => break,
            NO_OPERATION => continue,
            _ => {}
        }
        // The length counts the two bytes that were read.
        let length = usize::from(reader.u8()?).checked_sub(2).ok_or_else(|| reader.malformed())?;
        options.push(tcp_option(kind, reader.slice(length)?));
    }
    Ok(options)
}

/// An option that is known, but has another length than it should, is like one that is not known: so does the kernel.
fn tcp_option(kind: u8, value: &[u8]) -> SegmentOption {
    let number = |bytes: [u8; 4]| u32::from_be_bytes(bytes);
    match (kind, value) {
        (2, &[high, low]) => SegmentOption::Mss(u16::from_be_bytes([high, low])),
        (3, &[bits]) => SegmentOption::WindowScale(bits),
        (4, []) => SegmentOption::SackPermitted,
        (5, blocks) if !blocks.is_empty() && blocks.len() % 8 == 0 => {
            let block = |b: &[u8]| match *b {
                [a, b, c, d, e, f, g, h] => Some((number([a, b, c, d]), number([e, f, g, h]))),
                _ => None,
            };
            SegmentOption::Sack(blocks.chunks_exact(8).filter_map(block).collect())
        }
        (8, &[a, b, c, d, e, f, g, h]) => SegmentOption::Timestamps(number([a, b, c, d]), number([e, f, g, h])),
        _ => SegmentOption::Other(kind, value.to_vec()),
    }
}

fn udp(network: &Network) -> Result<Header, Malformed> {
    let mut reader = Reader::new(network.payload, "UDP header");
    let (from, to) = (reader.big_endian_u16()?, reader.big_endian_u16()?);
    let length = match reader.big_endian_u16()? {
        // More than 64 KiB (RFC 2675, section 4).
        0 => network.length,
        length => u32::from(length),
    };
    let _checksum: [u8; 2] = reader.take()?;
    // The first fragment's header speaks of the whole datagram.
    if length > network.length && !network.is_fragment {
        return Err(reader.malformed());
    }
    Ok(Header {
        transport: Transport::Udp,
        from: SocketAddr::new(network.from, from),
        to: SocketAddr::new(network.to, to),
        flags: Flags::default(),
        seq: 0,
        ack: 0,
        window: 0,
        options: Vec::new(),
        length: length.checked_sub(UDP_HEADER_LENGTH).ok_or_else(|| reader.malformed())?,
    })
}

#[cfg(test)]
mod tests;
