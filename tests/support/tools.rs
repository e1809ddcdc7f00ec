//! Programs that tests run: the machine's own, or what `make test-tools` has unpacked.

use std::path::{Path, PathBuf};

/// A program: from PATH, or from what `make test-tools` has unpacked.
pub fn find_tool(name: &str) -> PathBuf {
    // `make test-tools` unpacks into the build folder, with a wrapper for each program.
    let unpacked = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("tools");
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/bin".into(), unpacked.join("bin")])
        .map(|folder| folder.join(name))
        .find(|candidate| candidate.is_file())
        .unwrap_or_else(|| {
            panic!("{name} is neither in PATH nor in {}: run `make test-tools`", unpacked.display())
        })
}
