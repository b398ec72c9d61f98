//! Every option by name, so that errors and origins are requested by a value that the compiler checks.
//!
//! A new option is a field in [`options`](crate::config::options) and a line here; a test there says which of
//! the two is missing.

/// What the variables of all options begin with.
pub const PREFIX: &str = "S3_AUDIT_WEBHOOK_";

macro_rules! options {
    ($($heading:literal { $($option:ident = $id:literal,)* })*) => {
        /// An option of any command; its meaning is documented at its field of
        /// [`options`](crate::config::options).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "documented at the fields")]
        pub enum Opt {
            $($($option,)*)*
        }

        impl Opt {
            /// All of them.
            pub const ALL: &[Opt] = &[$($(Opt::$option,)*)*];

            /// Its name in the declaration, and in the output of `show --json`.
            pub const fn id(self) -> &'static str {
                match self {
                    $($(Opt::$option => $id,)*)*
                }
            }

            /// The heading of its group in the help and on the page of options.
            pub const fn heading(self) -> &'static str {
                match self {
                    $($(Opt::$option)|* => $heading,)*
                }
            }
        }
    };
}

options! {
    "Webhook" {
        Endpoint = "endpoint",
        EndpointMode = "endpoint_mode",
        Failback = "failback",
        AuthToken = "auth_token",
        AuthTokenFile = "auth_token_file",
        Header = "header",
        SignKeyFile = "sign_key_file",
        Format = "format",
        EventPrefix = "event_prefix",
        Compress = "compress",
        Enabled = "enabled",
    }
    "Splunk" {
        HecHost = "hec_host",
        HecSource = "hec_source",
        HecSourcetype = "hec_sourcetype",
        HecIndex = "hec_index",
        HecAck = "hec_ack",
        HecAckTimeout = "hec_ack_timeout",
        TimeField = "time_field",
    }
    "TLS" {
        CaFile = "ca_file",
        PinSha256 = "pin_sha256",
        TlsServerName = "tls_server_name",
        Insecure = "insecure",
        ClientCert = "client_cert",
        ClientKey = "client_key",
    }
    "Network" {
        Proxy = "proxy",
        NoProxy = "no_proxy",
        AddressFamily = "address_family",
        ConnectTimeout = "connect_timeout",
        RequestTimeout = "request_timeout",
    }
    "Rules" {
        Exclude = "exclude",
        Include = "include",
        Redact = "redact",
        RedactField = "redact_field",
    }
    "Sources" {
        Source = "source",
        WhenFull = "when_full",
        MaxEventBytes = "max_event_bytes",
    }
    "Files" {
        FileStart = "file_start",
        ExcludeFiles = "exclude_files",
        MaxDeletedBytes = "max_deleted_bytes",
    }
    "Listeners" {
        ListenTokenFile = "listen_token_file",
        ListenCert = "listen_cert",
        ListenKey = "listen_key",
        ListenClientCa = "listen_client_ca",
        ListenConnectionsPerPeer = "listen_connections_per_peer",
        ListenConnections = "listen_connections",
        ListenTimeout = "listen_timeout",
        MaxBodyBytes = "max_body_bytes",
        HecInput = "hec_input",
        SocketMode = "socket_mode",
    }
    "Buffering and state" {
        StateDir = "state_dir",
        BufferBytes = "buffer_bytes",
        BufferEvents = "buffer_events",
        SpoolBytes = "spool_bytes",
        SpoolDir = "spool_dir",
        SpoolSync = "spool_sync",
    }
    "Sending" {
        BatchBytes = "batch_bytes",
        BatchRawBytes = "batch_raw_bytes",
        BatchEvents = "batch_events",
        BatchAge = "batch_age",
        Connections = "connections",
        MaxRate = "max_rate",
        BackoffMin = "backoff_min",
        BackoffMax = "backoff_max",
        RejectAfter = "reject_after",
        RejectFile = "reject_file",
        RejectBytes = "reject_bytes",
    }
    "Status and log" {
        StatusListen = "status_listen",
        StatusTokenFile = "status_token_file",
        UnhealthyAfter = "unhealthy_after",
        ReportInterval = "report_interval",
        LogFormat = "log_format",
        Trail = "trail",
        TrailInterval = "trail_interval",
    }
    "Agent" {
        Config = "config",
        ShutdownTimeout = "shutdown_timeout",
        DryRun = "dry_run",
    }
    "Options" {
        Action = "action",
        Files = "files",
        Json = "json",
        Color = "color",
        Watch = "watch",
        Prune = "prune",
        NoTest = "no_test",
    }
}

impl Opt {
    /// Those that are flags of a command alone: no variable or line of the settings file has their names.
    pub const FLAGS_ONLY: [Opt; 7] = [
        Opt::Action,
        Opt::Files,
        Opt::Json,
        Opt::Color,
        Opt::Watch,
        Opt::Prune,
        Opt::NoTest,
    ];

    /// The option with this name in the declaration.
    pub fn from_id(id: &str) -> Option<Opt> {
        Opt::ALL.iter().copied().find(|option| option.id() == id)
    }

    /// The flag, such as `--auth-token`.
    pub fn flag(self) -> String {
        format!("--{}", self.id().replace('_', "-"))
    }

    /// The environment variable, also its name in the settings file.
    pub fn variable(self) -> String {
        format!("{PREFIX}{}", self.id().to_uppercase())
    }
}
