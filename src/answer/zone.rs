//! stub
use crate::wire::{Name, Query, Rcode, Sections};
/// stub
pub struct Zones;
/// stub
pub struct ZoneText {
    pub file: String,
    pub origin_hint: Option<Name>,
    pub text: String,
}
/// stub
#[derive(Debug)]
pub struct ZoneError {
    pub file: String,
    pub line: Option<u32>,
    pub message: String,
}
impl std::fmt::Display for ZoneError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}
/// stub
pub struct ZoneAnswer {
    pub rcode: Rcode,
    pub sections: Sections,
    pub authoritative: bool,
}
impl Zones {
    /// stub
    pub fn parse(_t: &[ZoneText]) -> Result<Self, Vec<ZoneError>> {
        Ok(Self)
    }
    /// stub
    pub fn covers(&self, _n: &Name) -> bool {
        false
    }
    /// stub
    pub async fn answer(&self, _q: &Query<'_>) -> Option<ZoneAnswer> {
        None
    }
    /// stub
    pub fn apexes(&self) -> impl Iterator<Item = &Name> {
        std::iter::empty()
    }
}
