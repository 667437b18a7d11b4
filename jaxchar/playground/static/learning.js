/** The view Learning: one prompt, one seed, and every checkpoint of a run, to slide along. */

import { ask, Latest, stream } from "./api.js";
import { where } from "./address.js";
import { Activations } from "./activations.js";
import { characters } from "./characters.js";
import { signedLegend, surpriseClass, surpriseLegend, valueClass } from "./colours.js";
import { Curve } from "./curve.js";
import { button, element, labelled, promptField, Status } from "./dom.js";
import { Inspector, surpriseFacts } from "./inspector.js";
import { Paper } from "./paper.js";
import { SamplingForm, numberField } from "./sampling_form.js";

const PACE = 900; // milliseconds a checkpoint while it plays

export class LearningView {
  name = "Learning";

  constructor(models) {
    this.models = models;
    this.fetching = new Latest();
    this.status = new Status();
    this.known = new Map(); // step -> {characters, surprises, data}
    this.steps = [];
    this.prompt = promptField();
    this.form = new SamplingForm(["temperature", "length", "seed"]);
    this.form.inputs.length.value = 300;
    const at = where();
    this.layer = numberField("layer", at.layer ?? 0, { min: 0, max: 0, step: 1 });
    this.unit = numberField("unit", at.unit ?? 0, { min: 0, max: 0, step: 1 });
    this.layer.addEventListener("change", () => this.#fetchAll());
    this.unit.addEventListener("input", () => this.#showStep());
    this.slider = element("input", {
      type: "range",
      min: 0,
      max: 0,
      value: 0,
      class: "steps",
      "aria-label": "Checkpoint",
      oninput: () => this.#showStep(),
    });
    this.step = element("output", { class: "step" });
    this.curve = new Curve();
    this.inspector = new Inspector("Point at a character, or walk with the arrow keys.");
    this.paper = new Paper({
      label: "What the checkpoint writes",
      empty: "Not written yet.",
      onmove: (index) => this.#tell(index),
    });
    this.cell = new Paper({
      label: "The last checkpoint\u2019s text, coloured by a unit of this one",
      empty: "Not read yet.",
    });
    models.onChange(() => this.#fit());
  }

  build(panel) {
    this.play = button("Play", () => this.#toggle());
    this.cellLegend = element("div", {}, signedLegend("\u22121", "+1"));
    const slide = element("div", { class: "slide" }, this.play, this.slider, this.step);
    const main = element(
      "div",
      { class: "main" },
      slide,
      this.status.element,
      this.paper.element,
      this.inspector.element,
      surpriseLegend(),
      element("h2", { class: "minor" }, "One cell over the same text"),
      this.cell.element,
      this.cellLegend,
    );
    const again = element(
      "div",
      { class: "actions" },
      button("Write at every checkpoint", () => this.#fetchAll(), { class: "primary" }),
    );
    const settings = element(
      "section",
      { class: "panel" },
      element("h2", {}, "The same for all"),
      labelled("Prompt", this.prompt),
      this.form.element,
      element("div", { class: "fields" }, labelled("Cell: layer", this.layer), labelled("Unit", this.unit)),
      again,
    );
    panel.append(
      main,
      element(
        "aside",
        {},
        element("section", { class: "panel" }, element("h2", {}, "Loss"), this.curve.element),
        settings,
      ),
    );
    this.built = panel;
  }

  show() {
    const { model } = this.models;
    if (this.steps.length !== model.steps.length) this.#take(model); // the run has gone on
    if (!this.known.size) this.#fetchAll();
  }

  hide() {
    this.#stop();
  }

  #fit() {
    const { model } = this.models;
    if (this.fitted === model.id) return;
    this.fitted = model.id;
    this.prompt.value = model.default_prompt ?? "";
    this.layer.max = model.layers.length - 1;
    this.unit.max = Math.max(...model.layers) - 1;
    this.#take(model);
    if (this.built && !this.built.hidden) this.#fetchAll();
  }

  /** Take over the checkpoints that a run has now. */
  #take(model) {
    this.fetching.drop();
    this.known.clear();
    this.steps = model.steps;
    Object.assign(this.slider, { max: Math.max(0, this.steps.length - 1), value: this.steps.length - 1 });
    this.#showStep();
    ask(`api/curve?model=${encodeURIComponent(model.id)}`)
      .then((curve) => this.curve.show(curve))
      .catch((error) => this.status.fail(error));
  }

  /** Write with every checkpoint, the last one first, so that the slider never waits. */
  async #fetchAll() {
    const signal = this.fetching.begin();
    this.known.clear();
    const order = [...this.steps].reverse();
    try {
      for (const [index, step] of order.entries()) {
        this.status.tell(`Checkpoint ${index + 1} of ${order.length} \u2026`);
        this.known.set(step, await this.#fetch(step, signal));
        this.#showStep();
      }
      this.status.tell(order.length ? "" : "This model has no checkpoints to slide along.");
    } catch (error) {
      if (this.fetching.isLast(signal)) this.status.fail(error);
    }
  }

  async #fetch(step, signal) {
    const asked = { model: this.models.model.id, step, held: [] };
    const written = { prompt: this.prompt.value, characters: [], surprises: [] };
    const body = { ...asked, ...this.form.values(), prompt: written.prompt, continued: "" };
    for await (const { event, data } of stream("api/write", { body, signal })) {
      if (event !== "piece") continue;
      written.characters.push(...characters(data.text));
      written.surprises.push(...data.surprises);
    }
    const [last] = this.known.values();
    const layer = Math.min(Number(this.layer.value), this.models.model.layers.length - 1);
    const text = last ? last.text.join("") : written.prompt + written.characters.join("");
    const answer = await ask("api/cells", { body: { ...asked, text, layer, part: "h" }, signal });
    return { ...written, text: characters(answer.text), data: new Activations(answer) };
  }

  #showStep() {
    const step = this.steps[Number(this.slider.value)];
    const known = this.known.get(step);
    this.step.textContent = step === undefined ? "no checkpoint" : `step ${step.toLocaleString("en")}`;
    this.slider.setAttribute("aria-valuetext", this.step.textContent);
    this.curve.mark(step ?? null);
    if (!known) {
      this.paper.set([], []);
      this.cell.set([], []);
      return;
    }
    const prompt = characters(known.prompt);
    this.paper.set(
      [...prompt, ...known.characters],
      [...prompt.map(() => "prompt"), ...known.surprises.map(surpriseClass)],
    );
    const unit = Math.min(Number(this.unit.value), known.data.units - 1);
    this.cell.set(
      known.text,
      known.text.map((_, index) => valueClass(known.data.value(index, unit))),
    );
  }

  #tell(index) {
    const known = this.known.get(this.steps[Number(this.slider.value)]);
    const character = this.paper.text.characters[index];
    if (!known || character === undefined) return this.inspector.clear();
    const place = index - characters(known.prompt).length;
    return this.inspector.show(
      character,
      index,
      place < 0 ? [["part of", "the prompt"]] : surpriseFacts(known.surprises[place]),
    );
  }

  // ---- playing ---------------------------------------------------------------------------------

  #toggle() {
    if (this.playing) return this.#stop();
    this.play.textContent = "Pause";
    if (Number(this.slider.value) >= this.steps.length - 1) this.slider.value = 0;
    this.#showStep();
    this.playing = setInterval(() => this.#next(), PACE);
    return undefined;
  }

  #next() {
    if (Number(this.slider.value) >= this.steps.length - 1) return this.#stop();
    this.slider.value = Number(this.slider.value) + 1;
    return this.#showStep();
  }

  #stop() {
    clearInterval(this.playing);
    this.playing = null;
    if (this.play) this.play.textContent = "Play";
  }
}
