//! Looks for bytes that break `apd::fuzz::arp`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| apd::fuzz::arp(bytes));
