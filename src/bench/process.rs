//! What Linux tells of a process: CPU time, memory, threads, open files.

use std::fs;
use std::io;
use std::time::Instant;

use serde::Serialize;

use super::BenchError;
use crate::process::{Stat, Status, open_files};

/// What a process holds and has used, at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Usage {
    at: Instant,
    /// Of all threads that live, in nanoseconds.
    cpu_ns: u64,
    /// Clock ticks in the program and in the kernel; coarse, good for their ratio alone.
    user_ticks: u64,
    system_ticks: u64,
    pub(super) holds: Holds,
}

/// What a process holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Holds {
    /// Resident memory, in kB.
    pub resident_kb: u64,
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub files: usize,
    /// What it tells of itself, where it was asked.
    #[serde(flatten)]
    pub told: Option<Told>,
}

/// What a server tells of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Told {
    /// Tasks of its runtime.
    pub tasks: usize,
    /// Calls that run.
    pub calls: usize,
    /// Slots of engines that are not free.
    pub slots: usize,
}

/// CPU time for each second of each call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Cpu {
    /// Milliseconds altogether.
    pub ms: f64,
    /// Of them in the program itself.
    pub user_ms: f64,
    /// Of them in the kernel: sockets and wake-ups.
    pub system_ms: f64,
    /// Share of the machine's one core that the whole process took, in percent.
    pub core_percent: f64,
}

impl Usage {
    /// How process `pid` stands now.
    pub(super) fn of(pid: u32) -> Result<Self, BenchError> {
        Self::read(pid).map_err(|source| BenchError::Process { pid, source })
    }

    fn read(pid: u32) -> io::Result<Self> {
        let at = Instant::now();
        let (status, stat) = (Status::of(pid)?, Stat::of(pid)?);
        let holds = Holds {
            resident_kb: status.number("VmRSS:")?,
            threads: usize::try_from(status.number("Threads:")?).unwrap_or(usize::MAX),
            files: open_files(pid)?,
            told: None,
        };
        Ok(Self {
            at,
            cpu_ns: cpu_ns(pid)?,
            user_ticks: stat.field(14)?,
            system_ticks: stat.field(15)?,
            holds,
        })
    }

    /// What was used since `before`, for each second of that many calls.
    pub(super) fn since(&self, before: &Self, calls: usize) -> Cpu {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let used_ms = self.cpu_ns.saturating_sub(before.cpu_ns) as f64 / 1e6;
        let user = self.user_ticks.saturating_sub(before.user_ticks) as f64;
        let system = self.system_ticks.saturating_sub(before.system_ticks) as f64;
        let share = user / (user + system).max(1.0);
        let ms = used_ms / seconds / calls.max(1) as f64;
        Cpu {
            ms,
            user_ms: ms * share,
            system_ms: ms * (1.0 - share),
            core_percent: used_ms / seconds / 10.0,
        }
    }
}

fn cpu_ns(pid: u32) -> io::Result<u64> {
    let mut sum = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        sum += thread_ns(&thread?.path().join("schedstat").to_string_lossy()).unwrap_or(0);
    }
    Ok(sum)
}

/// CPU time that this thread has used, in nanoseconds.
pub(super) fn own_thread_ns() -> Result<u64, BenchError> {
    thread_ns("/proc/thread-self/schedstat")
        .map_err(|source| BenchError::Process { pid: std::process::id(), source })
}

fn thread_ns(file: &str) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    let first = text.split_whitespace().next().and_then(|number| number.parse().ok());
    first.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let before = Usage::of(std::process::id()).unwrap();
        let begun = own_thread_ns().unwrap();
        let mut sum = 0_u64;
        while own_thread_ns().unwrap() < begun + 5_000_000 {
            sum = sum.wrapping_mul(3) + 1;
        }
        let after = Usage::of(std::process::id()).unwrap();
        assert!(std::hint::black_box(sum) > 0 && after.since(&before, 1).ms > 0.0);
        assert!(after.holds.resident_kb > 100 && after.holds.threads > 0 && after.holds.files > 0);
        assert!(Usage::of(u32::MAX).is_err());
    }
}
