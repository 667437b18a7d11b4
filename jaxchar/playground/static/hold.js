/** The panel "Hold it": units whose output is held at a value, and what the text becomes then. */

import { Latest, stream } from "./api.js";
import { characters } from "./characters.js";
import { surpriseClass } from "./colours.js";
import { button, element, labelled, promptField, Status } from "./dom.js";
import { Paper } from "./paper.js";
import { SamplingForm } from "./sampling_form.js";

export class HoldPanel {
  /**
   * @param {function(): Object} asked - the model and checkpoint.
   * @param {function(): {layer: number, unit: number}} chosen - the unit that is looked at.
   * @param {function()} onchange - told that other units are held.
   */
  constructor({ asked, chosen, onchange }) {
    Object.assign(this, { asked, chosen, onchange, held: [] });
    this.writing = new Latest();
    this.status = new Status();
    this.value = element("input", {
      type: "range",
      min: -1,
      max: 1,
      step: 0.05,
      value: 0,
      oninput: () => {
        this.shown.textContent = Number(this.value.value).toFixed(2);
      },
    });
    this.shown = element("output", {}, "0.00");
    this.list = element("ul", { class: "list" });
    this.form = new SamplingForm(["temperature", "length", "seed"]);
    this.form.inputs.length.value = 300;
    this.prompt = promptField();
    this.papers = [
      new Paper({ label: "The text as it is", empty: "As it is" }),
      new Paper({ label: "The text with units held", empty: "With the units held" }),
    ];
    this.element = element(
      "section",
      { class: "panel hold" },
      element("h2", {}, "Hold it"),
      element(
        "p",
        { class: "hint" },
        "Hold this unit\u2019s output at one value, and see what the text becomes.",
      ),
      labelled("Value", element("span", { class: "with-output" }, this.value, this.shown)),
      element(
        "div",
        { class: "actions" },
        button("Hold this unit", () => this.#hold()),
        button("Switch it off", () => this.#hold(0)),
      ),
      this.list,
    );
    const sides = this.papers.map((paper, index) =>
      element("div", {}, element("h3", {}, index ? "With the units held" : "As it is"), paper.element),
    );
    this.result = element(
      "section",
      { class: "panel", hidden: true },
      element("h2", {}, "What the text becomes"),
      labelled("Prompt", this.prompt),
      this.form.element,
      element(
        "div",
        { class: "actions" },
        button("Write both", () => this.#write(), { class: "primary" }),
        button("Stop", () => this.writing.stop()),
      ),
      this.status.element,
      element("div", { class: "sides" }, ...sides),
    );
  }

  /** Forget what was held: another model has other units. */
  clear(prompt) {
    this.writing.drop();
    this.held = [];
    this.prompt.value = prompt;
    this.papers.forEach((paper) => paper.set([], []));
    this.#list();
  }

  #hold(value = Number(this.value.value)) {
    const { layer, unit } = this.chosen();
    this.held = [
      ...this.held.filter((each) => each.layer !== layer || each.unit !== unit),
      { layer, unit, value },
    ];
    this.#changed();
  }

  #release(one) {
    this.held = this.held.filter((each) => each !== one);
    this.#changed();
  }

  #changed() {
    this.#list();
    this.onchange();
    if (this.held.length) this.#write();
  }

  #list() {
    this.result.hidden = !this.held.length;
    this.list.replaceChildren(
      ...this.held.map((one) =>
        element(
          "li",
          { class: "held" },
          element(
            "span",
            {},
            `layer ${one.layer}, unit ${one.unit} at `,
            element("b", {}, one.value.toFixed(2)),
          ),
          button("Release", () => this.#release(one), { class: "quiet" }),
        ),
      ),
    );
  }

  async #write() {
    const signal = this.writing.begin();
    this.status.tell("Writing \u2026");
    this.begin = characters(this.prompt.value).length;
    const body = { ...this.asked(), ...this.form.values(), prompt: this.prompt.value, continued: "" };
    try {
      await Promise.all(
        [[], this.held].map((held, index) => this.#stream(this.papers[index], { ...body, held }, signal)),
      );
      this.#compare();
    } catch (error) {
      if (!this.writing.isLast(signal)) return;
      if (error.name === "AbortError") this.status.tell("Stopped.");
      this.status.fail(error);
    }
  }

  async #stream(paper, body, signal) {
    const prompt = characters(body.prompt);
    paper.set(
      prompt,
      prompt.map(() => "prompt"),
    );
    for await (const { event, data } of stream("api/write", { body, signal })) {
      if (event === "piece") paper.append(characters(data.text), data.surprises.map(surpriseClass));
    }
  }

  #compare() {
    const [one, other] = this.papers.map((paper) => paper.text.characters);
    const place = one.findIndex((character, index) => character !== other[index]) - this.begin;
    this.status.tell(
      place < 0 ? "The same text." : `The same prompt and seed; they part at character ${place + 1}.`,
    );
  }
}
