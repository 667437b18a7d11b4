/** What the units of a layer held over a text: the server's bytes, and one unit's part of them. */

const LEAST = 0.25; // of the layer's range: a unit that hardly moves stays pale

export class Activations {
  /** @param {Object} answer - of api/cells: values are int8 [T, H] in base64, times scale over 127. */
  constructor({ units, characters, scale, values }) {
    this.units = units;
    this.count = characters;
    this.scale = scale;
    this.bytes = decoded(values);
  }

  /** A unit's value at a character. */
  value(index, unit) {
    return (this.bytes[index * this.units + unit] / 127) * this.scale;
  }

  /** The value at which a unit's colour is deepest. */
  reach(unit) {
    let largest = 0;
    for (let place = unit; place < this.bytes.length; place += this.units) {
      largest = Math.max(largest, Math.abs(this.bytes[place]));
    }
    return Math.max(largest / 127, LEAST) * this.scale;
  }

  /** A unit over the whole text, as shares of its reach: from -1 to 1. */
  shares(unit) {
    const reach = this.reach(unit) || 1;
    return Array.from({ length: this.count }, (_, index) => this.value(index, unit) / reach);
  }
}

/** The bytes of a base64 text; there may be millions, which a loop reads fastest. */
function decoded(text) {
  const binary = atob(text);
  const bytes = new Int8Array(binary.length);
  for (let place = 0; place < bytes.length; place += 1) bytes[place] = binary.charCodeAt(place);
  return bytes;
}
