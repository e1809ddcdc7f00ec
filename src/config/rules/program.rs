//! Programs that apd runs for an operator: checks and hooks.

use super::Scene;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Longest argument list: more is a mistake.
const ARGUMENTS: usize = 64;

/// Program and arguments: no shell reads them, so the program is named by its whole path. What stands in them is
/// never repeated, for it may be a password.
pub fn argv(scene: &mut Scene<'_>, key: &[&str], written: &[String]) -> Option<Vec<String>> {
    let Some(program) = written.first() else {
        if !scene.is_broken(key) {
            let remedy =
                "write program and arguments, as argv = [\"/usr/local/bin/check-queue\", \"--quick\"]";
            scene.refuse(key, "no program is named", remedy);
        }
        return None;
    };
    if !program.starts_with('/') {
        let what = "the program is not named by its whole path, and no shell looks for it";
        scene.refuse(key, what, "begin with the path, as argv = [\"/usr/local/bin/check-queue\"]");
        return None;
    }
    if written.len() > ARGUMENTS || written.iter().any(|word| word.contains('\0')) {
        scene.refuse(
            key,
            "too many arguments, or one that cannot be passed",
            "put them into a script of your own",
        );
        return None;
    }
    let place = scene.sources.root.join(program.trim_start_matches('/'));
    let runs = std::fs::metadata(&place)
        .is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    if !runs {
        let what = format!("{} is no program on this host", Path::new(program).display());
        scene.warn(key, what, "install it on both nodes, and make it executable (chmod 755)");
    }
    Some(written.to_vec())
}

/// A user's name.
pub fn user(scene: &mut Scene<'_>, key: &[&str], written: &str) -> String {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-$".contains(&byte);
    if written.is_empty() || written.len() > 32 || !written.bytes().all(fits) {
        let what = format!("{written:?} cannot be the name of a user");
        scene.refuse(key, what, "write the name of an unprivileged user, as \"nobody\"");
    }
    written.to_owned()
}
