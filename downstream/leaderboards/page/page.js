"use strict";
// Sorting, filters, opened records and the dark switch. Without this script the page is a readable table, and a
// score leads to its record further down.

const root = document.documentElement;
const tables = [...document.querySelectorAll(".protocol")];
root.classList.add("js");

// ---------------------------------------------------------------- sorting

// Scores that were run come first, then published ones, then none; names are sorted by their letters.
function keyOf(row, column) {
  const cell = row.cells[column];
  if (column === 0) return [0, row.dataset.text];
  if (cell.dataset.sort) return [0, Number(cell.dataset.sort)];
  if (cell.dataset.published) return [1, Number(cell.dataset.published)];
  return [2, 0];
}

function sortBy(section, column, direction) {
  const heads = [...section.querySelectorAll("thead th")];
  const body = section.querySelector("tbody");
  const sign = direction === "ascending" ? 1 : -1;
  const keyed = [...body.rows].map((row) => ({ row, key: keyOf(row, column) }));
  keyed.sort((one, other) => {
    if (one.key[0] !== other.key[0]) return one.key[0] - other.key[0];
    const [a, b] = [one.key[1], other.key[1]];
    return a === b ? 0 : sign * (a < b ? -1 : 1);
  });
  body.append(...keyed.map(({ row }) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[column].setAttribute("aria-sort", direction);
  section.querySelector(".sorting select").value = String(column);
}

for (const section of tables) {
  const heads = [...section.querySelectorAll("thead th")];
  const chosen = section.querySelector(".sorting select");
  heads.forEach((head, column) => {
    const words = head.querySelector(".sort");
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = words.textContent;
    words.replaceWith(button);
    button.addEventListener("click", () => {
      const first = column === 0 ? "ascending" : "descending"; // the best score first
      const now = head.getAttribute("aria-sort");
      const other = first === "ascending" ? "descending" : "ascending";
      sortBy(section, column, now === first ? other : first);
    });
    chosen.append(new Option(head.dataset.text || "upstream", String(column)));
  });
  const now = heads.findIndex((head) => head.hasAttribute("aria-sort"));
  chosen.value = String(Math.max(now, 0));
  chosen.addEventListener("change", () => {
    const column = Number(chosen.value);
    sortBy(section, column, column === 0 ? "ascending" : "descending");
  });
  section.querySelector(".sorting").hidden = false;
}

// ---------------------------------------------------------------- filters

const form = document.getElementById("filters");
const control = (name) => document.getElementById(name);
const words = (text) => text.toLowerCase();

// Every word that is searched must stand in the cell's row or column.
function isWanted(row, head, chosen) {
  const isTask = !chosen.task || head.dataset.task === chosen.task;
  const isCorpus = !chosen.corpus || head.dataset.corpus === chosen.corpus;
  const text = words(`${row.dataset.text} ${head.dataset.text}`);
  return isTask && isCorpus && chosen.search.every((word) => text.includes(word));
}

function filter() {
  const chosen = {
    search: words(control("search").value).split(/\s+/).filter(Boolean),
    protocol: control("protocol").value,
    task: control("task").value,
    corpus: control("corpus").value,
    upstream: control("upstream").value,
    controls: control("controls").checked,
    unrun: control("unrun").checked,
  };
  let shown = 0;
  let all = 0;
  for (const section of tables) {
    const heads = [...section.querySelectorAll("thead th")].slice(1);
    const rows = [...section.querySelector("tbody").rows];
    const columns = new Set();
    const kept = new Set();
    const isProtocol = !chosen.protocol || section.dataset.protocol === chosen.protocol;
    for (const row of rows) {
      const isRow =
        isProtocol &&
        (!chosen.upstream || row.dataset.upstream === chosen.upstream) &&
        (chosen.controls || !("control" in row.dataset));
      heads.forEach((head, number) => {
        const cell = row.cells[number + 1];
        const wasRun = "sort" in cell.dataset;
        all += wasRun;
        if (!isRow || !isWanted(row, head, chosen)) return;
        if (!wasRun && !(chosen.unrun && cell.dataset.published)) return;
        shown += wasRun;
        columns.add(number);
        kept.add(row);
      });
    }
    for (const row of rows) {
      row.hidden = !kept.has(row);
      heads.forEach((_, number) => (row.cells[number + 1].hidden = !columns.has(number)));
    }
    heads.forEach((head, number) => (head.hidden = !columns.has(number)));
    section.hidden = kept.size === 0;
  }
  control("count").textContent = `${shown} of ${all} scores shown`;
}

form.hidden = false;
form.addEventListener("input", filter);
form.addEventListener("reset", () => setTimeout(filter));
form.addEventListener("submit", (event) => event.preventDefault());
filter();

// ---------------------------------------------------------------- records

const dialog = document.getElementById("dialog");
const content = document.getElementById("dialog-content");
let place = null; // of the opened record in the page, where it goes back to

function open(name) {
  const record = document.getElementById(name);
  if (!record || !record.classList.contains("record") || dialog.open) return false;
  place = document.createComment("");
  record.replaceWith(place);
  content.replaceChildren(record);
  record.querySelector("h3").id = "dialog-title";
  dialog.showModal();
  dialog.scrollTop = 0;
  return true;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("td a[href^='#cell-']");
  if (link && !event.ctrlKey && !event.metaKey && open(link.hash.slice(1))) {
    event.preventDefault();
    history.replaceState(null, "", link.hash);
  } else if (event.target === dialog) {
    dialog.close(); // a click beside it
  }
});
dialog.addEventListener("close", () => {
  const record = content.firstElementChild;
  record.querySelector("h3").removeAttribute("id");
  place.replaceWith(record);
  history.replaceState(null, "", location.pathname + location.search);
});
open(location.hash.slice(1));
addEventListener("hashchange", () => open(location.hash.slice(1)));

// ---------------------------------------------------------------- light and dark

const theme = document.getElementById("theme");
const asSystem = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : asSystem.matches);
const name = () => (theme.textContent = isDark() ? "Light" : "Dark");
theme.addEventListener("click", () => {
  root.dataset.theme = isDark() ? "light" : "dark";
  name();
});
asSystem.addEventListener("change", name);
theme.hidden = false;
name();
