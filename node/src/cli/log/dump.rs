//! `highwater log dump`

use super::super::consume::RecordJson;
use super::super::output::{bytes, json_line};
use super::super::{CliError, Output, datetime};
use super::places::{LogDir, Place, Segment};
use super::walk::{Found, Next, Walk};
use clap::Args;
use highwater_core::batch::{Record, TimestampType, records};
use highwater_core::ids::Offset;
use serde::Serialize;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;

/// Flags of `highwater log dump`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  highwater log dump highwater-data/orders-0
  highwater log dump highwater-data/orders-0/00000000000000000000.log --records
  highwater log dump highwater-data --json | jq 'select(.crc_ok | not)'
  highwater log dump highwater-data/orders-0 --from 1000 --count 5 --records

Nothing is written, so a broker may be running on the data; the end of its newest segments may then look cut.")]
pub(in crate::cli) struct DumpArgs {
    /// A segment file, a partition's directory, or a data directory
    path: PathBuf,
    /// The records, too
    #[arg(short, long)]
    records: bool,
    /// Begin with the batch that has this offset
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: i64,
    /// Stop after so many batches
    #[arg(short = 'n', long, value_name = "N", default_value_t = u64::MAX, hide_default_value = true)]
    count: u64,
}

#[derive(Serialize)]
struct BatchJson<'a> {
    segment: String,
    position: u64,
    size: usize,
    base_offset: i64,
    last_offset: i64,
    record_count: i32,
    leader_epoch: i32,
    codec: &'static str,
    timestamp_type: &'static str,
    base_timestamp: i64,
    max_timestamp: i64,
    producer_id: i64,
    producer_epoch: i16,
    base_sequence: i32,
    transactional: bool,
    control: bool,
    crc_ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    records: Option<Vec<RecordJson<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Prints what is there. Ends with an error if some of it is damaged.
pub(super) fn run(args: &DumpArgs, output: Output) -> Result<(), CliError> {
    let out = BufWriter::new(io::stdout());
    let mut dump = Dump { args, output, out, left: args.count, faults: 0 };
    match Place::find(&args.path)? {
        Place::DataDir(logs) => logs.iter().try_for_each(|log| dump.log(log))?,
        Place::Log(log) => dump.log(&log)?,
        Place::Segment(segment) => dump.segment(&segment)?,
    }
    dump.out.flush()?;
    match dump.faults {
        0 => Ok(()),
        1 => Err(CliError::new("1 place is damaged; `highwater log verify` judges what that means")),
        n => Err(CliError::new(format!(
            "{n} places are damaged; `highwater log verify` judges what that means"
        ))),
    }
}

struct Dump<'a> {
    args: &'a DumpArgs,
    output: Output,
    out: BufWriter<io::Stdout>,
    left: u64,
    faults: u64,
}

impl Dump<'_> {
    fn log(&mut self, log: &LogDir) -> Result<(), CliError> {
        let from = Offset(self.args.from);
        for (i, segment) in log.segments.iter().enumerate() {
            let is_before = log.segments.get(i + 1).is_some_and(|next| next.base <= from);
            if !is_before && self.left > 0 {
                self.segment(segment)?;
            }
        }
        Ok(())
    }

    fn segment(&mut self, segment: &Segment) -> Result<(), CliError> {
        let failed = |error| CliError::new(format!("{} cannot be read: {error}", segment.path.display()));
        let mut walk = Walk::open(&segment.path).map_err(failed)?;
        if !self.output.is_json() {
            writeln!(self.out, "{} ({})", segment.path.display(), bytes(segment.len))?;
        }
        while self.left > 0 {
            match walk.next().map_err(failed)? {
                Next::End => break,
                Next::Fault(cause) => {
                    self.faults += 1;
                    self.fault(segment, walk.position, &cause)?;
                    break;
                }
                Next::Batch(found) if found.header.last_offset().0 < self.args.from => {}
                Next::Batch(found) => {
                    self.left -= 1;
                    self.faults += u64::from(!found.crc_holds());
                    self.batch(segment, &found)?;
                }
            }
        }
        Ok(())
    }

    fn fault(&mut self, segment: &Segment, position: u64, cause: &str) -> Result<(), CliError> {
        if !self.output.is_json() {
            return Ok(writeln!(self.out, "  DAMAGED at byte {position}: {cause}")?);
        }
        let segment = segment.path.display().to_string();
        json_line(
            &mut self.out,
            &serde_json::json!({ "segment": segment, "position": position, "error": cause }),
        )
    }

    fn batch(&mut self, segment: &Segment, found: &Found) -> Result<(), CliError> {
        let (content, error) = match self.args.records {
            true => read(found),
            false => (Vec::new(), None),
        };
        if self.output.is_json() {
            let json = BatchJson {
                records: self.args.records.then(|| content.iter().map(record_json).collect()),
                error,
                ..BatchJson::new(segment, found)
            };
            return json_line(&mut self.out, &json);
        }
        writeln!(self.out, "  {}", line(found))?;
        for record in &content {
            writeln!(self.out, "    {}", record_line(record))?;
        }
        match error {
            Some(error) => Ok(writeln!(self.out, "    DAMAGED: {error}")?),
            None => Ok(()),
        }
    }
}

/// The records up to the first that cannot be read.
fn read(found: &Found) -> (Vec<Record>, Option<String>) {
    let mut content = Vec::new();
    let reader = match records(&found.bytes) {
        Ok(reader) => reader,
        Err(error) => return (content, Some(error.to_string())),
    };
    for record in reader {
        match record {
            Ok(record) => content.push(record),
            Err(error) => return (content, Some(error.to_string())),
        }
    }
    (content, None)
}

fn record_json(record: &Record) -> RecordJson<'_> {
    RecordJson {
        topic: None,
        partition: None,
        offset: record.offset.0,
        timestamp: record.timestamp.0,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &record.headers,
    }
}

impl BatchJson<'_> {
    fn new(segment: &Segment, found: &Found) -> Self {
        let header = &found.header;
        let attributes = header.attributes;
        Self {
            segment: segment.path.display().to_string(),
            position: found.position,
            size: header.size_bytes(),
            base_offset: header.base_offset.0,
            last_offset: header.last_offset().0,
            record_count: header.record_count,
            leader_epoch: header.leader_epoch.0,
            codec: attributes.codec().map_or("unknown", |codec| codec.name()),
            timestamp_type: match attributes.timestamp_type() {
                TimestampType::CreateTime => "CreateTime",
                TimestampType::LogAppendTime => "LogAppendTime",
            },
            base_timestamp: header.base_timestamp.0,
            max_timestamp: header.max_timestamp.0,
            producer_id: header.producer_id.0,
            producer_epoch: header.producer_epoch.0,
            base_sequence: header.base_sequence.0,
            transactional: attributes.is_transactional(),
            control: attributes.is_control(),
            crc_ok: found.crc_holds(),
            records: None,
            error: None,
        }
    }
}

fn line(found: &Found) -> String {
    let header = &found.header;
    let attributes = header.attributes;
    let mut line = format!(
        "byte {}: offsets {}..{}, {} records, {}, epoch {}, {}, {}",
        found.position,
        header.base_offset,
        header.last_offset(),
        header.record_count,
        bytes(header.size_bytes() as u64),
        header.leader_epoch,
        attributes.codec().map_or("unknown codec", |codec| codec.name()),
        datetime::format(header.max_timestamp),
    );
    if header.has_producer_id() {
        line.push_str(&format!(
            ", producer {} epoch {} sequence {}",
            header.producer_id, header.producer_epoch, header.base_sequence
        ));
    }
    for (is_so, word) in [
        (attributes.is_transactional(), ", transactional"),
        (attributes.is_control(), ", control"),
        (!found.crc_holds(), ", CHECKSUM WRONG"),
    ] {
        if is_so {
            line.push_str(word);
        }
    }
    line
}

fn record_line(record: &Record) -> String {
    let text = |bytes: Option<&[u8]>| match bytes {
        Some(bytes) => format!("\"{}\"", bytes.escape_ascii()),
        None => "null".to_owned(),
    };
    let mut line = format!(
        "{} {} {} = {}",
        record.offset,
        datetime::format(record.timestamp),
        text(record.key.as_deref()),
        text(record.value.as_deref())
    );
    for header in &record.headers {
        line.push_str(&format!(" [{}: {}]", header.key.escape_ascii(), text(header.value.as_deref())));
    }
    line
}
