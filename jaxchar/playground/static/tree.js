/** The branches of a text: every text that was written, where it leaves its parent, and how to go back. */

/**
 * One branch. Its text is its parent's up to `at`, and then its own characters.
 * @typedef {{id: number, parent: Branch|null, at: number, characters: string[], surprises: number[]}} Branch
 */

export class Tree {
  constructor() {
    this.branches = [];
    this.current = null;
    this.#past = [];
  }

  #past;

  /** Begin a branch of the current text, `at` characters after the prompt. The first one has no parent. */
  branch(at = 0) {
    const made = { id: this.branches.length + 1, parent: this.current, at, characters: [], surprises: [] };
    this.branches.push(made);
    this.goTo(made);
    return made;
  }

  /** Make another branch the current one; undo comes back. */
  goTo(branch) {
    if (branch === this.current) return;
    this.#past.push(this.current);
    this.current = branch;
  }

  get canUndo() {
    return this.#past.length > 1;
  }

  /** Go back to the branch before. */
  undo() {
    if (this.canUndo) this.current = this.#past.pop();
  }

  /** All characters of a branch after the prompt, with the surprise in nats of each. */
  textOf(branch = this.current) {
    if (!branch) return { characters: [], surprises: [] };
    const before = branch.parent ? this.textOf(branch.parent) : { characters: [], surprises: [] };
    return {
      characters: [...before.characters.slice(0, branch.at), ...branch.characters],
      surprises: [...before.surprises.slice(0, branch.at), ...branch.surprises],
    };
  }

  /** Branches in the order of a table of contents, each with its depth. */
  listed() {
    const below = (parent, depth) =>
      this.branches
        .filter((branch) => branch.parent === parent)
        .sort((one, other) => one.at - other.at || one.id - other.id)
        .flatMap((branch) => [{ branch, depth }, ...below(branch, depth + 1)]);
    return below(null, 0);
  }
}
