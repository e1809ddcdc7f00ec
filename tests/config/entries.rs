//! Tables of which there are several, each of every kind.

use crate::host::{Host, shortest};
use apd::config::checked::{CertificateTrust, CommandProbe, GatewayMethod, Probe, TcpProbe, UnitProbe};
use apd::config::render_effective;
use apd::wire::role_change::Word;
use secrecy::ExposeSecret;
use std::time::Duration;

#[test]
fn checks_of_every_type_are_read() {
    let text = format!(
        "{}\n[[check]]\nname = \"cache\"\ntype = \"tcp\"\naddress = \"localhost:6379\"\n\
         [[check]]\nname = \"queue\"\ntype = \"command\"\nargv = [\"/bin/queue\", \"--quick\"]\n\
         [[check]]\nname = \"web\"\ntype = \"unit\"\nunit = \"web@1.service\"\nweight = -10\n\
         [[check]]\nname = \"shop\"\ntype = \"http\"\nurl = \"https://192.168.33.101/\"\n\
         [[check]]\nname = \"network\"\ntype = \"gateway\"\nneed = 2\nmethod = \"icmp\"\nweight = -20\n\
         targets = [\"192.168.33.1\", \"192.168.33.2\"]\n\
         [[check]]\nname = \"route\"\ntype = \"gateway\"\n",
        shortest()
    );
    let loaded = Host::new().main(&text).load().unwrap_or_else(|errors| panic!("{errors}"));
    let warned: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["check.queue.argv"], "this host has no such program");
    let config = loaded.config;
    let probe = |name: &str| &config.checks.iter().find(|check| check.name == name).unwrap().probe;
    assert_eq!(*probe("cache"), Probe::Tcp(TcpProbe { host: "127.0.0.1".into(), port: 6379 }));
    let argv = vec!["/bin/queue".into(), "--quick".into()];
    assert_eq!(*probe("queue"), Probe::Command(CommandProbe { argv, user: "nobody".into() }));
    assert_eq!(*probe("web"), Probe::Unit(UnitProbe { unit: "web@1.service".into() }));
    let Probe::Http(shop) = probe("shop") else { panic!("{config:?}") };
    assert_eq!((shop.port, shop.tls.clone()), (443, Some(CertificateTrust { ca_file: None, verify: true })));
    let Probe::Gateway(network) = probe("network") else { panic!("{config:?}") };
    let gateway = &network.gateway;
    assert_eq!((gateway.need, gateway.method, gateway.targets.len()), (2, GatewayMethod::Icmp, 2));
    let Probe::Gateway(route) = probe("route") else { panic!("{config:?}") };
    assert_eq!(route.gateway, config.gateway, "without targets of its own it asks those of [gateway]");
    assert_eq!(config.lease.gate_ports, [443, 3306, 6379, 8085]);
}

#[test]
fn hooks_and_alerts_are_read() {
    let text = format!(
        "{}\n[[hook]]\non = [\"active\"]\nargv = [\"/bin/first\", \"x\"]\n\
         [[hook]]\nargv = [\"/bin/second\"]\ntimeout = \"2s\"\nuser = \"shop\"\n\
         [alerts.smtp]\nserver = \"localhost:25\"\nfrom = \"apd <apd@shop.example>\"\n\
         to = [\"a@shop.example\", \"b@shop.example\"]\n\
         [alerts.webhook]\nurl_file = \"/etc/apd/webhook\"\n",
        shortest()
    );
    let host = Host::new().main(&text);
    host.secret("webhook", "https://hooks.example:8443/hunter2?x=1\n", 0o600);
    let loaded = host.load().unwrap_or_else(|errors| panic!("{errors}"));
    let [first, second] = loaded.config.hooks.as_slice() else { panic!("{:?}", loaded.config.hooks) };
    assert_eq!((first.on.as_slice(), first.argv.len()), ([Word::Active].as_slice(), 2));
    assert_eq!((first.timeout, first.user.as_str()), (Duration::from_secs(10), "nobody"));
    assert_eq!((second.on.len(), second.timeout, second.user.as_str()), (5, Duration::from_secs(2), "shop"));
    let smtp = loaded.config.alerts.smtp.as_ref().unwrap();
    assert_eq!((smtp.host.as_str(), smtp.port, smtp.to.len()), ("127.0.0.1", 25, 2));
    let webhook = loaded.config.alerts.webhook.as_ref().unwrap();
    assert_eq!((webhook.host.as_str(), webhook.port), ("hooks.example", 8443));
    assert_eq!(webhook.path.expose_secret(), "/hunter2?x=1");
    let shown = format!("{}{:?}", render_effective(&loaded, true), loaded.config);
    assert!(!shown.contains("hunter2"), "{shown}");
    let line = shown.lines().find(|line| line.starts_with("timeout = \"2s\"")).unwrap();
    assert!(line.contains("apd.toml:"), "an entry without a name has its place too: {line}");
}
