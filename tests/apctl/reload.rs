//! `POST /reload`: who may, on which condition, and how each end of it looks over HTTP.

use super::control::{Daemon, Setup, TOKEN};
use super::http::{get, socket, tcp};
use apd::decision::action::Answer;
use apd::io::control_socket::Inquiry;
use std::sync::Mutex;

/// Answers by the number of reloads that were asked for before, and says who asked.
fn by_turn(inquiry: Inquiry) {
    static TURN: Mutex<usize> = Mutex::new(0);
    let Inquiry::Reload { actor, replies } = inquiry else { return };
    let mut turn = TURN.lock().unwrap();
    let answer = match *turn {
        0 => Answer::Done(format!("reloaded for {actor}: 1 key changed")),
        1 => Answer::Already("nothing has changed in the configuration".to_owned()),
        2 => Answer::Degraded("reloaded: 0 keys changed; needs a restart: vrrp.version".to_owned()),
        3 => Answer::Refused {
            code: "E_CONFIG_INVALID".to_owned(),
            reason: "apd.toml:3: cluster.nmae: unknown key".to_owned(),
            remedy: "apctl config check".to_owned(),
        },
        _ => Answer::Failed("the control loop does not take the configuration".to_owned()),
    };
    *turn += 1;
    replies.try_send(Answer::Progress("check.api.interval: 1s -> 500ms".to_owned())).unwrap();
    replies.try_send(answer).unwrap();
}

/// Nobody may be asked in vain.
fn never(inquiry: Inquiry) {
    panic!("{inquiry:?} was asked");
}

#[test]
fn r2_11_each_end_of_a_reload_over_http() {
    let daemon = Daemon::start(Setup { inquire: by_turn, token: Some(TOKEN), ..Setup::default() });
    let bearer = format!("Authorization: Bearer {TOKEN}\r\n");
    let begun = tcp(&daemon, "POST", "/reload", &bearer, "");
    assert_eq!(begun.status, 202, "{begun:?}");
    let place = begun.headers["location"].clone();
    let ended = get(&daemon, &format!("{place}?wait=5s&seen=9")).json();
    assert_eq!(
        (ended["command"].as_str(), ended["outcome"].as_str()),
        (Some("reload"), Some("done")),
        "{ended}"
    );
    assert_eq!(ended["text"], "reloaded for http 127.0.0.1: 1 key changed", "{ended}");
    assert_eq!(ended["progress"][0], "check.api.interval: 1s -> 500ms", "{ended}");

    let post = || socket(&daemon, "POST", "/reload?wait=5s", "", "");
    for outcome in ["already", "degraded"] {
        let reply = post();
        assert_eq!((reply.status, reply.json()["outcome"].as_str()), (200, Some(outcome)), "{reply:?}");
    }
    let problem = post().problem(409, "E_CONFIG_INVALID");
    assert_eq!(problem["remedy"], "apctl config check");
    assert!(problem["detail"].as_str().unwrap().contains("apd.toml:3") && problem["operation"].is_string());
    post().problem(500, "E_FAILED");
    assert!(daemon.asked.lock().unwrap().is_empty(), "a reload is no command of the election");
}

#[test]
fn r2_11_a_reload_over_http_asks_who_and_on_which_epoch() {
    let daemon = Daemon::start(Setup { inquire: never, token: Some(TOKEN), ..Setup::default() });
    let reply = tcp(&daemon, "POST", "/reload", "", "");
    reply.problem(401, "E_NOT_PERMITTED");
    assert!(reply.headers["www-authenticate"].starts_with("Bearer"), "{reply:?}");
    tcp(&daemon, "POST", "/reload", "Authorization: Bearer wrong\r\n", "").problem(401, "E_NOT_PERMITTED");
    let reply = tcp(&daemon, "GET", "/reload", "", "");
    reply.problem(405, "E_METHOD");
    assert_eq!(reply.headers["allow"], "POST");
    socket(&daemon, "POST", "/reload", "If-Match: \"6\"\r\n", "").problem(412, "E_EPOCH_CHANGED");
    socket(&daemon, "POST", "/reload", "", "{").problem(400, "E_USAGE");
    socket(&daemon, "POST", "/reload?wait=soon", "", "").problem(400, "E_USAGE");
    let without = Daemon::start(Setup { inquire: never, ..Setup::default() });
    tcp(&without, "POST", "/reload", "", "").problem(403, "E_NOT_PERMITTED");
}

/// Nobody takes what is asked: as long as one waits for its turn the next hears so at once, and nothing is lost twice.
#[test]
fn r2_11_a_reload_that_nobody_takes_is_a_503() {
    fn slow(inquiry: Inquiry) {
        std::thread::sleep(std::time::Duration::from_millis(400));
        super::control::reload_done(inquiry);
    }
    let daemon = Daemon::start(Setup { inquire: slow, ..Setup::default() });
    let ask = || socket(&daemon, "POST", "/reload", "", "");
    let busy = (0..20).map(|_| ask()).find(|reply| reply.status != 202).unwrap();
    busy.problem(503, "E_BUSY");
}
