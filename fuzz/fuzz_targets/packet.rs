//! Captured packets: from the Ethernet header, and from the IP header on, however much of them was cut off.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::decode::packet;
use socklab::event::Transport;

fuzz_target!(|input: (u32, &[u8])| {
    let (more, bytes) = input;
    if let Ok((_, inner)) = packet::ethernet(bytes) {
        assert!(inner.len() + 14 <= bytes.len() && bytes.ends_with(inner));
        let _ = packet::ip(inner, inner.len() as u32);
    }
    // The whole packet was at least as long as what there is of it.
    for whole in [bytes.len() as u32, (bytes.len() as u32).saturating_add(more)] {
        let Ok(Some(header)) = packet::ip(bytes, whole) else { continue };
        assert!(header.length <= whole.max(65535 + 40), "{} bytes of data in {whole}", header.length);
        if header.transport == Transport::Udp {
            assert!(header.flags.0 == 0 && header.options.is_empty());
        }
    }
});
