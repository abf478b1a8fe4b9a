//! Who may enter: the token or the user, the session, its target, the user's rights, and one optimistic write that claims the place.

mod admission;
mod authorized;
mod claim;
mod door;
pub(crate) mod entry;
mod grant;
mod late_target;
mod lookup;
mod resume;
mod resume_budget;
mod start;
mod target_view;

pub use self::{admission::SessionAdmission, start::too_many_of_user, target_view::TargetView};
pub(crate) use self::{late_target::TargetReader, lookup::TokenLookup, resume_budget::ResumeBudget};
