// Matrices, and the choice of a language. page.js has the functions that both use.

const STOPS = [[0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [253, 231, 55]];
const SYMBOLS = { b: "▲ ", w: "▼ ", o: "○ " };
const MANY = 16; // columns above which cells show colours alone

// ---- matrices: layers of figures in one table, coloured

function gradient(share) {
  const place = Math.min(Math.max(share, 0), 1) * (STOPS.length - 1);
  const low = Math.min(Math.floor(place), STOPS.length - 2);
  return STOPS[low].map((value, part) => Math.round(value + (place - low) * (STOPS[low + 1][part] - value)));
}

class Matrix {
  constructor(element) {
    this.element = element;
    this.table = element.querySelector("table");
    Object.assign(this, JSON.parse(element.querySelector("script").textContent));
    this.rows = [...this.table.tBodies[0].rows];
    this.heads = [...this.table.tHead.rows[0].cells];
    this.rowNames = this.rows.map((row) => row.cells[0].textContent);
    this.columnNames = this.heads.slice(1).map((head) => head.textContent);
    this.cells = this.rows.map((row) => [...row.cells].slice(1));
    this.layer = this.layers[0];
    this.fixed = false;
    if (this.columnNames.length > MANY) element.classList.add("dense");
    this.addTools();
    this.addHover();
    this.addKeys();
    this.paint();
  }

  value(row, column, layer = this.layer) {
    const value = layer.values[row * this.columnNames.length + column];
    return value === null ? null : value / 10 ** layer.digits;
  }

  text(row, column, layer = this.layer) {
    const value = this.value(row, column, layer);
    if (value === null) return "-";
    const mark = SYMBOLS[layer.marks?.[row * this.columnNames.length + column]] ?? "";
    return mark + (layer.signed && value > 0 ? "+" : "") + value.toFixed(layer.digits);
  }

  span() {
    return this.fixed && !this.layer.signed ? [0, 1] : this.layer.span;
  }

  paint() {
    const [low, high] = this.span();
    this.cells.forEach((cells, row) => cells.forEach((cell, column) => {
      const value = this.value(row, column);
      const text = this.text(row, column);
      if (cell.textContent !== text) cell.textContent = text;
      cell.style.color = cell.style.background = "";
      if (value === null) return;
      if (this.layer.signed) {
        const open = this.layer.marks?.[row * this.columnNames.length + column] === "o";
        const strength = open ? 0 : 0.18 + 0.62 * Math.min(1, Math.abs(value) / high);
        cell.style.background = `rgba(${value < 0 ? "213,94,0" : "0,158,115"},${strength})`;
      } else {
        const share = (value - low) / (high - low || 1);
        cell.style.background = `rgb(${gradient(share)})`;
        cell.style.color = share < 0.5 ? "#fff" : "#111";
      }
    }));
    const shown = (edge) => edge.toFixed(this.layer.digits);
    const colours = this.layer.signed
      ? "rgba(213,94,0,.8),rgba(213,94,0,0),rgba(0,158,115,0),rgba(0,158,115,.8)"
      : STOPS.map((stop) => `rgb(${stop})`).join(",");
    this.scale.replaceChildren(shown(low), make("i"), shown(high));
    this.scale.children[0].style.background = `linear-gradient(90deg,${colours})`;
    if (this.fixer) this.fixer.hidden = this.layer.signed;
  }

  addTools() {
    const tools = toolsOf(this.table.parentElement);
    if (this.layers.length > 1) {
      tools.append(chooser("Show ", this.layers.map((layer) => layer.name), (name) => {
        this.layer = this.layers.find((layer) => layer.name === name);
        this.paint();
        choice?.update();
      }));
    }
    if (this.layers.some((layer) => !layer.signed && (layer.span[0] !== 0 || layer.span[1] !== 1))) {
      const box = make("input", { type: "checkbox" });
      box.addEventListener("change", () => { this.fixed = box.checked; this.paint(); });
      this.fixer = make("label", {}, box, "colours from 0 to 1");
      tools.append(this.fixer);
    }
    if (this.columnNames.length > MANY) {
      const box = make("input", { type: "checkbox" });
      box.addEventListener("change", () => this.element.classList.toggle("dense", !box.checked));
      tools.append(make("label", {}, box, "figures"));
    }
    this.scale = make("span", { className: "scale" });
    tools.append(this.scale);
  }

  describe(cell) {
    const row = this.rows.indexOf(cell.parentElement);
    const column = cell.cellIndex - 1;
    return row < 0 || column < 0 ? "" : `${this.axes[0]} ${this.rowNames[row]}, ${this.axes[1]} ` +
      `${this.columnNames[column]}: ${this.layer.name} ${this.text(row, column)}`;
  }

  addHover() {
    const show = (event) => {
      const cell = event.target.closest("td");
      this.heads.forEach((head) => head.classList.remove("on"));
      if (this.lit) this.lit.classList.remove("on");
      tip.hidden = !cell;
      if (!cell) return;
      tip.textContent = this.describe(cell);
      this.lit = cell.parentElement.cells[0];
      this.lit.classList.add("on");
      this.heads[cell.cellIndex].classList.add("on");
      const place = cell.getBoundingClientRect();
      const left = Math.min(place.right + 8, innerWidth - tip.offsetWidth - 8);
      tip.style.transform = `translate(${Math.max(4, left)}px, ${Math.max(4, place.top - tip.offsetHeight - 6)}px)`;
    };
    this.table.addEventListener("mouseover", show);
    this.table.addEventListener("focusin", show);
    for (const name of ["mouseleave", "focusout"]) this.table.addEventListener(name, () => { tip.hidden = true; });
  }

  addKeys() { // one stop for Tab; arrows move within
    const target = (cell) => cell.querySelector("button") ?? cell;
    let current;
    const enter = (cell) => {
      if (current) current.tabIndex = -1;
      current = target(cell);
      current.tabIndex = 0;
    };
    for (const button of this.table.querySelectorAll("button")) button.tabIndex = -1;
    enter(this.cells[0][0]);
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    this.table.addEventListener("keydown", (event) => {
      const cell = event.target.closest("td, th");
      if (!cell || !(event.key in moves)) return;
      event.preventDefault();
      const [down, right] = moves[event.key];
      const next = this.table.rows[cell.parentElement.rowIndex + down]?.cells[cell.cellIndex + right];
      if (!next) return;
      enter(next);
      current.focus();
    });
  }

  choose(language) {
    const column = this.columnNames.indexOf(language);
    this.rows.forEach((row, number) => row.classList.toggle("chosen", this.rowNames[number] === language));
    this.heads.forEach((head, number) => head.classList.toggle("chosen", number === column + 1 && column >= 0));
    this.cells.forEach((cells) => cells.forEach((cell, number) => cell.classList.toggle("chosen", number === column)));
  }

  columns(language) { // of the table of one language: its row, and its column
    const row = this.rowNames.indexOf(language);
    const column = this.columnNames.indexOf(language);
    const found = [];
    const named = (axes, name) => `${this.layer.name}, ${axes} ${name}`;
    if (row >= 0) {
      found.push([named(this.axes[0], language), (other) => [row, this.columnNames.indexOf(other)]]);
    }
    if (column >= 0 && !this.symmetric) {
      found.push([named(this.axes[1], language), (other) => [this.rowNames.indexOf(other), column]]);
    }
    return found.map(([name, place]) => [name, (other) => {
      const [at, beside] = place(other);
      return at < 0 || beside < 0 ? "-" : this.text(at, beside);
    }]);
  }
}

// ---- one language: its row, its column and its failed queries

const MOST_LISTED = 30; // languages whose failed queries are listed before one is chosen

class Choice {
  constructor(section, matrices) {
    this.section = section;
    this.matrices = matrices;
    this.failed = [...document.querySelectorAll("details[data-language]")];
    const known = matrices.flatMap((matrix) => [...matrix.rowNames, ...matrix.columnNames]);
    this.languages = [...new Set([...known, ...this.failed.map((block) => block.dataset.language)])]
      .filter((name) => !matrices.some((matrix) => matrix.extra.includes(name)));
    this.place = make("div");
    this.language = null;
    const label = chooser("Language ", ["none", ...this.languages], (name) => this.choose(name));
    this.select = label.querySelector("select");
    section.append(make("div", { className: "tools" }, label), this.place);
    for (const matrix of matrices) this.addButtons(matrix);
    const asked = location.hash.match(/^#language=(.+)$/)?.[1];
    const named = this.languages.find((name) => name === asked || encodeURIComponent(name) === asked);
    if (named) {
      this.choose(named);
      section.scrollIntoView();
    } else this.showFailed();
  }

  addButtons(matrix) {
    matrix.rows.forEach((row, number) => {
      if (!this.languages.includes(matrix.rowNames[number])) return;
      const head = row.cells[0];
      const button = make("button", { type: "button", tabIndex: -1, title: "show this language" }, ...head.childNodes);
      button.addEventListener("click", () => {
        this.choose(matrix.rowNames[number]);
        this.section.scrollIntoView();
        this.select.focus();
      });
      head.append(button);
    });
  }

  choose(language) {
    this.language = this.languages.includes(language) ? language : null;
    this.select.value = this.language ?? "none";
    for (const matrix of this.matrices) matrix.choose(this.language);
    this.showFailed();
    history.replaceState(null, "", this.language ? `#language=${encodeURIComponent(this.language)}` : " ");
    this.update();
  }

  showFailed() {
    for (const block of this.failed) {
      const chosen = block.dataset.language === this.language;
      block.hidden = this.language ? !chosen : this.failed.length > MOST_LISTED;
      block.open = chosen;
    }
  }

  update() {
    this.place.replaceChildren();
    if (!this.language) return;
    const columns = this.matrices.flatMap((matrix) => matrix.columns(this.language));
    if (!columns.length) return;
    const head = make("tr", {}, ...["Language", ...columns.map(([name]) => name)]
      .map((name) => make("th", { scope: "col" }, name)));
    const rows = this.languages.map((other) => make("tr", {}, make("th", { scope: "row" }, other),
      ...columns.map(([, text]) => make("td", {}, text(other)))));
    const table = make("table", {}, make("caption", { className: "unseen" }, `Figures of ${this.language}`),
      make("thead", {}, head), make("tbody", {}, ...rows));
    table.dataset.name = `language-${this.language}`;
    this.place.append(make("div", { className: "scroll", tabIndex: 0 }, table));
    sortable(table);
    downloadable(table);
  }
}

let choice;
const matrices = [...document.querySelectorAll(".matrix")].map((element) => new Matrix(element));
for (const table of document.querySelectorAll("table")) downloadable(table);
const section = document.getElementById("language");
if (section) choice = new Choice(section, matrices);
