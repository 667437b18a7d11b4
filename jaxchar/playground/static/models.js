/** The models that the server knows, and which of them is looked at. */

import { ask } from "./api.js";
import { remember, where } from "./address.js";
import { fillChoice } from "./dom.js";

export class Models {
  #listeners = [];

  /** @param {HTMLSelectElement} model @param {HTMLSelectElement} step - the choices of the head. */
  constructor(model, step, about) {
    Object.assign(this, { all: [], model: null, step: null, about });
    this.choices = { model, step };
    model.addEventListener("change", () => this.#choose(model.value, ""));
    step.addEventListener("change", () => this.#choose(model.value, step.value));
  }

  /** Be told when another model or checkpoint is chosen. */
  onChange(listener) {
    this.#listeners.push(listener);
  }

  /** Ask the server, and choose what the address says, or the first. */
  async load() {
    this.all = (await ask("api/models")).models;
    fillChoice(
      this.choices.model,
      this.all.map(({ id, name }) => [id, name]),
    );
    this.fromAddress();
  }

  /** Take note of new checkpoints, without a change of what is looked at. */
  async refresh() {
    this.all = (await ask("api/models")).models;
    this.model = this.all.find(({ id }) => id === this.model.id) ?? this.model;
    fillChoice(this.choices.step, stepChoices(this.model), this.step ?? "");
  }

  fromAddress() {
    const { model, step } = where();
    const known = this.all.find(({ id }) => id === model) ?? this.all[0];
    if (known) this.#choose(known.id, step ?? "");
  }

  #choose(id, step) {
    this.model = this.all.find((each) => each.id === id);
    const { steps, best_step: best } = this.model;
    this.step = steps.some((each) => String(each) === step) ? Number(step) : null;
    this.choices.model.value = id;
    fillChoice(this.choices.step, stepChoices(this.model), this.step ?? "");
    this.choices.step.value = this.step ?? "";
    this.about.textContent = described(this.model, this.step ?? best);
    remember({ model: id, step: this.step });
    this.#listeners.forEach((listener) => listener());
  }

  /** What every request says: the model and its checkpoint. */
  get asked() {
    return { model: this.model.id, step: this.step };
  }
}

/** The checkpoints of a model to choose from; "" is the best. */
export function stepChoices({ steps, best_step: best }) {
  const bestName = best === null || best === undefined ? "best" : `best (step ${best.toLocaleString("en")})`;
  return [["", bestName], ...steps.map((step) => [step, `step ${step.toLocaleString("en")}`])];
}

function described({ cell, layers, vocabulary, validation_loss: loss }) {
  const sizes = new Set(layers);
  const units = sizes.size === 1 ? `${layers[0]} units` : `${layers.join(", ")} units`;
  const deep = `${layers.length} layer${layers.length > 1 ? "s" : ""} of ${units}`;
  const told = loss === null || loss === undefined ? "" : `, ${loss.toFixed(3)} nats a character`;
  return `${cell.toUpperCase()}, ${deep}, ${vocabulary} characters${told}`;
}
