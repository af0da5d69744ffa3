//! A connection's octets, as the network cuts them.
//!
//! The input is how many pieces there are, an octet for the length of each, and
//! the octets of the stream; what they leave is one more piece. The messages that
//! are taken are those that lie in the whole, and each is a message like any.

use namegate::front::Unread;
use namegate::wire::{Malformed, Query};

use super::message::message;

/// However a stream is cut, its messages are the same, and what is left waits for more.
pub fn stream(input: &[u8]) {
    let Some((count, rest)) = input.split_first() else {
        return;
    };
    let Some((lengths, stream)) = rest.split_at_checked((*count).into()) else {
        return;
    };
    let mut unread = Unread::default();
    let mut taken = Vec::new();
    for piece in pieces(lengths, stream) {
        unread.room(piece.len()).extend_from_slice(piece);
        while let Some(message) = unread.take() {
            taken.push(message.to_vec());
        }
    }
    let (messages, left) = messages(stream);
    assert_eq!(taken, messages);
    assert_eq!(unread.room(0).as_slice(), left);
    messages.into_iter().for_each(over_tcp);
}

/// The stream in pieces of these lengths, as far as it goes, and its rest.
fn pieces<'a>(lengths: &[u8], stream: &'a [u8]) -> Vec<&'a [u8]> {
    let mut rest = stream;
    let mut pieces: Vec<&[u8]> = lengths
        .iter()
        .map(|len| rest.split_off(..usize::from(*len).min(rest.len())))
        .map(|piece| piece.expect("it is no longer than the rest"))
        .collect();
    pieces.push(rest);
    pieces
}

/// The messages of a whole stream, and what stands behind the last.
fn messages(stream: &[u8]) -> (Vec<&[u8]>, &[u8]) {
    let (mut messages, mut at) = (Vec::new(), 0);
    while at + 2 <= stream.len() {
        let end = at + 2 + usize::from(stream[at]) * 256 + usize::from(stream[at + 1]);
        if end > stream.len() {
            break;
        }
        messages.push(&stream[at + 2..end]);
        at = end;
    }
    (messages, &stream[at..])
}

/// It keeps the promises of a datagram, and an option that means something here alone is found at fault.
fn over_tcp(octets: &[u8]) {
    message(octets);
    let Some(fault) = Query::read(octets).ok().and_then(|it| it.fault_over_tcp()) else {
        return;
    };
    assert_eq!(fault.why, Malformed::BadOption);
    assert!(fault.edns().is_some());
}
