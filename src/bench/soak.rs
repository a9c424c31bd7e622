//! Whether a server gives everything back: many short calls, then some long ones, then zero.

use std::time::Duration;

use serde::Serialize;
use tokio::time::sleep;

use super::BenchError;
use super::calls::{Plan, given_back, hold};
use super::children::{Load, Server, unexpected};
use super::folder::quoted;
use super::load::{Churned, Held, Order, Word};
use super::process::Holds;

/// What a server's memory may have grown by beyond its idle state after its first calls, in kB: the
/// allocator keeps some of what was freed, and records of the latest calls are kept on purpose.
pub const GROWTH_KB: u64 = 8 * 1024;
/// How long a caller of a short call speaks, in frames of 20 ms.
const SHORT_FRAMES: u64 = 20;
/// What a short call may take on average, when as many run at once as may.
const SHORT_CALL: Duration = Duration::from_secs(5);
/// How long the allocator is left to settle.
const SETTLE: Duration = Duration::from_secs(3);

/// Where the server tells how many tasks, calls and taken slots it has.
const FIGURES: &str = "[metrics]\nlisten = \"127.0.0.1:0\"\n";

/// How to soak.
#[derive(Debug, Clone)]
pub struct Soak {
    /// Short calls altogether.
    pub short_calls: usize,
    /// Calls at once, short and long.
    pub calls: usize,
    /// How long the long calls last.
    pub long: Duration,
    /// Worker threads of the server; 0 for as many as it takes by itself.
    pub threads: usize,
    /// Where the server keeps its calls, as `store.url` has it; an SQLite file in a folder of its
    /// own unless told.
    pub store: Option<String>,
}

/// What a server held, from beginning to end.
#[derive(Debug, Clone, Serialize)]
pub struct Soaked {
    /// Before any call.
    pub fresh: Holds,
    /// After as many short calls as run at once: what its memory is measured against from then on.
    pub idle: Holds,
    /// After the short calls.
    pub after_short: Holds,
    /// Among the long calls, at their end.
    pub during_long: Holds,
    /// After the long calls.
    pub after_long: Holds,
    /// The short calls.
    pub churned: Churned,
    /// The long calls.
    pub held: Held,
    /// Warnings and errors in the server's log.
    pub complaints: u64,
}

impl Soaked {
    /// What is wrong with it, if anything.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let fresh = self.fresh;
        for (when, holds) in
            [("first", self.idle), ("short", self.after_short), ("long", self.after_long)]
        {
            let (told, before) = (holds.told.unwrap_or_default(), fresh.told.unwrap_or_default());
            let mut more = |what: &str, before: usize, now: usize| {
                if now > before {
                    faults.push(format!("{now} {what} after the {when} calls, {before} before"));
                }
            };
            more("open files", fresh.files, holds.files);
            more("threads", fresh.threads, holds.threads);
            more("tasks", before.tasks, told.tasks);
            more("running calls", 0, told.calls);
            more("taken slots", 0, told.slots);
            let grown = holds.resident_kb.saturating_sub(self.idle.resident_kb);
            if grown > GROWTH_KB {
                faults.push(format!("{grown} kB more after the {when} calls, {GROWTH_KB} allowed"));
            }
        }
        if self.complaints > 0 {
            faults.push(format!("{} warnings in the log", self.complaints));
        }
        let failed = self.churned.failed + self.held.failed;
        if failed > 0 {
            let why = self.churned.why.as_deref().unwrap_or("a long call did not end in order");
            faults.push(format!("{failed} calls failed, the first because: {why}"));
        }
        faults
    }
}

/// Soaks a server; `say` hears what is being done.
///
/// # Errors
/// [`BenchError`] when a process cannot be started or breaks off.
pub async fn run(plan: Soak, say: impl Fn(&str)) -> Result<Soaked, BenchError> {
    // An engine is free again a moment after its call, so there are more of them than calls.
    let mut load = Load::start(2 * plan.calls).await?;
    let server = match &plan.store {
        None => Server::start(&load.engines, plan.threads, FIGURES).await?,
        Some(url) => {
            let store = format!("[store]\nurl = \"{}\"\n{FIGURES}", quoted(url));
            Server::start_with(&load.engines, plan.threads, &store).await?
        }
    };
    sleep(SETTLE).await;
    let fresh = server.holds().await?;
    say("warming up");
    let mut first = churn(&mut load, &server, &plan, plan.calls).await?;
    sleep(SETTLE).await;
    let idle = given_back(&server, fresh, u64::MAX).await?;
    say("making short calls");
    let mut churned = churn(&mut load, &server, &plan, plan.short_calls).await?;
    churned.failed += first.failed;
    churned.why = first.why.take().or(churned.why);
    sleep(SETTLE).await;
    let after_short = given_back(&server, idle, GROWTH_KB).await?;
    say("holding long calls");
    let long = Plan {
        calls: plan.calls,
        warm_up: Duration::from_secs(3).min(plan.long),
        measure: plan.long,
        threads: plan.threads,
    };
    let window = hold(&mut load, &server, long).await?;
    sleep(SETTLE).await;
    let after_long = given_back(&server, idle, GROWTH_KB).await?;
    Ok(Soaked {
        fresh,
        idle,
        after_short,
        during_long: window.during,
        after_long,
        churned,
        held: window.held,
        complaints: server.complaints(),
    })
}

async fn churn(
    load: &mut Load,
    server: &Server,
    plan: &Soak,
    calls: usize,
) -> Result<Churned, BenchError> {
    let order =
        Order::Churn { server: server.address, calls, at_once: plan.calls, frames: SHORT_FRAMES };
    load.obey(order).await?;
    let rounds = u32::try_from(calls / plan.calls.max(1) + 10).unwrap_or(u32::MAX);
    let Word::Churned(churned) = load.word(SHORT_CALL.saturating_mul(rounds)).await? else {
        return Err(unexpected("how the short calls went"));
    };
    Ok(churned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::process::Told;

    fn holds(resident_kb: u64, files: usize, calls: usize) -> Holds {
        let told = Some(Told { tasks: 10, calls, slots: calls });
        Holds { resident_kb, threads: 7, files, told }
    }

    fn soaked() -> Soaked {
        Soaked {
            fresh: holds(40_000, 20, 0),
            idle: holds(45_000, 20, 0),
            after_short: holds(46_000, 20, 0),
            during_long: holds(60_000, 120, 50),
            after_long: holds(46_000, 20, 0),
            churned: Churned::default(),
            held: Held::default(),
            complaints: 0,
        }
    }

    #[test]
    fn what_is_kept_after_the_first_calls_or_the_last_is_a_fault_and_so_is_a_warning() {
        assert_eq!(soaked().faults(), [""; 0]);
        let leaks: [fn(&mut Soaked); 6] = [
            |soaked| soaked.idle.files = 21,
            |soaked| soaked.after_short.threads = 8,
            |soaked| soaked.after_long = holds(46_000, 20, 1),
            |soaked| soaked.after_long.resident_kb += 2 * GROWTH_KB,
            |soaked| soaked.complaints = 1,
            |soaked| soaked.churned.failed = 1,
        ];
        for leak in leaks {
            let mut soaked = soaked();
            leak(&mut soaked);
            assert!(!soaked.faults().is_empty(), "{soaked:?}");
        }
    }
}
