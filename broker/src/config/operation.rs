//! Settings for those who run a node: where it is looked at, and how it talks.

use std::net::{SocketAddr, ToSocketAddrs as _};

use crate::config::definition::{Check, choice, settings};

choice! {
    /// How log lines look.
    pub enum LogFormat {
        /// For people.
        Text = "text",
        /// One JSON object a line, for collectors.
        Json = "json",
    }
}

settings! {
    /// Where a node is looked at, and how it talks.
    pub struct OperationSettings in OPERATION {
        /// Where metrics and health are served over HTTP, as host:port; port 0 is any, none is nowhere. Whoever reaches
        /// it may read all of them.
        "admin.listener" => admin_listener: String = Some("127.0.0.1:9644"), check: Check::NotEmpty;
        /// text: log lines for people. json: one object a line.
        "log.format" => log_format: LogFormat = Some("text"), check: Check::OneOf(LogFormat::WORDS);
        /// Which log lines are written: error, warn, info, debug or trace, also by module, as in
        /// info,broker::net=debug. The variable RUST_LOG is stronger.
        "log.level" => log_level: String = Some("info"), check: Check::NotEmpty;
    }
}

impl OperationSettings {
    /// The address of the admin port; `None` when there is to be none.
    ///
    /// # Errors
    /// What is wrong with the setting.
    pub fn admin_address(&self) -> Result<Option<SocketAddr>, String> {
        if self.admin_listener.eq_ignore_ascii_case("none") {
            return Ok(None);
        }
        let found = self.admin_listener.to_socket_addrs();
        let address = found.map_err(|error| format!("{error}; write it as host:port, or none"))?.next();
        address.map(Some).ok_or_else(|| "this host has no address on this machine".to_owned())
    }
}
