//! `apctl config`: what the configuration says, and everything that is wrong with it.

use super::arguments::{Common, ConfigVerb};
use super::exit::{Exit, Failure};
use super::output::Output;

/// `config check|show|schema`.
pub(super) fn config(_output: &Output, _common: &Common, verb: &ConfigVerb) -> Result<Exit, Failure> {
    match verb {
        ConfigVerb::Diff(_) => Err(Failure::not_yet("apctl config diff")),
        ConfigVerb::ImportKeepalived(_) => Err(Failure::not_yet("apctl config import-keepalived")),
        ConfigVerb::Check | ConfigVerb::Show { .. } | ConfigVerb::Schema => {
            Err(Failure::not_yet("apctl config"))
        }
    }
}
