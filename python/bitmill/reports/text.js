// How numbers and names are written, and elements made.

const MINUS = "\u2212", TIMES = "\u00d7";

/** An element with attributes and children; text never becomes markup. */
function el(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "path", "line", "rect", "circle", "text", "title"].includes(tag);
  const made = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

const byId = (id) => document.getElementById(id);

/** Text from a file: characters that are not seen, or that turn the text around them, as escapes. */
function shown(text) {
  return String(text).replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
}

/** The name of a tensor, which may break behind its dots. */
function nameOf(text) {
  const parts = shown(text).split(".");
  const pieces = parts.flatMap((part, i) => (i < parts.length - 1 ? [`${part}.`, el("wbr")] : [part]));
  return el("span", { class: "name" }, ...pieces);
}

const signed = (text) => String(text).replace("-", MINUS);
const fixed = (number, digits) => signed(number.toFixed(digits));
const whole = (number) => number.toLocaleString("en-US");
const decibels = (number) => (number === null ? "exact" : `${fixed(number, 2)} dB`);
const shapeOf = (shape) => shape.join(TIMES) || "scalar";
const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

/** A few significant digits, with an exponent where there would be many zeros. */
function short(number, digits = 3) {
  if (number === 0) return "0";
  const size = Math.abs(number);
  if (size >= 1e5 || size < 1e-3) {
    const [mantissa, exponent] = number.toExponential(digits - 1).split("e");
    return signed(`${mantissa}e${Number(exponent)}`);
  }
  return signed(Number(number.toPrecision(digits)));
}

function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let unit = 0, value = count;
  while (Math.abs(value) >= 999.5 && unit < units.length - 1) { value /= 1000; unit += 1; }
  return signed(`${unit ? value.toPrecision(3) : value} ${units[unit]}`);
}

function percent(part) {
  const value = 100 * part;
  if (value === 0) return "0 %";
  if (Math.abs(value) < 0.05) return "< 0.1 %";
  return `${fixed(value, Math.abs(value) >= 99.95 ? 0 : 1)} %`;
}

/** A function that works once, and has its result at hand from then on. */
function once(work) {
  let found;
  return () => (found === undefined ? (found = work()) : found);
}

const minOf = (numbers) => numbers.reduce((a, b) => Math.min(a, b), Infinity);
const maxOf = (numbers) => numbers.reduce((a, b) => Math.max(a, b), -Infinity);
const sum = (numbers) => numbers.reduce((total, number) => total + number, 0);
