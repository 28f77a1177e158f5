"use strict";
// Sorting, filtering and CSV of tables. Without scripts a page shows the same figures.

const tip = make("output", { className: "tip", hidden: true });
document.body.append(tip);

function make(name, properties = {}, ...children) {
  const element = Object.assign(document.createElement(name), properties);
  element.append(...children);
  return element;
}

function firstText(cell) {
  const small = cell.querySelector("small");
  const all = cell.textContent.trim();
  return small ? all.slice(0, all.length - small.textContent.length).trim() : all;
}

function numberIn(text) {
  const found = text.replace(/,(?=\d{3})/g, "").match(/^(?:[▲▼○] )?([+-]?\d+(?:\.\d+)?)(?![^\s%±].*[A-Za-z])/);
  return found ? Number(found[1]) : NaN;
}

function toolsOf(scroll) {
  const before = scroll.previousElementSibling;
  if (before?.classList.contains("tools")) return before;
  const tools = make("div", { className: "tools" });
  scroll.before(tools);
  return tools;
}

function chooser(label, names, change) {
  const select = make("select", {}, ...names.map((name) => make("option", { value: name }, name)));
  select.addEventListener("change", () => change(select.value));
  return make("label", {}, label, select);
}

// ---- tables: a click on a column's head sorts, and every table downloads as CSV

function sortable(table) {
  const [body] = table.tBodies;
  const original = [...body.rows];
  for (const head of table.tHead.rows[0].cells) {
    const button = make("button", { type: "button" });
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const orders = ["descending", "ascending"];
      if (!isNumeric(original, head.cellIndex)) orders.reverse();
      const next = [...orders, "none"][orders.indexOf(head.getAttribute("aria-sort")) + 1];
      for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
      if (next === "none") return body.append(...original);
      head.setAttribute("aria-sort", next);
      body.append(...sorted(original, head.cellIndex, next === "descending"));
    });
  }
}

function isNumeric(rows, column) {
  return rows.some((row) => !Number.isNaN(numberIn(firstText(row.cells[column]))));
}

function sorted(rows, column, descending) {
  const keys = new Map(rows.map((row) => [row, firstText(row.cells[column])]));
  const numbers = new Map(rows.map((row) => [row, numberIn(keys.get(row))]));
  const numeric = isNumeric(rows, column);
  const sign = descending ? -1 : 1;
  return [...rows].sort((a, b) => {
    if (!numeric) return sign * keys.get(a).localeCompare(keys.get(b));
    const [x, y] = [numbers.get(a), numbers.get(b)];
    return Number.isNaN(x) || Number.isNaN(y) ? Number.isNaN(x) - Number.isNaN(y) : sign * (x - y);
  });
}

function csvOf(table) {
  const rows = [...table.rows].map((row) => [...row.cells]);
  const divided = rows[0].map((_, column) => rows.some((row) => row[column]?.querySelector("small")));
  const quoted = (text, head) => {
    const plain = /^[-+]?[\d,]+(\.\d+)?$/.test(text) ? text.replace(/,/g, "") : text;
    const figure = plain === "-" || /^[-+]?[\d.,]+( to -?[\d.,]+(; (p [=< ]*[\d.]+|no test))?)?$/.test(plain);
    const safe = figure ? plain : plain.replace(/(^|;)(?=[=+\-@\t])/g, "$1'");
    return /[",\n]/.test(safe) ? `"${safe.replace(/"/g, '""')}"` : safe;
  };
  return rows.map((row, number) => row.flatMap((cell, column) => {
    const small = number ? cell.querySelector("small")?.textContent ?? "" : `${firstText(cell)}, detail`;
    const text = firstText(cell).replace(/^[▲▼○] /, "");
    return divided[column] ? [quoted(text), quoted(small)] : [quoted(text)];
  }).join(",")).join("\n") + "\n";
}

function downloadable(table) {
  const button = make("button", { type: "button", className: "csv" }, "Download CSV");
  button.addEventListener("click", () => {
    const address = URL.createObjectURL(new Blob([csvOf(table)], { type: "text/csv" }));
    make("a", { href: address, download: `${table.dataset.name}.csv` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  });
  toolsOf(table.parentElement).append(button);
}

function filtered(table) {
  const rows = [...table.tBodies[0].rows];
  const names = [...new Set(rows.map((row) => firstText(row.cells[0])))];
  const label = `${firstText(table.tHead.rows[0].cells[0])} `;
  const show = (name) => rows.forEach((row) => { row.hidden = name !== "all" && firstText(row.cells[0]) !== name; });
  toolsOf(table.parentElement).prepend(chooser(label, ["all", ...names], show));
}

for (const table of document.querySelectorAll("table")) {
  if (table.tBodies[0].rows.length > 1) sortable(table);
  if (table.dataset.filter) filtered(table);
}
