//! Pure codecs: bytes to decision types and back.

pub mod gate;
