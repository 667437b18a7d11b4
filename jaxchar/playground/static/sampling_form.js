/** How the next character is chosen: the fields of temperature, filters, length, seed and stops. */

import { button, element, labelled } from "./dom.js";

// name, its heading, its value at first, and the bounds that the server has, too.
const NUMBERS = [
  ["temperature", "Temperature", 1, { min: 0, max: 10, step: 0.05 }],
  ["length", "Length", 500, { min: 1, max: 20000, step: 1 }],
  ["seed", "Seed", 0, { min: 0, max: 4294967295, step: 1 }],
  ["top_k", "Top-k", 0, { min: 0, max: 100000, step: 1 }, "0: all characters"],
  ["top_p", "Top-p", 1, { min: 0.01, max: 1, step: 0.01 }, "1: all"],
  ["min_p", "Min-p", 0, { min: 0, max: 1, step: 0.01 }, "0: all"],
];

/** A field for a number, with its bounds. */
export function numberField(name, value, bounds) {
  return element("input", {
    type: "number",
    name,
    value,
    ...bounds,
    step: "any",
    "data-step": bounds.step,
    inputmode: "decimal",
  });
}

export class SamplingForm {
  /** @param {string[]} names - which of the fields to show; the others keep their defaults. */
  constructor(names = [...NUMBERS.map(([name]) => name), "stop", "memory"]) {
    this.inputs = {};
    const fields = NUMBERS.filter(([name]) => names.includes(name)).map(
      ([name, heading, value, bounds, hint]) => {
        this.inputs[name] = numberField(name, value, bounds);
        return labelled(
          heading,
          name === "seed" ? this.#withNew(this.inputs[name]) : this.inputs[name],
          hint,
        );
      },
    );
    this.element = element("div", { class: "fields" }, ...fields);
    if (names.includes("stop")) this.#addStop();
    if (names.includes("memory")) this.#addMemory();
  }

  #withNew(seed) {
    const another = () => {
      seed.value = Math.floor(Math.random() * 100_000);
    };
    return element(
      "span",
      { class: "with-button" },
      seed,
      button("New", another, { class: "quiet", "aria-label": "New seed" }),
    );
  }

  #addStop() {
    this.inputs.stop = element("input", { type: "text", name: "stop", spellcheck: "false" });
    const field = labelled("Stop at", this.inputs.stop, "the text ends with it; \\n is a new line");
    field.classList.add("wide");
    this.element.append(field);
  }

  #addMemory() {
    this.inputs.memory = numberField("memory", 0, { min: 0, max: 1, step: 0.1 });
    this.memory = labelled("Memory", this.inputs.memory, "0: the network alone");
    this.memory.hidden = true;
    this.element.append(this.memory);
  }

  /** Offer what a model has: a memory, or none. */
  fit({ has_memory: has }) {
    if (!this.memory) return;
    this.memory.hidden = !has;
    if (!has) this.inputs.memory.value = 0;
  }

  /** The part of a request that these fields decide. */
  values() {
    const read = Object.fromEntries(
      NUMBERS.map(([name, , value, { step }]) => {
        const given =
          this.inputs[name] && this.inputs[name].value !== "" ? Number(this.inputs[name].value) : value;
        return [name, step === 1 ? Math.round(given) : given];
      }),
    );
    const stop = (this.inputs.stop?.value ?? "").replaceAll("\\n", "\n").replaceAll("\\t", "\t");
    return { ...read, stop: stop ? [stop] : null, memory: Number(this.inputs.memory?.value ?? 0) };
  }
}
