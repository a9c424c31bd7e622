//! The switchboard's engines, and what is told of their slots.

use std::time::Instant;

use voice_bot_core::pace::speed::Change;
use voice_bot_core::pool::EngineView;

use super::super::lease::{News, Tiding};
use super::Board;

impl Board {
    /// What the holder of a slot tells of it.
    pub(super) fn told(&mut self, (slot, call, tiding): &News, now: Instant) {
        match *tiding {
            Tiding::Opened(took) => self.pool.opened(*slot, took),
            Tiding::Primed(took) => self.pool.primed(*slot, took),
            Tiding::Speed(Change::Slow(speed) | Change::GiveUp(speed)) => {
                self.pool.slowed(*slot, speed.real_time_factor, now);
            }
            Tiding::Speed(Change::Recovered(speed)) => {
                self.pool.recovered(*slot, speed.real_time_factor, now);
            }
            Tiding::Over(Some(fault)) => self.pool.fail(*slot, call, fault, now),
            Tiding::Over(None) => self.pool.release(*slot, call, now),
        }
        self.forget_removed(now);
    }

    /// Lets go of engines that the pool has no more.
    fn forget_removed(&mut self, now: Instant) {
        if self.engines.len() > self.pool.engines(now).len() {
            let left: Vec<_> = self.pool.engines(now).iter().map(|view| view.engine).collect();
            self.engines.retain(|engine, _| left.contains(engine));
        }
    }

    pub(super) fn engine_views(&self, now: Instant) -> Vec<(String, EngineView)> {
        let name = |view: &EngineView| {
            self.engines.get(&view.engine).map_or_else(String::new, |it| it.name().to_owned())
        };
        self.pool.engines(now).into_iter().map(|view| (name(&view), view)).collect()
    }
}
