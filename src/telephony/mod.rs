//! Telephony: how calls of each carrier reach this program.

pub mod twilio;
