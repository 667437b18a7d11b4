/** Which colour a figure has: a class of the style sheet, which knows about light and dark. */

import { element } from "./dom.js";

export const BITS = 1 / Math.LN2; // a nat
const SURPRISE_BITS = [0.5, 1, 2, 3, 4.5, 6, 8]; // where each shade begins
const DIFFERENCE_BITS = [0.15, 0.4, 0.8, 1.3, 2, 3, 4.5, 6];
const LEVELS = 8; // of each sign

/** The class of a surprise in nats; null (the first character of a text) has none. */
export function surpriseClass(nats) {
  if (nats === null || nats === undefined) return "";
  const level = SURPRISE_BITS.findLastIndex((begin) => nats * BITS >= begin) + 1;
  return level ? `s${level}` : "";
}

/** The class of a value between -1 and 1: one hue above zero, another below. */
export function valueClass(value) {
  const level = Math.min(LEVELS, Math.round(Math.abs(value) * LEVELS));
  return level ? `${value > 0 ? "p" : "n"}${level}` : "";
}

/** The class of a difference between two surprises in nats: above zero the second is more surprised. */
export function differenceClass(nats) {
  if (nats === null || Number.isNaN(nats)) return "";
  const level = DIFFERENCE_BITS.findLastIndex((begin) => Math.abs(nats) * BITS >= begin) + 1;
  return level ? `${nats > 0 ? "n" : "p"}${level}` : "";
}

function legend(from, classes, to) {
  const swatches = classes.map((name) => element("i", { class: `swatch ${name}` }));
  return element(
    "p",
    { class: "legend" },
    from,
    element("span", { class: "swatches", "aria-hidden": "true" }, ...swatches),
    to,
  );
}

/** What the shades of surprise mean. */
export function surpriseLegend() {
  return legend(
    "expected",
    ["", ...SURPRISE_BITS.map((_, index) => `s${index + 1}`)],
    "surprising (8 bits and more)",
  );
}

/** What the two hues mean. */
export function signedLegend(below, above) {
  const steps = [8, 6, 4, 2];
  const classes = [...steps.map((n) => `n${n}`), "", ...steps.toReversed().map((n) => `p${n}`)];
  return legend(below, classes, above);
}

/** The colours of int8 values from -128 to 127 as canvas pixels, read from the style sheet. */
export function palette(within) {
  const stops = [];
  for (let level = -LEVELS; level <= LEVELS; level += 1)
    stops.push(pixelOf(valueClass(level / LEVELS), within));
  const pixels = new Uint32Array(256);
  for (let index = 0; index < 256; index += 1) {
    const place = (Math.max(-127, index - 128) / 127) * LEVELS + LEVELS;
    const low = Math.min(stops.length - 2, Math.floor(place));
    const mixed = stops[low].map((part, i) => part + (stops[low + 1][i] - part) * (place - low));
    pixels[index] =
      (255 << 24) | (Math.round(mixed[2]) << 16) | (Math.round(mixed[1]) << 8) | Math.round(mixed[0]);
  }
  return pixels;
}

function pixelOf(name, within) {
  const probe = element("i", { class: `swatch ${name}` });
  within.append(probe);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 1;
  const context = canvas.getContext("2d");
  context.fillStyle = getComputedStyle(probe).backgroundColor;
  context.fillRect(0, 0, 1, 1);
  probe.remove();
  return [...context.getImageData(0, 0, 1, 1).data].slice(0, 3);
}
