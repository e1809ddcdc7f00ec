//! Looks for bytes that break `apd::fuzz::binlog`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::binlog(bytes));
