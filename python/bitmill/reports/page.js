// The page: totals, health record and making as text, and what happens when a tensor is chosen.

const DATA = JSON.parse(byId("data").textContent);

function start() {
  const t = DATA.totals;
  const title = `${DATA.model ? shown(DATA.model) : "Checkpoint"}: ${schemesOf().join(" and ") || "nothing quantized"}`;
  byId("title").textContent = title;
  document.title = `${title}: quantization report`;
  byId("lead").append(...leadOf(t));
  if (!DATA.has_source) {
    byId("missing").hidden = false;
    byId("missing").textContent = "Made without the source: histograms are of the values after quantization, and where in a tensor the error is was not measured. bitmill report DIR --html FILE --source SRC shows both.";
  }
  byId("totals").append(...totalsOf(t));
  drawFrontier();
  byId("health-body").append(...healthOf());
  byId("made-body").append(...madeOf());
  byId("foot").textContent = `Made by bitmill ${shown(DATA.bitmill)} of the files of the checkpoint. This page loads nothing, and holds no paths and no times.`;
  byId("theme").addEventListener("click", turnTheme);
  followChoice();
}

/** What the most tensors got, and how many others there are. */
function schemesOf() {
  const counts = new Map();
  for (const { scheme } of DATA.tensors) if (scheme) counts.set(scheme, (counts.get(scheme) || 0) + 1);
  const order = [...counts].sort((a, b) => b[1] - a[1]).map(([scheme]) => shown(scheme));
  return order.length > 2 ? [order[0], `${order.length - 1} other schemes`] : order;
}

function leadOf(t) {
  if (!t.quantized) return ["No tensor was quantized."];
  const half = t.half_of_error ? `Half of the squared error is in ${plural(t.half_of_error, "tensor")} of ${whole(t.quantized)}. ` : "";
  if (!half) return ["None has lost anything."];
  return [half, "The worst, ", nameOf(t.worst), `, keeps ${leastOf(t)}.`];
}

/** The SQNR of the worst tensor; null is no error, or nothing but error. */
function leastOf(t) {
  return t.worst_sqnr_db === null && t.half_of_error ? `${MINUS}\u221e dB` : decibels(t.worst_sqnr_db);
}

function totalsOf(t) {
  const total = (term, value, more) => el("div", {}, el("dt", {}, term), el("dd", {}, el("b", {}, value), el("span", {}, more)));
  const flagged = DATA.tensors.filter(isFlagged).length;
  return [
    total("Weight files", bytes(t.bytes_after), `${fixed(t.bytes_before / Math.max(1, t.bytes_after), 2)}${TIMES} smaller than ${bytes(t.bytes_before)}`),
    t.quantized
      ? total("Bits per weight", fixed(t.quantized_bits_per_weight, 2), `where quantized; ${fixed(t.bits_per_weight, 2)} over all tensors`)
      : total("Bits per weight", fixed(t.bits_per_weight, 2), "over all tensors"),
    total("Quantized", `${whole(t.quantized)} of ${whole(t.tensors)}`, `tensors; ${percent(t.weights ? t.quantized_weights / t.weights : 0)} of the weights`),
    t.quantized ? total("Mean SQNR", decibels(t.sqnr_db), "by size, where something was lost") : null,
    t.quantized ? total("Least SQNR", leastOf(t), "of any tensor") : null,
    total("Health", flagged ? `${plural(flagged, "tensor")}` : "Good", flagged ? "with something to look at" : "nothing fell back or underflowed"),
  ].filter(Boolean);
}

function drawFrontier() {
  const f = DATA.frontier;
  if (!f) {
    byId("frontier-about").textContent = "No alternatives were measured. 'bitmill sensitivity SRC --out FILE' measures them, and 'bitmill report DIR --html FILE --sensitivity FILE' shows for each tensor what it could have got, and here the least error for each size.";
    return;
  }
  const weighed = f.weighed ? ", weighed by importance" : "";
  const chosen = f.chosen ? "" : " Where this checkpoint lies was not measured.";
  byId("frontier-about").textContent = `The line is the least squared error${weighed} that the measured schemes can reach at each size, tensor by tensor, over ${whole(f.weights)} weights; squares have one scheme for all.${chosen}${halvedOf(f)}`;
  chart(byId("frontier-chart"), (width) => frontierChart(width, f));
  const spots = Object.entries(f.uniform).map(([label, spot]) => [`all ${shown(label)}`, spot]);
  if (f.chosen) spots.push(["this checkpoint", f.chosen]);
  const rows = spots.sort((a, b) => a[1][0] - b[1][0]).map(([name, [size, error]]) => el("tr", { class: name === "this checkpoint" ? "here" : null },
    el("th", { scope: "row" }, name), el("td", {}, fixed((8 * size) / f.weights, 3)), el("td", {}, bytes(size)), el("td", {}, short(error, 4)), el("td", {}, f.chosen && f.chosen[1] ? `${short(error / f.chosen[1], 3)}${TIMES}` : "")));
  const table = plainTable(["Choice", "Bits / weight", "Size", "Squared error", "Beside this"], rows);
  byId("frontier-table").append(el("details", {}, el("summary", {}, "As a table"), table));
}

/** What half the error would take, on the frontier. */
function halvedOf(f) {
  const half = f.chosen && f.points.find((spot) => spot[1] <= f.chosen[1] / 2);
  if (!half || half[0] <= f.chosen[0]) return "";
  return ` Half the error would take ${fixed((8 * half[0]) / f.weights, 2)} bits per weight, ${bytes(half[0] - f.chosen[0])} more.`;
}

function healthOf() {
  const pairs = [], add = (term, ...text) => pairs.push(el("dt", {}, term), el("dd", {}, ...text));
  const most = (name) => DATA.tensors.reduce((a, b) => (b.health[name] > a.health[name] ? b : a));
  const words = { ...FLAGS, negative_scales: ["", "negative scales"], clipped: ["", "weights beyond the range of their codes"] };
  for (const [name, [, what]] of Object.entries(words)) {
    const tensors = DATA.tensors.filter((t) => t.health[name] > 0).length;
    if (name === "fallbacks" || !tensors) continue;
    add(`${whole(DATA.health[name])} ${what}`, `in ${plural(tensors, "tensor")}, most in `, nameOf(most(name).name), ` (${whole(most(name).health[name])})`);
  }
  for (const [reason, list] of grouped(DATA.tensors.filter((t) => t.unsupported), (t) => t.unsupported))
    add(`${plural(list.length, "tensor")} fell back: ${shown(reason)}`, ...listed(list));
  for (const [reason, list] of grouped(DATA.tensors.filter((t) => !isQuantized(t)), (t) => t.reason))
    add(`${plural(list.length, "tensor")} kept: ${shown(reason)}`, `${bytes(sum(list.map((t) => t.bytes_after)))}: `, ...listed(list));
  if (DATA.notes.length) add("Notes", el("ul", {}, ...DATA.notes.map((note) => el("li", {}, shown(note)))));
  if (DATA.not_copied.length) add("Not copied from the source", DATA.not_copied.map(shown).join(", "));
  return pairs.length ? [el("dl", { class: "pairs" }, ...pairs)] : [el("p", { class: "about" }, "Nothing deserves a look: no value was clipped, no tensor was kept.")];
}

function grouped(tensors, key) {
  const found = new Map();
  for (const t of tensors) {
    if (!found.has(key(t))) found.set(key(t), []);
    found.get(key(t)).push(t);
  }
  return found;
}

/** The first names of a list, and how many others there are. */
function listed(tensors, count = 3) {
  const names = tensors.slice(0, count).flatMap((t, i) => [i ? ", " : "", nameOf(t.name)]);
  return tensors.length > count ? [...names, ` and ${whole(tensors.length - count)} more`] : names;
}

function madeOf() {
  const files = Object.entries(DATA.sources).map(([name, size]) => `${shown(name)} (${whole(size)} bytes)`);
  return [
    DATA.command ? el("pre", {}, el("code", {}, shown(DATA.command))) : el("p", { class: "about" }, "By quantize_checkpoint, from Python: there was no command line."),
    el("p", { class: "about" }, `bitmill ${shown(DATA.bitmill)}, from ${files.join(", ")}. The same source and options give the same bytes, on any machine and for any number of threads.`),
  ];
}

function turnTheme() {
  const root = document.documentElement, next = { undefined: "light", light: "dark", dark: undefined }[root.dataset.theme];
  if (next) root.dataset.theme = next; else delete root.dataset.theme;
  byId("theme").textContent = `Theme: ${next || "auto"}`;
}

/** What a click on a row, a dot or a step shows. */
function followChoice() {
  let current = null;
  const redrawAlong = { call: () => {} };
  const beside = matchMedia("(min-width: 1180px)");  // as in the style: then focus stays in the table
  const choose = (t, jump = true) => {
    current = t;
    table.mark(t);
    details(t, jump && !beside.matches);
    redrawAlong.call();
    if (jump && byId("detail").getBoundingClientRect().top > innerHeight * 0.6)
      byId("detail").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  };
  const table = makeTable((t) => choose(t)), details = makeDetails(choose, table.order);
  const quantized = DATA.tensors.filter(isQuantized);
  if (quantized.length) redrawAlong.call = chart(byId("along-chart"), (width) => alongChart(width, quantized, current, choose));
  else byId("along").hidden = true;
  if (table.order().length) choose(table.order()[0], false);
}

start();
