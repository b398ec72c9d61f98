//! What is logged of clients that must be configured differently.

pub(super) const NOT_FLUENT: &str = "sends something that is no fluent message";
pub(super) const NOT_GZIP: &str =
    "sends chunks in a compression that the agent does not know; fix: set its compression to gzip";
pub(super) const TOO_LARGE: &str = "sends messages in JSON that are too large to be taken at once; fix: have it send \
                                    MessagePack, or fewer events in a message";
pub(super) const HANDSHAKE: &str = "wants the shared-key handshake, which the agent does not support; fix: remove the shared key from its output; a \
     source fluents: with --listen-client-ca knows clients by their certificates";
pub(super) const SILENT: &str = "connected, waited and left without a message; fix: if a shared key is set in its output, remove it: the agent does \
     not support that handshake";
pub(super) const SPEAKS_TLS: &str =
    "speaks TLS; fix: name the source fluents:ADDR:PORT, or turn TLS off in its output";
