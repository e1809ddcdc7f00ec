//! The network side of `io`, against real sockets and real netlink in namespaces of its own.

#[path = "../support/netns.rs"]
mod netns;
#[path = "../support/tools.rs"]
mod tools;

mod alerts;
mod arp;
mod checks;
mod gateway;
mod http;
mod https;
mod keepalived;
mod link;
mod peer;
mod vrrp;

use std::future::Future;
use std::time::Duration;

/// Whatever is waited for comes within milliseconds on an idle machine; a loaded one gets this long.
const LIMIT: Duration = Duration::from_secs(10);

/// Runs one test on a current_thread runtime, as the pair thread does. Nothing may take for ever.
fn run<T>(test: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        tokio::time::timeout(6 * LIMIT, test).await.expect("the test as a whole takes seconds")
    })
}

/// What `future` gives, which must be soon.
async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, future).await.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}
