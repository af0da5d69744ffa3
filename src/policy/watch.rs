//! The file on disk as a stream of parsed policies.
