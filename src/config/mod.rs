//! The configuration: as written ([`typed`]), then as checked ([`checked`]).
//!
//! [`load`] reads all layers, reports every error of all of them in one run, each with its place and its
//! remedy, and returns values on which the rest of the program may rely.

pub mod checked;
mod decided;
pub mod flat;
mod hash;
mod layers;
mod problem;
pub mod profile;
pub mod reload;
mod rules;
mod schema;
mod shape;
mod show;
mod sources;
mod suggest;
pub mod typed;
mod written;

pub use checked::Config;
pub use problem::{ConfigErrors, Origin, Problem};
pub use schema::schema;
pub use show::{Effective, render_effective};
pub use sources::{Interface, Sources};

use problem::Problems;

/// A valid configuration, and what is worth saying about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What the program runs on.
    pub config: Config,
    /// Each is worth a line in the log and in `apctl config check`.
    pub warnings: Vec<Problem>,
    /// Every key with its value and where that came from, for `apctl config show`.
    pub effective: Effective,
    /// All layers merged, as before the rules filled anything in: what a reload starts from.
    merged: layers::Merged,
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong, in the order of files and lines.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    let files = layers::files(&sources.main_file, &mut problems);
    match layers::read(&schema(), sources, &files, &mut problems) {
        Some(merged) => judge(sources, &files, merged, problems),
        None => Err(refused(problems, &files)),
    }
}

/// Lets every rule look at what was read.
fn judge(
    sources: &Sources,
    files: &[std::path::PathBuf],
    merged: layers::Merged,
    problems: Problems,
) -> Result<Loaded, ConfigErrors> {
    let mut scene = rules::Scene::new(sources, merged.file.clone(), merged.origins.clone(), problems);
    let config = rules::check(&mut scene);
    let rules::Scene { file, origins, mut problems, .. } = scene;
    match config {
        Some(config) if problems.errors.is_empty() => {
            problems.sort(files);
            let effective = Effective { file, origins };
            Ok(Loaded { config, warnings: problems.warnings, effective, merged })
        }
        _ => Err(refused(problems, files)),
    }
}

fn refused(mut problems: Problems, files: &[std::path::PathBuf]) -> ConfigErrors {
    problems.sort(files);
    ConfigErrors { problems: problems.errors }
}
