// One tensor: its figures, its histogram, where its error is, and what else was measured.

function makeDetails(choose, order) {
  const box = byId("detail");
  return (t, focus) => {
    const step = [...box.querySelectorAll(".steps button")].indexOf(document.activeElement);
    box.replaceChildren(
      stepsOf(t, choose, order()),
      el("h2", { id: "detail-title", tabindex: "-1" }, nameOf(t.name)),
      el("p", { class: "soft" }, summaryOf(t)),
      factsOf(t),
      ...[histogramOf(t), heatOf(t), alternativesOf(t)].flat());
    if (focus) byId("detail-title").focus({ preventScroll: true });
    else if (step >= 0) stayOn(step);
  };
}

/** Focus on the step that was taken, or on the other one, where there is no further step. */
function stayOn(step) {
  const steps = [...byId("detail").querySelectorAll(".steps button")];
  (steps[step].disabled ? steps[1 - step] : steps[step]).focus({ preventScroll: true });
}

function stepsOf(t, choose, order) {
  const at = order.indexOf(t);
  const step = (text, to) =>
    el("button", { type: "button", class: "quiet", disabled: !to, onclick: () => choose(to, false) }, text);
  const place = at < 0 ? "not in the table now" : `${whole(at + 1)} of ${whole(order.length)} in the table`;
  return el("div", { class: "steps" }, el("span", { class: "soft" }, place),
    el("a", { href: "#tensors", class: "quiet up" }, "Table"), step("Previous", order[at - 1]), step("Next", at < 0 ? order[0] : order[at + 1]));
}

function summaryOf(t) {
  const rule = t.name.startsWith(t.reason) ? "" : `, by rule ${shown(t.reason)}`;
  if (isQuantized(t)) return `${shapeOf(t.shape)}, ${shown(t.scheme)}${rule}`;
  return `${shapeOf(t.shape)}, kept unchanged: ${shown(t.reason)}`;
}

function factsOf(t) {
  const m = t.metrics, h = t.health, facts = [];
  const add = (term, ...text) => facts.push(el("div", {}, el("dt", {}, term), el("dd", {}, ...text)));
  const soft = (text) => el("span", {}, ` ${text}`);
  if (m) {
    add("SQNR", m.sqnr_db === null && m.max_abs ? `${MINUS}\u221e dB` : decibels(m.sqnr_db));
    add("Share of error", percent(t.error_share));
    add("Largest error", short(m.max_abs));
    add("Root mean square error", short(Math.sqrt(m.mse)));
  }
  add("Size", bytes(t.bytes_after), soft(`from ${bytes(t.bytes_before)}`));
  add("Bits per weight", fixed(t.bits_per_weight, 3));
  if (t.peak) add("Peak", short(t.peak), soft("\u00d7 rms"));
  if (t.scales) add("Scales", short(t.scales[1]), soft(`(${short(t.scales[0])} to ${short(t.scales[2])})`));
  if (isQuantized(t)) add("Clipped", h.clipped ? percent(h.clipped / sizeOf(t)) : "none");
  for (const name of flagsOf(t)) add(FLAGS[name][1][0].toUpperCase() + FLAGS[name][1].slice(1), name === "fallbacks" ? shown(t.unsupported) : whole(h[name]));
  return el("dl", { class: "facts" }, ...facts);
}

function histogramOf(t) {
  const h = t.histogram;
  if (!h) return isQuantized(t) && sizeOf(t) ? [el("p", { class: "note" }, `Pictures are in this page for the ${whole(DATA.pictures)} worst tensors.`)] : [];
  const box = el("div", { class: "chart" });
  const whose = DATA.has_source ? "Values before quantization" : "Values after quantization";
  const said = [h.unit === "code" ? `${whose}, in steps of the scale of their group` : whose];
  if (h.levels.length) said.push(`${plural(h.levels.length, "level")} in use (lines), ${fixed(entropy(h.level_counts), 2)} bits of entropy`);
  else said.push("each row has its own levels");
  if (t.health.clipped) said.push("shaded: clipped");
  if (h.below || h.above) said.push(`${plural(h.below + h.above, "value")} beyond the picture`);
  queueMicrotask(() => chart(box, (width) => histogramChart(width, h)));
  return [el("h3", {}, "Values and levels"), el("figure", {}, box, el("figcaption", {}, `${said.join("; ")}.`))];
}

/** −Σ p·log2(p): the bits that a code needs, if it is coded by how often it occurs. */
function entropy(counts) {
  const total = sum(counts);
  return Math.abs(sum(counts.map((n) => (n ? -(n / total) * Math.log2(n / total) : 0))));
}

function heatOf(t) {
  const map = t.errors;
  if (!map) return [];
  const box = el("div", { class: "chart" }), told = el("span", {});
  const rows = (begin, count) => range("row", begin, Math.min(begin + count, sizeOf(t) / t.shape[t.shape.length - 1]));
  const columns = (begin, count) => range("column", begin, Math.min(begin + count, t.shape[t.shape.length - 1]));
  const tellCell = (row, column, ratio) => {
    told.textContent = row === null ? "" : `${rows(row * map.rows_per_cell, map.rows_per_cell)}, ${columns(column * map.columns_per_cell, map.columns_per_cell)}: ${fixed(ratio, 2)}${TIMES}`;
  };
  queueMicrotask(() => chart(box, (width) => heatChart(width, map, tellCell)));
  const worst = (list) => list.map((w) => `${w.end - w.begin > 1 ? `${w.begin}\u2013${w.end - 1}` : w.begin} (${fixed(w.ratio, 2)}${TIMES})`).join(", ");
  return [
    el("h3", {}, "Where the error is"),
    el("figure", {}, box, el("figcaption", {}, "Root mean square error beside that of the tensor: ",
      el("span", { class: "scale" }, `0.5${TIMES}`, el("span", { class: "legend", role: "presentation" }), `2${TIMES} and more`),
      ". Rows downwards, groups of columns to the right. ", told)),
    el("p", { class: "about" }, `Worst rows: ${worst(map.worst_rows)}.`),
    el("p", { class: "about" }, `Worst columns: ${worst(map.worst_groups)}.`),
  ];
}

const range = (word, begin, end) => (end - begin > 1 ? `${word}s ${begin}\u2013${end - 1}` : `${word} ${begin}`);

function alternativesOf(t) {
  if (!t.alternatives) return [];
  const now = errorOf(t);
  const row = (label, m) => {
    const here = label === t.chosen;
    const beside = here ? "stored" : m.bytes === t.bytes_after ? "same" : `${m.bytes > t.bytes_after ? "+" : ""}${bytes(m.bytes - t.bytes_after)}`;
    return el("tr", { class: here ? "here" : null }, el("th", { scope: "row" }, shown(label)),
      el("td", {}, bytes(m.bytes)), el("td", {}, beside), el("td", {}, m.sqnr_db === null ? "exact" : fixed(m.sqnr_db, 2)),
      el("td", {}, now ? `${short(m.error / now, 2)}${TIMES}` : short(m.error)));
  };
  const order = Object.entries(t.alternatives).sort(([, a], [, b]) => a.bytes - b.bytes);
  const left = Object.entries(t.left_out || {}).map(([label, why]) => el("li", {}, `${shown(label)}: ${shown(why)}`));
  return [
    el("h3", {}, "What else was measured"),
    plainTable(["Scheme", "Size", "Beside this", "SQNR dB", now ? "Error" : "Squared error"], order.map(([label, m]) => row(label, m))),
    left.length ? el("p", { class: "about" }, "Not possible:") : null,
    left.length ? el("ul", { class: "about" }, ...left) : null,
  ].filter(Boolean);
}

function plainTable(titles, rows) {
  const head = titles.map((title) => el("th", { scope: "col", class: "plain" }, title));
  const table = el("table", {}, el("thead", {}, el("tr", {}, ...head)), el("tbody", {}, ...rows));
  return el("div", { class: "scroll" }, table);
}
