//! Who is let in: a caller gets a slot, or waits for one, or is refused.

use std::time::Instant;

use voice_bot_core::id::CallId;
use voice_bot_core::persona::{Persona, SessionKey};
use voice_bot_core::pool::Admission;
use voice_bot_core::record::EndReason;

use super::super::{About, Direction, Refusal};
use super::{Admitted, Board};

impl Board {
    pub(super) fn admit(
        &mut self,
        call: CallId,
        persona: Persona,
        about: About,
        now: Instant,
    ) -> Result<Admission, Refusal> {
        let outcome = self.has_room(&call, now).and_then(|()| {
            if let Some(keeper) = &self.keeper {
                keeper.admitted(about.to_store(&call, &persona.name));
            }
            let until = now + self.absent;
            self.admitted.insert(call.clone(), Admitted { persona, about, until });
            self.ask(call, now)
        });
        self.notes.asked(outcome);
        outcome
    }

    /// Asks the pool again for a call that was admitted.
    pub(super) fn ask_again(&mut self, call: CallId, now: Instant) -> Result<Admission, Refusal> {
        let outcome = self.ask(call, now);
        self.notes.asked_again(outcome);
        outcome
    }

    fn ask(&mut self, call: CallId, now: Instant) -> Result<Admission, Refusal> {
        self.has_room(&call, now)?;
        let admitted = self.admitted.get_mut(&call).ok_or(Refusal::Over)?;
        let key = SessionKey::of(&admitted.persona);
        let admission = match admitted.about.direction {
            Direction::Inbound | Direction::Browser => self.pool.ask(&call, &key, now),
            Direction::Outbound => self.pool.ask_answered(&call, &key, now),
        };
        match admission {
            Admission::Connect => admitted.until = now + self.reserve,
            Admission::Ring | Admission::Queue { .. } => admitted.until = now + self.absent,
            Admission::Refuse => {
                self.forget(&call, EndReason::EngineBusy);
                let slots = self.pool.occupancy(now);
                let well = slots.free + slots.reserved + slots.taken;
                return Err(if well > 0 { Refusal::Busy } else { Refusal::NoEngine });
            }
        }
        Ok(admission)
    }

    /// Calls that are about to connect have their place already.
    pub(super) fn has_room(&mut self, call: &CallId, now: Instant) -> Result<(), Refusal> {
        self.forget_absent(now);
        let others = self.admitted.keys().filter(|admitted| *admitted != call).count();
        if self.stopping {
            Err(Refusal::Stopping)
        } else if self.running.contains_key(call) {
            Err(Refusal::Duplicate)
        } else if self.running.len() + others >= self.max_calls {
            Err(Refusal::Full)
        } else {
            Ok(())
        }
    }
}
