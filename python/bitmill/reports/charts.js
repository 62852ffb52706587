// Charts as SVG, drawn for the width that there is.

/** A chart in `box`, drawn again whenever its width changes. */
function chart(box, draw) {
  let last = 0;
  const redraw = () => {
    const width = Math.floor(box.clientWidth);
    if (width && width !== last) { last = width; box.replaceChildren(draw(width)); }
  };
  new ResizeObserver(redraw).observe(box);
  redraw();
  return () => { last = 0; redraw(); };
}

function picture(width, height, title, ...children) {
  const size = { viewBox: `0 0 ${width} ${height}`, height, role: "img", "aria-label": title };
  return el("svg", size, ...children);
}

/** Round numbers from `low` to `high`, about `count` of them. */
function ticks(low, high, count, least = 0) {
  const rough = Math.max((high - low) / Math.max(1, count), 1e-12);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(least, [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough * 0.999));
  const found = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i += 1) found.push(i * step);
  return found;
}

const line = (x1, y1, x2, y2, kind) => el("line", { x1, y1, x2, y2, class: kind });
const label = (x, y, text, anchor = "middle", kind = null) =>
  el("text", { x, y, "text-anchor": anchor, class: kind }, text);

/** SQNR of the quantized tensors in the order of the model. */
function alongChart(width, tensors, current, choose) {
  const height = Math.min(270, Math.max(210, width * 0.45)), left = 38, right = 12, top = 22, bottom = 34;
  const known = tensors.filter((t) => t.metrics && t.metrics.sqnr_db !== null);
  if (!known.length) return el("p", { class: "about" }, "No quantized tensor has lost anything.");
  const values = known.map((t) => t.metrics.sqnr_db);
  const least = minOf(values), most = maxOf(values), room = Math.max(1, (most - least) * 0.08);
  const x = (i) => left + ((i + 0.5) / known.length) * (width - left - right);
  const y = (v) => height - bottom - ((v - least + room) / (most - least + 2 * room)) * (height - top - bottom);
  const made = [];
  for (const v of ticks(least - room, most + room, 4))
    made.push(line(left, y(v), width - right, y(v), "grid"), label(left - 8, y(v) + 4, short(v), "end"));
  made.push(label(left - 8, 9, "dB", "end"), ...layerMarks(known, x, top, height - bottom));
  const isDense = known.length > 150, last = known.indexOf(current);
  const order = [...known.keys()].filter((i) => i !== last).concat(last < 0 ? [] : [last]);
  for (const i of order) {
    const t = known[i];
    const kind = `dot${isFlagged(t) ? " flagged" : ""}${i === last ? " current" : isDense ? " dense" : ""}`;
    const r = i === last ? 6 : isDense ? 3 : 4.5;
    const dot = { cx: x(i), cy: y(t.metrics.sqnr_db), r, class: kind, onclick: () => choose(t) };
    made.push(el("circle", dot, el("title", {}, `${shown(t.name)}: ${decibels(t.metrics.sqnr_db)}`)));
  }
  const about = `SQNR of ${plural(known.length, "tensor")}, from ${decibels(least)} to ${decibels(most)}; all are in the table`;
  return picture(width, height, about, ...made);
}

/** Where the layers begin, by the first number in the names; not all, where they are many. */
function layerMarks(tensors, x, top, bottom) {
  const made = [], layer = (t) => (t.name.match(/\.(\d+)\./) || [null, null])[1];
  let before = null, free = 0;
  tensors.forEach((t, i) => {
    const now = layer(t), at = i ? (x(i) + x(i - 1)) / 2 : x(0) - 6;
    if (now === before) return;
    before = now;
    if (now === null || at < free) return;
    const text = free ? now : `layer ${now}`;
    if (i) made.push(line(at, top, at, bottom, "grid"));
    made.push(label(at + 3, bottom + 16, text, "start"));
    free = at + 10 + 7 * text.length;
  });
  return made;
}

/** Counts of values in bins, and the levels that they are rounded to. */
function histogramChart(width, h) {
  const height = 180, left = 2, right = 2, top = 8, bottom = 26, floor = height - bottom;
  const end = h.low + h.width * h.counts.length, most = Math.max(...h.counts, 1);
  const x = (v) => left + ((v - h.low) / (end - h.low)) * (width - left - right);
  const y = (n) => floor - (n / most) * (floor - top);
  const made = [];
  const first = h.levels[0], last = h.levels[h.levels.length - 1];
  if (h.levels.length > 1 && h.unit === "code") {
    for (const [from, to] of [[h.low, first - 0.5], [last + 0.5, end]])
      if (to > from + 1e-9)
        made.push(el("rect", { x: x(from), y: top, width: x(to) - x(from), height: floor - top, class: "beyond" }));
  }
  let path = `M${x(h.low)} ${floor}`;
  h.counts.forEach((n, i) => { path += `V${y(n).toFixed(1)}H${x(h.low + h.width * (i + 1)).toFixed(1)}`; });
  made.push(el("path", { d: `${path}V${floor}Z`, class: "bars" }));
  const few = h.levels.length <= 40;
  for (const level of h.levels) made.push(line(x(level), few ? top : floor, x(level), floor + 5, "level"));
  made.push(line(left, floor, width - right, floor, "axis"));
  for (const v of ticks(h.low, end, Math.min(8, width / 60), h.levels.length && h.levels.every(Number.isInteger) ? 1 : 0)) {
    const anchor = x(v) < 16 ? "start" : x(v) > width - 16 ? "end" : "middle";
    made.push(label(x(v), height - 6, short(v), anchor));
  }
  const total = sum(h.counts) + h.below + h.above;
  return picture(width, height, `Histogram of ${whole(total)} values and ${plural(h.levels.length, "level")}`, ...made);
}

const SHADES = 24;

/** How strong a cell is: none at half the error of the tensor, full at twice it. */
const strength = (ratio) => Math.min(1, Math.max(0, (Math.log2(Math.max(ratio, 1e-9)) + 1) / 2));

/** The error of each cell of the tensor. */
function heatChart(width, map, tellCell) {
  const cells = Uint8Array.from(atob(map.cells), (c) => c.charCodeAt(0));
  const columns = map.columns, rows = cells.length / columns;
  const height = Math.max(60, Math.min(200, rows * 7)), w = width / columns, h = height / rows;
  const paths = Array.from({ length: SHADES + 1 }, () => "");
  const ratio = (i) => (cells[i] / 255) * map.max;
  cells.forEach((_, i) => {
    const column = i % columns, row = (i - column) / columns;
    const shade = Math.round(strength(ratio(i)) * SHADES);
    const x0 = Math.round(column * w), x1 = Math.round((column + 1) * w);
    const y0 = Math.round(row * h), y1 = Math.round((row + 1) * h);
    paths[shade] += `M${x0} ${y0}H${x1}V${y1}H${x0}Z`;
  });
  const made = paths.map((d, i) => d && el("path", { d, class: "heat", "fill-opacity": 0.04 + (0.96 * i) / SHADES }));
  made.push(el("rect", { x: 0.5, y: 0.5, width: width - 1, height: height - 1, class: "frame" }));
  const svg = picture(width, height, `Map of the error: ${rows} by ${columns} cells`, ...made.filter(Boolean));
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const column = Math.min(columns - 1, Math.floor(((event.clientX - box.left) / box.width) * columns));
    const row = Math.min(rows - 1, Math.floor(((event.clientY - box.top) / box.height) * rows));
    if (row >= 0 && column >= 0) tellCell(row, column, ratio(row * columns + column));
  });
  svg.addEventListener("pointerleave", () => tellCell(null));
  return svg;
}

/** Sizes against errors: the frontier, all weights with one scheme, and what was chosen. */
function frontierChart(width, f) {
  const height = Math.min(340, Math.max(240, width * 0.4)), left = 52, right = 16, top = 14, bottom = 42;
  const bits = (spot) => (8 * spot[0]) / f.weights;
  const points = f.points.filter((spot) => spot[1] > 0);
  const uniform = Object.entries(f.uniform).filter(([, spot]) => spot[1] > 0);
  const all = [...points, ...uniform.map(([, spot]) => spot), ...(f.chosen && f.chosen[1] > 0 ? [f.chosen] : [])];
  if (!all.length) return el("p", { class: "about" }, "No candidate has lost anything.");
  const far = Math.max(...uniform.map(([, spot]) => bits(spot)), f.chosen ? bits(f.chosen) : 0) || Infinity;
  const seen = all.filter((spot) => bits(spot) <= far * 1.001);
  const least = Math.min(...seen.map(bits)), most = Math.max(...seen.map(bits)), room = Math.max(0.1, (most - least) * 0.05);
  const logs = seen.map((spot) => Math.log10(spot[1]));
  const low = Math.min(...logs) - 0.12, high = Math.max(...logs) + 0.12;
  const x = (b) => left + ((b - least + room) / (most - least + 2 * room)) * (width - left - right);
  const y = (e) => top + ((high - Math.log10(e)) / (high - low)) * (height - top - bottom);
  const made = [];
  for (const e of logTicks(low, high))
    made.push(line(left, y(e), width - right, y(e), "grid"), label(left - 8, y(e) + 4, short(e, 1), "end"));
  for (const b of ticks(least - room, most + room, width / 110))
    made.push(line(x(b), top, x(b), height - bottom, "grid"), label(x(b), height - bottom + 17, short(b)));
  made.push(line(left, height - bottom, width - right, height - bottom, "axis"));
  made.push(label(left + (width - left - right) / 2, height - 6, "bits per weight"));
  const path = points.filter((spot) => bits(spot) <= far * 1.001).map((spot) => `${x(bits(spot)).toFixed(1)} ${y(spot[1]).toFixed(1)}`);
  if (path.length) made.push(el("path", { d: `M${path.join("L")}`, class: "curve" }));
  for (const [name, spot] of uniform) {
    const [cx, cy] = [x(bits(spot)), y(spot[1])];
    made.push(el("rect", { x: cx - 4, y: cy - 4, width: 8, height: 8, class: "square" },
      el("title", {}, `all ${shown(name)}: ${fixed(bits(spot), 3)} bits per weight, error ${short(spot[1])}`)));
    const isLast = cx > width - 60;
    made.push(label(isLast ? cx - 8 : cx + 9, cy - 6, shown(name), isLast ? "end" : "start", "halo"));
  }
  if (f.chosen && f.chosen[1] > 0) {
    const [cx, cy] = [x(bits(f.chosen)), y(f.chosen[1])];
    made.push(el("circle", { cx, cy, r: 6, class: "pick" }));
    made.push(label(Math.max(cx - 10, left + 94), cy + 18, "this checkpoint", "end", "strong halo"));
  }
  return picture(width, height, "Sizes against summed squared errors; the figures are in the table below", ...made);
}

/** 1, 2 and 5 of each power of ten; the powers alone where there are many. */
function logTicks(low, high) {
  const found = [], steps = high - low > 2.5 ? [1] : [1, 2, 5];
  for (let power = Math.floor(low); power <= high; power += 1)
    for (const n of steps) {
      const at = power + Math.log10(n);
      if (at >= low && at <= high) found.push(n * 10 ** power);
    }
  return found;
}
