//! Verbs that need no daemon: configuration and local fence.

use super::golden::every_form;
use super::{code, json, netns, out};
use std::path::Path;

/// A configuration file for a node that holds 10.77.0.1 on `eth0`.
pub fn configuration(folder: &Path, more: &str) -> std::path::PathBuf {
    let place = folder.display();
    let file = folder.join("apd.toml");
    let text = format!(
        "[cluster]\nname = \"shop\"\nvirtual_addresses = [\"10.77.0.100/24\"]\n\
         [nodes.db1]\naddress = \"10.77.0.1\"\ninterface = \"eth0\"\n\
         [nodes.db2]\naddress = \"10.77.0.2\"\ninterface = \"eth0\"\n\
         [node]\nname = \"db1\"\nstate_dir = \"{place}\"\nrun_dir = \"{place}\"\n\
         [gateway]\ntargets = [\"10.77.0.254\"]\n[mariadb]\nsocket = \"{place}/no.sock\"\n{more}"
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn config_names_errors_with_their_place_and_remedy_and_ends_with_3() {
    let folder = tempfile::tempdir().unwrap();
    let node = netns::Namespace::new("cfg");
    node.ip("link add eth0 type veth peer name far");
    node.ip("addr add 10.77.0.1/24 dev eth0");
    node.ip("link set eth0 up");
    let file = configuration(folder.path(), "");
    let apctl = |arguments: &[&str]| {
        let mut command = node.command(env!("CARGO_BIN_EXE_apctl"));
        command.env("COLUMNS", "100").arg("--config").arg(&file).args(arguments).output().unwrap()
    };
    let output = apctl(&["config", "check"]);
    assert_eq!(code(&output), 0, "{output:?}");
    assert!(out(&output).ends_with("apd.toml: valid\n"), "{output:?}");
    assert!(out(&apctl(&["config", "show"])).contains("[cluster]"));
    assert!(
        out(&apctl(&["config", "show", "--origin"])).contains("apd.toml:2"),
        "{:?}",
        apctl(&["config", "show", "--origin"])
    );
    assert_eq!(json(&apctl(&["config", "show", "--effective", "-o", "json"]))["cluster"]["name"], "shop");
    assert!(json(&apctl(&["config", "schema"]))["properties"].is_object());

    configuration(folder.path(), "[vrrp]\nversoin = 3\n");
    let output = apctl(&["config", "check"]);
    assert_eq!(code(&output), 3, "{output:?}");
    let page = out(&output);
    assert!(page.contains("apd.toml:") && page.contains("versoin") && page.contains("remedy"), "{page}");
    let value = json(&apctl(&["config", "check", "-o", "json"]));
    assert_eq!((&value["code"], &value["valid"]), (&"E_CONFIG_INVALID".into(), &false.into()), "{value}");
    assert!(value["errors"][0]["remedy"].as_str().unwrap().contains("version"), "{value}");
    assert_eq!(code(&apctl(&["config", "show", "--effective"])), 3);
    assert_eq!(code(&apctl(&["local-fence"])), 3);
}

#[test]
fn local_fence_needs_no_daemon_and_says_what_it_could_not_do() {
    let folder = tempfile::tempdir().unwrap();
    let node = netns::Namespace::new("fence");
    node.ip("link add eth0 type veth peer name far");
    node.ip("addr add 10.77.0.1/24 dev eth0");
    node.ip("addr add 10.77.0.100/24 dev eth0");
    node.ip("link set eth0 up");
    let file = configuration(folder.path(), "");
    let output = node
        .command(env!("CARGO_BIN_EXE_apctl"))
        .arg("--config")
        .arg(&file)
        .args(["local-fence", "-o", "json"])
        .output()
        .unwrap();
    assert_eq!(code(&output), 7, "no server to make read-only: {output:?}");
    let value = json(&output);
    assert_eq!(
        (&value["network"], &value["code"]),
        (&"closed".into(), &"E_FENCE_INCOMPLETE".into()),
        "{value}"
    );
    let addresses = node.ip("-4 addr show dev eth0");
    assert!(addresses.contains("10.77.0.1/24") && !addresses.contains("10.77.0.100"), "{addresses}");
}

/// A workstation with a copy of the configuration is enough: no daemon, and nothing is touched.
#[test]
fn simulate_predicts_without_a_daemon_and_always_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let node = netns::Namespace::new("sim");
    node.ip("link add eth0 type veth peer name far");
    node.ip("addr add 10.77.0.1/24 dev eth0");
    node.ip("link set eth0 up");
    let file = configuration(folder.path(), "");
    let apctl = |arguments: &[&str]| {
        let mut command = node.command(env!("CARGO_BIN_EXE_apctl"));
        command
            .env("COLUMNS", "120")
            .arg("--config")
            .arg(&file)
            .arg("simulate")
            .args(arguments)
            .output()
            .unwrap()
    };
    let command = || {
        let mut command = node.command(env!("CARGO_BIN_EXE_apctl"));
        command.arg("--config").arg(&file);
        command
    };
    let faults = ["simulate", "--fault", "power-off", "--fault", "switchover", "--seeds", "20"];
    super::pages::golden("simulate.txt", &every_form(command, &[&faults], folder.path()));
    let few = ["--fault", "power-off", "--seeds", "2", "-o"];
    let output = apctl(&[&few[..], &["json"]].concat());
    assert_eq!(code(&output), 0, "{output:?}");
    let value = json(&output);
    assert_eq!(value["lease_ms"], 350, "{value}");
    let power_off = &value["predictions"][0];
    let median = power_off["outage_ms"]["median"].as_u64().unwrap();
    assert!((350..700).contains(&median), "{power_off}");
    assert_eq!(power_off["broken"], serde_json::Value::Null, "{power_off}");
    assert!(out(&apctl(&[&few[..], &["yaml"]].concat())).contains("fault: \"power-off\""));
    let unknown = apctl(&["--fault", "meteorite"]);
    assert_eq!(code(&unknown), 2, "{unknown:?}");
}
