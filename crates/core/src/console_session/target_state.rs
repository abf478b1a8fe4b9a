//! Whether a console can be opened now.

/// Whether the console of a target can be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, strum::IntoStaticStr)]
pub enum TargetState {
    /// It can be opened.
    Running,
    /// A desktop that is about to answer; a viewer who connects waits for it.
    Starting,
    /// A hibernated desktop; a viewer who connects wakes it, and waits for it.
    Asleep,
    /// Nothing answers, and connecting changes nothing about that.
    Stopped,
}

impl TargetState {
    /// Whether viewers are let in: the console can be opened, or will be while they wait.
    #[must_use]
    pub const fn admits_viewers(self) -> bool {
        matches!(self, Self::Running | Self::Starting | Self::Asleep)
    }
}
