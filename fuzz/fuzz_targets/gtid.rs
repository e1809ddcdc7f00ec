//! Looks for bytes that break `apd::fuzz::gtid`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::gtid(bytes));
