//! What the governor makes of an engine that is early, late, slow, or quiet.

use super::*;
