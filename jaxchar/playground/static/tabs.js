/** The tabs of the page: one view is seen at a time, and the arrow keys go from tab to tab. */

import { onAddress, remember, where } from "./address.js";
import { element } from "./dom.js";

export class Tabs {
  /** @param {HTMLElement} list @param {HTMLElement} home - where the panels go. @param {Object[]} views */
  constructor(list, home, views) {
    this.views = views.map((view) => this.#made(view));
    list.append(...this.views.map(({ tab }) => tab));
    home.append(...this.views.map(({ panel }) => panel));
    list.addEventListener("keydown", (event) => this.#key(event));
    onAddress(() => this.fromAddress());
  }

  #made(view) {
    const id = view.name.toLowerCase();
    const panel = element("section", {
      role: "tabpanel",
      id: `panel-${id}`,
      "aria-labelledby": `tab-${id}`,
      class: `view view-${id}`,
      hidden: true,
    });
    const tab = element(
      "button",
      {
        type: "button",
        role: "tab",
        id: `tab-${id}`,
        "aria-controls": `panel-${id}`,
        "aria-selected": "false",
        tabindex: -1,
        onclick: () => this.choose(id),
      },
      view.name,
    );
    view.build(panel);
    return { id, view, tab, panel };
  }

  fromAddress() {
    const { view } = where();
    this.choose(this.views.some(({ id }) => id === view) ? view : this.views[0].id);
  }

  choose(id) {
    if (this.chosen === id) return;
    this.views.find((each) => each.id === this.chosen)?.view.hide?.();
    this.chosen = id;
    for (const { id: own, tab, panel } of this.views) {
      tab.setAttribute("aria-selected", String(own === id));
      tab.tabIndex = own === id ? 0 : -1;
      panel.hidden = own !== id;
    }
    remember({ view: id });
    this.views.find((each) => each.id === id).view.show?.();
  }

  #key(event) {
    const here = this.views.findIndex(({ id }) => id === this.chosen);
    const moves = { ArrowRight: here + 1, ArrowLeft: here - 1, Home: 0, End: this.views.length - 1 };
    if (!(event.key in moves)) return;
    const next = this.views[(moves[event.key] + this.views.length) % this.views.length];
    this.choose(next.id);
    next.tab.focus();
    event.preventDefault();
  }
}
