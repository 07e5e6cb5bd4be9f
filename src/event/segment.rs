//! TCP segments and UDP datagrams.

use std::net::SocketAddr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// What an IP packet carried.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// A TCP segment (RFC 9293, section 3.1).
    Tcp,
    /// A UDP datagram (RFC 768). Of a segment's fields it has ends and length.
    Udp,
}

/// A TCP segment, or a UDP datagram.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Segment {
    /// TCP or UDP.
    pub transport: Transport,
    /// Who sent it.
    pub from: SocketAddr,
    /// Who it is for.
    pub to: SocketAddr,
    /// TCP's flags.
    pub flags: Flags,
    /// The sequence number of its first byte (of SYN or FIN, where there is none).
    pub seq: u32,
    /// The next sequence number that its sender expects; meaningful with the flag ACK.
    pub ack: u32,
    /// `seq`, counted from the sender's SYN; from the first segment that was seen, if that one was not.
    pub relative_seq: u32,
    /// `ack`, counted from the SYN of the other side.
    pub relative_ack: u32,
    /// How many bytes of data it carries.
    pub length: u32,
    /// The receive window, as it stands in the header.
    pub window: u16,
    /// By how many bits the window is to be shifted to the left; `None` where the handshake was not seen.
    pub window_scale: Option<u8>,
    /// TCP's options, in their order.
    pub options: Vec<SegmentOption>,
    /// Whether all that it carries was sent before.
    pub retransmitted: bool,
    /// The packet from its IP header on, as much of it as was captured.
    #[serde(with = "hexadecimal", default, skip_serializing_if = "Vec::is_empty")]
    pub packet: Vec<u8>,
    /// How long the whole packet was, from its IP header on.
    pub packet_length: u32,
}

impl Segment {
    /// Where in the sequence space it ends: SYN and FIN count for one each.
    pub fn sequence_end(&self) -> u32 {
        let signs = u32::from(self.flags.syn()) + u32::from(self.flags.fin());
        self.seq.wrapping_add(self.length).wrapping_add(signs)
    }
}

/// The flags of a TCP segment, as the byte in its header.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u8);

impl Flags {
    /// The letters of tcpdump(1), in its order, with the bit of each.
    const LETTERS: [(u8, char); 8] =
        [(1, 'F'), (2, 'S'), (4, 'R'), (8, 'P'), (16, '.'), (32, 'U'), (64, 'E'), (128, 'W')];

    /// The sender has no more data.
    pub fn fin(self) -> bool {
        self.0 & 1 != 0
    }

    /// The sender's first sequence number.
    pub fn syn(self) -> bool {
        self.0 & 2 != 0
    }

    /// There is no such connection, or no longer.
    pub fn rst(self) -> bool {
        self.0 & 4 != 0
    }

    /// `ack` means something.
    pub fn ack(self) -> bool {
        self.0 & 16 != 0
    }
}

impl std::fmt::Display for Flags {
    /// As tcpdump writes them: `S.` is SYN and ACK, `none` is none.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let letters: String =
            Self::LETTERS.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, letter)| letter).collect();
        f.pad(if letters.is_empty() { "none" } else { &letters })
    }
}

impl Serialize for Flags {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Flags {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "none" {
            return Ok(Self(0));
        }
        let bit = |letter| Self::LETTERS.iter().find(|(_, its)| *its == letter).map(|(bit, _)| *bit);
        let bits = text.chars().map(|letter| bit(letter).ok_or_else(|| format!("{letter:?} is no TCP flag")));
        let flags = bits.reduce(|all, bit| Ok(all? | bit?)).unwrap_or(Ok(0));
        flags.map(Self).map_err(serde::de::Error::custom)
    }
}

/// An option of a TCP segment. Those that only fill up (NOP, end of options) are left out.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SegmentOption {
    /// Maximum segment size, in bytes (RFC 9293, section 3.7.1).
    Mss(u16),
    /// Window scale, in bits (RFC 7323, section 2).
    WindowScale(u8),
    /// Selective acknowledgements are welcome (RFC 2018, section 2).
    SackPermitted,
    /// Blocks that have arrived out of order: first byte, and first byte behind (RFC 2018, section 3).
    Sack(Vec<(u32, u32)>),
    /// The sender's clock, and the last one it saw of the other side (RFC 7323, section 3).
    Timestamps(u32, u32),
    /// Any other: its number, and its bytes.
    Other(u8, Vec<u8>),
}

/// Bytes as hexadecimal digits, for fields of a recording.
pub(super) mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer};

    const DIGITS: &[u8; 16] = b"0123456789abcdef";

    pub fn to_text(bytes: &[u8]) -> String {
        let digit = |four_bits: u8| char::from(DIGITS[usize::from(four_bits & 15)]);
        bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(*byte)]).collect()
    }

    pub fn from_text(digits: &str) -> Result<Vec<u8>, String> {
        let value = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let byte = |pair: &[u8]| match pair {
            [high, low] => Some(value(*high)? << 4 | value(*low)?),
            _ => None,
        };
        let bytes: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(byte).collect();
        bytes.ok_or_else(|| "an even number of hexadecimal digits was expected".into())
    }

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&to_text(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        from_text(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_written_as_tcpdump_writes_them_and_read_back() {
        for (bits, text) in [(2, "S"), (18, "S."), (16, "."), (24, "P."), (17, "F."), (4, "R"), (0, "none")] {
            assert_eq!(Flags(bits).to_string(), text);
            let json = serde_json::to_string(&Flags(bits)).unwrap();
            assert_eq!(serde_json::from_str::<Flags>(&json).unwrap(), Flags(bits));
        }
        assert!(serde_json::from_str::<Flags>("\"Sx\"").is_err());
    }

    #[test]
    fn bytes_survive_as_hexadecimal_digits() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(hexadecimal::from_text(&hexadecimal::to_text(&all)).unwrap(), all);
        assert!(hexadecimal::from_text("abc").is_err());
        assert!(hexadecimal::from_text("zz").is_err());
    }
}
