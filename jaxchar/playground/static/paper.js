/** A coloured text to walk through: with a mouse, a finger or the arrow keys, one character at a time. */

import { ColouredText } from "./coloured_text.js";
import { element } from "./dom.js";

const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

export class Paper {
  #anchor = null; // where a selection by keys began

  /**
   * @param {Object} options
   * @param {string} options.label - what the text is, for those who do not see it.
   * @param {boolean} options.openEnd - whether the place after the last character can be reached.
   * @param {function(number)} options.onmove - told the character that is pointed at, or walked to.
   * @param {function(number)} options.onchoose - told the character that is clicked, or entered.
   */
  constructor({ label, openEnd = false, onmove = () => {}, onchoose = () => {}, empty = "" }) {
    this.text = new ColouredText({ openEnd });
    this.index = 0;
    this.onmove = onmove;
    this.onchoose = onchoose;
    this.cursor = element("span", { class: "cursor", hidden: true, "aria-hidden": "true" });
    this.element = element(
      "div",
      {
        class: "paper",
        tabindex: 0,
        role: "textbox",
        "aria-readonly": "true",
        "aria-multiline": "true",
        "aria-label": label,
        "data-empty": empty,
        onkeydown: (event) => this.#key(event),
        onpointermove: (event) => this.#peek(event),
        onpointerleave: () => this.#show(this.index, false),
        onclick: (event) => this.#click(event),
        onfocus: () => this.#focused(),
      },
      this.text.element,
      this.cursor,
    );
    new ResizeObserver(() => this.#show(this.index, false, false)).observe(this.element);
  }

  set(characters, classes) {
    this.text.set(characters, classes);
    this.index = Math.min(this.index, Math.max(0, this.last));
    this.#refresh();
  }

  append(characters, classes) {
    const atEnd = this.element.scrollTop + this.element.clientHeight > this.element.scrollHeight - 40;
    this.text.append(characters, classes);
    this.#refresh();
    if (atEnd) this.element.scrollTop = this.element.scrollHeight;
  }

  recolour(classes) {
    const scrolled = this.element.scrollTop;
    this.text.recolour(classes);
    this.element.scrollTop = scrolled;
    this.#refresh();
  }

  /** The last place that can be walked to. */
  get last() {
    return this.text.characters.length - (this.text.end ? 0 : 1);
  }

  /** Go to a character, and tell it. */
  moveTo(index) {
    this.index = Math.max(0, Math.min(index, this.last));
    this.#show(this.index, true);
  }

  /** Select a passage and bring it into sight. */
  showPassage(begin, end) {
    this.moveTo(begin);
    this.text.select(begin, end);
    const [rect, frame] = [this.text.rect(begin), this.element.getBoundingClientRect()];
    if (rect) this.element.scrollTop += rect.top - frame.top - frame.height / 3;
    this.element.scrollIntoView({ block: "nearest" });
  }

  #refresh() {
    this.element.classList.toggle("blank", !this.text.characters.length);
    this.#show(this.index, false, false);
  }

  #focused() {
    if (this.element.matches(":focus-visible")) this.#show(this.index, true);
  }

  #show(index, scroll, tell = true) {
    const rect = this.last < 0 ? null : this.text.rect(index);
    this.cursor.hidden = !rect;
    if (!rect) return;
    const frame = this.element.getBoundingClientRect();
    const [top, left] = [
      rect.top - frame.top + this.element.scrollTop - this.element.clientTop,
      rect.left - frame.left + this.element.scrollLeft - this.element.clientLeft,
    ];
    this.cursor.style.transform = `translate(${left}px, ${top}px)`;
    this.cursor.style.width = `${Math.max(rect.width, 3)}px`;
    this.cursor.style.height = `${rect.height}px`;
    if (scroll) this.#reveal(top, rect.height);
    if (tell) this.onmove(index);
  }

  #reveal(top, height) {
    const { scrollTop, clientHeight } = this.element;
    if (top < scrollTop) this.element.scrollTop = top - height;
    else if (top + 2 * height > scrollTop + clientHeight)
      this.element.scrollTop = top + 2 * height - clientHeight;
  }

  #peek(event) {
    if (event.buttons) return;
    const index = this.text.indexAt(event.clientX, event.clientY);
    if (index !== null) this.#show(index, false);
  }

  #click(event) {
    if (this.text.selection()) return;
    const index = this.text.indexAt(event.clientX, event.clientY);
    if (index === null) return;
    this.moveTo(index);
    this.onchoose(index);
  }

  #key(event) {
    if (event.target !== this.element || event.ctrlKey || event.metaKey || event.altKey) return;
    const target = this.#target(event.key);
    if (target !== null) {
      if (!event.shiftKey) this.#anchor = null;
      else this.#anchor ??= this.index;
      this.moveTo(target);
      this.#select();
    } else if (event.key === "Enter" || event.key === " ") this.onchoose(this.index);
    else return;
    event.preventDefault();
  }

  #select() {
    if (this.#anchor === null) getSelection().removeAllRanges();
    else if (this.#anchor !== this.index) this.text.select(this.#anchor, this.index);
  }

  #target(key) {
    if (key in STEPS) return this.index + STEPS[key];
    if (key === "Home") return 0;
    if (key === "End") return this.last;
    if (key === "ArrowUp") return this.#onLine(-1);
    if (key === "ArrowDown") return this.#onLine(1);
    return null;
  }

  /** The character above or below the present one: the nearest of the next line. */
  #onLine(step) {
    const here = this.text.rect(this.index);
    let best = null;
    for (let index = this.index + step; here && index >= 0 && index <= this.last; index += step) {
      const rect = this.text.rect(index);
      if (!rect || Math.abs(rect.top - here.top) < here.height / 2) continue;
      best ??= { top: rect.top, index, off: Infinity };
      if (Math.abs(rect.top - best.top) >= here.height / 2) break;
      const off = Math.abs(rect.left - here.left);
      if (off < best.off) best = { ...best, index, off };
    }
    return best ? best.index : step < 0 ? 0 : Math.max(0, this.last);
  }
}
