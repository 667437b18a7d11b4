/** The view Write: text as it is written, coloured by surprise, and its branches. */

import { Alternatives } from "./alternatives.js";
import { ask, Latest, stream } from "./api.js";
import { characters } from "./characters.js";
import { surpriseClass, surpriseLegend } from "./colours.js";
import { button, element, labelled, promptField, Status } from "./dom.js";
import { Inspector, surpriseFacts } from "./inspector.js";
import { Paper } from "./paper.js";
import { SamplingForm } from "./sampling_form.js";
import { Tree } from "./tree.js";
import { TreeView } from "./tree_view.js";

export class WriteView {
  name = "Write";

  constructor(models) {
    this.models = models;
    this.writing = new Latest();
    this.asking = new Latest();
    this.tree = new Tree();
    this.status = new Status();
    this.form = new SamplingForm();
    this.inspector = new Inspector(
      "Point at a character, or walk with the arrow keys. A click or Enter shows what else could be there.",
    );
    this.paper = new Paper({
      label: "The text that is written",
      openEnd: true,
      empty: "Nothing is written yet.",
      onmove: (index) => this.#tell(index),
      onchoose: (index) => this.#alternatives(index),
    });
    this.menu = new Alternatives(this.paper.element, (character, probability) =>
      this.#branch(character, probability),
    );
    this.treeView = new TreeView((branch) => this.#goTo(branch));
    this.prompt = promptField({
      onkeydown: (event) => {
        if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#start();
      },
    });
    models.onChange(() => this.#fit());
  }

  build(panel) {
    this.buttons = {
      write: button("Write", () => this.#start(), { class: "primary", title: "Ctrl+Enter in the prompt" }),
      stop: button("Stop", () => this.writing.stop(), { disabled: true }),
      more: button("Write on", () => this.#goOn(), { disabled: true }),
      undo: button("Undo", () => this.#undo(), { disabled: true }),
      copy: button("Copy", () => this.#copy(), { disabled: true }),
      save: button("Save", () => this.#save(), { disabled: true }),
    };
    const main = element(
      "div",
      { class: "main" },
      labelled("Prompt", this.prompt),
      element("div", { class: "actions" }, ...Object.values(this.buttons)),
      this.status.element,
      element("div", { class: "anchor" }, this.paper.element, this.menu.element),
      this.inspector.element,
      surpriseLegend(),
    );
    const settings = element(
      "details",
      { class: "panel", open: true },
      element("summary", {}, element("h2", {}, "How it is written")),
      this.form.element,
    );
    panel.append(main, element("aside", {}, settings, this.treeView.element));
  }

  #fit() {
    this.form.fit(this.models.model);
    if (this.fitted !== this.models.model.id && !this.tree.current) {
      this.prompt.value = this.models.model.default_prompt ?? "";
    }
    this.fitted = this.models.model.id;
  }

  // ---- writing ---------------------------------------------------------------------------------

  #start() {
    this.tree = new Tree();
    this.written = { prompt: this.prompt.value, held: [] };
    this.tree.branch();
    this.#show();
    this.#write(this.form.values().length);
  }

  #goOn() {
    const branch = this.tree.branch(this.tree.textOf().characters.length);
    branch.characters = [];
    this.#write(this.form.values().length);
  }

  async #write(length) {
    const signal = this.writing.begin();
    const branch = this.tree.current;
    this.#refresh(true);
    this.status.tell("Writing \u2026");
    const body = {
      ...this.models.asked,
      ...this.written,
      ...this.form.values(),
      length,
      continued: this.tree.textOf().characters.join(""),
    };
    try {
      for await (const { event, data } of stream("api/write", { body, signal })) {
        if (event === "piece") this.#add(branch, characters(data.text), data.surprises);
        if (event === "done") this.#done(data.stopped);
      }
    } catch (error) {
      if (!this.writing.isLast(signal)) return;
      if (error.name === "AbortError") this.#done("here");
      this.status.fail(error);
    }
    if (this.writing.isLast(signal)) this.#refresh(false);
  }

  #add(branch, more, surprises) {
    branch.characters.push(...more);
    branch.surprises.push(...surprises);
    if (this.tree.current === branch) this.paper.append(more, surprises.map(surpriseClass));
  }

  #done(why) {
    const count = this.tree.textOf().characters.length.toLocaleString("en");
    const reasons = { length: "", stop: ", up to the stop", here: ", stopped by you" };
    this.status.tell(`${count} characters${reasons[why] ?? ""}.`);
  }

  // ---- branches --------------------------------------------------------------------------------

  async #alternatives(index) {
    const place = index - characters(this.written?.prompt ?? "").length;
    if (place < 0 || !this.tree.current) return;
    this.writing.stop();
    const { characters: all } = this.tree.textOf();
    const asked = { ...this.models.asked, ...this.written };
    const { memory } = this.form.values();
    const body = { ...asked, memory, continued: all.slice(0, place).join(""), count: Alternatives.count };
    this.chosen = place;
    try {
      const { alternatives } = await ask("api/alternatives", { body, signal: this.asking.begin() });
      this.menu.open(this.paper.text.rect(index), alternatives, all[place] ?? null);
    } catch (error) {
      this.status.fail(error);
    }
  }

  #branch(character, probability) {
    this.writing.drop();
    const branch = this.tree.branch(this.chosen);
    branch.characters.push(character);
    branch.surprises.push(-Math.log(Math.max(probability, 1e-30)));
    this.#show();
    this.paper.moveTo(characters(this.written.prompt).length + this.chosen);
    this.#write(Math.max(1, this.form.values().length - this.chosen - 1));
  }

  #goTo(branch) {
    this.writing.drop();
    this.tree.goTo(branch);
    this.#show();
    this.#done();
  }

  #undo() {
    this.writing.drop();
    this.tree.undo();
    this.#show();
    this.#done();
  }

  // ---- what is shown ---------------------------------------------------------------------------

  #show() {
    const prompt = characters(this.written.prompt);
    const { characters: all, surprises } = this.tree.textOf();
    this.paper.set([...prompt, ...all], [...prompt.map(() => "prompt"), ...surprises.map(surpriseClass)]);
    this.#refresh(false);
  }

  #refresh(busy) {
    this.treeView.show(this.tree, this.written.prompt);
    const { stop, more, undo, copy, save } = this.buttons;
    stop.disabled = !busy;
    more.disabled = busy;
    undo.disabled = !this.tree.canUndo;
    copy.disabled = save.disabled = false;
    this.paper.element.setAttribute("aria-busy", busy);
  }

  #tell(index) {
    const prompt = characters(this.written?.prompt ?? "");
    const character = this.paper.text.characters[index];
    if (character === undefined) return this.inspector.clear();
    const nats = this.tree.textOf().surprises[index - prompt.length];
    const facts = index < prompt.length ? [["part of", "the prompt"]] : surpriseFacts(nats);
    return this.inspector.show(character, index, facts);
  }

  get #whole() {
    return this.written.prompt + this.tree.textOf().characters.join("");
  }

  async #copy() {
    try {
      await navigator.clipboard.writeText(this.#whole);
      this.status.tell("Copied.");
    } catch {
      this.status.fail(new Error("The browser does not let this page copy; use Save"));
    }
  }

  #save() {
    const address = URL.createObjectURL(new Blob([this.#whole], { type: "text/plain;charset=utf-8" }));
    element("a", { href: address, download: `${this.models.model.name}.txt` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }
}
