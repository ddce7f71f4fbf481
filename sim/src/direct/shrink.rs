//! Makes a failing scenario smaller: fewer faults, fewer clients, less time, as long as the same oracle complains.

use super::network::NetworkFaults;
use super::run::{Options, Outcome, run};
use crate::scenario::{Scenario, ScenarioError, Workload};

/// What shrinking came to.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The smallest scenario found that still fails.
    pub scenario: Scenario,
    /// How many runs it took.
    pub runs: usize,
}

/// Shrinks the scenario of a failed run; at most `runs_max` runs are spent. `progress` hears of each success.
///
/// # Errors
/// If the scenario cannot be run by this build.
pub fn shrink(
    failed: &Outcome,
    runs_max: usize,
    mut progress: impl FnMut(&Scenario, usize),
) -> Result<Shrunk, ScenarioError> {
    let Some(violation) = &failed.violation else {
        return Ok(Shrunk { scenario: failed.scenario.clone(), runs: 0 });
    };
    let mut shrinker =
        Shrinker { oracle: violation.oracle, best: failed.scenario.clone(), runs: 0, runs_max, error: None };
    loop {
        let before = shrinker.best.clone();
        shrinker.shorten();
        shrinker.drop_faults();
        shrinker.calm_network();
        shrinker.send_clients_home();
        progress(&shrinker.best, shrinker.runs);
        if shrinker.best == before || shrinker.is_spent() {
            break;
        }
    }
    match shrinker.error {
        Some(error) => Err(error),
        None => Ok(Shrunk { scenario: shrinker.best, runs: shrinker.runs }),
    }
}

struct Shrinker {
    oracle: &'static str,
    best: Scenario,
    runs: usize,
    runs_max: usize,
    error: Option<ScenarioError>,
}

impl Shrinker {
    const fn is_spent(&self) -> bool {
        self.runs >= self.runs_max || self.error.is_some()
    }

    /// Takes a candidate over if the same oracle complains of it.
    fn try_out(&mut self, candidate: Scenario) -> bool {
        if self.is_spent() || candidate == self.best {
            return false;
        }
        self.runs += 1;
        match run(&candidate, Options::default()) {
            Ok(outcome) => {
                let fails = outcome.violation.is_some_and(|violation| violation.oracle == self.oracle);
                if fails {
                    self.best = candidate;
                }
                fails
            }
            Err(error) => {
                self.error = Some(error);
                false
            }
        }
    }

    /// Ends the faults earlier.
    fn shorten(&mut self) {
        let mut step = self.best.seconds / 2;
        while step > 0 {
            let seconds = self.best.seconds.saturating_sub(step).max(1);
            let mut candidate = Scenario { seconds, ..self.best.clone() };
            if let Some(faults) = &mut candidate.faults {
                faults.retain(|planned| planned.at_ms < seconds * 1000);
            }
            if !self.try_out(candidate) {
                step /= 2;
            }
        }
    }

    /// Delta debugging: takes out halves, quarters, and so on, down to single faults.
    fn drop_faults(&mut self) {
        let mut size = self.best.faults.as_ref().map_or(0, Vec::len).div_ceil(2);
        while size > 0 && !self.is_spent() {
            let mut from = 0;
            while let Some(faults) = self.best.faults.clone().filter(|faults| from < faults.len()) {
                let mut fewer = faults;
                fewer.drain(from..(from + size).min(fewer.len()));
                let candidate = Scenario { faults: Some(fewer), ..self.best.clone() };
                if !self.try_out(candidate) {
                    from += size;
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
    }

    /// Takes out what the network does all the time, one kind after the other.
    fn calm_network(&mut self) {
        type Field = fn(&mut NetworkFaults) -> &mut u32;
        let fields: [Field; 4] = [
            |network| &mut network.drop_permille,
            |network| &mut network.duplicate_permille,
            |network| &mut network.tail_permille,
            |network| &mut network.lost_answer_permille,
        ];
        for field in fields {
            let mut network = self.best.network.unwrap_or_default();
            *field(&mut network) = 0;
            self.try_out(Scenario { network: Some(network), ..self.best.clone() });
        }
    }

    /// Takes out clients, one kind after the other.
    fn send_clients_home(&mut self) {
        type Change = fn(&mut Scenario);
        let changes: [Change; 6] = [
            |scenario| clients(scenario).churn_permille = 0,
            |scenario| one_less(&mut clients(scenario).groups),
            |scenario| one_less(&mut clients(scenario).consumers),
            |scenario| one_less(&mut clients(scenario).plain_producers),
            |scenario| one_less(&mut clients(scenario).idempotent_producers),
            |scenario| scenario.partitions = (scenario.partitions - 1).max(1),
        ];
        for change in changes {
            let mut candidate = self.best.clone();
            change(&mut candidate);
            while self.try_out(candidate.clone()) {
                change(&mut candidate);
            }
        }
    }
}

fn clients(scenario: &mut Scenario) -> &mut Workload {
    scenario.workload.get_or_insert_default()
}

const fn one_less(count: &mut usize) {
    *count = count.saturating_sub(1);
}
