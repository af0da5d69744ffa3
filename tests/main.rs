//! One binary of everything that is tested from outside.

mod deploy;
