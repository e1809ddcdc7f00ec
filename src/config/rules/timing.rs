//! `[vrrp]`, `[lease]` and the profile: intervals that can work together.

use super::{Scene, secret};
use crate::config::checked::{Garp, Lease, Vrrp};
use crate::config::problem::Origin;
use crate::config::profile::{Profile, profile};
use crate::config::typed::{OnStopWord, Period};
use crate::decision::settings::OnStop;
use std::time::Duration;

/// Beside three heartbeats, the least that a lease must leave for scheduling and the way over the wire.
const LEASE_MARGIN: Duration = Duration::from_millis(20);

/// Fills in the profile and checks both tables.
pub fn check(scene: &mut Scene<'_>) -> (Vrrp, Lease) {
    let preset = profile(scene.file.cluster.profile);
    let (advert, heartbeat, duration) = fill(scene, preset);
    (vrrp(scene, preset, advert), lease(scene, heartbeat, duration))
}

/// The profile, wherever nothing is written.
fn fill(scene: &mut Scene<'_>, preset: Profile) -> (Period, Period, Period) {
    let file = &mut scene.file;
    let advert = *file.vrrp.advert_interval.get_or_insert(preset.advert_interval);
    let heartbeat = *file.lease.heartbeat.get_or_insert(preset.heartbeat);
    let duration = *file.lease.duration.get_or_insert(preset.lease);
    for path in [["vrrp", "advert_interval"], ["lease", "heartbeat"], ["lease", "duration"]] {
        if !scene.is_written(&path) {
            scene.filled(&path, Origin::Profile(preset.name));
        }
    }
    (advert, heartbeat, duration)
}

fn vrrp(scene: &mut Scene<'_>, preset: Profile, advert: Period) -> Vrrp {
    let written = scene.file.vrrp.clone();
    advert_interval(scene, written.version, advert, preset);
    let auth_pass = secret::read(scene, &["vrrp", "auth_pass_file"], &written.auth_pass_file);
    if !written.auth_pass_file.as_os_str().is_empty() && written.version != 2 {
        let what = format!("VRRP version {} has no password", written.version);
        scene.refuse(&["vrrp", "auth_pass_file"], what, "leave it out, or set version = 2");
    }
    if auth_pass.as_ref().is_some_and(|pass| secret::length(pass) > 8) {
        let what = "the password is longer than the 8 characters that VRRP version 2 carries";
        scene.refuse(&["vrrp", "auth_pass_file"], what, "shorten it on both nodes");
    }
    let garp = written.garp;
    let minute = Period::seconds(60);
    Vrrp {
        version: written.version,
        virtual_router_id: written.virtual_router_id,
        advert_interval: advert.0,
        multicast: written.multicast,
        auth_pass,
        accept_lower_ttl: written.accept_lower_ttl,
        garp: Garp {
            burst: garp.burst,
            delay: scene.period(&["vrrp", "garp", "delay"], garp.delay, Period::ZERO, minute),
            repeat: garp.repeat,
            refresh: scene.period(
                &["vrrp", "garp", "refresh"],
                garp.refresh,
                Period::ZERO,
                Period::seconds(86_400),
            ),
            interval: scene.period(
                &["vrrp", "garp", "interval"],
                garp.interval,
                Period::ZERO,
                Period::seconds(1),
            ),
        },
    }
}

/// Version 3 counts hundredths of a second in 12 bits (RFC 9568, 5.2.7), version 2 seconds in 8 (RFC 3768,
/// 5.3.7).
fn advert_interval(scene: &mut Scene<'_>, version: u8, advert: Period, preset: Profile) {
    let (key, version_key) = (["vrrp", "advert_interval"], ["vrrp", "version"]);
    let nanoseconds = advert.0.as_nanos();
    let from = match scene.is_written(&key) {
        true => String::new(),
        false => format!(" (from profile \"{}\")", preset.name),
    };
    let paths: [&[&str]; 2] =
        if from.is_empty() { [&key, &version_key] } else { [&version_key, &version_key] };
    let seconds = 1_000_000_000;
    if version == 2
        && (!nanoseconds.is_multiple_of(seconds) || !(seconds..=255 * seconds).contains(&nanoseconds))
    {
        let what =
            format!("{advert}{from} does not fit VRRP version 2, which counts whole seconds from 1s to 255s");
        scene.refuse_among(&paths, what, "write advert_interval = \"1s\" under [vrrp], or version = 3");
    }
    let step = 10_000_000;
    if version == 3 && (!nanoseconds.is_multiple_of(step) || !(step..=4095 * step).contains(&nanoseconds)) {
        let what = format!("{advert}{from} does not fit VRRP version 3: steps of 10ms from 10ms to 40950ms");
        scene.refuse_among(&paths, what, "write a multiple of 10ms, as \"100ms\"");
    }
}

fn lease(scene: &mut Scene<'_>, heartbeat: Period, duration: Period) -> Lease {
    let written = scene.file.lease.clone();
    let minute = Period::seconds(60);
    scene.period(&["lease", "heartbeat"], heartbeat, Period::milliseconds(10), Period::seconds(10));
    scene.period(&["lease", "duration"], duration, Period::milliseconds(50), minute);
    let least = Period(heartbeat.0 * 3 + LEASE_MARGIN);
    if duration < least && !scene.is_broken(&["lease"]) {
        let longest = Period((duration.0.saturating_sub(LEASE_MARGIN)).div_f64(3.0));
        let shorter = match Period(Duration::from_millis(longest.0.as_millis() as u64)) {
            possible if possible >= Period::milliseconds(10) => format!(", or heartbeat = \"{possible}\""),
            _ => String::new(),
        };
        scene.refuse_among(
            &[&["lease", "duration"], &["lease", "heartbeat"]],
            format!(
                "the lease is too short for its heartbeat: {duration} < 3 x {heartbeat} + {} = {least}",
                Period(LEASE_MARGIN)
            ),
            format!("write duration = \"{least}\" or longer{shorter}"),
        );
    }
    let grace = written.restart_grace;
    if grace < duration && !scene.is_broken(&["lease"]) {
        let what = format!("{grace} is shorter than the lease itself ({duration})");
        scene.refuse(&["lease", "restart_grace"], what, format!("write \"{duration}\" or longer, as \"5s\""));
    }
    scene.period(&["lease", "restart_grace"], grace, Period::ZERO, minute);
    Lease {
        heartbeat: heartbeat.0,
        duration: duration.0,
        gate_ports: written.gate_ports,
        realtime: written.realtime,
        restart_grace: grace.0,
        on_stop: match written.on_stop {
            OnStopWord::Handover => OnStop::Handover,
            OnStopWord::Keep => OnStop::Keep,
            OnStopWord::Fence => OnStop::Fence,
        },
    }
}

/// A node that waits for its peer for less time than a takeover takes could claim the role at start while
/// the peer is only being slow.
pub fn peer_wait(scene: &mut Scene<'_>, vrrp: &Vrrp, lease: &Lease) {
    let slack = (lease.duration / 16).max(Duration::from_millis(10));
    let from_lease = lease.duration.mul_f64(1.001) + lease.duration / 8 + slack + lease.heartbeat;
    let master_down = vrrp.advert_interval * 4;
    let detection = from_lease.max(master_down) + scene.file.cluster.failover_hold.0;
    let wait = scene.file.cluster.peer_wait;
    if wait.0 < detection && !scene.is_broken(&["cluster", "peer_wait"]) {
        let detection = Period(Duration::from_millis(detection.as_millis() as u64 + 1));
        scene.warn(
            &["cluster", "peer_wait"],
            format!("{wait} is shorter than the time in which a dead peer is detected ({detection})"),
            "write a longer one, as \"10s\"",
        );
    }
}
