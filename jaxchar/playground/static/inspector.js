/** The line under a text that tells about one character: its surprise, its rank, how probable it was. */

import { codeOf, spoken } from "./characters.js";
import { BITS } from "./colours.js";
import { element } from "./dom.js";

export class Inspector {
  constructor(hint) {
    this.hint = hint;
    this.element = element("p", { class: "inspector", "aria-live": "polite" }, hint);
  }

  clear() {
    this.element.textContent = this.hint;
  }

  /** @param {string} character @param {number} index @param {[string, string][]} facts - name and value. */
  show(character, index, facts) {
    const shown = facts.map(([name, value]) =>
      element("span", { class: "fact" }, `${name} `, element("b", {}, value)),
    );
    this.element.replaceChildren(
      element("bdi", { class: "glyph" }, spoken(character)),
      element("span", { class: "fact code" }, codeOf(character)),
      element("span", { class: "fact" }, "character ", element("b", {}, (index + 1).toLocaleString("en"))),
      ...shown,
    );
  }
}

/** What a surprise in nats says: [name, value] pairs. */
export function surpriseFacts(nats) {
  if (nats === null || nats === undefined) return [["surprise", "none: the first character"]];
  const probability = Math.exp(-nats);
  const share = probability >= 0.001 ? `${(100 * probability).toFixed(1)} %` : "below 0.1 %";
  return [
    ["surprise", bits(nats)],
    ["probability", share],
  ];
}

/** Nats as bits, to read. */
export function bits(nats) {
  return `${(nats * BITS).toFixed(2)} bits`;
}
