//! What one stream may do. The rules come with the admission and do not change while the stream lives: a change ends it.

/// What a viewer of one stream may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "five independent permissions, each named where it is set"
)]
pub struct Rules {
    /// Keyboard and pointer reach the guest. Without it nothing else does either that changes the guest.
    pub input: bool,
    /// Text may be copied to the guest.
    pub clipboard_to_guest: bool,
    /// Text may be copied from the guest, where `input` is allowed: somebody else's clipboard is nothing to look at.
    pub clipboard_from_guest: bool,
    /// The guest may be shut down, rebooted and reset with the viewer's menu.
    pub power: bool,
    /// The viewer may change the size of the guest's screen.
    pub resize: bool,
}

impl Rules {
    /// Everything is allowed.
    pub const CONTROL: Self = Self {
        input: true,
        clipboard_to_guest: true,
        clipboard_from_guest: true,
        power: true,
        resize: true,
    };

    /// Looking only.
    pub const VIEW_ONLY: Self = Self {
        input: false,
        clipboard_to_guest: false,
        clipboard_from_guest: false,
        power: false,
        resize: false,
    };

    /// Whether text for the guest passes.
    #[must_use]
    pub const fn text_to_guest(&self) -> bool {
        self.input && self.clipboard_to_guest
    }

    /// Whether text from the guest passes.
    #[must_use]
    pub const fn text_from_guest(&self) -> bool {
        self.input && self.clipboard_from_guest
    }

    /// Whether the extended clipboard may be negotiated. Where text passes one way, its messages for the other way are dropped.
    #[must_use]
    pub const fn extended_clipboard(&self) -> bool {
        self.text_to_guest() || self.text_from_guest()
    }

    /// Whether power messages pass.
    #[must_use]
    pub const fn power_messages(&self) -> bool {
        self.input && self.power
    }

    /// Whether the viewer may ask for another screen size.
    #[must_use]
    pub const fn resize_messages(&self) -> bool {
        self.input && self.resize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_only_looks_changes_nothing_and_gets_no_text() {
        let rules = Rules {
            input: false,
            ..Rules::CONTROL
        };
        assert!(!rules.text_to_guest());
        assert!(!rules.text_from_guest());
        assert!(!rules.extended_clipboard());
        assert!(!rules.power_messages());
        assert!(!rules.resize_messages());
    }
}
