//! `highwater config explain`: what every setting is, what it is set to, and by whom.

use super::output::{table, text};
use super::serve::{self, SettingsArgs};
use super::{CliError, Output};
use crate::config::{Explanation, TopicSetting, explain, topic_settings};
use clap::{Args, Subcommand, ValueEnum};
use serde::Serialize;

/// What to do with settings.
#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Show settings: their values, where those come from, and what is done with them
    Explain(ExplainArgs),
}

/// Flags of `highwater config explain`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater config explain --config server.properties
      every broker setting as a broker started with that file would have it
  highwater config explain --changed --config server.properties
      only what is set somewhere
  highwater config explain retention
      settings whose name has that in it
  highwater config explain --class accepted
      what is taken from Kafka's files, but has no effect
  highwater config explain --topics
      settings of topics")]
pub(super) struct ExplainArgs {
    /// Only settings whose name has this in it
    #[arg(value_name = "TEXT")]
    filter: Option<String>,
    /// Settings of topics instead of the broker's
    #[arg(long)]
    topics: bool,
    /// Only settings that are: implemented, accepted without effect, or refused
    #[arg(long, value_enum)]
    class: Option<ClassFilter>,
    /// Only settings that a file, variable or flag sets
    #[arg(long, conflicts_with = "topics")]
    changed: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ClassFilter {
    /// They do what Kafka's documentation says
    Implemented,
    /// They are kept and shown, and change nothing
    Accepted,
    /// Any value but the default keeps a broker from starting, or a topic from being created
    Refused,
}

impl ClassFilter {
    fn holds(self, class: &str) -> bool {
        match self {
            Self::Implemented => matches!(class, "implemented" | "honoured"),
            Self::Accepted => class == "accepted",
            Self::Refused => class == "refused",
        }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Explanations {
    Broker { settings: Vec<Explanation>, warnings: Vec<String> },
    Topic { settings: Vec<TopicSetting> },
}

/// Explains.
pub(super) fn run(command: &ConfigCommand, output: Output) -> Result<(), CliError> {
    let ConfigCommand::Explain(args) = command;
    let is_wanted = |name: &str, class: &str| {
        args.filter.as_ref().is_none_or(|filter| name.contains(filter.as_str()))
            && args.class.is_none_or(|wanted| wanted.holds(class))
    };
    let explanations = if args.topics {
        let mut settings = topic_settings();
        settings.retain(|setting| is_wanted(setting.name, setting.class));
        Explanations::Topic { settings }
    } else {
        let config = serve::load(&args.settings)?;
        let mut settings = explain(&config);
        settings.retain(|setting| {
            is_wanted(setting.name, setting.class) && (!args.changed || setting.source != "default")
        });
        Explanations::Broker { settings, warnings: config.warnings }
    };
    output.print(&explanations, human)
}

fn human(explanations: &Explanations) -> String {
    match explanations {
        Explanations::Broker { settings, warnings } => {
            let mut table = table(["SETTING", "VALUE", "SOURCE", "CLASS", "MEANING"]);
            for setting in settings {
                let value = setting.value.as_deref().unwrap_or("-");
                table.add_row([setting.name, value, &setting.source, setting.class, setting.doc]);
            }
            let warnings: String = warnings.iter().map(|warning| format!("warning: {warning}\n")).collect();
            format!("{}{warnings}", listing(settings.len(), &table))
        }
        Explanations::Topic { settings } => {
            let mut table = table(["SETTING", "DEFAULT", "CLASS", "BROKER SETTING", "MEANING"]);
            for setting in settings {
                let broker = setting.broker_settings.join(", ");
                let default = setting.default.unwrap_or("-");
                table.add_row([setting.name, default, setting.class, &broker, setting.doc]);
            }
            listing(settings.len(), &table)
        }
    }
}

fn listing(settings: usize, table: &comfy_table::Table) -> String {
    if settings == 0 { "no such setting\n".to_owned() } else { text(table) }
}
