//! How often viewers come back to their places: each time is a write of their session's status, and what lets them come back is good for as
//! long as the session.

use std::{collections::HashMap, time::Duration};

use novasphere_wire::{
    close::{EndReason, StreamEnd},
    resume::ResumeHash,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::entry::refuse;

/// How often in a row a viewer can come back to a place by this gateway, after a while without: reloads, tabs, a line that breaks again and
/// again.
const RESUMES_BURST_LIMIT: u32 = 20;

/// How often they can go on to.
const RESUME_INTERVAL: Duration = Duration::from_secs(3);

/// How often places are forgotten that were not used for a while.
const SWEEP_INTERVAL: Duration = Duration::from_mins(1);

/// What each place has used up. Who keeps coming back to one keeps nobody else of the session from coming back to theirs.
#[derive(Debug, Default)]
pub(crate) struct ResumeBudget(Mutex<UsedBudgets>);

#[derive(Debug, Default)]
struct UsedBudgets {
    /// When each place has its whole budget again, by the hash that names it. Only places that sessions have come here.
    whole_again: HashMap<String, Instant>,
    swept_at: Option<Instant>,
}

impl ResumeBudget {
    /// Counts one return to a place that a session has.
    ///
    /// # Errors
    ///
    /// [`EndReason::TooManyAttempts`], which counts for nothing.
    pub(crate) fn take(&self, presented: &ResumeHash, now: Instant) -> Result<(), StreamEnd> {
        let mut used = self.0.lock();
        used.sweep(now);
        let place = presented.place.to_hex();
        let whole_again = used.whole_again.get(&place).copied().unwrap_or(now).max(now);
        if whole_again.duration_since(now) > RESUME_INTERVAL * (RESUMES_BURST_LIMIT - 1) {
            return Err(refuse(
                EndReason::TooManyAttempts,
                format!(
                    "the viewer came back more than {RESUMES_BURST_LIMIT} times in a row; once in {} s is allowed after that",
                    RESUME_INTERVAL.as_secs()
                ),
            ));
        }
        used.whole_again.insert(place, whole_again + RESUME_INTERVAL);
        Ok(())
    }
}

impl UsedBudgets {
    fn sweep(&mut self, now: Instant) {
        let is_due = self
            .swept_at
            .is_none_or(|swept| now.duration_since(swept) >= SWEEP_INTERVAL);
        if is_due {
            self.whole_again.retain(|_, whole_again| *whole_again > now);
            self.swept_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use novasphere_wire::resume::ResumeCredential;

    use super::*;

    fn place(number: u8) -> ResumeHash {
        ResumeCredential::new([number; 32], [0; 32]).hash()
    }

    fn taken(budget: &ResumeBudget, place: &ResumeHash, now: Instant) -> usize {
        (0..1000).filter(|_| budget.take(place, now).is_ok()).count()
    }

    #[tokio::test(start_paused = true)]
    async fn each_place_has_a_budget_of_its_own_that_comes_back_with_time() {
        let (budget, now) = (ResumeBudget::default(), Instant::now());
        assert_eq!(taken(&budget, &place(1), now), 20);
        assert_eq!(
            budget.take(&place(1), now).unwrap_err().reason,
            EndReason::TooManyAttempts
        );
        assert_eq!(taken(&budget, &place(2), now), 20, "of another viewer");
        assert_eq!(taken(&budget, &place(1), now + RESUME_INTERVAL), 1);
        assert_eq!(taken(&budget, &place(1), now + RESUME_INTERVAL * 5), 4);
        assert_eq!(taken(&budget, &place(1), now + Duration::from_hours(1)), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn places_that_are_not_used_are_forgotten() {
        let (budget, now) = (ResumeBudget::default(), Instant::now());
        for number in 0..200 {
            budget.take(&place(number), now).unwrap();
        }
        budget.take(&place(201), now + SWEEP_INTERVAL).unwrap();
        assert_eq!(budget.0.lock().whole_again.len(), 1);
    }
}
