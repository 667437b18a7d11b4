/** The panel "Find me a cell": which units tell a pattern best, or the passages that the user marked. */

import { ask, Latest, stream } from "./api.js";
import { button, choice, element, fillChoice, labelled, Status } from "./dom.js";

const SOURCES = { "training text": " of the training text", "written by the model": " that the model wrote" };
const SHOWN = 20; // units in the table
const MARKED = "marked"; // the choice of the user's own marks

export class FindPanel {
  /**
   * @param {function(): Object} asked - the model, checkpoint and part to search.
   * @param {function(): Object|null} marked - the text that the user marked, as the server wants it.
   * @param {function(Object)} onchoose - told the unit that is chosen from the table.
   */
  constructor({ asked, marked, onchoose }) {
    Object.assign(this, { asked, marked, onchoose });
    this.searching = new Latest();
    this.status = new Status();
    this.patterns = [];
    this.pattern = choice([], { onchange: () => this.#explain() });
    this.explanation = element("p", { class: "hint" });
    this.progress = element("progress", { max: 1, value: 0, hidden: true, "aria-label": "How much is read" });
    this.stop = button("Stop", () => this.searching.stop(), { disabled: true });
    this.table = element("tbody");
    this.frame = element(
      "table",
      { class: "units", hidden: true },
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          ...["Unit", "Tells it", "Where it is"].map((name) => element("th", { scope: "col" }, name)),
        ),
      ),
      this.table,
    );
    this.element = element(
      "section",
      { class: "panel find" },
      element("h2", {}, "Find me a cell"),
      labelled("That tells", this.pattern),
      this.explanation,
      element(
        "div",
        { class: "actions" },
        button("Find", () => this.#find(), { class: "primary" }),
        this.stop,
      ),
      this.progress,
      this.status.element,
      element("div", { class: "scroll" }, this.frame),
    );
  }

  async load() {
    this.patterns = (await ask("api/patterns")).patterns;
    fillChoice(this.pattern, [
      ...this.patterns.map(({ id, name }) => [id, name]),
      [MARKED, "what I mark in the text"],
    ]);
    this.#explain();
  }

  /** Be ready to search for the user's own marks. */
  chooseMarked() {
    this.pattern.value = MARKED;
    this.#explain();
  }

  #explain() {
    const known = this.patterns.find(({ id }) => id === this.pattern.value);
    this.explanation.textContent =
      known?.explanation ??
      "Select a passage in the text and press \u201cMark\u201d; mark several; then find.";
  }

  async #find() {
    const marked = this.pattern.value === MARKED ? this.marked() : null;
    if (this.pattern.value === MARKED && !marked) {
      this.status.fail(
        new Error("Nothing is marked yet: select a passage in the text and press \u201cMark\u201d"),
      );
      return;
    }
    const signal = this.searching.begin();
    this.status.tell("Reading the corpus \u2026");
    this.#busy(true);
    try {
      const body = { ...this.asked(), pattern: marked ? null : this.pattern.value, marked, layer: null };
      for await (const { event, data } of stream("api/find", { body, signal })) {
        if (event === "progress") this.progress.value = data.done / data.of;
        if (event === "units") this.#show(data);
      }
    } catch (error) {
      if (!this.searching.isLast(signal)) return;
      if (error.name === "AbortError") this.status.tell("Stopped.");
      this.status.fail(error);
    }
    if (this.searching.isLast(signal)) this.#busy(false);
  }

  #busy(busy) {
    Object.assign(this.progress, { hidden: !busy, value: 0 });
    this.stop.disabled = !busy;
  }

  #show({ characters, share, units, source }) {
    const positive =
      share === null || share === undefined ? "" : `, ${(100 * share).toFixed(1)} % of them in the pattern`;
    this.status.tell(`${characters.toLocaleString("en")} characters${SOURCES[source] ?? ""}${positive}.`);
    this.frame.hidden = !units.length;
    this.table.replaceChildren(...units.slice(0, SHOWN).map((unit) => this.#row(unit)));
  }

  #row(found) {
    const { layer, unit, part, auc, sign } = found;
    const name = button(`${layer}\u00b7${unit}`, () => this.onchoose(found), {
      class: "link",
      "aria-label": `${layer}\u00b7${unit}: layer ${layer}, unit ${unit}, ${part}`,
    });
    return element(
      "tr",
      {},
      element("td", {}, name),
      element(
        "td",
        {},
        element("progress", { max: 0.5, value: auc - 0.5, "aria-hidden": "true" }),
        " ",
        element("span", { class: "share" }, auc.toFixed(3)),
      ),
      element("td", { class: "hint" }, sign > 0 ? "high" : "low"),
    );
  }
}
