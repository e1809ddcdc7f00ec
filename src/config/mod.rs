//! The configuration: as written ([`typed`]), then as checked ([`checked`]).
//!
//! [`load`] reads all layers, reports every error of all of them in one run, each with its place and its
//! remedy, and returns values on which the rest of the program may rely.

pub mod checked;
mod decided;
mod hash;
mod layers;
mod problem;
pub mod profile;
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
}

/// Reads and checks the configuration.
///
/// # Errors
/// Everything that is wrong, in the order of files and lines.
pub fn load(sources: &Sources) -> Result<Loaded, ConfigErrors> {
    let mut problems = Problems::default();
    let files = layers::files(&sources.main_file, &mut problems);
    let merged = layers::read(&schema(), sources, &files, &mut problems);
    let Some(layers::Merged { file, origins }) = merged else { return Err(refused(problems, &files)) };
    let mut scene = rules::Scene::new(sources, file, origins, problems);
    let config = rules::check(&mut scene);
    let rules::Scene { file, origins, mut problems, .. } = scene;
    match config {
        Some(config) if problems.errors.is_empty() => {
            problems.sort(&files);
            Ok(Loaded { config, warnings: problems.warnings, effective: Effective { file, origins } })
        }
        _ => Err(refused(problems, &files)),
    }
}

fn refused(mut problems: Problems, files: &[std::path::PathBuf]) -> ConfigErrors {
    problems.sort(files);
    ConfigErrors { problems: problems.errors }
}
