//! Hickory's words in ours and back, off the hot path.
//!
//! Zone files are read by hickory; what it makes of them comes in here as its
//! names and data, and goes out as ours.

use hickory_proto::rr::{Name as HickoryName, RData};
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

use super::name::Name;

/// The octets of a record's data, names in it spelled out. None when hickory cannot write what it has read.
pub fn data_octets(data: &RData) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    let mut encoder = BinEncoder::new(&mut octets);
    encoder.set_name_encoding(NameEncoding::Uncompressed);
    data.emit(&mut encoder).ok()?;
    Some(octets)
}

impl From<&HickoryName> for Name {
    fn from(name: &HickoryName) -> Self {
        name.iter().rev().fold(Self::ROOT, |above, label| {
            above
                .child(label)
                .expect("hickory's names have our bounds: 63 octets a label, 255 in all")
        })
    }
}

impl From<&Name> for HickoryName {
    fn from(name: &Name) -> Self {
        Self::from_labels(name.labels())
            .expect("our names have hickory's bounds: 63 octets a label, 255 in all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_survive_the_way_there_and_back() {
        let label = "x".repeat(63);
        let longest = format!("{label}.{label}.{label}.{}", "x".repeat(61));
        for text in [".", "com", "a\\.b.c\\000d.example", "*.npmjs.org", &longest] {
            let name: Name = text.parse().expect(text);
            let theirs = HickoryName::from(&name);
            assert!(theirs.is_fqdn());
            assert_eq!(Name::from(&theirs), name);
        }
    }
}
