/** Elements of the page, made from plain data: whatever a text holds becomes a text node, never markup. */

const SVG = "http://www.w3.org/2000/svg";
const REFUSED = new Set(["innerHTML", "outerHTML", "style", "srcdoc"]);

/**
 * Make an element.
 * @param {string} tag
 * @param {Object} properties - attributes; "onclick" and the like are listeners; false omits one.
 * @param {...(Node|string|number|null)} children - strings become text nodes; null is left out.
 */
export function element(tag, properties = {}, ...children) {
  return filled(document.createElement(tag), properties, children);
}

/** Make an element of a drawing. */
export function drawn(tag, properties = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), properties, children);
}

function filled(made, properties, children) {
  for (const [name, value] of Object.entries(properties)) {
    if (REFUSED.has(name)) throw new TypeError(`${name} is not set from data`);
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "value") made.value = value;
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined).map(asNode));
  return made;
}

function asNode(child) {
  return child instanceof Node ? child : document.createTextNode(String(child));
}

/** A control with its name above it. */
export function labelled(name, control, hint = "") {
  return element(
    "label",
    { class: "field" },
    element("span", { class: "name" }, name),
    control,
    hint ? element("span", { class: "hint" }, hint) : null,
  );
}

/** A field for a prompt, which may have several lines. */
export function promptField(properties = {}) {
  return element("textarea", { name: "prompt", rows: 2, spellcheck: "false", ...properties });
}

/** A button that does something. */
export function button(name, action, properties = {}) {
  return element("button", { type: "button", onclick: action, ...properties }, name);
}

/** A choice among [value, name] pairs. */
export function choice(pairs, properties = {}) {
  const options = pairs.map(([value, name]) => element("option", { value }, name));
  return element("select", properties, ...options);
}

/** Put other options into a choice, and keep what was chosen where it is still there. */
export function fillChoice(select, pairs, chosen = select.value) {
  select.replaceChildren(...pairs.map(([value, name]) => element("option", { value }, name)));
  if (pairs.some(([value]) => String(value) === String(chosen))) select.value = chosen;
}

/** A line that tells what happens, also to those who listen to the page. */
export class Status {
  constructor() {
    this.element = element("p", { class: "status", role: "status" });
  }

  tell(message) {
    this.element.classList.remove("error");
    this.element.textContent = message;
  }

  /** Tell an error, unless it is that of an action broken off. */
  fail(error) {
    if (error.name === "AbortError") return;
    this.element.classList.add("error");
    this.element.textContent = error.message;
  }
}
