//! `highwater serve`: one broker in the foreground.
//!
//! Standard output has one line, `ready` with addresses as `key=value`, once clients are served; everything else
//! goes to standard error. SIGTERM and Ctrl-C end it cleanly, with exit code 0.

use super::{CliError, Output};
use crate::admin::Admin;
use crate::broker::Broker;
use crate::config::{HostPort, Listener, Loader, NodeConfig};
use crate::controller::InitialController;
use crate::disk::RealDisk;
use crate::log::read_owner;
use crate::meta_store::{MetaStore, MetaStoreError, SledMeta};
use crate::node::{Node, NodeSetup, Platform};
use crate::sendfile::SendfileListen;
use clap::{Args, ValueEnum};
use highwater_core::metadata::Endpoint;
use highwater_core::registration::Standing;
use highwater_core::transport::{PEER_LISTENER, PeerAddress};
use highwater_net_tcp::client::TcpDial;
use highwater_net_tcp::{Listen, SocketOptions, TcpListen};
use std::fs::File;
use std::io::{IsTerminal, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Variables of the environment that begin like settings and are none.
const OTHER_VARIABLES: &[&str] = &[
    "HIGHWATER_BIN",
    "HIGHWATER_BOOTSTRAP",
    "HIGHWATER_DIR",
    "HIGHWATER_LOG",
    "HIGHWATER_SEED",
    "HIGHWATER_SEEDS",
    "HIGHWATER_SIM",
];

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Flags of `highwater serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater serve
      127.0.0.1:9092, data in ./highwater-data
  highwater serve --ephemeral --listen 127.0.0.1:0
      a throw-away broker on a free port; its address is on the ready line
  highwater serve --config server.properties --set log.retention.hours=24
      Kafka's own file, one setting overridden

Settings win in this order: --set and flags, environment (HIGHWATER_LOG_RETENTION_MS), --config, defaults.
`HIGHWATER_LOG=debug` (or `highwater=debug,info`) chooses what is logged.")]
pub struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Keep the data in a directory that is removed at the end
    #[arg(long, conflicts_with = "data_dir")]
    ephemeral: bool,
    /// The first voters of the cluster that this node founds with others, or the nodes of the one that it joins
    /// [default: those that its directory was formatted with, or this node alone]
    #[arg(long, value_name = "ID@HOST:PORT", value_delimiter = ',')]
    initial_controllers: Vec<InitialController>,
    /// How log lines are written; --json is the same as json
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

/// Flags that set a broker's settings.
#[derive(Clone, Debug, Default, Args)]
pub struct SettingsArgs {
    /// Settings under Kafka's names: `.properties`, or `.toml`
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Where the data are [default: ./highwater-data]
    #[arg(long, value_name = "DIR")]
    pub(super) data_dir: Option<PathBuf>,
    /// Where to listen [default: 127.0.0.1:9092]; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) listen: Option<String>,
    /// What clients are told to connect to [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) advertise: Option<String>,
    /// Where other nodes of the cluster connect [default: 127.0.0.1:0]; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) peer_listen: Option<String>,
    /// Where /metrics, /livez and /readyz are served [default: nowhere]
    #[arg(long, value_name = "HOST:PORT")]
    pub(super) admin: Option<String>,
    /// This node's id [default: that of its data directory, or 1]
    #[arg(long, value_name = "N")]
    pub(super) node_id: Option<i32>,
    /// One setting; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub(super) set: Vec<String>,
}

/// Runs the broker until SIGTERM or Ctrl-C.
pub fn run(args: &ServeArgs, output: Output) -> Result<(), CliError> {
    log_to_stderr(if output.is_json() { LogFormat::Json } else { args.log_format });
    let config = if args.ephemeral { load(&args.settings)? } else { load_for(&args.settings)? };
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let data_dir = DataDir::of(args, &config)?;
    let runtime = |name: &str, workers: Option<usize>| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        if let Some(workers) = workers {
            builder.worker_threads(workers);
        }
        let built = builder.enable_all().thread_name(name).build();
        built.map_err(|error| CliError::new(format!("threads cannot be started: {error}")))
    };
    let control = runtime("hw-control", Some(1))?;
    runtime("hw-io", None)?.block_on(serve(args, &config, &data_dir.path, control.handle()))
}

fn log_to_stderr(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_env("HIGHWATER_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => log.with_target(false).init(),
        LogFormat::Json => log.json().init(),
    }
}

/// As [`load`], with the id of the data directory where none is configured.
fn load_for(args: &SettingsArgs) -> Result<NodeConfig, CliError> {
    let config = load(args)?;
    let is_named = ["node.id", "broker.id"].iter().any(|name| config.origins.contains_key(*name));
    let found = match config.data_dirs.as_slice() {
        // A directory that cannot be read is told of by who opens it.
        [dir] if !is_named => read_owner(&RealDisk, dir).unwrap_or(None),
        _ => None,
    };
    match found.and_then(|found| found.node_id) {
        Some(id) => load(&SettingsArgs { node_id: Some(id.0), ..args.clone() }),
        None => Ok(config),
    }
}

/// Reads settings from everywhere. `highwater config explain` shows the outcome.
pub fn load(args: &SettingsArgs) -> Result<NodeConfig, CliError> {
    let mut loader = Loader::new();
    if let Some(path) = &args.config {
        loader = loader.file(path).map_err(CliError::usage)?;
    }
    let text = |value: std::ffi::OsString| value.into_string().ok();
    let variables = std::env::vars_os().filter_map(|(name, value)| Some((text(name)?, text(value)?)));
    loader = loader.environment(variables, OTHER_VARIABLES);
    if let Some(dir) = &args.data_dir {
        loader = loader.flag("--data-dir", "log.dirs", &dir.display().to_string());
    }
    if let Some(address) = &args.listen {
        loader = loader.listen(address);
    }
    if let Some(address) = &args.advertise {
        loader = loader.advertise(address);
    }
    if let Some(address) = &args.admin {
        loader = loader.flag("--admin", "highwater.admin.listener", address);
    }
    if let Some(address) = &args.peer_listen {
        loader = loader.flag("--peer-listen", "highwater.peer.listener", address);
    }
    if let Some(id) = args.node_id {
        loader = loader.flag("--node-id", "node.id", &id.to_string());
    }
    for setting in &args.set {
        loader = loader.set_argument(setting);
    }
    loader.finish().map_err(CliError::usage)
}

/// The data directory of this run.
struct DataDir {
    path: PathBuf,
    is_ephemeral: bool,
}

impl DataDir {
    fn of(args: &ServeArgs, config: &NodeConfig) -> Result<Self, CliError> {
        if args.ephemeral {
            let name = format!("highwater-{}-{:08x}", std::process::id(), u32::from_le_bytes(random()?));
            return Ok(Self { path: std::env::temp_dir().join(name), is_ephemeral: true });
        }
        match config.data_dirs.as_slice() {
            [dir] => Ok(Self { path: dir.clone(), is_ephemeral: false }),
            dirs => Err(CliError::usage(format!(
                "log.dirs names {} directories; this release keeps its data in one",
                dirs.len()
            ))),
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.is_ephemeral
            && let Err(error) = std::fs::remove_dir_all(&self.path)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            eprintln!("highwater: {} stays: {error}", self.path.display());
        }
    }
}

/// Bytes from the operating system.
pub(super) fn random<const N: usize>() -> Result<[u8; N], CliError> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| CliError::new(format!("no randomness from /dev/urandom: {error}")))?;
    Ok(bytes)
}

async fn serve(
    args: &ServeArgs,
    config: &NodeConfig,
    data_dir: &Path,
    control: &Handle,
) -> Result<(), CliError> {
    let open_files = crate::os::raise_open_files_limit()
        .map_err(|error| CliError::new(format!("the limit of open files cannot be read: {error}")))?;
    // Heard from here on: a signal that comes while logs are opened ends the broker as cleanly as a later one.
    let mut signals = Signals::hear()?;
    let (listeners, endpoints) = bind_all(config).await?;
    let (peer_listener, peer_address) = bind_peer(config, control).await?;
    let peer_bound = peer_listener.local_addr();
    let admin = AdminPort::open(config.admin.as_ref()).await?;
    let setup = NodeSetup {
        node_id: config.node_id,
        roles: config.roles,
        data_dir: data_dir.to_owned(),
        cluster_id: None,
        initial_controllers: match args.initial_controllers.is_empty() {
            true => config.voters.clone(),
            false => args.initial_controllers.clone(),
        },
        bootstrap_servers: config
            .bootstrap_servers
            .iter()
            .map(|HostPort { host, port }| PeerAddress { host: host.clone(), port: *port })
            .collect(),
        fixed: config.fixed.clone(),
        endpoints,
        peer_address: Some(peer_address),
        open_files_max: files_for_logs(open_files),
        connections_max: files_for_clients(open_files),
        seed: random()?,
    };
    let platform = Platform {
        disk: Arc::new(RealDisk),
        open_meta_store: Box::new(open_meta_store),
        open_peers: crate::peers::over(TcpDial::default(), peer_listener),
        control: control.clone(),
    };
    let mut addresses: Vec<_> =
        listeners.iter().map(|(name, listener)| (name.clone(), listener.local_addr())).collect();
    let broker = Broker::start(setup, platform, listeners).map_err(CliError::new)?;
    admin.pages.serving(broker.node(), broker.server());
    addresses.push((PEER.to_owned(), peer_bound));
    addresses.extend(admin.address.map(|address| (ADMIN.to_owned(), Ok(address))));
    let serving = async {
        registered(broker.node()).await;
        say_ready(&broker, &addresses);
        std::future::pending::<()>().await;
    };
    let halted = tokio::select! {
        biased;
        why = broker.node().halted() => Some(why),
        () = signals.next() => None,
        () = serving => None,
    };
    admin.pages.stopping();
    if let Some(why) = halted {
        return Err(CliError::new(why));
    }
    tracing::info!("stopping");
    broker.shutdown().await.map_err(|error| {
        CliError::new(format!("not everything was closed in order, the next start recovers: {error}"))
    })
}

fn open_meta_store(data_dir: &Path) -> Result<Arc<dyn MetaStore>, MetaStoreError> {
    let store = SledMeta::open(&data_dir.join("meta"))?;
    if let Some(why) = store.thrown_away() {
        tracing::warn!(why, "the checkpoints were unreadable and are begun anew; logs are read in full once");
    }
    Ok(Arc::new(store))
}

/// How often a node looks, while it starts, whether its metadata tell what the controller does already.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until the cluster counts on this node: at once if it is the cluster.
async fn registered(node: &Node) {
    if !node.roles().broker {
        while node.controller().active_controller().is_none() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
        return;
    }
    let mut standing = node.membership().subscribe();
    // The node goes on for as long as it is waited for.
    let _ = standing.wait_for(|standing| matches!(standing, Standing::Active)).await;
    // The controller knows it before this node does; only then clients are told of this node here, too, and what it is
    // to lead is led.
    let listed = || {
        let image = node.image();
        let registration = image.broker(node.id()).filter(|registration| registration.is_active());
        registration.map(|_| image.offset())
    };
    loop {
        match listed() {
            Some(offset) => return node.until_applied(offset).await,
            None => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
}

/// SIGTERM and Ctrl-C.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn hear() -> Result<Self, CliError> {
        let hear =
            |kind| signal(kind).map_err(|error| CliError::new(format!("signals cannot be heard: {error}")));
        Ok(Self { terminate: hear(SignalKind::terminate())?, interrupt: hear(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// The admin port's name on the ready line.
const ADMIN: &str = "admin";
/// The peer listener's name there.
const PEER: &str = "peer";

/// The admin port, if one is wanted. It answers while logs are still being opened, too.
struct AdminPort {
    pages: Admin,
    address: Option<SocketAddr>,
}

impl AdminPort {
    async fn open(wanted: Option<&HostPort>) -> Result<Self, CliError> {
        let pages = Admin::new();
        let Some(HostPort { host, port }) = wanted else { return Ok(Self { pages, address: None }) };
        let host = if host.is_empty() { "::" } else { host };
        let failed =
            |error| CliError::new(format!("metrics and health cannot be served on {host}:{port}: {error}"));
        let listener = tokio::net::TcpListener::bind((host, *port)).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        tokio::spawn(pages.clone().serve(listener));
        Ok(Self { pages, address: Some(address) })
    }
}

/// The line that scripts wait for.
fn say_ready(broker: &Broker, addresses: &[(String, std::io::Result<SocketAddr>)]) {
    let mut line = "ready".to_owned();
    for (at, (name, address)) in addresses.iter().enumerate() {
        let Ok(address) = address else { continue };
        let key = match name.as_str() {
            ADMIN | PEER => name.clone(),
            _ if at == 0 => "listen".to_owned(),
            name => format!("listen.{name}"),
        };
        line.push_str(&format!(" {key}={address}"));
    }
    let image = broker.node().image();
    line.push_str(&format!(
        " node_id={} cluster_id={}",
        broker.node().id(),
        image.cluster_id().unwrap_or_default()
    ));
    // Nobody reads it: no reason to stop serving.
    let _ = writeln!(std::io::stdout(), "{line}");
    let _ = std::io::stdout().flush();
    tracing::info!("{line}");
}

/// Descriptors for segment files.
fn files_for_logs(open_files: u64) -> usize {
    usize::try_from(open_files / 2).unwrap_or(usize::MAX).clamp(64, 16_384)
}

/// Descriptors for clients: what is left beside segment files and what else a node opens (its store, listeners, other nodes,
/// files that are written anew). A log that finds none left would be given up for lost, so clients wait instead.
fn files_for_clients(open_files: u64) -> usize {
    let limit = usize::try_from(open_files).unwrap_or(usize::MAX);
    let others = (limit / 8).clamp(48, 1024);
    limit.saturating_sub(files_for_logs(open_files)).saturating_sub(others).max(1)
}

async fn bind_all(config: &NodeConfig) -> Result<(Vec<(String, SendfileListen)>, Vec<Endpoint>), CliError> {
    let buffer = |bytes: i32| usize::try_from(bytes).ok();
    let options = SocketOptions {
        send_buffer_bytes: buffer(config.broker.socket_send_buffer_bytes),
        receive_buffer_bytes: buffer(config.broker.socket_receive_buffer_bytes),
        ..SocketOptions::default()
    };
    let mut listeners = Vec::new();
    let mut endpoints = Vec::new();
    for listener in &config.listeners {
        let bound = bind(&listener.name, &listener.bind, options).await?;
        let address = bound.local_addr().map_err(|error| CliError::new(error.to_string()))?;
        endpoints.push(endpoint(listener, address));
        listeners.push((listener.name.clone(), SendfileListen(bound)));
    }
    Ok((listeners, endpoints))
}

/// Listens for other nodes, on the runtime that hears them. With where they are told to connect.
async fn bind_peer(config: &NodeConfig, control: &Handle) -> Result<(TcpListen, PeerAddress), CliError> {
    let at = config.peer.clone();
    let binding = control.spawn(async move { bind(PEER_LISTENER, &at, SocketOptions::default()).await });
    let bound = binding.await.map_err(|error| CliError::new(error.to_string()))??;
    let address = bound.local_addr().map_err(|error| CliError::new(error.to_string()))?;
    let listener = Listener {
        name: PEER_LISTENER.to_owned(),
        bind: config.peer.clone(),
        advertised: config.peer_advertised.clone(),
    };
    let Endpoint { host, port, .. } = endpoint(&listener, address);
    Ok((bound, PeerAddress { host, port }))
}

async fn bind(name: &str, at: &HostPort, options: SocketOptions) -> Result<TcpListen, CliError> {
    let HostPort { host, port } = at;
    let host = if host.is_empty() { "::" } else { host };
    let failed =
        |error: std::io::Error| CliError::new(format!("listener {name} cannot listen on {at}: {error}"));
    let mut last = None;
    for address in tokio::net::lookup_host((host, *port)).await.map_err(failed)? {
        match TcpListen::bind(address, options).await {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(failed(last.unwrap_or_else(|| std::io::Error::other("the name has no address"))))
}

/// How clients of a listener reach it: as advertised, with the port that was really given where that is 0.
fn endpoint(listener: &Listener, bound: SocketAddr) -> Endpoint {
    let port_or_bound = |port: u16| if port == 0 { bound.port() } else { port };
    let (host, port) = match &listener.advertised {
        Some(advertised) => (advertised.host.clone(), port_or_bound(advertised.port)),
        // "All addresses" cannot be connected to; Kafka advertises the machine's name then.
        None if bound.ip().is_unspecified() => (hostname(), bound.port()),
        None if listener.bind.host.is_empty() => (bound.ip().to_string(), bound.port()),
        None => (listener.bind.host.clone(), bound.port()),
    };
    Endpoint { listener: listener.name.clone(), host, port }
}

fn hostname() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if name.trim().is_empty() { "localhost".to_owned() } else { name.trim().to_owned() }
}
