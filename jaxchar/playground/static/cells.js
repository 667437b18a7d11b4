/** The view Cells: a text coloured by one unit, all units over it, and units found, marked and held. */

import { remember, where } from "./address.js";
import { ask, Latest } from "./api.js";
import { Activations } from "./activations.js";
import { characters } from "./characters.js";
import { signedLegend, valueClass } from "./colours.js";
import { button, choice, element, fillChoice, labelled, Status } from "./dom.js";
import { FindPanel } from "./find.js";
import { HoldPanel } from "./hold.js";
import { Inspector } from "./inspector.js";
import { Paper } from "./paper.js";
import { numberField } from "./sampling_form.js";
import { Strip } from "./strip.js";
import { TextSource } from "./text_source.js";

const EXAMPLE = `First Citizen:
"Before we proceed any further," he said, "hear me speak."

SECOND CITIZEN:
You are all resolved rather to die (as I am told)
than to famish?

All:
Resolved. Resolved.
`;
const PARTS = {
  h: "output h",
  c: "cell state c",
  i: "input gate i",
  f: "forget gate f",
  g: "candidate g",
  o: "output gate o",
  r: "reset gate r",
  z: "update gate z",
  n: "candidate n",
};

export class CellsView {
  name = "Cells";

  constructor(models) {
    this.models = models;
    this.loading = new Latest();
    this.status = new Status();
    this.marks = [];
    this.text = [];
    this.source = new TextSource("Text", EXAMPLE, (note) => this.status.tell(note));
    this.layer = choice([], { onchange: () => this.#load() });
    this.part = choice([], { onchange: () => this.#load() });
    this.unit = numberField("unit", 0, { min: 0, max: 0, step: 1 });
    this.unit.addEventListener("input", () => this.#choose(Number(this.unit.value)));
    this.paper = new Paper({
      label: "The text coloured by one unit",
      empty: "No text yet.",
      onmove: (index) => this.#tell(index),
      onchoose: (index) => this.strip.point(this.chosen.unit, index),
    });
    this.inspector = new Inspector("Point at a character, or walk with the arrow keys.");
    this.strip = new Strip((unit, index) => {
      if (unit === this.chosen.unit) this.paper.moveTo(index);
      else this.#choose(unit, index);
    });
    const asked = () => this.models.asked;
    this.find = new FindPanel({
      asked: () => ({ ...asked(), part: this.part.value }),
      marked: () => this.#marked(),
      onchoose: (found) => this.#found(found),
    });
    this.hold = new HoldPanel({ asked, chosen: () => this.chosen, onchange: () => this.#load() });
    models.onChange(() => this.#fit());
  }

  build(panel) {
    this.legend = element("div", {});
    const pick = element(
      "div",
      { class: "fields pick" },
      labelled("Layer", this.layer),
      labelled("Unit", this.unit),
      labelled("Part", this.part),
    );
    const main = element(
      "div",
      { class: "main" },
      pick,
      this.paper.element,
      this.inspector.element,
      element(
        "div",
        { class: "under-paper" },
        this.legend,
        element(
          "div",
          { class: "actions" },
          button("Mark", () => this.#mark()),
          button("Clear marks", () => this.#setMarks([]), { class: "quiet" }),
        ),
      ),
      this.status.element,
      element("h2", { class: "minor" }, "All units over the text"),
      this.strip.element,
      element(
        "details",
        {},
        element("summary", {}, "Another text"),
        this.source.element,
        element(
          "div",
          { class: "actions" },
          button("Show this text", () => this.#load()),
          this.source.open,
        ),
      ),
      this.hold.result,
    );
    panel.append(main, element("aside", {}, this.find.element, this.hold.element));
    this.find.load().catch((error) => this.find.status.fail(error));
  }

  /** The unit that is looked at. */
  get chosen() {
    return { layer: Number(this.layer.value), unit: Number(this.unit.value) };
  }

  show() {
    if (!this.data) this.#load();
  }

  #fit() {
    const { model } = this.models;
    const at = where();
    fillChoice(
      this.layer,
      model.layers.map((size, index) => [index, `${index} (${size} units)`]),
      at.layer ?? 0,
    );
    fillChoice(
      this.part,
      model.parts.map((part) => [part, PARTS[part] ?? part]),
      at.part ?? "h",
    );
    this.unit.value = at.unit ?? 0;
    if (this.fitted !== model.id) this.hold.clear(model.default_prompt ?? "");
    this.fitted = model.id;
    this.data = null;
    if (!this.paper.element.closest("[hidden]") && this.paper.element.isConnected) this.#load();
  }

  async #load() {
    const signal = this.loading.begin();
    const { layer } = this.chosen;
    this.unit.max = this.models.model.layers[layer] - 1;
    try {
      const body = {
        ...this.models.asked,
        text: this.source.value,
        layer,
        part: this.part.value,
        held: this.hold.held,
      };
      const answer = await ask("api/cells", { body, signal });
      const text = characters(answer.text);
      if (text.join("") !== this.text.join("")) this.marks = [];
      Object.assign(this, { text, data: new Activations(answer) });
      this.strip.show(this.data, text);
      this.#choose(Math.min(this.chosen.unit, this.data.units - 1));
      this.status.tell("");
    } catch (error) {
      this.status.fail(error);
    }
  }

  #choose(unit, index = null) {
    if (!this.data || !Number.isInteger(unit) || unit < 0 || unit >= this.data.units) return;
    this.unit.value = unit;
    const shares = this.data.shares(unit);
    const marked = (place) => this.marks.some(([begin, end]) => begin <= place && place < end);
    this.paper.set(
      this.text,
      shares.map((share, place) => `${valueClass(share)}${marked(place) ? " marked" : ""}`.trim()),
    );
    const reach = this.data.reach(unit).toFixed(2);
    this.legend.replaceChildren(signedLegend(`\u2212${reach}`, `+${reach}`));
    if (index === null) this.strip.point(unit, this.paper.index);
    else this.paper.moveTo(index);
    this.#tell(this.paper.index);
    remember({ layer: this.layer.value, unit, part: this.part.value });
  }

  #tell(index) {
    if (!this.data || index >= this.text.length) return;
    this.inspector.show(this.text[index], index, [
      [`unit ${this.unit.value}`, this.data.value(index, this.chosen.unit).toFixed(2)],
    ]);
  }

  // ---- marks and what was found ----------------------------------------------------------------

  #mark() {
    const passage = this.paper.text.selection();
    if (!passage) {
      this.status.fail(
        new Error("Select a passage of the text first: with the mouse, or Shift and the arrow keys"),
      );
      return;
    }
    getSelection().removeAllRanges();
    this.#setMarks([...this.marks, passage]);
    this.find.chooseMarked();
  }

  #setMarks(marks) {
    this.marks = marks;
    this.status.tell(marks.length ? `${marks.length} passage${marks.length > 1 ? "s" : ""} marked.` : "");
    this.#choose(this.chosen.unit, this.paper.index);
  }

  #marked() {
    return this.marks.length ? { text: this.text.join(""), spans: this.marks } : null;
  }

  #found({ layer, unit, part }) {
    this.layer.value = layer;
    this.part.value = part;
    this.unit.value = unit;
    remember({ layer, unit, part });
    this.#load();
  }
}
