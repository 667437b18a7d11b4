/** All units of a layer over a text, on a canvas: time from left to right, a row for each unit. */

import { look, spoken } from "./characters.js";
import { palette } from "./colours.js";
import { button, element } from "./dom.js";

const WIDTHS = [0.125, 0.25, 0.5, 1, 2, 3, 4, 5, 6, 8, 12]; // pixels a character, at each zoom
const ROWS = [1, 1, 1, 2, 2, 3, 4, 5, 6, 8, 12]; // pixels a unit
const [LEGIBLE, LETTERS] = [6, 18]; // pixels a character that can be read, and their height
const LEAST = 4; // the zoom of a long text
const DRAGGED = 4; // pixels that make a click a pull

export class Strip {
  #drag = null;

  /** @param {function(number, number)} onchoose - told the unit and the character that are chosen. */
  constructor(onchoose) {
    this.onchoose = onchoose;
    Object.assign(this, { zoom: 6, from: 0, unit: 0, index: 0, data: null, characters: [] });
    this.canvas = element("canvas", {
      tabindex: 0,
      role: "img",
      "aria-label": "All units over the text",
      onkeydown: (event) => this.#key(event),
      onwheel: (event) => this.#wheel(event),
      onpointerdown: (event) => this.#press(event),
      onpointermove: (event) => this.#move(event),
      onpointerup: (event) => this.#release(event),
      onpointerleave: () => this.#tell(this.unit, this.index),
    });
    this.frame = element("div", { class: "strip" }, this.canvas);
    this.place = element("input", {
      type: "range",
      min: 0,
      max: 0,
      value: 0,
      "aria-label": "Where in the text",
      oninput: () => this.#goTo(Number(this.place.value)),
    });
    this.told = element("p", { class: "inspector" });
    this.letters = element("canvas", { class: "letters", "aria-hidden": "true" });
    this.element = element(
      "div",
      { class: "strip-box" },
      element("div", {}, this.frame, this.letters),
      element(
        "div",
        { class: "actions strip-tools" },
        button("\u2212", () => this.#zoomBy(-1), { "aria-label": "Zoom out" }),
        button("+", () => this.#zoomBy(1), { "aria-label": "Zoom in" }),
        this.place,
      ),
      this.told,
    );
    new ResizeObserver(() => this.#draw()).observe(this.element);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.colours = null;
      this.#draw();
    });
  }

  /** Show a text's activations. */
  show(data, characters) {
    if (data.count !== this.data?.count) this.#fit(data.count);
    Object.assign(this, { data, characters });
    this.unit = Math.min(this.unit, data.units - 1);
    this.index = Math.min(this.index, Math.max(0, data.count - 1));
    this.#draw();
    this.#tell(this.unit, this.index);
  }

  /** Point at a unit and a character, and bring them into sight. */
  point(unit, index) {
    Object.assign(this, { unit, index });
    if (!this.data) return;
    if (index < this.from || index >= this.from + this.#seen) this.from = index - this.#seen / 2;
    this.#draw();
    const top = unit * ROWS[this.zoom];
    const { scrollTop, clientHeight } = this.frame;
    if (top < scrollTop || top > scrollTop + clientHeight - 12) this.frame.scrollTop = top - clientHeight / 2;
    this.#tell(unit, index);
  }

  /** Zoom so that a short text fills the strip; a long one is seen from its beginning. */
  #fit(count) {
    const wide = WIDTHS.findLastIndex((each) => each * count <= this.frame.clientWidth);
    Object.assign(this, { zoom: Math.max(LEAST, wide), from: 0 });
  }

  /** How many characters are seen at once. */
  get #seen() {
    return this.frame.clientWidth / WIDTHS[this.zoom];
  }

  #goTo(from) {
    this.from = from;
    this.#draw();
  }

  #zoomBy(step, centre = this.index) {
    const before = this.zoom;
    this.zoom = Math.max(0, Math.min(WIDTHS.length - 1, this.zoom + step));
    const share = (centre - this.from) * WIDTHS[before];
    this.#goTo(centre - share / WIDTHS[this.zoom]);
  }

  // ---- drawing ---------------------------------------------------------------------------------

  #draw() {
    const width = this.frame.clientWidth;
    if (!this.data || !width) return;
    const most = Math.max(0, this.data.count - this.#seen);
    this.from = Math.max(0, Math.min(this.from, most));
    Object.assign(this.place, { max: Math.ceil(most), value: this.from, disabled: !most });
    this.colours ??= palette(this.element);
    const row = ROWS[this.zoom];
    this.canvas.width = width;
    this.canvas.height = this.data.units * row;
    const context = this.canvas.getContext("2d");
    context.putImageData(this.#image(context, width, row), 0, 0);
    this.#pointer(context, row);
    this.#letter(width);
  }

  /** The units as an image, painted anew only where other ones, or others of their characters, are seen. */
  #image(context, width, row) {
    const { data, from, colours } = this;
    const same =
      this.painted &&
      Object.entries({ data, from, colours, width, row }).every(
        ([name, value]) => this.painted[name] === value,
      );
    if (!same) {
      const image = context.createImageData(width, data.units * row);
      this.#paint(new Uint32Array(image.data.buffer), width, row);
      this.painted = { data, from, colours, width, row, image };
    }
    return this.painted.image;
  }

  /** Write the text under its units, where it is wide enough to be read. */
  #letter(width) {
    const each = WIDTHS[this.zoom];
    this.letters.hidden = each < LEGIBLE;
    if (this.letters.hidden) return;
    const sharp = devicePixelRatio || 1;
    Object.assign(this.letters, { width: width * sharp, height: LETTERS * sharp });
    const context = this.letters.getContext("2d");
    const style = getComputedStyle(this.element);
    context.scale(sharp, sharp);
    context.font = `${Math.min(13, each * 1.6)}px ${style.getPropertyValue("--mono")}`;
    context.fillStyle = style.getPropertyValue("--ink");
    context.textAlign = "center";
    for (
      let index = Math.floor(this.from);
      index < Math.min(this.data.count, this.from + this.#seen);
      index += 1
    ) {
      const { kind, text } = look(this.characters[index]);
      const drawn = kind === "newline" ? "\u21b5" : kind === "sign" ? "\u25af" : text;
      context.fillText(drawn, (index - this.from + 0.5) * each, 13);
    }
  }

  #paint(pixels, width, row) {
    const { units, bytes, count } = this.data;
    const each = WIDTHS[this.zoom];
    for (let x = 0; x < width; x += 1) {
      const index = Math.floor(this.from + x / each);
      if (index >= count) break;
      for (let unit = 0; unit < units; unit += 1) {
        const colour = this.colours[bytes[index * units + unit] + 128];
        for (let y = unit * row; y < (unit + 1) * row; y += 1) pixels[y * width + x] = colour;
      }
    }
  }

  #pointer(context, row) {
    const style = getComputedStyle(this.element);
    context.strokeStyle = style.getPropertyValue("--ink");
    context.lineWidth = 1;
    context.strokeRect(-2.5, this.unit * row - 0.5, this.canvas.width + 5, row + 1);
    const x = Math.round((this.index - this.from) * WIDTHS[this.zoom]);
    context.strokeRect(x - 0.5, -2.5, Math.max(1, WIDTHS[this.zoom]) + 1, this.canvas.height + 5);
  }

  #tell(unit, index) {
    if (!this.data || index >= this.data.count) return;
    this.told.replaceChildren(
      element("span", { class: "fact" }, "unit ", element("b", {}, unit)),
      element("span", { class: "fact" }, "value ", element("b", {}, this.data.value(index, unit).toFixed(2))),
      element(
        "span",
        { class: "fact" },
        "at ",
        element("bdi", { class: "glyph" }, spoken(this.characters[index])),
      ),
      element("span", { class: "fact" }, "character ", element("b", {}, (index + 1).toLocaleString("en"))),
    );
  }

  // ---- what the user does ----------------------------------------------------------------------

  #at(event) {
    const frame = this.canvas.getBoundingClientRect();
    const unit = Math.floor((event.clientY - frame.top) / ROWS[this.zoom]);
    const index = Math.floor(this.from + (event.clientX - frame.left) / WIDTHS[this.zoom]);
    return [
      Math.max(0, Math.min(unit, this.data.units - 1)),
      Math.max(0, Math.min(index, this.data.count - 1)),
    ];
  }

  #choose(unit, index) {
    const known = [
      Math.max(0, Math.min(unit, this.data.units - 1)),
      Math.max(0, Math.min(index, this.data.count - 1)),
    ];
    this.point(...known);
    this.onchoose(...known);
  }

  #press(event) {
    if (!this.data) return;
    this.#drag = { x: event.clientX, from: this.from, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  #move(event) {
    if (!this.data) return;
    if (!this.#drag) return this.#tell(...this.#at(event));
    const by = event.clientX - this.#drag.x;
    this.#drag.moved ||= Math.abs(by) > DRAGGED;
    if (this.#drag.moved) this.#goTo(this.#drag.from - by / WIDTHS[this.zoom]);
  }

  #release(event) {
    const drag = this.#drag;
    this.#drag = null;
    if (drag && !drag.moved) this.#choose(...this.#at(event));
  }

  #wheel(event) {
    if (!this.data || (!event.ctrlKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY))) return;
    event.preventDefault();
    if (event.ctrlKey) this.#zoomBy(event.deltaY < 0 ? 1 : -1, this.#at(event)[1]);
    else this.#goTo(this.from + event.deltaX / WIDTHS[this.zoom]);
  }

  #key(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    if (!this.data || event.ctrlKey || event.metaKey) return;
    if (event.key in moves) {
      const [down, right] = moves[event.key];
      this.#choose(this.unit + down, this.index + right);
    } else if (event.key === "+" || event.key === "=") this.#zoomBy(1);
    else if (event.key === "-") this.#zoomBy(-1);
    else return;
    event.preventDefault();
  }
}
