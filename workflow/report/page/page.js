"use strict";
// What the page needs: `data.curves` (columns of the table of decompositions), `data.maps`, labels and colours.
const data = JSON.parse(document.getElementById("data").textContent);

/** Rows of a table that is kept column by column, its words as places in a list. */
function rowsOf(table) {
  const names = Object.keys(table.columns);
  const rows = [];
  for (let place = 0; place < table.length; place += 1) {
    const row = {};
    for (const name of names) {
      const value = table.columns[name][place];
      row[name] = table.words[name] ? table.words[name][value] : value;
    }
    rows.push(row);
  }
  return rows;
}

const curves = rowsOf(data.curves);

/** The choice that the address of the page holds. */
function kept() {
  return Object.fromEntries(new URLSearchParams(location.hash.replace(/^#[^?]*\??/, "")));
}

function keep(section, choice) {
  const all = kept();
  Object.assign(all, choice);
  history.replaceState(null, "", `#${section}?${new URLSearchParams(all)}`);
}

/** One select for each key of `options`; calls `changed` with the choice. */
function choices(form, prefix, options, changed) {
  const before = kept();
  const selects = Object.entries(options).map(([key, values]) => {
    const label = document.createElement("label");
    const select = document.createElement("select");
    label.textContent = key;
    select.id = `${prefix}-${key}`;
    for (const value of values) select.add(new Option((data.labels[key] || {})[value] || value, value));
    for (const wish of [data.first[key], before[prefix + key]]) {
      if (values.map(String).includes(String(wish))) select.value = wish;
    }
    label.append(select);
    form.append(label);
    select.addEventListener("change", () => update(true));
    return [key, select];
  });
  function update(moved) {
    const choice = Object.fromEntries(selects.map(([key, select]) => [key, select.value]));
    if (moved) keep(prefix, Object.fromEntries(selects.map(([key]) => [prefix + key, choice[key]])));
    changed(choice);
  }
  update(false);
}

/** What the rows hold of each key. */
function held(rows, keys) {
  return Object.fromEntries(keys.map((key) => [key, [...new Set(rows.map((row) => row[key]))]]));
}

function chosen(rows, choice) {
  return rows.filter((row) => Object.entries(choice).every(([key, value]) => String(row[key]) === value));
}

function draw(id, spec) {
  return vegaEmbed(`#${id}`, spec, { actions: false, renderer: "svg", tooltip: true });
}

/** The curves of one choice: an atom a line, a band for its interval, hollow points where there is a warning. */
function curveSpec(rows, measure, shown) {
  const [value, low, high, title] = measure === "share"
    ? ["share", "share_low", "share_high", "share of the joint information"]
    : ["bits", "low", "high", "bits"];
  const color = {
    field: "atom", title: null,
    scale: { domain: shown.map((each) => each.id), range: shown.map((each) => each.color) },
    legend: { orient: "top", columns: window.innerWidth < 600 ? 2 : 4, symbolOpacity: 1, labelExpr: `${JSON.stringify(data.labels.atom)}[datum.value]` },
  };
  const x = { field: "layer", type: "quantitative", title: "layer", axis: { tickMinStep: 1 } };
  const tooltip = [
    { field: "atom", title: "quantity" }, { field: "layer" }, { field: "bits", format: ".3f" },
    { field: "low", format: ".3f" }, { field: "high", format: ".3f" }, { field: "share", format: ".3f" },
    ...("uncorrected_bits" in (rows[0] || {}) ? [{ field: "uncorrected_bits", format: ".3f" }] : []),
    { field: "warning" },
  ];
  return {
    $schema: "https://vega.github.io/schema/vega-lite/v5.json",
    width: "container", height: 320, data: { values: rows },
    config: { font: "system-ui, sans-serif", axis: { labelFontSize: 12, titleFontSize: 13 }, legend: { labelFontSize: 12 } },
    layer: [
      { mark: { type: "area", opacity: 0.18 },
        encoding: { x, y: { field: low, type: "quantitative", title }, y2: { field: high }, color } },
      { mark: { type: "line" }, encoding: { x, y: { field: value, type: "quantitative" }, color } },
      { mark: { type: "point", size: 55, filled: false, fill: "white" }, transform: [{ filter: "datum.warning != ''" }],
        encoding: { x, y: { field: value, type: "quantitative" }, color, shape: { field: "atom", legend: null }, tooltip } },
      { mark: { type: "point", size: 55, filled: true }, transform: [{ filter: "datum.warning == ''" }],
        encoding: { x, y: { field: value, type: "quantitative" }, color, shape: { field: "atom", legend: null }, tooltip } },
    ],
  };
}

let slice = [];
if (curves.length) {
  const keys = ["model", "task", "condition", "estimator", "definition"];
  const options = held(curves, "target" in curves[0] ? [...keys, "target"] : keys);
  Object.assign(options, { measure: ["bits", "share"], quantities: ["atoms", "informations"] });
  choices(document.getElementById("choices"), "explorer", options, (choice) => {
    const { measure, quantities, ...place } = choice;
    const wanted = new Set(data[quantities].map((each) => each.id));
    slice = chosen(curves, place).filter((row) => wanted.has(row.atom));
    const warned = slice.filter((row) => row.warning !== "").length;
    document.getElementById("slice").textContent = slice.length
      ? `${slice.length} numbers, ${warned} of them with a warning.`
      : "This run has no such combination.";
    draw("chart", curveSpec(slice, measure, data[quantities]));
  });
}

document.getElementById("download").addEventListener("click", () => {
  if (!slice.length) return;
  const names = Object.keys(slice[0]);
  const cell = (value) => (/[",\n]/.test(String(value)) ? `"${String(value).replaceAll('"', '""')}"` : String(value ?? ""));
  const text = [names.join(","), ...slice.map((row) => names.map((name) => cell(row[name])).join(","))].join("\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  link.download = "pidflow-slice.csv";
  link.click();
  URL.revokeObjectURL(link.href);
});

for (const map of data.maps) {
  const rows = rowsOf(map.table);
  choices(document.getElementById(`${map.id}-choices`), map.id, held(rows, map.choose), (choice) => {
    draw(`${map.id}-chart`, {
      $schema: "https://vega.github.io/schema/vega-lite/v5.json",
      width: "container", height: { step: 22 }, data: { values: chosen(rows, choice) },
      mark: { type: "rect", tooltip: true },
      encoding: {
        x: { field: map.x, type: "ordinal", title: map.x_title },
        y: { field: map.y, type: "nominal", title: null },
        color: { field: map.value, type: "quantitative", title: map.value_title,
          scale: { scheme: "blueorange", domainMid: 0 } },
        tooltip: map.tooltip.map((field) => ({ field, format: typeof rows[0][field] === "number" ? ".3f" : undefined })),
      },
    });
  });
}
/** An element with its text, class and other attributes; text is never read as markup. */
function element(name, { text, ...attributes } = {}, children = []) {
  const made = name === "svg" || name === "image" || name === "rect"
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  made.append(...children);
  return made;
}

/** The picture with its patches and the boxes of the objects asked about, in pixels of the picture. */
function pictureOf(question) {
  const [width, height] = question.size;
  const line = Math.max(width, height) / 300;
  const rect = (kind, x, y, w, h) => element("rect", { class: kind, x, y, width: w, height: h, "stroke-width": kind === "box" ? 3 * line : line });
  return element("svg", { class: "picture", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": question.question }, [
    element("image", { href: question.picture, width, height }),
    ...question.patches.map(([left, top, right, bottom]) => rect("patch", left, top, right - left, bottom - top)),
    ...question.boxes.map((box) => rect("box", ...box)),
  ]);
}

/** Tokens in a line, runs of image tokens as one, each with its spans as a title. */
function tokensOf(question) {
  const line = element("p", { class: "tokens" });
  for (let place = 0; place < question.tokens.length; place += 1) {
    const { text, spans } = question.tokens[place];
    let count = 1;
    while (spans.includes("image") && (question.tokens[place + 1] || { spans: [] }).spans.includes("image")) {
      place += 1;
      count += 1;
    }
    const kind = ["image", "last", "options", "question"].find((name) => spans.includes(name)) || "";
    line.append(element("span", { class: `token ${kind}`, title: spans.join(", "), text: count > 1 ? `${text} × ${count}` : text }), " ");
  }
  return line;
}

function tableOf(header, rows) {
  const row = (cell, values) => element("tr", {}, values.map((text) => element(cell, { text })));
  return element("div", { class: "scroll" }, [
    element("table", {}, [element("thead", {}, [row("th", header)]), element("tbody", {}, rows.map((each) => row("td", each)))]),
  ]);
}

function showQuestion(question) {
  const sure = (value) => (value === null ? "" : value.toFixed(3));
  document.getElementById("questions-detail").replaceChildren(
    element("h3", { text: `${question.question} (${question.answer})` }),
    pictureOf(question),
    tokensOf(question),
    tableOf(["condition", "says", "right", "probability of the right answer"], question.said.map(
      (each) => [data.labels.condition[each.condition] || each.condition, each.spoken, each.correct ? "yes" : "no", sure(each.probability)])),
    tableOf(["layer", "likeliest tokens if the state there were the last"], question.lens.map(
      (top, layer) => [layer, top.map(([text, value]) => `${text.trim() || "␣"} ${value.toFixed(2)}`).join("   ")])),
  );
}

if (data.questions.length) {
  const options = held(data.questions, ["model", "task"]);
  Object.assign(options, { show: ["all", "right", "wrong", "changed by an intervention"], order: ["largest effect", "as asked"] });
  choices(document.getElementById("questions-choices"), "questions", options, (choice) => {
    const group = data.questions.find((each) => each.model === choice.model && each.task === choice.task);
    const intact = (question) => question.said.find((each) => each.condition === "intact").correct;
    const kinds = {
      right: intact,
      wrong: (question) => !intact(question),
      "changed by an intervention": (question) => question.said.some((each) => each.correct !== intact(question)),
    };
    const rows = (group ? group.questions : []).filter(kinds[choice.show] || (() => true));
    if (choice.order === "largest effect") rows.sort((one, two) => two.effect - one.effect);
    const list = document.getElementById("questions-list");
    const buttons = rows.map((question) => {
      const button = element("button", { type: "button", text: `${intact(question) ? "✓" : "✗"} ${question.question}` });
      button.addEventListener("click", () => {
        for (const each of list.querySelectorAll("button")) each.removeAttribute("aria-current");
        button.setAttribute("aria-current", "true");
        showQuestion(question);
      });
      return button;
    });
    list.replaceChildren(...buttons.map((button) => element("li", {}, [button])));
    document.getElementById("questions-detail").replaceChildren(
      ...(rows.length ? [] : [element("p", { text: "No question of this kind among those shown." })]));
    if (buttons.length) buttons[0].click();
  });
}
document.documentElement.dataset.ready = "yes";
