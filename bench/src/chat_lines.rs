//! The chat's lines, as the load generator writes and reads them: no more of JSON than it needs, for it must not be the slow one.

/// Digits of a sender's number, and of a message's.
const SENDER_DIGITS: usize = 4;
const NUMBER_DIGITS: usize = 8;
/// What follows the numbers in each text: an escaped quotation mark and letters of two bytes, which a server must not spoil.
const REST: &str = " says \\\"grüß dich\\\" to everybody who reads here.";

/// What a line from the server is.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    /// Somebody's message has been delivered.
    Broadcast {
        /// Who sent it, by the text.
        sender: usize,
        /// The sender's how-many-th it is, from 0, by the text.
        number: u32,
    },
    /// A request has been answered well.
    Ok,
    /// Somebody came or went.
    News,
    /// An ERROR, or nothing that the protocol knows, or a text that is not what was sent.
    Other,
}

/// A client's name.
pub fn name(client: usize) -> String {
    format!("m{client:0SENDER_DIGITS$}")
}

/// The request by which a client gets its name.
pub fn registration(client: usize) -> Vec<u8> {
    format!("{{\"type\":\"REGISTER\",\"data\":\"{}\"}}\n", name(client)).into_bytes()
}

/// Appends the request by which a client sends its message with that number.
pub fn push_message(requests: &mut Vec<u8>, sender: usize, number: u32) {
    requests.extend_from_slice(b"{\"type\":\"MESSAGE\",\"data\":\"");
    push_digits(requests, sender as u32, SENDER_DIGITS);
    requests.push(b' ');
    push_digits(requests, number, NUMBER_DIGITS);
    requests.extend_from_slice(REST.as_bytes());
    requests.extend_from_slice(b"\"}\n");
}

fn push_digits(bytes: &mut Vec<u8>, number: u32, digits: usize) {
    let mut rest = number;
    let start = bytes.len();
    bytes.resize(start + digits, b'0');
    for digit in bytes[start..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
}

/// Understands one line, its newline not included.
pub fn read(line: &[u8]) -> Line {
    match line.strip_prefix(b"{\"type\":\"").unwrap_or_default() {
        [b'B', rest @ ..] => broadcast(rest).unwrap_or(Line::Other),
        [b'O', b'K', b'"', ..] => Line::Ok,
        [b'J', ..] | [b'L', ..] => Line::News,
        _ => Line::Other,
    }
}

/// What stands before the name and before the text, at the places that the protocol's page gives them; names have one length.
///
/// The text is checked to its last byte: numbers alone would not show that a server has cut or mixed texts.
fn broadcast(line: &[u8]) -> Option<Line> {
    let name = line.strip_prefix(b"ROADCAST\",\"from\":\"m")?;
    let from = digits(name.get(..SENDER_DIGITS)?)?;
    let text = name[SENDER_DIGITS..].strip_prefix(b"\",\"data\":\"")?;
    let sender = digits(text.get(..SENDER_DIGITS)?)?;
    let text = text[SENDER_DIGITS..].strip_prefix(b" ")?;
    let number = digits(text.get(..NUMBER_DIGITS)?)?;
    let rest = text[NUMBER_DIGITS..].strip_prefix(REST.as_bytes())?;
    let is_right = from == sender && rest.starts_with(b"\",\"time\":\"") && rest.ends_with(b"\"}");
    is_right.then_some(Line::Broadcast { sender: sender as usize, number })
}

fn digits(bytes: &[u8]) -> Option<u32> {
    bytes.iter().try_fold(0, |number: u32, byte| byte.is_ascii_digit().then(|| number * 10 + u32::from(byte - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(sender: usize, number: u32) -> String {
        let mut request = Vec::new();
        push_message(&mut request, sender, number);
        let text = String::from_utf8(request).unwrap();
        let text = text.split('"').skip(7).collect::<Vec<_>>().join("\"");
        let text = text.strip_suffix("\"}\n").unwrap();
        format!("{{\"type\":\"BROADCAST\",\"from\":\"{}\",\"data\":\"{text}\",\"time\":\"…\"}}", name(sender))
    }

    #[test]
    fn a_delivery_says_whose_it_is_and_which() {
        assert_eq!(read(delivered(17, 4711).as_bytes()), Line::Broadcast { sender: 17, number: 4711 });
    }

    #[test]
    fn a_text_that_was_spoilt_is_noticed() {
        for spoilt in [
            delivered(1, 2).replace("grüß", "gruss"),
            delivered(1, 2).replace("\\\"grüß", "\"grüß"),
            delivered(1, 2).replace("here.", "here"),
            delivered(1, 2).replace("m0001", "m0002"),
            delivered(1, 2).replace("00000002", "0000000x"),
        ] {
            assert_eq!(read(spoilt.as_bytes()), Line::Other, "{spoilt}");
        }
    }

    #[test]
    fn answers_and_news_are_told_apart() {
        assert_eq!(read(br#"{"type":"OK","re":"MESSAGE","data":99}"#), Line::Ok);
        assert_eq!(read(br#"{"type":"JOINED","data":"m0001"}"#), Line::News);
        assert_eq!(read(br#"{"type":"LEFT","data":"m0001"}"#), Line::News);
        assert_eq!(read(br#"{"type":"ERROR","re":"MESSAGE","code":"BAD_JSON","message":"."}"#), Line::Other);
        assert_eq!(read(b""), Line::Other);
    }
}
