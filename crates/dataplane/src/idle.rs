//! How long a stream has been without human input.

use std::time::Duration;

use tokio::time::Instant;

/// Tells when a stream is idle. What counts as input is decided by the filters.
#[derive(Clone, Copy, Debug)]
pub struct IdleClock {
    timeout: Option<Duration>,
    last: Instant,
}

impl IdleClock {
    /// A clock for a stream that was opened at `now`. Without a timeout the stream is never idle.
    #[must_use]
    pub const fn new(timeout: Option<Duration>, now: Instant) -> Self {
        Self { timeout, last: now }
    }

    /// A person did something.
    pub const fn touch(&mut self, now: Instant) {
        self.last = now;
    }

    /// When the stream is idle if nobody does anything until then.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        // Beyond the end of time is never.
        self.last.checked_add(self.timeout?)
    }

    /// Whether the stream is idle.
    #[must_use]
    pub fn is_idle(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

/// Tells typing in a stream that only its two ends can read, SSH, by how its messages come: a person types in runs.
///
/// A message that a client sends by itself comes alone (an answer to the server; `keepalive@openssh.com`, which is sent only when
/// nothing came for `ServerAliveInterval`), or behind much output (`SSH_MSG_CHANNEL_WINDOW_ADJUST`, RFC 4254 section 5.2),
/// or with two others (new keys: `KEXINIT`, the client's half, `NEWKEYS`, RFC 4253 section 9). What programs send through the
/// stream looks like typing. docs/console.md says what follows from that.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeystrokeHeuristic {
    run: u8,
    last: Option<Instant>,
    output: u64,
}

impl KeystrokeHeuristic {
    /// Messages in a run count as typed from this one on.
    pub const RUN_LENGTH: u8 = 5;

    /// A run is over after this time without a message.
    pub const PAUSE_TIMEOUT: Duration = Duration::from_secs(3);

    /// A message behind as many bytes of the server is not counted. Clients give room after less: `OpenSSH` after 48 KiB or more
    /// (channels.c, `channel_check_window`), `PuTTY` after 8 KiB.
    pub const OUTPUT_BYTES_LIMIT: u64 = 8 * 1024;

    /// Takes a message of the client. `output` is how many bytes the server has sent so far. Says whether a person seems to be
    /// typing.
    pub fn message(&mut self, now: Instant, output: u64) -> bool {
        let since = output.saturating_sub(self.output);
        self.output = output;
        if since >= Self::OUTPUT_BYTES_LIMIT {
            return false;
        }
        let goes_on = self
            .last
            .is_some_and(|last| now.duration_since(last) < Self::PAUSE_TIMEOUT);
        self.run = if goes_on { self.run.saturating_add(1) } else { 1 };
        self.last = Some(now);
        self.run >= Self::RUN_LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Messages after this many milliseconds and this much output each; which of them count.
    fn typed(messages: &[(u64, u64)]) -> Vec<bool> {
        let (mut typing, mut now, mut output) = (KeystrokeHeuristic::default(), Instant::now(), 0);
        messages
            .iter()
            .map(|(pause, more)| {
                now += Duration::from_millis(*pause);
                output += more;
                typing.message(now, output)
            })
            .collect()
    }

    #[test]
    fn a_run_of_keys_is_typing() {
        assert_eq!(typed(&[(250, 40); 7]), [false, false, false, false, true, true, true]);
        // Slowly, and in an editor that draws much at each key.
        assert!(typed(&[(2900, 4000); 6])[5]);
    }

    #[test]
    fn what_a_client_sends_by_itself_is_not() {
        // keepalive@openssh.com every 5 s for an hour, answered.
        assert!(!typed(&[(5000, 36); 720]).contains(&true));
        // Room for the output of a program that never ends: OpenSSH with a terminal, PuTTY.
        for room in [48 * 1024, 8 * 1024] {
            assert!(!typed(&[(10, room); 1000]).contains(&true));
        }
        // New keys every minute.
        let keys = [(60_000, 100), (20, 1500), (20, 800)];
        assert!(!typed(&keys.repeat(60)).contains(&true));
    }

    #[test]
    fn output_between_keys_hides_a_key_and_not_the_run() {
        let mut keys = [(200, 40); 7];
        keys[2] = (200, 20_000);
        assert_eq!(typed(&keys), [false, false, false, false, false, true, true]);
    }

    #[test]
    fn input_puts_the_deadline_off() {
        let start = Instant::now();
        let minute = Duration::from_mins(1);
        let mut clock = IdleClock::new(Some(minute), start);
        assert!(!clock.is_idle(start + minute - Duration::from_millis(1)));
        assert!(clock.is_idle(start + minute));
        clock.touch(start + minute);
        assert!(!clock.is_idle(start + minute));
        assert_eq!(clock.deadline(), Some(start + 2 * minute));
    }

    #[test]
    fn without_a_timeout_nothing_is_idle() {
        let start = Instant::now();
        assert_eq!(IdleClock::new(None, start).deadline(), None);
        assert_eq!(IdleClock::new(Some(Duration::MAX), start).deadline(), None);
        assert!(!IdleClock::new(None, start).is_idle(start + Duration::from_hours(1000)));
    }
}
