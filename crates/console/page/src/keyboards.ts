// Written by keyboards.mjs from xkeyboard-config (Debian's xkb-data 2.35.1-1).

/** KeyboardEvent.code of the keys that give characters, in the order of the strings below. */
export const CODES: readonly string[] = [
  "Backquote", "Digit1", "Digit2", "Digit3", "Digit4", "Digit5", "Digit6", "Digit7", "Digit8", "Digit9",
  "Digit0", "Minus", "Equal", "IntlYen", "KeyQ", "KeyW", "KeyE", "KeyR", "KeyT", "KeyY", "KeyU", "KeyI", "KeyO",
  "KeyP", "BracketLeft", "BracketRight", "KeyA", "KeyS", "KeyD", "KeyF", "KeyG", "KeyH", "KeyJ", "KeyK", "KeyL",
  "Semicolon", "Quote", "Backslash", "IntlBackslash", "KeyZ", "KeyX", "KeyC", "KeyV", "KeyB", "KeyN", "KeyM",
  "Comma", "Period", "Slash",
  "IntlRo",
];

/** What the keys give. A space is a key without a character, a combining character a dead key. */
export interface Layout {
  readonly name: string;
  readonly plain: string;
  readonly shift: string;
  readonly altGr?: string;
  readonly shiftAltGr?: string;
}

/** By the names that X gives to layouts. */
export const LAYOUTS: Readonly<Record<string, Layout>> = {
  us: {
    name: "English (US)",
    plain: "`1234567890-= qwertyuiop[]asdfghjkl;'\\ zxcvbnm,./",
    shift: "~!@#$%^&*()_+ QWERTYUIOP{}ASDFGHJKL:\"| ZXCVBNM<>?",
  },
  gb: {
    name: "English (UK)",
    plain: "`1234567890-= qwertyuiop[]asdfghjkl;'#\\zxcvbnm,./",
    shift: "\u00ac!\"\u00a3$%^&*()_+ QWERTYUIOP{}ASDFGHJKL:@~|ZXCVBNM<>?",
    altGr: "    \u20ac",
  },
  de: {
    name: "German",
    plain: "\u03021234567890\u00df\u0301 qwertzuiop\u00fc+asdfghjkl\u00f6\u00e4#<yxcvbnm,.-",
    shift: "\u00b0!\"\u00a7$%&/()=?\u0300 QWERTZUIOP\u00dc*ASDFGHJKL\u00d6\u00c4'>YXCVBNM;:_",
    altGr: "  \u00b2\u00b3   {[]}\\  @ \u20ac        ~            |      \u00b5",
  },
  fr: {
    name: "French",
    plain: "\u00b2&\u00e9\"'(-\u00e8_\u00e7\u00e0)= azertyuiop\u0302$qsdfghjklm\u00f9*<wxcvbn,;:!",
    shift: " 1234567890\u00b0+ AZERTYUIOP\u0308\u00a3QSDFGHJKLM%\u00b5>WXCVBN?./\u00a7",
    altGr: "  ~#{[|`\\^@]}   \u20ac",
  },
  jp: {
    name: "Japanese",
    plain: " 1234567890-^\\qwertyuiop@[asdfghjkl;:] zxcvbnm,./\\",
    shift: " !\"#$%&'() =~|QWERTYUIOP`{ASDFGHJKL+*} ZXCVBNM<>?_",
  },
  es: {
    name: "Spanish",
    plain: "\u00ba1234567890'\u00a1 qwertyuiop\u0300+asdfghjkl\u00f1\u0301\u00e7<zxcvbnm,.-",
    shift: "\u00aa!\"\u00b7$%&/()=?\u00bf QWERTYUIOP\u0302*ASDFGHJKL\u00d1\u0308\u00c7>ZXCVBNM;:_",
    altGr: "\\|@#~           \u20ac       []          {}",
  },
  it: {
    name: "Italian",
    plain: "\\1234567890'\u00ec qwertyuiop\u00e8+asdfghjkl\u00f2\u00e0\u00f9<zxcvbnm,.-",
    shift: "|!\"\u00a3$%&/()=?^ QWERTYUIOP\u00e9*ASDFGHJKL\u00e7\u00b0\u00a7>ZXCVBNM;:_",
    altGr: "           `~   \u20ac       []         @#",
    shiftAltGr: "                        {}",
  },
};
