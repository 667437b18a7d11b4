/** The view Live: follows a run that trains elsewhere, its losses and what its newest checkpoint writes. */

import { Latest, stream } from "./api.js";
import { characters } from "./characters.js";
import { surpriseClass } from "./colours.js";
import { Curve } from "./curve.js";
import { button, element, labelled, promptField, Status } from "./dom.js";
import { Paper } from "./paper.js";
import { SamplingForm } from "./sampling_form.js";

const KEPT = 6; // samples on the page

export class LiveView {
  name = "Live";

  constructor(models) {
    this.models = models;
    this.following = new Latest();
    this.writing = new Latest();
    this.status = new Status();
    this.curve = new Curve();
    this.prompt = promptField();
    this.form = new SamplingForm(["temperature", "length", "seed"]);
    this.form.inputs.length.value = 200;
    models.onChange(() => this.#fit());
  }

  build(panel) {
    this.figures = element("dl", { class: "figures" });
    this.samples = element("div", { class: "samples" });
    this.toggle = button("Follow", () => this.#toggle(), { class: "primary" });
    const main = element(
      "div",
      { class: "main" },
      element("div", { class: "actions" }, this.toggle),
      this.status.element,
      this.figures,
      this.curve.element,
      element("h2", { class: "minor" }, "What its newest checkpoints write"),
      this.samples,
    );
    const settings = element(
      "section",
      { class: "panel" },
      element("h2", {}, "Samples"),
      labelled("Prompt", this.prompt),
      this.form.element,
    );
    panel.append(main, element("aside", {}, settings));
    this.panel = panel;
  }

  show() {
    if (!this.on) this.#follow();
  }

  hide() {
    this.#leave();
  }

  #fit() {
    if (this.fitted === this.models.model.id) return;
    this.fitted = this.models.model.id;
    this.prompt.value = this.models.model.default_prompt ?? "";
    this.#leave();
    if (this.panel && !this.panel.hidden) this.#follow();
  }

  #toggle() {
    if (this.on) this.#leave();
    else this.#follow();
  }

  #leave() {
    this.following.drop();
    this.writing.drop();
    this.on = false;
    if (this.toggle) this.toggle.textContent = "Follow";
    this.status.tell("");
  }

  async #follow() {
    const signal = this.following.begin();
    const { id } = this.models.model;
    this.on = true;
    this.toggle.textContent = "Stop following";
    this.samples.replaceChildren();
    this.figures.replaceChildren();
    this.metrics = { train: [], validation: [], max_steps: 0 };
    this.status.tell("Waiting for the run \u2026");
    try {
      for await (const { event, data } of stream(`api/live?model=${encodeURIComponent(id)}`, { signal })) {
        if (event === "metrics") this.#measured(data);
        if (event === "checkpoint") {
          this.models.refresh().catch((error) => this.status.fail(error));
          this.#sample(id, data.step);
        }
        if (event === "finished") this.status.tell("The run is finished.");
      }
    } catch (error) {
      if (this.following.isLast(signal)) this.status.fail(error);
    }
    if (!this.following.isLast(signal)) return;
    this.on = false;
    this.toggle.textContent = "Follow";
  }

  #measured({ train = [], validation = [], max_steps: most, finished }) {
    this.metrics.train.push(...train);
    this.metrics.validation.push(...validation);
    this.metrics.max_steps = most ?? this.metrics.max_steps;
    this.curve.show(this.metrics);
    if (!finished) this.status.tell("Following the run \u2026");
    const facts = [
      ["Step", this.#step()],
      ["Training", lossOf(this.metrics.train)],
      ["Validation", lossOf(this.metrics.validation)],
    ];
    this.figures.replaceChildren(
      ...facts.map(([name, value]) =>
        element("div", {}, element("dt", {}, name), element("dd", {}, element("b", {}, value))),
      ),
    );
  }

  #step() {
    const { train, validation, max_steps: most } = this.metrics;
    const step = Math.max(train.at(-1)?.[0] ?? 0, validation.at(-1)?.[0] ?? 0).toLocaleString("en");
    return most ? `${step} of ${most.toLocaleString("en")}` : step;
  }

  /** Show what the newest checkpoint writes, above what earlier ones wrote. */
  async #sample(id, step) {
    const signal = this.writing.begin();
    const paper = new Paper({ label: `What step ${step} writes` });
    const prompt = characters(this.prompt.value);
    paper.set(
      prompt,
      prompt.map(() => "prompt"),
    );
    this.samples.prepend(
      element(
        "section",
        { class: "sample" },
        element("h3", {}, `Step ${step.toLocaleString("en")}`),
        paper.element,
      ),
    );
    while (this.samples.children.length > KEPT) this.samples.lastChild.remove();
    try {
      const body = {
        model: id,
        step,
        ...this.form.values(),
        prompt: this.prompt.value,
        continued: "",
        held: [],
      };
      for await (const { event, data } of stream("api/write", { body, signal })) {
        if (event === "piece") paper.append(characters(data.text), data.surprises.map(surpriseClass));
      }
    } catch (error) {
      if (this.writing.isLast(signal)) this.status.fail(error);
    }
  }
}

function lossOf(pairs) {
  return pairs.length ? `${pairs.at(-1)[1].toFixed(3)} nats` : "\u2013";
}
