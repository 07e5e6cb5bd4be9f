//! Datagrams of netlink messages, and the attributes in them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::decode::netlink;

fuzz_target!(|bytes: &[u8]| {
    let mut in_bodies = 0;
    for message in netlink::messages(bytes).filter_map(Result::ok) {
        in_bodies += message.body.len() + 16;
        let _ = netlink::errno(message.body);
        let in_attributes: usize = netlink::attributes(message.body).map(|(_, value)| value.len() + 4).sum();
        assert!(in_attributes <= message.body.len());
    }
    assert!(in_bodies <= bytes.len());
});
