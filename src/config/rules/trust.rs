//! Whose certificates are believed where apd asks somebody over TLS.

use super::Scene;
use crate::config::checked::CertificateTrust;
use crate::config::typed::CheckTls;

/// The `tls` table at `key`; `None` without TLS.
pub fn read(
    scene: &mut Scene<'_>,
    key: &[&str],
    tls: bool,
    written: Option<&CheckTls>,
) -> Option<CertificateTrust> {
    if !tls {
        if written.is_some() {
            let what = "the URL begins with http://: nothing is encrypted";
            scene.refuse(key, what, "write https:// in the URL, or leave this out");
        }
        return None;
    }
    let written = written.cloned().unwrap_or_default();
    let path = [key, &["ca_file"]].concat();
    let ca_file = scene.optional_path(&path, &written.ca_file);
    if let Some(file) = &ca_file
        && let Ok(below_root) = file.strip_prefix("/")
    {
        let text = std::fs::read_to_string(scene.sources.root.join(below_root)).unwrap_or_default();
        if !text.contains("-----BEGIN CERTIFICATE-----") {
            let what = format!("{} cannot be read, or holds no certificate", file.display());
            scene.refuse(&path, what, "write the authority's certificate there (PEM), readable for apd");
        }
    }
    if !written.verify {
        let what = "anybody's certificate is believed";
        let path = [key, &["verify"]].concat();
        scene.warn(&path, what, "write ca_file with the authority of the service instead");
    }
    Some(CertificateTrust { ca_file, verify: written.verify })
}
