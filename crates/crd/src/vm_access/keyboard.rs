//! The layout of a guest's keyboard.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layout of the guest's keyboard. Written as X calls it. The page's tables are `keyboards.ts` of the crate `console`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum GuestKeyboard {
    /// English (US).
    Us,
    /// English (UK).
    Gb,
    /// German.
    De,
    /// French.
    Fr,
    /// Japanese.
    Jp,
    /// Spanish.
    Es,
    /// Italian.
    It,
}

impl GuestKeyboard {
    /// All of them.
    pub const ALL: [Self; 7] = [Self::Us, Self::Gb, Self::De, Self::Fr, Self::Jp, Self::Es, Self::It];

    /// The layout as the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Us => "us",
            Self::Gb => "gb",
            Self::De => "de",
            Self::Fr => "fr",
            Self::Jp => "jp",
            Self::Es => "es",
            Self::It => "it",
        }
    }
}
