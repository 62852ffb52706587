// The table of tensors: what its columns show, how it is sorted and filtered.

const isQuantized = (t) => t.scheme !== null;

const FLAGS = {
  fallbacks: ["fallback", "did not get what the rule asked for"],
  nonfinite: ["NaN or infinite", "values that are NaN or infinite"],
  underflowed_scales: ["underflow", "scales raised to the smallest positive value of their dtype"],
  unclipped: ["not clipped", "groups whose clip left no range, so that they have the full one"],
  zero_groups: ["zeros", "groups whose weights are all 0"],
};

const flagsOf = (t) => Object.keys(FLAGS).filter((name) => t.health[name] > 0);
const isFlagged = (t) => flagsOf(t).length > 0;

/** Σ of squared errors, in the measure of the alternatives. */
function errorOf(t) {
  if (t.chosen) return t.alternatives[t.chosen].error;
  return DATA.frontier && DATA.frontier.weighed ? null : t.metrics ? t.metrics.mse * sizeOf(t) : 0;
}

const sizeOf = (t) => t.shape.reduce((size, n) => size * n, 1);

/** The larger scheme that removes the most error for each byte more; null if there is none. */
function betterFor(t) {
  const now = t.alternatives ? errorOf(t) : null;
  if (!now) return null;
  let best = null;
  for (const [label, m] of Object.entries(t.alternatives)) {
    const more = m.bytes - t.bytes_after, gain = (now - m.error) / more;
    if (more > 0 && m.error < now && (!best || gain > best.gain))
      best = { label, more, gain, part: 1 - m.error / now };
  }
  return best;
}

const COLUMNS = [
  { key: "name", title: "Tensor", kind: "left", value: (t) => t.name, cell: nameCell },
  { key: "shape", title: "Shape", kind: "c-shape", value: sizeOf, cell: (t) => shapeOf(t.shape), down: true },
  { key: "scheme", title: "Scheme", kind: "c-scheme left", value: (t) => t.scheme || "", cell: (t) => t.scheme ? shown(t.scheme) : "kept" },
  { key: "bits", title: "Bits / weight", kind: "c-bits", value: (t) => t.bits_per_weight, cell: (t) => fixed(t.bits_per_weight, 2), down: true },
  { key: "size", title: "Size", kind: "c-size", value: (t) => t.bytes_after, cell: (t) => bytes(t.bytes_after), down: true },
  { key: "better", title: "Less error", kind: "c-better left", value: (t) => (betterFor(t) || { gain: -1 }).gain, cell: betterCell, down: true },
  { key: "share", title: "Share of error", kind: "c-share", value: (t) => t.error_share, cell: shareCell, down: true },
  { key: "sqnr", title: "SQNR dB", kind: "c-sqnr", value: sqnrOf, cell: sqnrCell },
];

function nameCell(t) {
  const flags = flagsOf(t).map((name) => el("span", { class: "flag", title: FLAGS[name][1] }, FLAGS[name][0]));
  const below = `${shapeOf(t.shape)} · ${t.scheme ? shown(t.scheme) : "kept"}`;
  return [el("button", { type: "button", class: "pick-row", "aria-pressed": "false" }, nameOf(t.name)), ...flags, el("span", { class: "sub" }, below)];
}

/** The largest share of the error, which has the longest bar. */
const mostShare = once(() => DATA.tensors.reduce((most, t) => Math.max(most, t.error_share), 1e-12));

function shareCell(t) {
  const share = el("span", { class: "share", "aria-hidden": "true" });
  share.style.setProperty("--part", `${(100 * t.error_share) / mostShare()}%`);
  return isQuantized(t) ? [percent(t.error_share), share] : "";
}

/** Infinite where nothing is lost, or all. */
function sqnrOf(t) {
  if (!t.metrics) return Infinity;
  return t.metrics.sqnr_db ?? (t.metrics.max_abs ? -Infinity : Infinity);
}

function sqnrCell(t) {
  if (!t.metrics) return "";
  return t.metrics.sqnr_db === null ? (t.metrics.max_abs ? `${MINUS}\u221e` : "exact") : fixed(t.metrics.sqnr_db, 2);
}

function betterCell(t) {
  const better = betterFor(t);
  if (!better) return "";
  return [`${shown(better.label)}, ${MINUS}${Math.round(100 * better.part)} %`, el("span", { class: "soft" }, ` for ${bytes(better.more)}`)];
}

/** Rows of the table at first; a button shows the others. */
const FIRST = 20;

const SHOWN = {
  quantized: ["Quantized", isQuantized],
  kept: ["Kept", (t) => !isQuantized(t)],
  flagged: ["Flagged", isFlagged],
  all: ["All", () => true],
};

/** The table in the page; `choose` is called with a tensor. */
function makeTable(choose) {
  const head = byId("table").tHead.rows[0], body = byId("table").tBodies[0];
  const columns = COLUMNS.filter((c) => c.key !== "better" || DATA.frontier);
  const rows = new Map();
  const row = (t) => {
    if (!rows.has(t)) rows.set(t, rowOf(t, columns, choose));
    return rows.get(t);
  };
  const sorted = { key: "sqnr", down: false };

  for (const column of columns) {
    const sort = () => {
      sorted.down = sorted.key === column.key ? !sorted.down : Boolean(column.down);
      sorted.key = column.key;
      update();
    };
    head.append(el("th", { scope: "col", class: column.kind, "data-key": column.key },
      el("button", { type: "button", class: "sort", onclick: sort }, column.title)));
  }
  for (const [key, [title, test]] of Object.entries(SHOWN)) {
    const count = DATA.tensors.filter(test).length;
    if (count) byId("which").append(el("option", { value: key }, `${title} (${whole(count)})`));
  }
  byId("filter").addEventListener("input", update);
  byId("which").addEventListener("change", update);
  body.addEventListener("keydown", (event) => {
    const row = event.target.closest("tr");
    const next = { ArrowDown: row.nextElementSibling, ArrowUp: row.previousElementSibling }[event.key];
    if (next) { event.preventDefault(); next.querySelector("button").focus(); }
  });

  byId("more").addEventListener("click", () => { all = true; update(); });

  let order = [], all = false, marked = null;
  function update() {
    const wanted = byId("filter").value.toLowerCase().split(/\s+/).filter(Boolean);
    const test = (SHOWN[byId("which").value] || SHOWN.all)[1];
    const matches = (t) => wanted.every((word) => `${t.name} ${t.scheme || "kept"} ${t.reason}`.toLowerCase().includes(word));
    const { value } = COLUMNS.find((column) => column.key === sorted.key);
    order = DATA.tensors.filter((t) => test(t) && matches(t)).sort(by(value, sorted.down));
    const visible = all ? order : order.slice(0, FIRST);
    body.replaceChildren(...visible.map(row));
    byId("more").hidden = visible.length === order.length;
    byId("more").textContent = `Show all ${whole(order.length)}`;
    for (const th of head.cells) {
      if (th.dataset.key === sorted.key) th.setAttribute("aria-sort", sorted.down ? "descending" : "ascending");
      else th.removeAttribute("aria-sort");
    }
    byId("count").textContent = `${whole(order.length)} of ${whole(DATA.tensors.length)}`;
    byId("none").hidden = order.length > 0;
  }
  update();
  return {
    order: () => order,
    mark(chosen) {
      if (marked) marked.removeAttribute("aria-current");
      if (marked) marked.querySelector("button").setAttribute("aria-pressed", "false");
      marked = row(chosen);
      marked.setAttribute("aria-current", "true");
      marked.querySelector("button").setAttribute("aria-pressed", "true");
    },
  };
}

function rowOf(t, columns, choose) {
  const row = el("tr", { onclick: () => choose(t) });
  columns.forEach((column, i) => {
    const cell = i ? el("td", { class: column.kind }) : el("th", { scope: "row", class: column.kind });
    cell.append(...[column.cell(t)].flat());
    row.append(cell);
  });
  return row;
}

/** An order by a value; what is equal goes by name. */
function by(value, down) {
  return (a, b) => {
    const [x, y] = [value(a), value(b)];
    const order = x < y ? -1 : x > y ? 1 : 0;
    return (down ? -order : order) || (a.name < b.name ? -1 : 1);
  };
}
