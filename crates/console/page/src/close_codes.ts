// Why a console ended, as crates/console/src/close.rs has it; its tests compare.

export interface CloseCode {
  readonly reason: string;
  readonly sentence: string;
}

export const CLOSE_CODES: ReadonlyMap<number, CloseCode> = new Map([
  [1000, { reason: "ViewerLeft", sentence: "The viewer left." }],
  [1011, { reason: "Internal", sentence: "The console gateway failed. Try again; if it stays so, tell your administrator." }],
  [1012, { reason: "Restarting", sentence: "The console gateway is being restarted. Connect again." }],
  [4000, { reason: "Expired", sentence: "The session's time is over." }],
  [4001, { reason: "Revoked", sentence: "The session was revoked." }],
  [4002, { reason: "Deleted", sentence: "The session was deleted." }],
  [4003, { reason: "Idle", sentence: "Nobody typed or moved the pointer for the session's idle timeout." }],
  [4004, { reason: "TargetGone", sentence: "The machine was deleted, or another one has its name now." }],
  [4005, { reason: "PolicyChanged", sentence: "The machine's console policy no longer allows this session." }],
  [4006, { reason: "AccessWithdrawn", sentence: "Your right to this console was withdrawn." }],
  [4007, { reason: "Replaced", sentence: "Another viewer took this console over." }],
  [4008, { reason: "Moved", sentence: "This console was opened in another tab or window." }],
  [4009, { reason: "CredentialReused", sentence: "What lets you come back was used twice, so it was withdrawn. Ask for a new link." }],
  [4020, { reason: "TargetStopped", sentence: "The machine was shut down." }],
  [4021, { reason: "TargetDisconnected", sentence: "The machine's console closed the connection." }],
  [4022, { reason: "TargetUnreachable", sentence: "The machine's console cannot be reached." }],
  [4023, { reason: "TargetRefused", sentence: "The machine's console turned the gateway away." }],
  [4024, { reason: "InUse", sentence: "This console carries one viewer, and somebody else is connected or may still come back." }],
  [4025, { reason: "TargetNotRunning", sentence: "The machine is not running." }],
  [4026, { reason: "WakeTimeout", sentence: "The desktop did not start in time. Try again." }],
  [4027, { reason: "TargetFailed", sentence: "The desktop cannot start: its settings have to be corrected. Tell your administrator." }],
  [4028, { reason: "TargetExpired", sentence: "The desktop's time is over." }],
  [4029, { reason: "TargetHibernated", sentence: "The desktop went to sleep. Connect again to wake it." }],
  [4030, { reason: "TooManyWaiting", sentence: "Too many viewers wait for desktops to start. Try again in a minute." }],
  [4040, { reason: "TokenRefused", sentence: "Access refused. Ask for a new token." }],
  [4041, { reason: "TooManyViewers", sentence: "The session has as many viewers as it may have." }],
  [4042, { reason: "AddressNotAllowed", sentence: "The session does not allow connections from your address." }],
  [4043, { reason: "TransportNotAllowed", sentence: "The session does not allow this kind of viewer." }],
  [4044, { reason: "Unavailable", sentence: "The token cannot be checked now. Try again." }],
  [4045, { reason: "InputNotAllowed", sentence: "You may only look here, and SSH needs the right to type. Use the screen instead." }],
  [4046, { reason: "ResumeRefused", sentence: "There is no console to come back to. Open it by a new link." }],
  [4047, { reason: "TooManyAttempts", sentence: "You connected too often in a short time. Try again in a minute." }],
  [4060, { reason: "ProtocolError", sentence: "The viewer broke the protocol." }],
  [4061, { reason: "MessageNotAllowed", sentence: "The viewer sent a message that was not agreed on." }],
  [4062, { reason: "MessageTooLarge", sentence: "The viewer sent a message that is too large." }],
  [4063, { reason: "HandshakeTimeout", sentence: "The viewer took too long to connect." }],
  [4064, { reason: "ViewerLost", sentence: "The viewer no longer answers." }],
]);
