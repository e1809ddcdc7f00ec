//! The configuration: as written, then as checked.

pub mod checked;
