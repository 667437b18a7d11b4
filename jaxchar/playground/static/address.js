/** What is looked at (view, model, step, unit), kept in the address so that a reload shows it again. */

const listeners = new Set();

/** The parts of the address after its #, as an object of strings. */
export function where() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

/** Change some parts; null removes one. The page goes on without a new entry in its history. */
export function remember(parts) {
  const all = new URLSearchParams(location.hash.slice(1));
  for (const [name, value] of Object.entries(parts)) {
    if (value === null || value === "") all.delete(name);
    else all.set(name, value);
  }
  const before = location.hash;
  if (`#${all}` !== before) history.replaceState(null, "", `#${all}`);
}

/** Be told when the user changes the address by hand, or goes back. */
export function onAddress(listener) {
  if (!listeners.size) addEventListener("hashchange", () => listeners.forEach((each) => each()));
  listeners.add(listener);
}
