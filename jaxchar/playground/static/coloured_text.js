/** A text whose characters have colours: drawn in runs, so that 20,000 of them stay fluid. */

import { joins, look } from "./characters.js";
import { element } from "./dom.js";

const RUN = 64; // characters in an element at most
const LONG = 4000; // characters from which that is worth its while
const CHUNK = 500; // characters in a block that the browser may leave out while it is not seen

export class ColouredText {
  #runs = []; // {node, kind, text, begin, end}: positions count characters, not units of UTF-16
  #ofNode = new WeakMap();
  #chunk = null;
  #inChunk = 0;

  /** @param {{openEnd: boolean}} options - whether the place after the last character can be chosen, too. */
  constructor({ openEnd = false } = {}) {
    this.characters = [];
    this.classes = [];
    this.end = openEnd ? element("span", { class: "end", "aria-hidden": "true" }) : null;
    this.element = element("div", { class: "flow" });
    this.clear();
  }

  clear() {
    this.characters = [];
    this.classes = [];
    this.#runs = [];
    this.#chunk = null;
    this.element.replaceChildren();
  }

  /** Show another text. @param {string[]} characters @param {string[]} classes - one each. */
  set(characters, classes) {
    this.clear();
    this.append(characters, classes);
  }

  /** Give the same text other colours. */
  recolour(classes) {
    this.set(this.characters, classes);
  }

  append(characters, classes) {
    const changed = new Set();
    characters.forEach((character, index) => changed.add(this.#add(character, classes[index])));
    for (const run of changed) run.node.textContent = run.text;
    this.element.classList.toggle("long", this.characters.length > LONG);
    if (this.end) (this.#chunk ?? this.#newChunk()).append(this.end);
  }

  #add(character, name) {
    const { kind, text } = look(character);
    const last = this.#runs.at(-1);
    const place = this.characters.push(character) - 1;
    this.classes.push(name);
    if (
      last?.kind === "plain" &&
      kind === "plain" &&
      place - last.begin < RUN &&
      (name === last.name || joins(character))
    ) {
      last.text += text;
      last.end = place + 1;
      return last;
    }
    if (!this.#chunk || (this.#inChunk >= CHUNK && last.kind === "newline")) this.#newChunk();
    const node = element("span", { class: `run ${kind} ${name}`.trim() });
    const run = { node, kind, text, name, begin: place, end: place + 1 };
    this.#inChunk += last ? last.end - last.begin : 0;
    this.#runs.push(run);
    this.#ofNode.set(node, run);
    this.#chunk.append(node);
    return run;
  }

  #newChunk() {
    this.#chunk = element("div", { class: "chunk" });
    this.#inChunk = 0;
    this.element.append(this.#chunk);
    return this.#chunk;
  }

  /** Where a character is on the screen; undefined where it has no place. */
  rect(index) {
    if (index >= this.characters.length) return this.end?.getBoundingClientRect();
    const run = this.#runOf(index);
    if (run.kind !== "plain") return run.node.getClientRects()[0];
    const rects = this.#range(index, index + 1).getClientRects();
    return rects[rects.length - 1];
  }

  #runOf(index) {
    let [low, high] = [0, this.#runs.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#runs[middle].begin <= index) low = middle;
      else high = middle - 1;
    }
    return this.#runs[low];
  }

  #range(begin, end) {
    const range = document.createRange();
    range.setStart(...this.#domPlace(begin));
    range.setEnd(...this.#domPlace(end - 1, 1));
    return range;
  }

  /** A place in the document: in front of a character, or so many characters behind that. */
  #domPlace(index, further = 0) {
    const run = this.#runOf(index);
    if (run.kind !== "plain") return [run.node.firstChild, further ? run.text.length : 0];
    return [run.node.firstChild, this.characters.slice(run.begin, index + further).join("").length];
  }

  /** Which character is drawn at a point of the screen; null: none. */
  indexAt(x, y) {
    const hit = document.elementFromPoint(x, y);
    if (!hit || !this.element.contains(hit)) return null;
    if (hit === this.end) return this.characters.length;
    const run = this.#ofNode.get(hit);
    if (!run) return null;
    for (let index = run.begin; index < run.end; index += 1) {
      const rect = this.rect(index);
      if (rect && rect.left <= x && x < rect.right && rect.top <= y && y < rect.bottom) return index;
    }
    return run.begin;
  }

  /** The passage that the user has selected: [begin, end), or null. */
  selection() {
    const chosen = getSelection();
    if (!chosen.rangeCount || chosen.isCollapsed) return null;
    const range = chosen.getRangeAt(0);
    if (!this.element.contains(range.commonAncestorContainer)) return null;
    const [begin, end] = [
      this.#indexOf(range.startContainer, range.startOffset),
      this.#indexOf(range.endContainer, range.endOffset),
    ];
    return begin < end ? [begin, end] : null;
  }

  #indexOf(node, offset) {
    if (node.nodeType === Node.TEXT_NODE) {
      const run = this.#ofNode.get(node.parentElement);
      if (!run) return this.characters.length;
      if (run.kind !== "plain") return offset ? run.end : run.begin;
      return run.begin + Array.from(run.text.slice(0, offset)).length;
    }
    const next = node.childNodes[offset] ?? null;
    const first = next?.classList?.contains("run") ? next : next?.querySelector?.(".run");
    if (first) return this.#ofNode.get(first).begin;
    return this.#ofNode.get(node)?.end ?? this.characters.length;
  }

  /** Select a passage, as the user would with a mouse. */
  select(begin, end) {
    const [anchor, focus] = begin < end ? [begin, end] : [begin - 1, end];
    const from = begin < end ? this.#domPlace(anchor) : this.#domPlace(anchor, 1);
    const to = begin < end ? this.#domPlace(focus - 1, 1) : this.#domPlace(focus);
    getSelection().setBaseAndExtent(...from, ...to);
  }
}
