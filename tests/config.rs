//! The configuration as an operator meets it: the shortest file, the layers, and broken files.
use apd::config::{Interface, Sources, load, render_effective, schema};
#[test]
fn try_it() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("etc/apd")).unwrap();
    std::fs::write(folder.path().join("etc/apd/mariadb.password"), "hunter2\n").unwrap();
    let s = Sources {
        main_file: "tests/config/shortest.toml".into(),
        environment: vec![("APD__CHECK__API__INTERVAL".into(), "20ms".into())],
        flags: vec![],
        hostname: "db1".into(),
        interfaces: vec![Interface {
            name: "eth0".into(),
            addresses: vec![("192.168.33.101".parse().unwrap(), 24)],
        }],
        default_route: Some(("192.168.33.1".parse().unwrap(), "eth0".into())),
        root: folder.path().into(),
        secrets_required: true,
    };
    match load(&s) {
        Ok(l) => {
            println!("{}", render_effective(&l, true));
            println!("{:#?}", l.config);
            for w in l.warnings {
                println!("W {w}");
            }
        }
        Err(e) => panic!("{e}"),
    }
    println!("{}", serde_json::to_string_pretty(&schema()).unwrap());
}
