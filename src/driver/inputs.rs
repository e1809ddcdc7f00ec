//! Everything that the loop waits for, in one place.

use super::gate_client::GateClient;
use super::host::Reload;
use crate::config::checked::Config;
use crate::decision::event::{Event, LinkReport};
use crate::decision::words::InstanceId;
use crate::io::announce::{Announcer, ProbeForLife};
use crate::io::control_socket::ControlRequest;
use crate::io::link::LinkMonitor;
use crate::io::mode_file::ModeWatch;
use crate::io::peer_link::{LinkEvent, LinkSettings, PeerLink};
use crate::io::sys::Watched;
use crate::io::timer::BootTimer;
use crate::io::vrrp_socket::{ReceiveError, VrrpSettings, VrrpSocket};
use crate::wire::advert::{Password, Version};
use anyhow::Context;
use secrecy::ExposeSecret;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{Receiver, UnboundedReceiver};

/// One thing that ended the wait.
#[derive(Debug)]
pub enum Input {
    /// The timer.
    Tick,
    /// Events that are ready for the decision.
    Events(Vec<Event>),
    /// The peer link.
    Link(LinkEvent),
    /// An operator.
    Command(ControlRequest),
    /// The configuration was read again.
    Reload(Reload),
    /// Something changed in the mode file's folder.
    ModeFile,
    /// Someone claims a virtual address.
    Claimed(String),
    /// An advertisement was refused; the peer's own refusals are a misconfiguration.
    Rejected(String),
    /// SIGTERM: a stop or a restart.
    Terminate,
}

/// The sources, and what is sent through the same sockets.
#[derive(Debug)]
pub struct Inputs {
    /// CLOCK_BOOTTIME.
    pub timer: BootTimer,
    /// Advertisements.
    pub vrrp: VrrpSocket,
    /// Heartbeats.
    pub peer: PeerLink,
    /// The gate process.
    pub gate: GateClient,
    /// Gratuitous ARP; `None` without virtual addresses.
    pub announcer: Option<Announcer>,
    /// Who has the virtual addresses.
    pub life: Option<ProbeForLife>,
    link: LinkMonitor,
    mode: Watched,
    events: UnboundedReceiver<Event>,
    commands: Receiver<ControlRequest>,
    reloads: Receiver<Reload>,
    terminate: Signal,
    interrupt: Signal,
}

impl Inputs {
    /// Opens every socket. Needs the pair thread's runtime.
    ///
    /// # Errors
    /// When one of them cannot be opened; the error says which and what it needs.
    pub fn open(
        config: &Config,
        instance: InstanceId,
        gate: GateClient,
        events: UnboundedReceiver<Event>,
        commands: Receiver<ControlRequest>,
        reloads: Receiver<Reload>,
    ) -> anyhow::Result<Self> {
        let addresses: Vec<_> =
            config.cluster.virtual_addresses.iter().map(|virtual_address| virtual_address.address).collect();
        let interface = &config.me.interface;
        let watched = !addresses.is_empty();
        let device = config.cluster.virtual_addresses.first().map_or(interface, |first| &first.device);
        Ok(Self {
            timer: BootTimer::new().context("cannot make a timer")?,
            vrrp: VrrpSocket::open(&vrrp_settings(config, addresses.clone()))?,
            peer: PeerLink::open(link_settings(config, instance)).with_context(|| {
                let (address, port) = (config.me.address, config.me.peer_port);
                format!("cannot listen on {address}:{port} for the peer (nodes.{}.peer_port)", config.me.name)
            })?,
            gate,
            announcer: if watched { Some(Announcer::open(device)?) } else { None },
            life: if watched { Some(ProbeForLife::open(device, &addresses)?) } else { None },
            link: LinkMonitor::open(interface, config.me.address).context("cannot watch the interface")?,
            mode: Watched::new(
                ModeWatch::open(&config.paths.mode_file)
                    .with_context(|| {
                        format!("cannot watch the folder of {}", config.paths.mode_file.display())
                    })?
                    .into_descriptor(),
            )?,
            events,
            commands,
            reloads,
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next input. Cancel-safe, as all of its sources are.
    pub async fn next(&mut self) -> Input {
        tokio::select! {
            biased;
            _ = self.timer.expired() => Input::Tick,
            received = self.vrrp.receive() => advert(received),
            event = self.peer.next() => Input::Link(event),
            events = self.gate.next() => Input::Events(events),
            Some(event) = self.events.recv() => Input::Events(vec![event]),
            report = self.link.changed() => Input::Events(vec![Event::Link(report)]),
            claim = claimed(self.life.as_ref()) => claim,
            Some(request) = self.commands.recv() => Input::Command(request),
            Some(reload) = self.reloads.recv() => Input::Reload(reload),
            () = changed(&self.mode) => Input::ModeFile,
            _ = self.terminate.recv() => Input::Terminate,
            _ = self.interrupt.recv() => Input::Events(vec![Event::Stop]),
        }
    }

    /// The interface came back: sockets that were bound to the old one are opened anew.
    pub fn reopen(&mut self, report: &LinkReport) {
        if !report.usable {
            return;
        }
        if let Err(error) = self.vrrp.reopen() {
            tracing::warn!(code = "vrrp.reopen", "{error}");
        }
        if let Some(Err(error)) = self.announcer.as_mut().map(Announcer::reopen) {
            tracing::warn!(code = "announce.reopen", "{error}");
        }
        if let Some(Err(error)) = self.life.as_mut().map(ProbeForLife::reopen) {
            tracing::warn!(code = "life.reopen", "{error}");
        }
    }
}

fn advert(received: Result<crate::io::vrrp_socket::Received, ReceiveError>) -> Input {
    match received {
        Ok(received) => Input::Events(vec![Event::Advert(received.advert)]),
        Err(ReceiveError::Rejected { from, is_peer: true, why }) => {
            Input::Rejected(format!("an advertisement of the peer ({from}) was refused: {why}"))
        }
        Err(ReceiveError::Rejected { .. }) => Input::Events(Vec::new()),
        Err(ReceiveError::Socket(error)) => Input::Rejected(format!("the VRRP socket: {error}")),
    }
}

async fn claimed(life: Option<&ProbeForLife>) -> Input {
    match life {
        None => std::future::pending().await,
        Some(life) => match life.claimed().await {
            Ok(claim) => Input::Claimed(claim.by.to_string()),
            // The interface is down or away: the link report says so.
            Err(_) => Input::Events(Vec::new()),
        },
    }
}

/// Waits for a change in the mode file's folder and takes the notices away.
async fn changed(mode: &Watched) {
    let mut buffer = [0; 4096];
    let read = mode
        .when_readable(|descriptor| nix::unistd::read(descriptor, &mut buffer).map_err(std::io::Error::from));
    let _ = read.await;
}

/// How the peer link is made.
pub fn link_settings(config: &Config, instance: InstanceId) -> LinkSettings {
    LinkSettings {
        cluster: config.cluster.name.clone(),
        node: config.me.name.clone(),
        address: config.me.address,
        port: config.me.peer_port,
        peer: std::net::SocketAddrV4::new(config.peer.address, config.peer.peer_port),
        instance,
        redial: config.lease.heartbeat.max(std::time::Duration::from_millis(20)),
    }
}

fn vrrp_settings(config: &Config, addresses: Vec<std::net::Ipv4Addr>) -> VrrpSettings {
    let password = config.vrrp.auth_pass.as_ref().map(|secret| Password::new(secret.expose_secret()));
    VrrpSettings {
        interface: config.me.interface.clone(),
        source: config.me.address,
        peer: config.peer.address,
        virtual_router_id: config.vrrp.virtual_router_id,
        version: if config.vrrp.version == 2 { Version::V2 } else { Version::V3 },
        multicast: config.vrrp.multicast,
        accept_lower_ttl: config.vrrp.accept_lower_ttl,
        password,
        addresses,
    }
}
