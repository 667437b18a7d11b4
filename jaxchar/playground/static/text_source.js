/** A text to look at: typed, pasted, dropped, or opened from a file. */

import { characters } from "./characters.js";
import { button, element, labelled } from "./dom.js";

const LARGEST = 20_000; // characters; the server says so, too
const LONG = 2000; // units of UTF-16
const BYTES = 4 * LARGEST + 4; // no character of UTF-8 has more than four: enough to see that there is more

export class TextSource {
  /** @param {string} heading @param {string} value - the text at first. @param {function(string)} onnote */
  constructor(heading, value, onnote) {
    this.onnote = onnote;
    this.area = element("textarea", {
      rows: 5,
      spellcheck: "false",
      value,
      onpaste: (event) => this.#paste(event),
    });
    this.file = element("input", {
      type: "file",
      class: "hidden",
      tabindex: -1,
      "aria-hidden": "true",
      accept: "text/*,.txt,.md,.py,.c,.h,.js,.tex,.csv,.json",
      onchange: () => this.#take(this.file.files[0]),
    });
    this.open = button("Open a file", () => this.file.click(), { class: "quiet" });
    this.element = element(
      "div",
      {
        class: "drop",
        ondragover: (event) => this.#over(event),
        ondragleave: () => this.element.classList.remove("over"),
        ondrop: (event) => this.#drop(event),
      },
      labelled(heading, this.area),
      this.file,
    );
  }

  get value() {
    return this.area.value;
  }

  /** Take a long text at once: a browser may need seconds to paste it so that it can be undone. */
  #paste(event) {
    const text = event.clipboardData.getData("text/plain");
    if (text.length < LONG) return;
    event.preventDefault();
    const { value, selectionStart, selectionEnd } = this.area;
    this.#set(value.slice(0, selectionStart) + text + value.slice(selectionEnd));
  }

  #over(event) {
    event.preventDefault();
    this.element.classList.add("over");
  }

  #drop(event) {
    event.preventDefault();
    this.element.classList.remove("over");
    const [file] = event.dataTransfer.files;
    if (file) this.#take(file);
    else this.#set(event.dataTransfer.getData("text/plain"));
  }

  async #take(file) {
    if (file) this.#set(await file.slice(0, BYTES).text());
    this.file.value = "";
  }

  #set(text) {
    const all = characters(text);
    this.area.value = all.slice(0, LARGEST).join("");
    this.onnote(
      all.length > LARGEST ? `Only the first ${LARGEST.toLocaleString("en")} characters were taken.` : "",
    );
  }
}
