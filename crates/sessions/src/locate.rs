//! Where the console of a target is right now, and why it went away.

pub(crate) mod desktops;
mod explain;
mod locator;
mod target;

pub(crate) use self::{
    desktops::DesktopWaker,
    explain::{Explainer, instance_ref},
    locator::Locator,
    target::{LocatedTarget, TargetLocator},
};
pub use self::{desktops::WAITING_VIEWERS_LIMIT, locator::PASSWORDS_ROLE};
