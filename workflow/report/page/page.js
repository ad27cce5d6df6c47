"use strict";
// `data.charts` (pidflow/stages/_charts.py has what each holds), `data.titles` of what columns name by id, `data.looks`
// of curves, and `data.questions`.
const data = JSON.parse(document.getElementById("data").textContent);
const narrow = () => window.innerWidth < 640;

/** What a value of a column is called; an edge of attention has an arrow. */
const titleOf = (column, value) => (data.titles[column] || {})[value] ?? String(value).replaceAll("->", " → ");

/** An element with its text, class and other attributes; text is never read as markup. */
function element(name, { text, ...attributes } = {}, children = []) {
  const made = ["svg", "image", "rect"].includes(name)
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

function tableOf(header, rows) {
  const row = (cell, values) => element("tr", {}, values.map((value) =>
    element(cell, typeof value === "object" ? value : { text: value, ...(typeof value === "number" ? { class: "number" } : {}) })));
  return element("div", { class: "scroll", tabindex: 0 }, [
    element("table", {}, [element("thead", {}, [row("th", header)]), element("tbody", {}, rows.map((each) => row("td", each)))]),
  ]);
}

// ---- what was chosen, and the address that keeps it ----

const address = new URLSearchParams(location.hash.replace(/^#[^?]*\??/, ""));

function keep(section, choice) {
  for (const [key, value] of Object.entries(choice)) address.set(key, value);
  history.replaceState(null, "", `#${section}?${address}`);
}

window.addEventListener("hashchange", () => {
  if (!location.hash.includes("?") && String(address)) history.replaceState(null, "", `${location.hash}?${address}`);
});

/**
 * One select a field, which offers what is left after the fields before it; calls `changed` with the choice.
 * A field has a `key`, its values `of` what was chosen before, and the value that is chosen `first`.
 */
function choices(section, name, fields, changed) {
  const form = document.getElementById(`${name}-choices`);
  const selects = fields.map(({ key }) => {
    const select = element("select", { id: `${name}-${key}` });
    form.append(element("label", { text: key }, [select]));
    select.addEventListener("change", () => update(true));
    return select;
  });
  function update(moved) {
    const choice = {};
    fields.forEach(({ key, of, first }, place) => {
      const select = selects[place];
      const values = of(choice).map(String);
      const wished = [select.value, address.get(`${name}.${key}`), String(first)];
      select.replaceChildren(...values.map((value) => new Option(titleOf(key, value), value)));
      select.value = wished.find((each) => values.includes(each)) ?? values[0];
      select.disabled = values.length < 2;
      select.parentElement.hidden = values[0] === ALL;
      choice[key] = select.value;
    });
    if (moved) keep(section, Object.fromEntries(fields.map(({ key }) => [`${name}.${key}`, choice[key]])));
    changed(choice);
  }
  update(false);
}

// Stands for every value of a column, where these are compared.
const ALL = "*";
const distinct = (values) => [...new Set(values.map(String))];
const chosen = (rows, choice) => rows.filter((row) => Object.entries(choice).every(([key, value]) => String(row[key]) === value));

/** Fields for columns of a table, each with what the rows hold of it beside what was chosen before. */
function fieldsOf(rows, columns, first) {
  return columns.map((key, place) => ({
    key, first: first[key],
    of: (choice) => distinct(chosen(rows, Object.fromEntries(columns.slice(0, place).filter((each) => each in choice).map((each) => [each, choice[each]]))).map((row) => row[key])),
  }));
}

// ---- charts ----

/** Rows of a table that is kept column by column, its words as places in a list. */
function rowsOf(table) {
  const names = Object.keys(table.columns);
  return Array.from({ length: table.length }, (_, place) => Object.fromEntries(names.map((name) => {
    const value = table.columns[name][place];
    return [name, table.words[name] ? table.words[name][value] : value];
  })));
}

const round = (value) => (value === null || value === undefined ? "unknown" : Number(value.toFixed(3)).toString());
const withInterval = (row, [value, low, high]) =>
  round(row[value]) + (row[low] === null || row[low] === undefined ? "" : ` (${round(row[low])} to ${round(row[high])})`);

/** What a reader is told of a row, by name: titles for ids, numbers with their intervals. */
function told(chart, row) {
  const said = {};
  for (const name of chart.named) said[name] = titleOf(name, row[name]);
  for (const measure of Object.values(chart.measures)) {
    if (measure.value in row) said[`${measure.title || measure.value}${measure.low ? " (95 % interval)" : ""}`] = withInterval(row, [measure.value, measure.low, measure.high]);
  }
  for (const [name, title] of chart.further) if (name in row) said[title] = typeof row[name] === "number" ? round(row[name]) : row[name] || "none";
  return said;
}

const CONFIG = {
  font: "system-ui, sans-serif", background: null, view: { stroke: null },
  axis: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelColor: "#333", titleColor: "#333", gridColor: "#eee", labelLimit: 220 },
  legend: { labelFontSize: 12, titleFontSize: 12, titleFontWeight: "normal", labelColor: "#333", symbolSize: 80, labelLimit: 260 },
};

function specOf(rows, layers, more = {}) {
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v5.json", data: { values: rows }, width: "container",
    autosize: { type: "fit-x", contains: "padding" }, config: CONFIG, layer: layers, ...more,
  };
}

/** Colours and shapes of the curves or points of a group. */
function looksOf(group) {
  const looks = group.ids.map((id) => data.looks[id]);
  const domain = group.ids.map((id) => titleOf(group.names, id));
  const legend = { orient: "top", title: null, columns: narrow() ? 2 : 4, symbolOpacity: 1 };
  return {
    color: { field: "series", legend, scale: { domain, range: looks.map((each) => each.color) } },
    shape: { field: "series", legend, scale: { domain, range: looks.map((each) => each.shape) } },
  };
}

// A number to be used with caution has a small point, one that is of no use a hollow one.
const POINTS = [
  ["datum.level == 0 || datum.level == null", { type: "point", filled: true, opacity: 1, size: 55 }],
  ["datum.level == 1", { type: "point", filled: true, opacity: 1, size: 18 }],
  ["datum.level == 2", { type: "point", filled: false, fill: "white", opacity: 1, size: 55, strokeWidth: 1.5 }],
];

/** A curve each over layers or steps, with a band for its interval. */
function curveSpec(chart, rows, measure, group, tooltip) {
  const { color, shape } = looksOf(group);
  const x = { field: chart.x, type: "quantitative", title: chart.x_title, axis: { tickMinStep: 1, format: "d", grid: false }, scale: { zero: false, nice: false, padding: 12 } };
  const y = { field: measure.value, type: "quantitative", title: group.unit || measure.title };
  return specOf(rows, [
    { mark: { type: "area", opacity: 0.18 }, encoding: { x, y: { ...y, field: measure.low }, y2: { field: measure.high }, color } },
    { mark: { type: "line" }, encoding: { x, y, color } },
    ...POINTS.map(([filter, mark]) => ({ transform: [{ filter }], mark, encoding: { x, y, color, shape } })),
    { mark: { type: "point", size: 350, opacity: 0, filled: true }, encoding: { x, y, tooltip } },
  ], { height: narrow() ? 260 : 340 });
}

/** A point each with its interval, side by side for each thing that is compared. */
function intervalSpec(chart, rows, measure, group, tooltip) {
  const { color, shape } = looksOf(group);
  const y = { field: "across", type: "nominal", title: null, sort: null, axis: { labelLimit: narrow() ? 110 : 240, grid: true } };
  const yOffset = { field: "series", sort: group.ids.map((id) => titleOf(group.names, id)) };
  const x = { field: measure.value, type: "quantitative", title: group.unit || measure.title };
  return specOf(rows, [
    { mark: { type: "rule", strokeWidth: 1.5 }, encoding: { y, yOffset, x: { ...x, field: measure.low }, x2: { field: measure.high }, color } },
    ...POINTS.map(([filter, mark]) => ({ transform: [{ filter }], mark, encoding: { y, yOffset, x, color, shape } })),
    { mark: { type: "point", size: 350, opacity: 0, filled: true }, encoding: { y, yOffset, x, tooltip } },
  ], { height: { step: 9, for: "offset" } });
}

/** A tile each. */
function heatSpec(chart, rows, measure, group, tooltip) {
  const largest = Math.max(...rows.map((row) => Math.abs(row[measure.value] ?? 0)), 1e-9);
  return specOf(rows, [{
    mark: { type: "rect", stroke: "white", strokeWidth: 1 },
    encoding: {
      x: { field: chart.x, type: "ordinal", title: chart.x_title, axis: { labelAngle: 0, labelOverlap: true } },
      y: { field: "across", type: "nominal", title: null, sort: null },
      color: { field: measure.value, type: "quantitative", title: measure.title, scale: { scheme: "blueorange", domain: [-largest, largest] },
        legend: { orient: "top", gradientLength: narrow() ? 180 : 260, titleLimit: 320, format: ".2~f" } },
      tooltip,
    },
  }], { height: { step: 26 } });
}

function saveAsCsv(rows, name) {
  const columns = Object.keys(rows[0]);
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const text = [columns.join(","), ...rows.map((row) => columns.map((column) => cell(row[column])).join(","))].join("\n");
  const link = element("a", { href: URL.createObjectURL(new Blob([text], { type: "text/csv" })), download: `pidflow-${name}.csv` });
  link.click();
  URL.revokeObjectURL(link.href);
}

function showChart(chart) {
  const rows = rowsOf(chart.table);
  const byId = (part) => document.getElementById(`${chart.id}-${part}`);
  const groups = chart.groups ? Object.keys(chart.groups) : [];
  const compared = chart.compare || [];
  const several = compared.filter((column) => distinct(rows.map((row) => row[column])).length > 1);
  const fields = [
    ...(compared.length ? [{ key: "compare", of: () => (several.length ? several : compared.slice(0, 1)), first: several[0] }] : []),
    ...fieldsOf(rows, [...compared, ...chart.choose], chart.first).map((field) => ({ ...field, of: (choice) => (choice.compare === field.key ? [ALL] : field.of(withoutAll(choice))) })),
    ...(groups.length > 1 ? [{ key: "quantities", of: () => groups }] : []),
    ...(Object.keys(chart.measures).length > 1 ? [{ key: "measure", of: () => Object.keys(chart.measures) }] : []),
  ];
  let slice = [];
  byId("download").addEventListener("click", () => slice.length && saveAsCsv(slice, chart.id));
  choices(chart.section, chart.id, fields, ({ compare, quantities, measure, ...place }) => {
    const group = groups.length ? chart.groups[quantities || groups[0]] : null;
    const shown = chart.measures[measure || Object.keys(chart.measures)[0]];
    slice = chosen(rows, withoutAll(place)).filter((row) => row[shown.value] !== null && (!group || group.ids.includes(row[group.names])));
    const warned = slice.filter((row) => row.level > 0).length;
    byId("slice").textContent = `${slice.length} numbers${rows.length && "level" in rows[0] ? `, ${warned} of them with a warning` : ""}.`;
    const words = slice.map((row) => told(chart, row));
    const drawn = slice.map((row, place) => ({
      ...row, series: group ? titleOf(group.names, row[group.names]) : "", across: titleOf(compare || chart.y, row[compare || chart.y]),
      ...Object.fromEntries(Object.values(words[place]).map((value, index) => [`told${index}`, value])),
    }));
    const header = Object.keys(words[0] || {});
    const tooltip = header.map((title, index) => ({ field: `told${index}`, title }));
    const spec = { curves: curveSpec, intervals: intervalSpec, heat: heatSpec }[chart.kind](chart, drawn, shown, group, tooltip);
    byId("table").replaceChildren(tableOf(header, words.map((each) => Object.values(each))));
    const done = vegaEmbed(byId("chart"), spec, { actions: false, renderer: "svg", tooltip: { theme: "custom" } });
    drawing.push(done);
  });
}

const withoutAll = (choice) => Object.fromEntries(Object.entries(choice).filter(([key, value]) => value !== ALL && key !== "compare"));

const drawing = [];
data.charts.forEach(showChart);

// ---- questions ----

const signed = (right) => (right ? "✓" : "✗");

/** The picture with its patches and the boxes of the objects asked about, in pixels of the picture. */
function pictureOf(question) {
  const [width, height] = question.size;
  const rect = (kind, x, y, w, h) => element("rect", { class: kind, x, y, width: w, height: h, "vector-effect": "non-scaling-stroke" });
  const picture = element("svg", { class: "picture", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": `The picture of: ${question.question}` }, [
    element("image", { href: question.picture, width, height, ...(Math.max(width, height) < 128 ? { class: "small" } : {}) }),
    ...question.patches.map(([left, top, right, bottom]) => rect("patch", left, top, right - left, bottom - top)),
    ...question.boxes.map((box) => rect("box", ...box)),
  ]);
  const key = `${question.patches.length} patches the model sees` + (question.boxes.length ? "; thick: what the question is about" : "");
  return element("figure", {}, [picture, element("figcaption", { text: key })]);
}

const KINDS = ["image", "last", "options", "question"];

/** The prompt, neighbouring tokens of one span in a frame with its name; image tokens are counted. */
function tokensOf(question) {
  const groups = [];
  for (const { text, spans } of question.tokens) {
    const kind = KINDS.find((name) => spans.includes(name)) || "other";
    if (!groups.length || groups.at(-1).kind !== kind) groups.push({ kind, tokens: [] });
    groups.at(-1).tokens.push({ text, spans });
  }
  return element("p", { class: "tokens" }, groups.map(({ kind, tokens }) => {
    const alike = kind === "image" && new Set(tokens.map((each) => each.text)).size === 1;
    const shown = alike ? [{ text: `${tokens[0].text} × ${tokens.length}`, spans: tokens[0].spans }] : tokens;
    return element("span", { class: `span ${kind}` }, [
      element("span", { class: "words" }, shown.map(({ text, spans }) => element("span", { class: "token", title: spans.join(", "), text }))),
      element("span", { class: "name", text: { last: "last: the answer is read here", other: "template" }[kind] || kind }),
    ]);
  }));
}

/** The likeliest tokens of each layer, bars as long as they are likely; what the model says is bold. */
function lensOf(question, spoken) {
  const said = spoken.trim().split(/\s+/)[0];
  const cell = ([text, value]) => ({
    text: `${text.trim() || "␣"} ${value.toFixed(2)}`, style: `--share: ${(100 * value).toFixed(1)}%`,
    class: `likely${said && text.trim() === said ? " said" : ""}`,
  });
  return tableOf(["layer", "1st", "2nd", "3rd"].slice(0, 1 + (question.lens[0] || []).length), question.lens.map((top, layer) => [layer, ...top.map(cell)]));
}

function showQuestion(question) {
  const intact = question.said.find((each) => each.condition === "intact");
  const rows = question.said.map((each) => [
    titleOf("condition", each.condition),
    each.spoken === intact.spoken ? each.spoken : { text: `${each.spoken} (changed)`, class: "changed" },
    { text: `${signed(each.correct)} ${each.correct ? "right" : "wrong"}`, class: "short" },
    each.probability === null ? "unknown" : { text: each.probability.toFixed(3), class: "number" },
  ]);
  const detail = document.getElementById("questions-detail");
  detail.replaceChildren(
    element("h3", { text: question.question }),
    element("p", { text: `The model says “${intact.spoken}” ${signed(intact.correct)}; the answer is “${question.answer}”.` }),
    element("div", { class: "beside" }, [pictureOf(question), element("div", {}, [
      element("h4", { text: "What was said in each condition" }),
      tableOf(["condition", "says", "right?", "probability of the right answer"], rows),
    ])]),
    element("h4", { text: "The prompt, token by token" }),
    tokensOf(question),
    element("h4", { text: "The likeliest next tokens at each layer, if it were the last (logit lens)" }),
    lensOf(question, intact.spoken),
  );
}

function showQuestions() {
  const groups = data.questions;
  const intact = (question) => question.said.find((each) => each.condition === "intact").correct;
  const moved = (question) => question.said.some((each) => each.correct !== intact(question));
  const kinds = { all: () => true, right: intact, wrong: (question) => !intact(question), "changed by an intervention": moved };
  const held = (choice) => groups.filter((each) => each.model === choice.model && (!choice.task || each.task === choice.task));
  const fields = [
    { key: "model", of: () => distinct(groups.map((each) => each.model)) },
    { key: "task", of: (choice) => distinct(held(choice).map((each) => each.task)) },
    { key: "show", of: () => Object.keys(kinds) },
    { key: "order", of: () => ["largest effect", "as asked"] },
  ];
  choices("questions", "questions", fields, (choice) => {
    const rows = held(choice).flatMap((each) => each.questions).filter(kinds[choice.show]);
    if (choice.order === "largest effect") rows.sort((one, two) => two.effect - one.effect);
    const list = document.getElementById("questions-list");
    const buttons = rows.map((question) => {
      const right = intact(question);
      const button = element("button", { type: "button", class: right ? "right" : "wrong" }, [
        element("span", { class: "sign", role: "img", "aria-label": right ? "right" : "wrong", text: signed(right) }), ` ${question.question}`,
        ...(question.effect > 0 ? [element("span", { class: "effect", text: `up to ${question.effect.toFixed(2)} of probability moved` })] : []),
      ]);
      button.addEventListener("click", () => select(button, question, true));
      return button;
    });
    function select(button, question, byHand) {
      for (const each of buttons) each.removeAttribute("aria-current");
      button.setAttribute("aria-current", "true");
      showQuestion(question);
      if (byHand) keep("questions", { "questions.item": question.item });
    }
    list.replaceChildren(...buttons.map((button) => element("li", {}, [button])));
    list.onkeydown = (event) => {
      const place = buttons.indexOf(document.activeElement) + ({ ArrowDown: 1, ArrowUp: -1 }[event.key] || 0);
      if (!["ArrowDown", "ArrowUp"].includes(event.key) || !buttons[place]) return;
      event.preventDefault();
      buttons[place].focus();
      buttons[place].click();
    };
    document.getElementById("questions-detail").replaceChildren(
      ...(rows.length ? [] : [element("p", { text: "No question of this kind among those shown." })]));
    const place = Math.max(0, rows.findIndex((question) => question.item === address.get("questions.item")));
    if (buttons.length) select(buttons[place], rows[place], false);
  });
}

if (data.questions.length) showQuestions();

Promise.all(drawing).then(() => {
  const section = document.getElementById(location.hash.replace(/^#|\?.*$/g, ""));
  if (section && location.hash.includes("?")) section.scrollIntoView();
  document.documentElement.dataset.ready = "yes";
});
