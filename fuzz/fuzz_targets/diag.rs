//! The kernel's answers about sockets: inet_diag and unix_diag.
#![no_main]

use libfuzzer_sys::fuzz_target;
use socklab::decode::{inet_diag, unix_diag};
use socklab::event::Protocol;
use socklab::view::describe;

fuzz_target!(|bytes: &[u8]| {
    let inet = [Protocol::Tcp, Protocol::Udp].map(|protocol| inet_diag::socket(protocol, bytes).ok());
    let unix = unix_diag::socket(bytes).ok().map(|(socket, _)| socket);
    for socket in inet.into_iter().chain([unix]).flatten() {
        let words = [describe::ends(&socket, Some(7001)), describe::owners(&socket), describe::state(&socket).into()];
        let more = [describe::queues(&socket), describe::timer(&socket)];
        let mut shown = words.into_iter().chain(more.into_iter().flatten());
        assert!(!shown.any(|text| text.chars().any(char::is_control)));
    }
});
