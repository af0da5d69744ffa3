//! What the stories of `tests/script` are read with, run on and held against.

pub(crate) mod story;

pub(crate) mod stage;

mod client;

mod upstream;

mod text;
