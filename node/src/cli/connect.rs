//! How commands reach a broker.

use super::CliError;
use super::error::error_text;
use clap::Args;
use highwater_net_tcp::client::{ClientError, ClientOptions, Cluster, ClusterOptions, TcpDial};
use std::future::Future;
use std::io;
use std::time::Duration;

/// The cluster that a command talks to.
pub(super) type Client = Cluster<TcpDial>;

/// Flags of every command that talks to a broker.
#[derive(Clone, Debug, Args)]
pub(super) struct ConnectArgs {
    /// Brokers to begin with, separated by commas
    #[arg(
        short = 'b',
        long,
        value_name = "HOST:PORT",
        env = "HIGHWATER_BOOTSTRAP",
        default_value = "127.0.0.1:9092"
    )]
    pub bootstrap: String,
}

impl ConnectArgs {
    /// Runs `work` with a cluster that has been reached.
    pub(super) fn run<T, F>(&self, work: impl FnOnce(Client) -> F) -> Result<T, CliError>
    where
        F: Future<Output = Result<T, CliError>>,
    {
        block_on(async { work(self.connect().await?).await })
    }

    /// Reaches the cluster, or says at once why not.
    pub(super) async fn connect(&self) -> Result<Client, CliError> {
        reach(&self.bootstrap, "--bootstrap").await
    }
}

/// Reaches the cluster at `bootstrap`, which `flag` named. There is no waiting for a broker that is down: whoever types
/// a command wants to know.
pub(super) async fn reach(bootstrap: &str, flag: &str) -> Result<Client, CliError> {
    let client = ClientOptions {
        client_id: "highwater-cli".into(),
        connect_max: Duration::from_secs(5),
        ..ClientOptions::default()
    };
    let options = ClusterOptions { client, call_max: Duration::from_secs(20), ..ClusterOptions::default() };
    let cluster = Cluster::new(TcpDial::default(), bootstrap, options)
        .map_err(|error| CliError::usage(format!("{flag}: {error}")))?;
    match cluster.refresh(Some(&[])).await {
        Ok(_) => Ok(cluster),
        Err(error) => Err(unreachable(bootstrap, flag, &error)),
    }
}

fn unreachable(bootstrap: &str, flag: &str, error: &ClientError) -> CliError {
    let (why, advice) = match error {
        ClientError::Io(io::ErrorKind::ConnectionRefused) => (
            "connection refused".to_owned(),
            format!(
                "is a broker running there? `highwater serve` starts one; {flag} HOST:PORT names \
                 another"
            ),
        ),
        ClientError::TimedOut => (
            "no answer in time".to_owned(),
            "is the address right, and does a firewall let the connection through?".to_owned(),
        ),
        ClientError::Closed
        | ClientError::Io(io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => (
            "the connection was closed at once".to_owned(),
            "is that port Kafka's protocol without TLS or SASL?".to_owned(),
        ),
        ClientError::Io(_) => (error_text(error), "is the host name right?".to_owned()),
        other => (error_text(other), "is that a Kafka-compatible broker?".to_owned()),
    };
    CliError::new(format!("no broker reached at {bootstrap}: {why}\n  {advice}"))
}

/// Runs a command's future on threads of its own.
pub(super) fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .thread_name("hw-cli")
        .build()
        .map_err(|error| CliError::new(format!("threads cannot be started: {error}")))?;
    let done = runtime.block_on(work);
    // A thread that reads standard input may never end.
    runtime.shutdown_background();
    done
}
