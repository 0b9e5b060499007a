"use strict";
// The report's page: tables that sort and filter, names of run records that copy, folds that open when they are needed.
// Everything is there without it.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};
const say = text => { document.querySelector("body > [role=status]").textContent = text; };

const SCALE = {
  B: 1, kB: 1e3, MB: 1e6, GB: 1e9, s: 1, ms: 1e-3, second: 1, seconds: 1, min: 60, minute: 60, minutes: 60, h: 3600, hours: 3600,
  FLOP: 1, MFLOP: 1e6, GFLOP: 1e9, TFLOP: 1e12,
};

// What a cell is sorted by: a number with its unit where it begins with one, null where nothing was measured, else its text.
function sortValue(text) {
  text = text.trim();
  if (/^([-–—]?|not measured|none)$/i.test(text)) return null;
  const number = text.match(/^[<>≈~±+]?\s*([-−]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*([a-zA-Z]*)/i);
  return number ? Number(number[1].replace("−", "-").replaceAll(",", "")) * (SCALE[number[2]] ?? 1) : text;
}

function compare(a, b) {
  if (typeof a === typeof b) return typeof a === "number" ? a - b : a.localeCompare(b, undefined, { numeric: true });
  return typeof a === "number" ? -1 : 1;
}

// Sort by a column: up, down, then as it was. What was not measured comes last either way.
function sortBy(table, head, rows) {
  const order = { none: "ascending", ascending: "descending", descending: "none" }[head.ariaSort ?? "none"];
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  if (order !== "none") head.ariaSort = order;
  const value = new Map(rows.map(row => [row, sortValue(row.cells[head.cellIndex].textContent)]));
  const missing = row => value.get(row) === null;
  const sign = order === "descending" ? -1 : 1;
  table.tBodies[0].append(...(order === "none" ? rows : rows.toSorted((a, b) =>
    missing(a) || missing(b) ? missing(a) - missing(b) : sign * compare(value.get(a), value.get(b)))));
  say(order === "none" ? "in the original order" : `sorted by ${head.textContent}, ${order}`);
}

function makeSortable(table) {
  const rows = [...table.tBodies[0].rows];
  if (rows.length < 3) return;
  for (const head of table.tHead.rows[0].cells) {
    const button = element("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => sortBy(table, head, rows));
    head.append(button);
  }
}

// A select for each column that the table names; a row is shown where it has the chosen value in all of them.
function makeFilters(box) {
  const table = box.querySelector("table"), rows = [...table.tBodies[0].rows];
  const count = element("output");
  const columns = box.dataset.filters.split(" ").map(column => {
    const text = new Map(rows.map(row => [row, row.cells[column].textContent.trim()]));
    const select = element("select", { onchange: choose }, element("option", { value: "", textContent: "all" }),
      ...[...new Set(text.values())].sort(compare).map(
        value => element("option", { value: `=${value}`, textContent: value || "(empty)" })));
    return { text, select, label: element("label", {}, `${table.tHead.rows[0].cells[column].textContent} `, select) };
  });
  function choose() {
    for (const row of rows) row.hidden = !columns.every(({ text, select }) => !select.value || select.value === `=${text.get(row)}`);
    count.textContent = `${rows.filter(row => !row.hidden).length} of ${rows.length}`;
  }
  box.before(element("div", { className: "filters" }, ...columns.map(column => column.label), count));
  choose();
}

for (const box of document.querySelectorAll("[data-filters]")) makeFilters(box);
for (const table of document.querySelectorAll(".scroll > table")) makeSortable(table);

// A table or figure is a place of its own, where the keyboard stops, only while it scrolls.
const places = new ResizeObserver(boxes => {
  for (const { target } of boxes)
    for (const [name, value] of Object.entries({ role: "region", tabindex: "0", "aria-label": names.get(target) }))
      if (target.scrollWidth > target.clientWidth) target.setAttribute(name, value);
      else target.removeAttribute(name);
});
const names = new Map([...document.querySelectorAll(".scroll")].map(box => [box, box.getAttribute("aria-label")]));
for (const box of names.keys()) places.observe(box);

const copy = text => navigator.clipboard.writeText(text).then(
  () => say(`copied ${text}`), () => say(`the browser does not let ${text} be copied`));
for (const run of document.querySelectorAll("a.run")) {
  const name = run.textContent, box = element("span", { className: "cited" });
  const button = element("button", { type: "button", ariaLabel: `copy ${name}`, textContent: "copy" });
  button.addEventListener("click", () => copy(name));
  run.replaceWith(box);
  box.append(run, button);
}
// A number copies itself with its runs: in a table those that its row names, or where it names none the caption; in a sentence
// those of its finding.
function copies(number, runs) {
  number.classList.add("copies");
  number.addEventListener("click", () => getSelection().isCollapsed && copy(`${number.textContent} (${runs})`));
}
const NUMBER = /((?<![\w.-])\d[\d,]*(?:\.\d+)?(?!\w)(?:\s%)?)/;
for (const cell of document.querySelectorAll("td.number")) {
  const row = cell.parentElement;
  const runs = row.dataset.runs || [row, cell.closest("table").caption]
    .map(part => [...part.querySelectorAll("a.run")].map(run => run.textContent).join(", ")).find(names => names);
  if (runs) copies(cell, runs);
}
for (const words of document.querySelectorAll(".finding[data-runs] :is(h3, p, li)"))
  for (const text of [...words.childNodes].filter(node => node.nodeType === Node.TEXT_NODE)) {
    const parts = text.data.split(NUMBER).map((part, i) => i % 2 ? element("span", { textContent: part }) : part);
    text.replaceWith(...parts);
    for (const number of parts.filter(part => part instanceof Element)) copies(number, words.closest(".finding").dataset.runs);
  }

function openAround(target) {
  for (let fold = target?.closest("details"); fold; fold = fold.parentElement.closest("details")) fold.open = true;
}
function follow() {
  const target = document.querySelector(":target");
  openAround(target);
  target?.scrollIntoView();
}
addEventListener("hashchange", follow);
addEventListener("load", follow);
addEventListener("beforematch", event => openAround(event.target));         // found in the page

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("main details:not([open])")];
  for (const fold of folded) fold.open = true;
});
addEventListener("afterprint", () => {
  for (const fold of folded) fold.open = false;
});

const contents = document.querySelector("nav details"), wide = matchMedia("(min-width: 70.01rem)");
const fitContents = () => { contents.open = wide.matches; };
fitContents();
wide.addEventListener("change", fitContents);

const links = new Map([...contents.querySelectorAll("a")].map(link => [link.hash.slice(1), link]));
const seen = new IntersectionObserver(entries => {
  for (const { target, isIntersecting } of entries) if (isIntersecting) {
    for (const link of links.values()) link.removeAttribute("aria-current");
    links.get(encodeURIComponent(target.id))?.setAttribute("aria-current", "true");
  }
}, { rootMargin: "0px 0px -70% 0px" });
for (const heading of document.querySelectorAll("h2")) seen.observe(heading);
