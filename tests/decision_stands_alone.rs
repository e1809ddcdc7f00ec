//! The decision needs nothing else of this package: here its folder is compiled alone.
//!
//! If it named `crate::io` or a sibling in any way, this file would not build. Its own unit tests run here once
//! more, which costs nothing and shows that they need no other layer either.

#![allow(dead_code, missing_docs, clippy::unwrap_used, reason = "the library's own lints judge this code")]

#[path = "../src/decision/mod.rs"]
mod decision;

use decision::event::Event;
use decision::node::Node;
use decision::settings::tests::settings;
use decision::time::Instant;

#[test]
fn a_node_lives_without_the_rest_of_the_house() {
    let mut node = Node::new(settings());
    node.handle(Event::Deadline, Instant::from_millis(1));
    assert_eq!(node.poll_action(), None, "a node that was not started does nothing");
}
