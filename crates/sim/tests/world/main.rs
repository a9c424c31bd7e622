//! Calls in virtual time. Each test prints its seeds; a failure names the one to put into the list.

mod chaos;
mod cushion;
mod detour;
mod hours;
mod latency;
mod measure;
mod plain;
mod pool;
mod queue;
mod realtime;
mod recording;
