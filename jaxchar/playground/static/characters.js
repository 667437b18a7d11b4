/** Characters as the model knows them (code points), and how each can be seen. */

// Directions, joiners and other signs that show nothing, or change how their neighbours are shown.
const UNSEEN = /^[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]$/u;
const JOINS = /^[\p{M}\u{1f3fb}-\u{1f3ff}]$/u;
const NAMES = {
  0x9: "tab",
  0xa: "line feed",
  0xd: "carriage return",
  0x20: "space",
  0xa0: "no-break space",
  0xad: "soft hyphen",
  0x200b: "zero-width space",
  0x200c: "zero-width non-joiner",
  0x200d: "zero-width joiner",
  0x200e: "left-to-right mark",
  0x200f: "right-to-left mark",
  0x202a: "left-to-right embedding",
  0x202b: "right-to-left embedding",
  0x202c: "pop directional formatting",
  0x202d: "left-to-right override",
  0x202e: "right-to-left override",
  0x2066: "left-to-right isolate",
  0x2067: "right-to-left isolate",
  0x2068: "first strong isolate",
  0x2069: "pop directional isolate",
  0xfeff: "byte order mark",
};

/** The characters of a text, one an entry, as Python counts them. */
export function characters(text) {
  return Array.from(text);
}

/** The number of a character as Unicode writes it: U+0041. */
export function codeOf(character) {
  return `U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}`;
}

/** Whether a character is drawn together with the one before it: accents, shades of skin. */
export function joins(character) {
  return JOINS.test(character);
}

/**
 * What to draw for a character.
 * @returns {{kind: "plain"|"newline"|"sign", text: string}} a sign stands for what cannot be seen.
 */
export function look(character) {
  const code = character.codePointAt(0);
  if (character === "\n") return { kind: "newline", text: "\n" };
  if (character === "\t" || !UNSEEN.test(character)) return { kind: "plain", text: character };
  if (code < 0x20) return { kind: "sign", text: String.fromCodePoint(0x2400 + code) };
  if (code === 0x7f) return { kind: "sign", text: "\u2421" };
  return { kind: "sign", text: codeOf(character) };
}

/** A character by name, short enough for a list: a, space, line feed, U+202E. */
export function spoken(character) {
  const name = NAMES[character.codePointAt(0)];
  if (name) return name;
  const { kind, text } = look(character);
  return kind === "sign" ? codeOf(character) : joins(character) ? `\u25cc${text}` : text;
}

/** A passage on one line, with signs for what cannot be seen. */
export function onOneLine(passage) {
  return passage.map((character) => (character === "\n" ? "\u21b5" : look(character).text)).join("");
}
