//! Messages in a stream: two octets that say how long, and then so many (RFC 1035 §4.2.2).
//!
//! Octets come in as the network cuts them, whole messages go out, in order.
//! What a message is, and what becomes of it, is not known here.

/// Octets of a stream that are read and not yet understood.
#[derive(Debug, Default)]
pub struct Unread {
    octets: Vec<u8>,
    /// Octets in front that were taken.
    taken: usize,
}

impl Unread {
    /// Where the next octets are put, at the end, with room for so many; what was taken is let go.
    pub fn room(&mut self, octets: usize) -> &mut Vec<u8> {
        self.octets.drain(..self.taken);
        self.taken = 0;
        self.octets.reserve(octets);
        &mut self.octets
    }

    /// The next message, if the whole of it is there.
    pub fn take(&mut self) -> Option<&[u8]> {
        let (len, rest) = self.octets[self.taken..].split_first_chunk()?;
        let message = rest.get(..u16::from_be_bytes(*len).into())?;
        self.taken += len.len() + message.len();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_taken_when_the_whole_of_it_is_there() {
        let mut unread = Unread::default();
        let mut taken = Vec::new();
        for octet in *b"\0\x03abc\0\0\0\x01d\0\x02e" {
            unread.room(1).push(octet);
            while let Some(message) = unread.take() {
                taken.push(message.to_vec());
            }
        }
        assert_eq!(taken, [&b"abc"[..], b"", b"d"]);
        unread.room(2).extend(b"fg");
        assert_eq!(unread.take(), Some(&b"ef"[..]));
        assert_eq!(unread.take(), None);
        assert_eq!(unread.room(0).as_slice(), b"g");
    }
}
