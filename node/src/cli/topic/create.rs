//! `highwater topic create`

use super::super::connect::ConnectArgs;
use super::super::{CliError, Output};
use super::{TIMEOUT_MS, configs, parse_config};
use clap::Args;
use highwater_protocol::ErrorCode;
use highwater_protocol::messages::{
    CreatableTopic, CreatableTopicConfig, CreatableTopicResult, CreateTopicsRequest,
};
use serde::Serialize;

/// Flags of `highwater topic create`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater topic create orders
  highwater topic create orders payments --partitions 12 --if-not-exists
  highwater topic create accounts --config cleanup.policy=compact --config segment.ms=600000")]
pub(in crate::cli) struct CreateArgs {
    /// Names of the topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    /// How many partitions [default: the broker's num.partitions]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i32).range(1..))]
    partitions: Option<i32>,
    /// On how many brokers [default: the broker's default.replication.factor]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(i16).range(1..))]
    replication_factor: Option<i16>,
    /// A setting; may be repeated
    #[arg(short, long = "config", value_name = "NAME=VALUE", value_parser = parse_config)]
    configs: Vec<(String, String)>,
    /// A topic that is there already is no error, and stays as it is
    #[arg(long)]
    if_not_exists: bool,
    /// Only ask whether it could be done
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connect: ConnectArgs,
}

#[derive(Serialize)]
struct Created {
    topics: Vec<CreatedTopic>,
    dry_run: bool,
}

#[derive(Serialize)]
struct CreatedTopic {
    name: String,
    /// False if it was there already.
    created: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partitions: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    replication_factor: Option<i16>,
}

/// Creates topics. Tells of all that could not be created; the others are.
pub(super) fn run(args: &CreateArgs, output: Output) -> Result<(), CliError> {
    let request = request(args);
    let answer = args.connect.run(|cluster| async move {
        let failed = |error| CliError::call("no topic was created", &error);
        cluster.send_to_controller(&request).await.map_err(failed)
    })?;
    let mut created = Created { topics: Vec::new(), dry_run: args.dry_run };
    let mut failures = Vec::new();
    for result in answer.topics {
        match result.error_code {
            ErrorCode::None => created.topics.push(CreatedTopic::new(&result, true)),
            ErrorCode::TopicAlreadyExists if args.if_not_exists => {
                created.topics.push(CreatedTopic::new(&result, false));
            }
            code => {
                let what = format!("topic {} was not created", result.name);
                let error = CliError::refused(what, code, result.error_message);
                failures.push(format!("{error}{}", configs::settings_advice(code)));
            }
        }
    }
    if !created.topics.is_empty() || failures.is_empty() {
        output.print(&created, |created| {
            created.topics.iter().map(|topic| topic.line(args.dry_run)).collect()
        })?;
    }
    if failures.is_empty() { Ok(()) } else { Err(CliError::new(failures.join("\n"))) }
}

fn request(args: &CreateArgs) -> CreateTopicsRequest {
    let configs = args.configs.iter();
    let configs: Vec<_> = configs
        .map(|(name, value)| CreatableTopicConfig { name: name.clone(), value: Some(value.clone()) })
        .collect();
    let topic = |name: &String| CreatableTopic {
        name: name.clone(),
        // -1: as the broker is set (KIP-464).
        num_partitions: args.partitions.unwrap_or(-1),
        replication_factor: args.replication_factor.unwrap_or(-1),
        assignments: Vec::new(),
        configs: configs.clone(),
    };
    CreateTopicsRequest {
        topics: args.topics.iter().map(topic).collect(),
        timeout_ms: TIMEOUT_MS,
        validate_only: args.dry_run,
    }
}

impl CreatedTopic {
    fn new(result: &CreatableTopicResult, created: bool) -> Self {
        Self {
            name: result.name.clone(),
            created,
            id: (!result.topic_id.is_zero()).then(|| result.topic_id.to_string()),
            partitions: (result.num_partitions > 0).then_some(result.num_partitions),
            replication_factor: (result.replication_factor > 0).then_some(result.replication_factor),
        }
    }

    fn line(&self, dry_run: bool) -> String {
        let Self { name, partitions, replication_factor, .. } = self;
        if !self.created {
            return format!("topic {name} is there already\n");
        }
        let verb = if dry_run { "could be created" } else { "created" };
        match (partitions, replication_factor) {
            (Some(partitions), Some(factor)) => {
                let many = if *partitions == 1 { "" } else { "s" };
                format!("topic {name} {verb}: {partitions} partition{many}, replication factor {factor}\n")
            }
            _ => format!("topic {name} {verb}\n"),
        }
    }
}
