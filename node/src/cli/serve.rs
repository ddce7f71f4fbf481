//! `highwater serve`: one broker in the foreground.

use crate::broker::Broker;
use crate::disk::RealDisk;
use crate::meta_store::SledMeta;
use crate::node::{NodeConfig, Platform};
use clap::Args;
use highwater_core::config::ConfigMap;
use highwater_core::ids::BrokerId;
use highwater_core::metadata::Endpoint;
use highwater_net_tcp::{Listen, SocketOptions, TcpListen};
use std::error::Error;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;

/// Flags of `highwater serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// Settings, Kafka-style `.properties` or `.toml`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data are [default: ./highwater-data]
    #[arg(long, value_name = "DIR", conflicts_with = "ephemeral")]
    data_dir: Option<PathBuf>,
    /// Keep the data in a directory that is removed at the end
    #[arg(long)]
    ephemeral: bool,
    /// Where to listen [default: 127.0.0.1:9092]; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
    /// What clients are told to connect to [default: where it listens]
    #[arg(long, value_name = "HOST:PORT")]
    advertise: Option<String>,
    /// Where metrics and health are served
    #[arg(long, value_name = "HOST:PORT")]
    admin: Option<String>,
    /// This broker's id [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<i32>,
    /// One setting; may be repeated and wins over file and environment
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// Runs the broker until SIGTERM or Ctrl-C.
pub fn run(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("HIGHWATER_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_writer(std::io::stderr)
        .init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

fn fixed(args: &ServeArgs) -> Result<ConfigMap, Box<dyn Error>> {
    let mut map = ConfigMap::new();
    if let Some(file) = &args.config {
        for line in std::fs::read_to_string(file)?.lines() {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            if let Some((k, v)) = line.split_once('=') {
                map.insert(k.trim().to_owned(), v.trim().to_owned());
            }
        }
    }
    for set in &args.set {
        let (k, v) = set.split_once('=').ok_or("--set wants KEY=VALUE")?;
        map.insert(k.to_owned(), v.to_owned());
    }
    Ok(map)
}

async fn serve(args: ServeArgs) -> Result<(), Box<dyn Error>> {
    let fixed = fixed(&args)?;
    let open_files = crate::os::raise_open_files_limit()?;
    let listen = args.listen.clone().unwrap_or_else(|| "127.0.0.1:9092".to_owned());
    let listener = TcpListen::bind(listen.parse()?, SocketOptions::default()).await?;
    let address = listener.local_addr()?;
    let endpoint =
        Endpoint { listener: "PLAINTEXT".to_owned(), host: address.ip().to_string(), port: address.port() };
    let data_dir = args.data_dir.clone().unwrap_or_else(|| PathBuf::from("highwater-data"));
    let mut seed = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut seed)?;
    let config = NodeConfig {
        node_id: BrokerId(args.node_id.unwrap_or(1)),
        data_dir: data_dir.clone(),
        cluster_id: None,
        fixed,
        endpoints: vec![endpoint],
        open_files_max: usize::try_from(open_files / 2)?,
        seed,
    };
    let platform = Platform {
        disk: Arc::new(RealDisk),
        open_meta_store: Box::new(|dir| Ok(Arc::new(SledMeta::open(&dir.join("meta"))?))),
    };
    let broker = Broker::start(config, platform, vec![("PLAINTEXT".to_owned(), listener)])?;
    println!("ready listen={address} node_id={}", broker.node().id());
    std::io::stdout().flush()?;
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let halted = tokio::select! {
        biased;
        _ = terminate.recv() => None,
        _ = tokio::signal::ctrl_c() => None,
        why = broker.node().halted() => Some(why),
    };
    if let Some(why) = halted {
        return Err(why.into());
    }
    broker.shutdown().await?;
    Ok(())
}
