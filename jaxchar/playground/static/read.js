/** The view Read: how surprised a model is by each character of a text, or two models side by side. */

import { ask, Latest } from "./api.js";
import { characters, onOneLine } from "./characters.js";
import { differenceClass, signedLegend, surpriseClass, surpriseLegend } from "./colours.js";
import { button, choice, element, fillChoice, labelled, Status } from "./dom.js";
import { bits, Inspector, surpriseFacts } from "./inspector.js";
import { stepChoices } from "./models.js";
import { Paper } from "./paper.js";
import { TextSource } from "./text_source.js";

const EXAMPLE = "To be, or not to be: that is the question.\n";
const EXCERPT = 60; // characters

export class ReadView {
  name = "Read";

  constructor(models) {
    this.models = models;
    this.reading = new Latest();
    this.status = new Status();
    this.source = new TextSource("Text", EXAMPLE, (note) => this.status.tell(note));
    this.memory = choice([
      ["none", "none"],
      ["static", "of the training text"],
      ["growing", "growing as it reads"],
    ]);
    this.other = choice([]);
    this.how = choice(
      [
        ["sides", "Side by side"],
        ["difference", "Difference"],
      ],
      { onchange: () => this.#show() },
    );
    this.inspector = new Inspector("Point at a character, or walk with the arrow keys.");
    this.papers = ["first", "second"].map(
      (which) =>
        new Paper({
          label: `The text as the ${which} checkpoint reads it`,
          onmove: (index) => this.#tell(index),
          empty: "Nothing is read yet.",
        }),
    );
    this.readings = [];
    this.#scrollTogether();
    models.onChange(() => this.#fit());
  }

  build(panel) {
    this.figures = element("dl", { class: "figures" });
    this.heads = this.papers.map(() => element("h2", { class: "minor", hidden: true }));
    this.columns = this.papers.map((paper, index) => element("div", {}, this.heads[index], paper.element));
    this.legend = element("div", {}, surpriseLegend());
    this.passages = element("div", { class: "passages" });
    const read = button("Read", () => this.#read(), { class: "primary" });
    const main = element(
      "div",
      { class: "main" },
      this.source.element,
      element("div", { class: "actions" }, read, this.source.open),
      this.status.element,
      this.figures,
      element("div", { class: "sides" }, ...this.columns),
      this.inspector.element,
      this.legend,
    );
    this.memoryField = labelled("Memory", this.memory);
    const settings = element(
      "section",
      { class: "panel" },
      element("h2", {}, "Compare"),
      labelled("With", this.other),
      labelled("Show", this.how),
      this.memoryField,
    );
    panel.append(main, element("aside", {}, settings, this.passages));
    this.#show();
  }

  /** Where two texts stand side by side, the same passage of both is seen. */
  #scrollTogether() {
    const [first, second] = this.papers.map((paper) => paper.element);
    for (const [from, to] of [
      [first, second],
      [second, first],
    ]) {
      from.addEventListener("scroll", () => {
        if (from.scrollHeight === to.scrollHeight) to.scrollTop = from.scrollTop;
      });
    }
  }

  #fit() {
    const pairs = this.models.all.flatMap((model) =>
      stepChoices(model).map(([step, name]) => [JSON.stringify([model.id, step]), `${model.name}, ${name}`]),
    );
    fillChoice(this.other, [["", "nothing"], ...pairs]);
    this.memoryField.hidden = !this.models.model.has_memory;
  }

  async #read() {
    const signal = this.reading.begin();
    this.status.tell("Reading \u2026");
    const asked = [this.models.asked];
    if (this.other.value) {
      const [model, step] = JSON.parse(this.other.value);
      asked.push({ model, step: step === "" ? null : step });
    }
    const memory = this.models.model.has_memory ? this.memory.value : "none";
    const names = [
      this.#name(...Object.values(asked[0])),
      asked[1] ? this.#name(...Object.values(asked[1])) : "",
    ];
    try {
      const bodies = asked.map((each) => ({ ...each, text: this.source.value, memory, held: [] }));
      const answers = await Promise.all(bodies.map((body) => ask("api/read", { body, signal })));
      this.readings = answers.map((answer, index) => ({
        ...answer,
        name: names[index],
        characters: characters(answer.text),
      }));
      this.status.tell("");
      this.#show();
    } catch (error) {
      this.status.fail(error);
    }
  }

  #name(id, step) {
    const model = this.models.all.find((each) => each.id === id);
    return `${model.name}, ${step === null ? "best" : `step ${step.toLocaleString("en")}`}`;
  }

  // ---- what is shown ---------------------------------------------------------------------------

  #show() {
    const [first, second] = this.readings;
    const same = second && first.text === second.text;
    const difference = same && this.how.value === "difference";
    this.columns[1].hidden = !second || difference;
    if (second && !same)
      this.status.tell("The two know different characters, so that no difference can be shown.");
    this.legend.replaceChildren(
      difference
        ? signedLegend(`${first.name} is less surprised`, `${second.name} is less surprised`)
        : surpriseLegend(),
    );
    this.#showColumn(0, first, difference ? this.#differences().map(differenceClass) : null);
    if (second && !difference) this.#showColumn(1, second, null);
    if (difference) this.#head(0, "Where they differ");
    this.#showFigures();
    this.#showPassages(first);
  }

  #head(which, words) {
    this.heads[which].textContent = words;
    this.heads[which].hidden = !words;
  }

  #showColumn(which, reading, classes) {
    this.#head(which, this.readings.length > 1 ? reading.name : "");
    if (!reading) return this.papers[which].set([], []);
    return this.papers[which].set(reading.characters, classes ?? reading.surprises.map(surpriseClass));
  }

  /** Nats by which the second is more surprised than the first. */
  #differences() {
    const [first, second] = this.readings;
    return first.surprises.map((nats, index) => (nats === null ? null : second.surprises[index] - nats));
  }

  #showFigures() {
    this.figures.replaceChildren(
      ...this.readings.map(({ name, characters: all, bits_per_character: rate, left_out: left }) =>
        element(
          "div",
          {},
          element("dt", {}, this.readings.length > 1 ? name : "This text"),
          element(
            "dd",
            {},
            element("b", {}, rate === null ? "\u2013" : rate.toFixed(3)),
            " bits a character, ",
            `${all.length.toLocaleString("en")} characters`,
            left ? `, ${left.toLocaleString("en")} left out that the model does not know` : "",
          ),
        ),
      ),
    );
  }

  #showPassages(reading) {
    const both = [
      ["Hardest passages", reading?.worst ?? []],
      ["Easiest passages", reading?.best ?? []],
    ];
    const lists = both.filter(([, list]) => list.length); // of a short text, there are only hard ones
    this.passages.replaceChildren(
      ...lists.map(([heading, list]) =>
        element(
          "section",
          { class: "panel" },
          element("h2", {}, heading),
          element("ol", { class: "list" }, ...list.map((each) => this.#passage(reading, each))),
        ),
      ),
    );
  }

  #passage(reading, { begin, end, bits: rate }) {
    const excerpt = onOneLine(reading.characters.slice(begin, Math.min(end, begin + EXCERPT)));
    const row = button("", () => this.papers[0].showPassage(begin, end), { class: "passage" });
    row.append(element("b", {}, `${rate.toFixed(2)} bits`), element("bdi", {}, excerpt));
    return element("li", {}, row);
  }

  #tell(index) {
    const [first, second] = this.readings;
    const character = first?.characters[index];
    if (character === undefined) return this.inspector.clear();
    const facts = [
      ...surpriseFacts(first.surprises[index]),
      ["rank", first.ranks[index]?.toLocaleString("en") ?? "\u2013"],
    ];
    if (second && first.text === second.text && second.surprises[index] !== null) {
      facts.push([`${second.name}: surprise`, bits(second.surprises[index])], ["rank", second.ranks[index]]);
    }
    return this.inspector.show(character, index, facts);
  }
}
