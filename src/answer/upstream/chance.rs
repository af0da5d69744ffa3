//! Octets that nobody can guess, for those beside us who need some: the generator that upstream ids come from.

/// From the machine's entropy, by way of a generator that is seeded anew now and then.
pub fn unguessable() -> [u8; 16] {
    rand::random()
}
