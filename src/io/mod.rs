//! One file or folder for each thing outside; no decisions.

pub mod binlog;
pub mod mariadb;
