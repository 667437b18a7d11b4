/** A menu of the characters that could stand in one place, each with its probability. */

import { spoken } from "./characters.js";
import { element } from "./dom.js";

const COUNT = 12;
const WIDTH = 264; // pixels, as in the style sheet

export class Alternatives {
  /** @param {HTMLElement} home - what the menu belongs to, and returns the focus to. */
  constructor(home, onpick) {
    this.home = home;
    this.onpick = onpick;
    this.element = element("div", {
      class: "menu",
      role: "menu",
      hidden: true,
      "aria-label": "What could stand here",
      onkeydown: (event) => this.#key(event),
      onfocusout: (event) => this.#left(event),
    });
  }

  static get count() {
    return COUNT;
  }

  /**
   * Open at a rectangle of the screen.
   * @param {{character: string, probability: number}[]} list
   * @param {string|null} present - the character that stands there now.
   */
  open(rect, list, present) {
    const heading = element("p", { class: "menu-head" }, "What could stand here");
    const largest = Math.max(...list.map(({ probability }) => probability), 1e-9);
    this.element.replaceChildren(heading, ...list.map((each) => this.#item(each, largest, present)));
    this.element.hidden = false;
    const frame = this.element.offsetParent.getBoundingClientRect();
    const left = Math.min(rect.left - frame.left, frame.width - Math.min(WIDTH, frame.width));
    this.element.style.transform = `translate(${Math.max(0, left)}px, ${rect.bottom - frame.top + 6}px)`;
    const items = this.#items();
    (items.find((item) => item.getAttribute("aria-current")) ?? items[0])?.focus({ preventScroll: true });
    this.element.scrollIntoView({ block: "nearest" });
  }

  close() {
    this.element.hidden = true;
  }

  #item({ character, probability }, largest, present) {
    const bar = element("progress", {
      max: largest,
      value: probability,
      "aria-hidden": "true",
      tabindex: -1,
    });
    const share = probability >= 0.0005 ? `${(100 * probability).toFixed(1)} %` : "< 0.1 %";
    return element(
      "button",
      {
        type: "button",
        role: "menuitem",
        class: "alternative",
        tabindex: -1,
        "aria-current": character === present ? "true" : null,
        onclick: () => this.#pick(character, probability),
      },
      element("bdi", { class: "glyph" }, spoken(character)),
      bar,
      element("span", { class: "share" }, share),
    );
  }

  #pick(character, probability) {
    this.close();
    this.home.focus();
    this.onpick(character, probability);
  }

  #items() {
    return [...this.element.querySelectorAll("[role=menuitem]")];
  }

  #key(event) {
    const items = this.#items();
    const here = items.indexOf(document.activeElement);
    const moves = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: items.length - 1 };
    if (event.key === "Escape") {
      this.close();
      this.home.focus();
    } else if (event.key in moves) {
      items[(moves[event.key] + items.length) % items.length]?.focus();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }

  #left(event) {
    if (!this.element.contains(event.relatedTarget)) this.close();
  }
}
