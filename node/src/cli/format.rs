//! `highwater format`: makes a data directory for a node that is to be started later, as Kafka's `kafka-storage format`.
//! `highwater random-uuid`: an id for a cluster, or for a directory.

use super::serve::{self, SettingsArgs, random};
use super::{CliError, Output};
use crate::config::NodeConfig;
use crate::controller::InitialController;
use crate::disk::RealDisk;
use crate::founding::as_no_flag;
use crate::log::{DataDir, DataDirConfig, DataDirError, LogContext, OpenFiles, read_owner};
use clap::{ArgGroup, Args};
use highwater_core::ids::DirectoryId;
use highwater_core::transport::CLUSTER_ID_BYTES_MAX;
use highwater_protocol::Uuid;
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Formatting opens next to nothing.
const OPEN_FILES_MAX: usize = 8;

/// Flags of `highwater format`.
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("quorum").required(true).args(["standalone", "initial_controllers", "no_initial_controllers"])))]
#[command(after_help = "Examples:
  highwater format --standalone --data-dir /data
      the node votes alone, in a cluster of its own; others can join it later
  ID=$(highwater random-uuid)
  highwater format --cluster-id $ID --node-id 1 --data-dir /data --initial-controllers 1@10.0.0.1:9192,2@10.0.0.2:9192,3@10.0.0.3:9192
      one of three that found a cluster together; the same on the others, with their --node-id
  highwater format --cluster-id $ID --node-id 4 --data-dir /data --no-initial-controllers
      joins later: `highwater serve` is told by --initial-controllers where the others are

Afterwards `highwater serve --data-dir /data` needs neither --node-id nor --initial-controllers.
The first controllers elect their first leader together; if the list names the directory id of each
(1@10.0.0.1:9192:DIRECTORY-ID), most of them are enough. A directory id is good for one disk: to replace a lost one,
format without it, start the node, and let it in by `highwater cluster replace`.")]
pub(super) struct FormatArgs {
    /// Settings under Kafka's names: `.properties`, or `.toml`
    #[arg(long, short = 'c', value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the data will be [default: ./highwater-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The cluster's id [default with --standalone: a new one]
    #[arg(
        long,
        short = 't',
        value_name = "ID",
        required_unless_present = "standalone",
        allow_hyphen_values = true
    )]
    cluster_id: Option<String>,
    /// The node's id [default: 1]
    #[arg(long, value_name = "N")]
    node_id: Option<i32>,
    /// The node votes alone
    #[arg(long)]
    standalone: bool,
    /// The first voters of the cluster, or the nodes of one that there is
    #[arg(long, value_name = "ID@HOST:PORT[:DIRECTORY-ID]", value_delimiter = ',')]
    initial_controllers: Vec<InitialController>,
    /// The node joins a cluster that there is, and is told where it is when it is started
    #[arg(long)]
    no_initial_controllers: bool,
    /// Leave a directory that is formatted already as it is, and call that success
    #[arg(long, short = 'g')]
    ignore_formatted: bool,
    /// One setting; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Formatted {
    data_dir: String,
    /// Whether it was done now; else it was there before.
    formatted: bool,
    cluster_id: Option<String>,
    node_id: Option<i32>,
    directory_id: Option<String>,
    initial_controllers: Vec<String>,
    standalone: bool,
}

/// Makes the directory.
pub(super) fn run(args: &FormatArgs, output: Output) -> Result<(), CliError> {
    let settings = SettingsArgs {
        config: args.config.clone(),
        data_dir: args.data_dir.clone(),
        node_id: args.node_id,
        set: args.set.clone(),
        ..SettingsArgs::default()
    };
    let config = serve::load(&settings)?;
    let [path] = config.data_dirs.as_slice() else {
        return Err(CliError::usage(
            "log.dirs names several directories; this release keeps its data in one",
        ));
    };
    check(args, &config)?;
    let formatted = match format(args, &config, path) {
        Err(DataDirError::Formatted(_)) if args.ignore_formatted => found(path)?,
        Err(error @ DataDirError::Formatted(_)) => {
            return Err(CliError::new(format!("{error}; --ignore-formatted leaves it as it is")));
        }
        result => result.map_err(CliError::new)?,
    };
    output.print(&formatted, human)
}

/// Prints a new id.
pub(super) fn print_uuid(output: Output) -> Result<(), CliError> {
    let id = new_uuid()?.to_string();
    output.print(&serde_json::json!({ "uuid": id }), |_| format!("{id}\n"))
}

/// As Kafka's: random, and none that a command line would take for a flag.
fn new_uuid() -> Result<Uuid, CliError> {
    let mut bytes: [u8; 16] = random()?;
    // Version 4, variant 1.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    Ok(Uuid(as_no_flag(bytes)))
}

/// Refuses what could never start.
fn check(args: &FormatArgs, config: &NodeConfig) -> Result<(), CliError> {
    if let Some(id) = &args.cluster_id {
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if id.is_empty() || id.len() > CLUSTER_ID_BYTES_MAX || !id.chars().all(is_good) {
            return Err(CliError::usage(format!(
                "'{id}' is no cluster id: letters, digits, '-', '_' and '.' are, as `highwater random-uuid` prints them"
            )));
        }
    }
    if args.standalone && !config.roles.controller {
        return Err(CliError::usage(format!(
            "process.roles={} does not let the node vote, so it cannot vote alone",
            config.roles
        )));
    }
    let mut ids: Vec<_> = args.initial_controllers.iter().map(|controller| controller.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(CliError::usage("--initial-controllers names a node twice"));
    }
    Ok(())
}

fn format(args: &FormatArgs, config: &NodeConfig, path: &Path) -> Result<Formatted, DataDirError> {
    let context = LogContext { disk: Arc::new(RealDisk), files: OpenFiles::new(OPEN_FILES_MAX) };
    let unreadable = |error: CliError| DataDirError::Io {
        what: "draw an id for",
        path: path.to_owned(),
        source: std::io::Error::other(error.to_string()),
    };
    let own = args.initial_controllers.iter().find(|controller| controller.id == config.node_id);
    let directory_id = match own.and_then(|own| own.directory_id) {
        Some(given) => given,
        None => DirectoryId(new_uuid().map_err(unreadable)?.0),
    };
    let cluster_id = match &args.cluster_id {
        Some(given) => given.clone(),
        None => new_uuid().map_err(unreadable)?.to_string(),
    };
    let controllers = InitialController::join(&args.initial_controllers);
    let dir = DataDir::format(
        context,
        &DataDirConfig {
            path: path.to_owned(),
            node_id: config.node_id,
            cluster_id: Some(cluster_id),
            cluster_id_if_new: None,
            directory_id_if_new: directory_id,
            initial_controllers_if_new: (!args.standalone).then_some(controllers),
            available_bytes_min: 0,
        },
    )?;
    Ok(Formatted {
        data_dir: path.display().to_string(),
        formatted: true,
        cluster_id: dir.cluster_id(),
        node_id: Some(config.node_id.0),
        directory_id: Some(dir.directory_id().to_string()),
        initial_controllers: args.initial_controllers.iter().map(ToString::to_string).collect(),
        standalone: args.standalone,
    })
}

/// What a directory that is formatted already says of itself.
fn found(path: &Path) -> Result<Formatted, CliError> {
    let owner = read_owner(&RealDisk, path).map_err(CliError::new)?.unwrap_or_default();
    Ok(Formatted {
        data_dir: path.display().to_string(),
        formatted: false,
        cluster_id: owner.cluster_id,
        node_id: owner.node_id.map(|id| id.0),
        directory_id: owner.directory_id,
        initial_controllers: Vec::new(),
        standalone: false,
    })
}

fn human(formatted: &Formatted) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known yet".to_owned());
    let node = formatted.node_id.map_or_else(|| "not known".to_owned(), |id| id.to_string());
    let Formatted { data_dir, cluster_id, directory_id, .. } = formatted;
    let whose = format!(
        "cluster id   {}\nnode id      {node}\ndirectory id {}\n",
        text(cluster_id),
        text(directory_id)
    );
    if !formatted.formatted {
        return format!("{data_dir} is formatted already and stays as it is\n{whose}");
    }
    let controllers = match (formatted.standalone, formatted.initial_controllers.as_slice()) {
        (true, _) => "this node alone".to_owned(),
        (false, []) => "those of a cluster that there is; name them to `highwater serve`".to_owned(),
        (false, named) => named.join(", "),
    };
    format!("formatted {data_dir}\n{whose}controllers  {controllers}\n")
}
