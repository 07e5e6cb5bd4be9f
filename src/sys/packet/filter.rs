//! The filter: a small program that the kernel runs for each packet, in the classic BPF of socket(7).
//!
//! It sees a packet from its IP header on. A load beyond the packet's end makes the kernel pass over the packet.

use nix::libc::{
    BPF_ABS, BPF_B, BPF_H, BPF_IND, BPF_JEQ, BPF_JMP, BPF_JSET, BPF_K, BPF_LD, BPF_LDX, BPF_MSH, BPF_RET, ETH_P_IP,
    ETH_P_IPV6, SKF_AD_OFF, SKF_AD_PKTTYPE, SKF_AD_PROTOCOL, sock_filter,
};

const LOAD_BYTE: u32 = BPF_LD | BPF_B | BPF_ABS;
const LOAD_HALF_WORD: u32 = BPF_LD | BPF_H | BPF_ABS;
const LOAD_HALF_WORD_BEHIND_X: u32 = BPF_LD | BPF_H | BPF_IND;
const X_IS_IPV4_HEADER_LENGTH: u32 = BPF_LDX | BPF_B | BPF_MSH;
const JUMP_IF_EQUAL: u32 = BPF_JMP | BPF_JEQ | BPF_K;
const JUMP_IF_ANY_BIT: u32 = BPF_JMP | BPF_JSET | BPF_K;
const RETURN: u32 = BPF_RET | BPF_K;

const OUTGOING: u32 = 4;
const TCP: u32 = 6;
const UDP: u32 = 17;
/// IPv6 extension headers: hop-by-hop, routing, fragment, authentication, destination.
const EXTENSIONS: [u32; 5] = [0, 43, 44, 51, 60];

/// Where a jump leads to.
#[derive(Clone, Copy, PartialEq)]
enum To {
    Next,
    Accept,
    PassOver,
    Ipv6,
    Ports,
    Ipv6Ports,
}

/// Instructions whose jumps are written as labels.
#[derive(Default)]
struct Assembler {
    program: Vec<(sock_filter, To, To)>,
    labels: Vec<(To, usize)>,
}

impl Assembler {
    fn run(&mut self, code: u32, k: u32) {
        self.jump(code, k, To::Next, To::Next);
    }

    fn jump(&mut self, code: u32, k: u32, yes: To, no: To) {
        self.program.push((sock_filter { code: code as u16, jt: 0, jf: 0, k }, yes, no));
    }

    fn label(&mut self, label: To) {
        self.labels.push((label, self.program.len()));
    }

    /// A jump counts from the instruction behind it.
    fn finish(self) -> Vec<sock_filter> {
        let distance = |from: usize, to: To| {
            let target = self.labels.iter().find(|(label, _)| *label == to).map(|(_, at)| at - from - 1);
            target.and_then(|distance| u8::try_from(distance).ok()).unwrap_or(0)
        };
        let resolve = |(at, (instruction, yes, no)): (usize, &(sock_filter, To, To))| sock_filter {
            jt: distance(at, *yes),
            jf: distance(at, *no),
            ..*instruction
        };
        self.program.iter().enumerate().map(resolve).collect()
    }
}

/// IP packets, of one port if there is one, and not those that go out if `only_incoming`; cut to `keep` bytes.
pub fn program(port: Option<u16>, only_incoming: bool, keep: u32) -> Vec<sock_filter> {
    let about_packet = |what: i32| (SKF_AD_OFF + what).cast_unsigned();
    let mut to = Assembler::default();
    if only_incoming {
        to.run(LOAD_BYTE, about_packet(SKF_AD_PKTTYPE));
        to.jump(JUMP_IF_EQUAL, OUTGOING, To::PassOver, To::Next);
    }
    to.run(LOAD_HALF_WORD, about_packet(SKF_AD_PROTOCOL));
    match port {
        None => {
            to.jump(JUMP_IF_EQUAL, ETH_P_IP as u32, To::Accept, To::Next);
            to.jump(JUMP_IF_EQUAL, ETH_P_IPV6 as u32, To::Accept, To::PassOver);
        }
        Some(port) => only_port(&mut to, port.into()),
    }
    to.label(To::PassOver);
    to.run(RETURN, 0);
    to.label(To::Accept);
    to.run(RETURN, keep);
    to.finish()
}

/// Continues where the packet's protocol has been loaded.
fn only_port(to: &mut Assembler, port: u32) {
    to.jump(JUMP_IF_EQUAL, ETH_P_IPV6 as u32, To::Ipv6, To::Next);
    to.jump(JUMP_IF_EQUAL, ETH_P_IP as u32, To::Next, To::PassOver);
    // A fragment's offset: only the first one has ports.
    to.run(LOAD_HALF_WORD, 6);
    to.jump(JUMP_IF_ANY_BIT, 0x1fff, To::PassOver, To::Next);
    to.run(LOAD_BYTE, 9);
    to.jump(JUMP_IF_EQUAL, TCP, To::Ports, To::Next);
    to.jump(JUMP_IF_EQUAL, UDP, To::Ports, To::PassOver);
    to.label(To::Ports);
    to.run(X_IS_IPV4_HEADER_LENGTH, 0);
    to.run(LOAD_HALF_WORD_BEHIND_X, 0);
    to.jump(JUMP_IF_EQUAL, port, To::Accept, To::Next);
    to.run(LOAD_HALF_WORD_BEHIND_X, 2);
    to.jump(JUMP_IF_EQUAL, port, To::Accept, To::PassOver);
    to.label(To::Ipv6);
    to.run(LOAD_BYTE, 6);
    to.jump(JUMP_IF_EQUAL, TCP, To::Ipv6Ports, To::Next);
    to.jump(JUMP_IF_EQUAL, UDP, To::Ipv6Ports, To::Next);
    // There are no loops in such a program: whoever reads the packet looks for the port behind these.
    for extension in EXTENSIONS {
        to.jump(JUMP_IF_EQUAL, extension, To::Accept, To::Next);
    }
    to.run(RETURN, 0);
    to.label(To::Ipv6Ports);
    to.run(LOAD_HALF_WORD, 40);
    to.jump(JUMP_IF_EQUAL, port, To::Accept, To::Next);
    to.run(LOAD_HALF_WORD, 42);
    to.jump(JUMP_IF_EQUAL, port, To::Accept, To::PassOver);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As the kernel runs it; what is said about the packet beside its bytes is its protocol and its kind.
    fn kept(program: &[sock_filter], packet: &[u8], protocol: u32, kind: u32) -> u32 {
        let (mut at, mut a, mut x) = (0, 0_u32, 0_u32);
        let half_word = |from: u32| {
            let bytes = packet.get(from as usize..from as usize + 2)?;
            Some(u32::from(bytes[0]) << 8 | u32::from(bytes[1]))
        };
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            at += 1;
            let loaded = match u32::from(code) {
                LOAD_HALF_WORD if k == (SKF_AD_OFF + SKF_AD_PROTOCOL).cast_unsigned() => Some(protocol),
                LOAD_BYTE if k == (SKF_AD_OFF + SKF_AD_PKTTYPE).cast_unsigned() => Some(kind),
                LOAD_HALF_WORD => half_word(k),
                LOAD_HALF_WORD_BEHIND_X => half_word(x + k),
                LOAD_BYTE => packet.get(k as usize).map(|byte| u32::from(*byte)),
                X_IS_IPV4_HEADER_LENGTH => {
                    let Some(byte) = packet.get(k as usize) else { return 0 };
                    x = u32::from(byte & 15) * 4;
                    continue;
                }
                JUMP_IF_EQUAL | JUMP_IF_ANY_BIT => {
                    let equal = u32::from(code) == JUMP_IF_EQUAL;
                    let yes = if equal { a == k } else { a & k != 0 };
                    at += usize::from(if yes { jt } else { jf });
                    continue;
                }
                RETURN => return k,
                _ => panic!("instruction {code:#x}"),
            };
            let Some(loaded) = loaded else { return 0 };
            a = loaded;
        }
    }

    fn ipv4(protocol: u8, offset: u16, options: usize, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; 20 + 4 * options];
        packet[0] = 0x45 + options as u8;
        packet[6..8].copy_from_slice(&offset.to_be_bytes());
        packet[9] = protocol;
        packet.extend(ports.into_iter().flat_map(u16::to_be_bytes));
        packet
    }

    fn ipv6(next: u8, ports: [u16; 2]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        packet[6] = next;
        packet.extend(ports.into_iter().flat_map(u16::to_be_bytes));
        packet
    }

    #[test]
    fn with_a_port_only_what_comes_from_it_or_goes_to_it_is_kept() {
        let program = program(Some(7001), true, 99);
        let v4 = |packet: &[u8]| kept(&program, packet, 0x800, 0);
        let v6 = |packet: &[u8]| kept(&program, packet, 0x86dd, 0);
        for protocol in [6, 17] {
            for options in [0, 3, 10] {
                assert_eq!(v4(&ipv4(protocol, 0x4000, options, [7001, 1])), 99);
                assert_eq!(v4(&ipv4(protocol, 0x2000, options, [1, 7001])), 99);
                assert_eq!(v4(&ipv4(protocol, 0, options, [1, 2])), 0);
            }
            assert_eq!((v6(&ipv6(protocol, [7001, 1])), v6(&ipv6(protocol, [1, 7001]))), (99, 99));
            assert_eq!(v6(&ipv6(protocol, [1, 2])), 0);
        }
        assert_eq!((v4(&ipv4(1, 0, 0, [7001, 7001])), v6(&ipv6(58, [7001, 7001]))), (0, 0), "ICMP");
        assert_eq!(v4(&ipv4(17, 1, 0, [7001, 7001])), 0, "a later fragment");
        assert_eq!(v6(&ipv6(44, [1, 2])), 99, "an extension header");
        assert_eq!(v4(&ipv4(6, 0, 0, [1, 7001])[..23]), 0, "cut before the ports");
        assert_eq!(kept(&program, &ipv4(6, 0, 0, [7001, 1]), 0x806, 0), 0, "ARP");
        assert_eq!(kept(&program, &ipv4(6, 0, 0, [7001, 1]), 0x800, OUTGOING), 0, "the way out");
    }

    #[test]
    fn without_a_port_every_ip_packet_is_kept_and_outgoing_ones_only_where_they_are_wanted() {
        for (only_incoming, outgoing) in [(true, 0), (false, 50)] {
            let program = program(None, only_incoming, 50);
            assert_eq!(kept(&program, &[], 0x800, 0), 50);
            assert_eq!(kept(&program, &[], 0x86dd, 0), 50);
            assert_eq!(kept(&program, &[], 0x806, 0), 0);
            assert_eq!(kept(&program, &[], 0x800, OUTGOING), outgoing);
        }
    }
}
