/** The loss of a run over its steps, drawn as lines: training thin, validation in the accent colour. */

import { drawn, element } from "./dom.js";

const HEIGHT = 220; // pixels
const EDGE = { left: 44, right: 10, top: 10, bottom: 26 };
const POINTS = 400; // of a line; more could not be told apart
const [TICKS_UP, TICK_WIDTH] = [4, 90]; // how many, and how many pixels each has

export class Curve {
  constructor() {
    this.drawing = drawn("svg", { role: "img", class: "curve", height: HEIGHT });
    const key = (name, says) =>
      element("span", {}, element("i", { class: `key ${name}`, "aria-hidden": "true" }), says);
    this.element = element(
      "figure",
      {},
      this.drawing,
      element(
        "figcaption",
        { class: "legend" },
        key("train", "training"),
        key("validation", "validation"),
        "nats a character, by step",
      ),
    );
    this.step = null;
    this.width = 0;
    new ResizeObserver(([{ contentRect }]) => {
      this.width = contentRect.width;
      this.#draw();
    }).observe(this.element);
    this.show({ train: [], validation: [], max_steps: 0 });
  }

  /** @param {{train: number[][], validation: number[][], max_steps: number}} curve - [step, loss] pairs. */
  show(curve) {
    this.curve = curve;
    const all = [...curve.train, ...curve.validation].filter(([, loss]) => Number.isFinite(loss));
    const losses = all.map(([, loss]) => loss);
    this.last = Math.max(curve.max_steps ?? 0, ...all.map(([step]) => step), 1);
    const [low, high] = losses.length ? [Math.min(...losses), Math.max(...losses)] : [0, 1];
    const spare = 0.05 * (high - low) || 0.1;
    this.range = [low - spare, high + spare];
    this.#draw();
  }

  /** Mark a step. */
  mark(step) {
    this.step = step;
    this.#draw();
  }

  #x(step) {
    return EDGE.left + (step / this.last) * (this.width - EDGE.left - EDGE.right);
  }

  #y(loss) {
    const [low, high] = this.range;
    return EDGE.top + ((high - loss) / (high - low)) * (HEIGHT - EDGE.top - EDGE.bottom);
  }

  #draw() {
    if (!this.width) return;
    const { train, validation } = this.curve;
    const marker =
      this.step === null
        ? []
        : [
            drawn("line", {
              class: "marker",
              x1: this.#x(this.step),
              x2: this.#x(this.step),
              y1: EDGE.top,
              y2: HEIGHT - EDGE.bottom,
            }),
          ];
    const dots = thinned(validation).map(([step, loss]) =>
      drawn("circle", {
        cx: this.#x(step),
        cy: this.#y(loss),
        r: step === this.step ? 5 : 2.5,
        class: "dot",
      }),
    );
    this.drawing.setAttribute("viewBox", `0 0 ${this.width} ${HEIGHT}`);
    this.drawing.replaceChildren(
      ...this.#losses(),
      ...this.#steps(),
      ...marker,
      this.#line(train, "train"),
      this.#line(validation, "validation"),
      ...dots,
    );
    const end = validation.at(-1) ?? train.at(-1);
    this.drawing.setAttribute(
      "aria-label",
      end ? `Loss by step: ${end[1].toFixed(3)} nats a character at step ${end[0]}` : "No losses yet",
    );
  }

  #losses() {
    return ticks(...this.range, TICKS_UP).flatMap((loss) => [
      drawn("line", {
        class: "grid",
        x1: EDGE.left,
        x2: this.width - EDGE.right,
        y1: this.#y(loss),
        y2: this.#y(loss),
      }),
      drawn("text", { x: EDGE.left - 8, y: this.#y(loss) + 4, "text-anchor": "end" }, loss.toFixed(2)),
    ]);
  }

  #steps() {
    return ticks(0, this.last, this.width / TICK_WIDTH).map((step) =>
      drawn(
        "text",
        {
          x: this.#x(step),
          y: HEIGHT - 6,
          "text-anchor": this.#x(step) > this.width - 24 ? "end" : "middle",
        },
        step.toLocaleString("en"),
      ),
    );
  }

  #line(pairs, name) {
    const points = thinned(pairs).map(
      ([step, loss]) => `${this.#x(step).toFixed(1)},${this.#y(loss).toFixed(1)}`,
    );
    return drawn("polyline", { class: name, points: points.join(" ") });
  }
}

/** Round numbers between two, about so many: multiples of 1, 2 or 5 times a power of ten. */
function ticks(low, high, count) {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const each = [1, 2, 5, 10].map((times) => times * power).find((step) => step >= rough);
  const first = Math.ceil(low / each);
  return Array.from({ length: Math.floor(high / each) - first + 1 }, (_, index) => (first + index) * each);
}

function thinned(pairs) {
  const finite = pairs.filter(([, loss]) => Number.isFinite(loss));
  const every = Math.ceil(finite.length / POINTS) || 1;
  return finite.filter((_, index) => index % every === 0 || index === finite.length - 1);
}
