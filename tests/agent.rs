//! The built binary, driven from outside against a scripted webhook: one file a subject.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod accounts;
mod addresses;
mod blocked_log;
mod bulk;
mod chaos;
mod checkpoint;
mod client_cert;
mod cluster;
mod connections;
mod control;
mod delivery;
mod early_answers;
mod events;
mod fluent_clients;
mod fluent_msgpack;
mod fluent_tls;
mod hec_clients;
mod http_attacks;
mod hung_mount;
mod large_bodies;
mod memory_limit;
mod notify;
mod options;
mod probe;
mod proxy;
mod recipes;
mod settings;
mod settings_file;
mod show;
mod shutdown;
mod source_file;
mod source_files;
mod source_fluent;
mod source_http;
mod source_https;
mod source_stdin;
mod source_unix;
mod spool;
mod state;
mod status;
mod support;
mod targets;
mod tls;
mod token_input;
