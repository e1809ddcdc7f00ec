//! Pure codecs: bytes to decision types and back.

pub mod binlog;
pub mod binlog_query;
