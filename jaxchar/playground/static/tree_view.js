/** The tree of branches as a list to choose from. */

import { characters, onOneLine } from "./characters.js";
import { button, element } from "./dom.js";

const EXCERPT = 34; // characters

export class TreeView {
  /** @param {function(Branch)} onchoose */
  constructor(onchoose) {
    this.onchoose = onchoose;
    this.list = element("ol", { class: "tree" });
    this.element = element("section", { class: "panel" }, element("h2", {}, "Branches"), this.list);
    this.show(null, "");
  }

  show(tree, prompt) {
    const rows = tree ? tree.listed() : [];
    this.list.replaceChildren(...rows.map(({ branch, depth }) => this.#row(tree, branch, depth, prompt)));
    if (!rows.length)
      this.list.append(
        element("li", { class: "hint" }, "Choose another character in the text, and it goes on from there."),
      );
  }

  #row(tree, branch, depth, prompt) {
    const begin = branch.parent ? branch.characters : [...characters(prompt), ...branch.characters];
    const excerpt = onOneLine(begin.slice(0, EXCERPT)) || "\u2026";
    const place = branch.parent ? `at ${branch.at + 1}` : "start";
    const row = button("", () => this.onchoose(branch), {
      class: "branch",
      "aria-current": branch === tree.current ? "true" : null,
    });
    row.append(element("span", { class: "place" }, place), element("bdi", {}, excerpt));
    return element("li", { class: `depth-${Math.min(depth, 6)}` }, row);
  }
}
