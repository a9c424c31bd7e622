//! What Linux tells of a process in `/proc`: its status, its times, what it holds.

use std::fs;
use std::io;
use std::time::{Duration, UNIX_EPOCH};

/// Ticks in a second of the times in `/proc`, which Linux keeps at 100 for programs.
const TICKS: f64 = 100.0;

/// `/proc/PID/status`.
pub(crate) struct Status(String);

impl Status {
    /// # Errors
    /// When there is no such process, or no Linux.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{pid}/status")).map(Self)
    }

    /// The number behind this name, as in `VmRSS:`.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn number(&self, name: &str) -> io::Result<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next());
        number.and_then(|number| number.parse().ok()).ok_or_else(unreadable)
    }
}

/// `/proc/PID/stat`.
pub(crate) struct Stat(String);

impl Stat {
    /// # Errors
    /// When there is no such process, or no Linux.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        fs::read_to_string(format!("/proc/{pid}/stat")).map(Self)
    }

    /// The field of this number, counted from 1 as in proc(5): 14 and 15 are times in the program
    /// and in the kernel, in ticks.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn field(&self, number: usize) -> io::Result<u64> {
        // The name before the parenthesis may hold anything.
        let after = self.0.rsplit_once(") ").map_or("", |(_, after)| after);
        let field = after.split(' ').nth(number - 3);
        field.and_then(|text| text.parse().ok()).ok_or_else(unreadable)
    }
}

/// How many files and sockets a process has open.
///
/// # Errors
/// When they cannot be counted.
pub(crate) fn open_files(pid: u32) -> io::Result<usize> {
    Ok(fs::read_dir(format!("/proc/{pid}/fd"))?.count())
}

/// This process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Process {
    /// Time of all processors that it has used, in seconds.
    pub(crate) cpu_seconds: f64,
    /// Memory that it holds, in bytes.
    pub(crate) resident_bytes: u64,
    /// Its threads.
    pub(crate) threads: u64,
    /// Files and sockets that it has open.
    pub(crate) open_files: usize,
    /// How many it may; `None` for any number.
    pub(crate) most_files: Option<u64>,
    /// When it began, in seconds of Unix time.
    pub(crate) start_seconds: f64,
}

impl Process {
    /// How this process stands. Reads files, so it may take a while.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub(crate) fn read() -> io::Result<Self> {
        let pid = std::process::id();
        let (status, stat) = (Status::of(pid)?, Stat::of(pid)?);
        let seconds = |ticks: u64| ticks as f64 / TICKS;
        Ok(Self {
            cpu_seconds: seconds(stat.field(14)? + stat.field(15)?),
            resident_bytes: status.number("VmRSS:")? * 1024,
            threads: status.number("Threads:")?,
            open_files: open_files(pid)?,
            most_files: most_files()?,
            start_seconds: booted()?.as_secs_f64() + seconds(stat.field(22)?),
        })
    }
}

/// The soft limit of open files.
fn most_files() -> io::Result<Option<u64>> {
    let limits = fs::read_to_string("/proc/self/limits")?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next()).ok_or_else(unreadable)?;
    Ok(soft.parse().ok())
}

/// When the system was started, in Unix time.
fn booted() -> io::Result<Duration> {
    let stat = fs::read_to_string("/proc/stat")?;
    let line = stat.lines().find_map(|line| line.strip_prefix("btime "));
    let seconds = line.and_then(|line| line.trim().parse().ok()).ok_or_else(unreadable)?;
    Ok(Duration::from_secs(seconds).min(UNIX_EPOCH.elapsed().unwrap_or(Duration::MAX)))
}

fn unreadable() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn this_process_can_be_read() {
        let before = Process::read().unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        let begun = std::time::Instant::now();
        let mut sum = 0_u64;
        while begun.elapsed() < Duration::from_millis(50) {
            sum = sum.wrapping_mul(3) + 1;
        }
        let after = Process::read().unwrap();
        assert!(std::hint::black_box(sum) > 0);
        assert!(after.cpu_seconds >= before.cpu_seconds);
        assert!(after.resident_bytes > 1 << 20 && after.threads > 0);
        assert!(after.most_files.is_none_or(|most| after.open_files as u64 <= most));
        assert!(after.open_files > 0);
        let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!(after.start_seconds > now - 3600.0 && after.start_seconds < now + 2.0);
        drop(file);
    }

    #[test]
    fn what_is_not_there_is_an_error() {
        assert!(Status::of(u32::MAX).is_err() && Stat::of(u32::MAX).is_err());
        assert!(Status("VmRSS:\t  12 kB\n".to_owned()).number("Threads:").is_err());
        let stat = Stat("7 (a) b) S 1 2 3".to_owned());
        assert_eq!(stat.field(4).unwrap(), 1);
        assert!(stat.field(3).is_err() && stat.field(40).is_err());
    }
}
