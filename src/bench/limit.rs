//! How many calls a server holds before it makes them late.

use super::BenchError;
use super::calls::{Level, Plan, measure};

/// The greatest delay that 99 of 100 may reach, each way, in milliseconds.
pub const GOOD_P99_MS: f32 = 5.0;
/// Most calls that are tried.
const MOST: usize = 2000;
/// How often a number of calls is tried before it counts as too many.
const TRIES: usize = 2;
/// The search ends when good and bad are this close, as a share of the good.
const CLOSE: f64 = 0.05;

/// Whether every call was served in time: nothing was kept back, left out or broke off, and the
/// load kept time itself.
#[must_use]
pub fn is_good(level: &Level) -> bool {
    let held = &level.held;
    let in_time = [held.inbound, held.outbound, held.lateness];
    let faults = held.failed as u64 + held.unanswered + held.refused + held.underruns;
    in_time.iter().all(|spread| spread.p99_ms <= GOOD_P99_MS)
        && faults == 0
        && held.behind_ms <= 0
        && level.complaints == 0
}

/// The most calls found that are served in time, searched for from `plan.calls` on, and all that
/// was tried, in its order. `None` when not even one call is. What fails is tried again, since
/// whatever else the machine does makes calls late, but never early.
///
/// # Errors
/// As [`measure`]. A number of calls that cannot even be set up counts as too many.
pub async fn find(
    plan: Plan,
    mut seen: impl FnMut(&Level),
) -> Result<(Option<usize>, Vec<Level>), BenchError> {
    let mut levels = Vec::new();
    let (mut good, mut bad) = (0, MOST + 1);
    let mut next = plan.calls.clamp(1, MOST);
    loop {
        let mut served = false;
        for _ in 0..TRIES {
            match measure(Plan { calls: next, ..plan }).await {
                Ok(level) => {
                    seen(&level);
                    served = is_good(&level);
                    levels.push(level);
                }
                Err(BenchError::Load(_)) if good > 0 => {}
                Err(error) => return Err(error),
            }
            if served {
                break;
            }
        }
        if served {
            good = next;
        } else {
            bad = next;
        }
        if bad == 1 || good >= MOST || (good > 0 && (bad - good) as f64 <= good as f64 * CLOSE) {
            return Ok(((good > 0).then_some(good), levels));
        }
        next = if bad > MOST { (good * 2).min(MOST) } else { usize::midpoint(good, bad).max(1) };
    }
}
