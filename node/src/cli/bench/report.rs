//! What was measured, and how it is told.

use super::super::output::{align_right, table, text};
use super::rows::Row;
use serde::Serialize;
use std::time::{Duration, Instant};

/// Counts while a row runs.
pub(super) struct Meter {
    started: Instant,
    pid: Option<u32>,
    cpu_ms: Option<u64>,
    records: u64,
    bytes: u64,
    latencies: Vec<Duration>,
}

/// One run of a row.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Sample {
    pub(super) mb_per_s: f64,
    pub(super) requests_per_s: f64,
    pub(super) records_per_s: f64,
    pub(super) p50_us: f64,
    pub(super) p99_us: f64,
    /// The broker's CPU time per second, in percent of one CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cpu_percent: Option<f64>,
}

impl Meter {
    pub(super) fn start(pid: Option<u32>) -> Self {
        let cpu_ms = pid.and_then(|pid| cpu_ms(pid).ok());
        Self { started: Instant::now(), pid, cpu_ms, records: 0, bytes: 0, latencies: Vec::new() }
    }

    pub(super) fn count(&mut self, records: u64, bytes: u64, took: Duration) {
        self.records += records;
        self.bytes += bytes;
        self.latencies.push(took);
    }

    pub(super) fn stop(mut self) -> Sample {
        let seconds = self.started.elapsed().as_secs_f64();
        self.latencies.sort_unstable();
        let cpu_end = self.pid.and_then(|pid| cpu_ms(pid).ok());
        let cpu = self.cpu_ms.zip(cpu_end).map(|(start, end)| end.saturating_sub(start));
        Sample {
            mb_per_s: self.bytes as f64 / 1e6 / seconds,
            requests_per_s: self.latencies.len() as f64 / seconds,
            records_per_s: self.records as f64 / seconds,
            p50_us: percentile(&self.latencies, 50),
            p99_us: percentile(&self.latencies, 99),
            cpu_percent: cpu.map(|ms| ms as f64 / 10.0 / seconds),
        }
    }
}

/// The least value that so many percent do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(at).map_or(0.0, |latency| latency.as_nanos() as f64 / 1000.0)
}

/// The CPU time of a process, in ms.
pub(super) fn cpu_ms(pid: u32) -> Result<u64, String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|error| error.to_string())?;
    // The name in brackets may hold blanks; user and system time are the 12th and 13th field behind it.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<u64>().ok());
    let (user, system) = ticks(11).zip(ticks(12)).ok_or("its /proc/stat does not parse")?;
    // Linux tells them in hundredths of a second, whatever its own clock does.
    Ok((user + system) * 10)
}

/// Medians of every row on every broker.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    rounds: u32,
    brokers: Vec<String>,
    rows: Vec<RowReport>,
}

#[derive(Debug, Serialize)]
struct RowReport {
    row: &'static str,
    /// In the order of the brokers.
    medians: Vec<Sample>,
    /// The first broker's number by the second's: requests per second, or latency for the row of that name.
    #[serde(skip_serializing_if = "Option::is_none")]
    ratio: Option<f64>,
}

impl Report {
    pub(super) fn new(rounds: u32, brokers: Vec<String>, rows: &[Row], samples: &[Vec<Vec<Sample>>]) -> Self {
        let row = |(row, of_row): (&Row, &Vec<Vec<Sample>>)| {
            let medians: Vec<_> = of_row.iter().map(|samples| Sample::median(samples)).collect();
            let number = |sample: &Sample| match row {
                Row::Latency => sample.p50_us,
                Row::Batches | Row::Fetch => sample.mb_per_s,
                Row::Produce1 | Row::Produce32 => sample.requests_per_s,
            };
            let ratio = match medians.as_slice() {
                [first, second] => Some(number(first) / number(second)).filter(|ratio| ratio.is_finite()),
                _ => None,
            };
            RowReport { row: row.name(), medians, ratio }
        };
        Self { rounds, brokers, rows: rows.iter().zip(samples).map(row).collect() }
    }

    pub(super) fn human(&self) -> String {
        let mut table =
            table(["ROW", "BROKER", "MB/S", "REQUESTS/S", "RECORDS/S", "P50 US", "P99 US", "CPU %", "RATIO"]);
        align_right(&mut table, &[2, 3, 4, 5, 6, 7, 8]);
        for row in &self.rows {
            for (i, (broker, sample)) in self.brokers.iter().zip(&row.medians).enumerate() {
                let name = if i == 0 { row.row } else { "" };
                let cpu = sample.cpu_percent.map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.0}"));
                let ratio =
                    row.ratio.filter(|_| i == 0).map_or_else(String::new, |ratio| format!("{ratio:.2}"));
                table.add_row([
                    name.to_owned(),
                    broker.clone(),
                    format!("{:.1}", sample.mb_per_s),
                    format!("{:.0}", sample.requests_per_s),
                    format!("{:.0}", sample.records_per_s),
                    format!("{:.0}", sample.p50_us),
                    format!("{:.0}", sample.p99_us),
                    cpu,
                    ratio,
                ]);
            }
        }
        let mut out = text(&table);
        if self.rounds > 1 {
            out.push_str(&format!("medians of {} rounds", self.rounds));
            out.push_str(if self.brokers.len() > 1 { ", turn about\n" } else { "\n" });
        }
        if self.brokers.len() > 1 {
            out.push_str(
                "ratio: the first broker's MB/s, requests/s (produce-*) or median latency (latency) by the second's\n",
            );
        }
        out
    }
}

impl Sample {
    /// The median of each number by itself.
    fn median(samples: &[Self]) -> Self {
        let of = |number: fn(&Self) -> f64| {
            let mut numbers: Vec<_> = samples.iter().map(number).collect();
            numbers.sort_unstable_by(f64::total_cmp);
            let half = numbers.len() / 2;
            match numbers.as_slice() {
                [] => 0.0,
                numbers if numbers.len() % 2 == 1 => numbers[half],
                numbers => (numbers[half - 1] + numbers[half]) / 2.0,
            }
        };
        let has_cpu = samples.iter().all(|sample| sample.cpu_percent.is_some());
        Self {
            mb_per_s: of(|sample| sample.mb_per_s),
            requests_per_s: of(|sample| sample.requests_per_s),
            records_per_s: of(|sample| sample.records_per_s),
            p50_us: of(|sample| sample.p50_us),
            p99_us: of(|sample| sample.p99_us),
            cpu_percent: has_cpu.then(|| of(|sample| sample.cpu_percent.unwrap_or(0.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let sorted: Vec<_> = (1..=100).map(Duration::from_micros).collect();
        assert_eq!((percentile(&sorted, 50), percentile(&sorted, 99)), (50.0, 99.0));
        assert_eq!(percentile(&sorted[..1], 99), 1.0);
        assert_eq!(percentile(&[], 50), 0.0);
    }

    #[test]
    fn medians_ignore_outliers_and_ratios_compare_the_right_number() {
        let sample = |requests_per_s, p50_us| Sample { requests_per_s, p50_us, ..Sample::default() };
        let first = vec![sample(10.0, 5.0), sample(1000.0, 1.0), sample(20.0, 6.0)];
        assert_eq!(Sample::median(&first).requests_per_s, 20.0);
        assert_eq!(Sample::median(&first[..2]).requests_per_s, 505.0);
        let second = vec![sample(10.0, 10.0); 3];
        let samples = [vec![first.clone(), second.clone()], vec![first, second]];
        let brokers = vec!["a:1".to_owned(), "b:2".to_owned()];
        let report = Report::new(3, brokers, &[Row::Produce1, Row::Latency], &samples);
        assert_eq!((report.rows[0].ratio, report.rows[1].ratio), (Some(2.0), Some(0.5)));
    }

    #[test]
    fn a_process_has_its_cpu_time() {
        assert!(cpu_ms(std::process::id()).is_ok());
        assert!(cpu_ms(u32::MAX).is_err());
    }
}
