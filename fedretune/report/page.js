// Tables are sorted by a button in each heading; without this script they are read as they are.
"use strict";

function keyOf(row, column) {
  const text = row.cells[column].dataset.sort;
  const number = Number(text);
  return text === "" || text === "nan" ? null : Number.isNaN(number) ? text : number;
}

function compare(a, b) {
  if (typeof a === typeof b && typeof a === "number") return a - b;
  return String(a).localeCompare(String(b), "en", { numeric: true });
}

function sort(table, column, down) {
  const body = table.tBodies[0];
  const rows = Array.from(body.rows, (row) => ({ row, key: keyOf(row, column) }));
  rows.sort((a, b) => {
    // What is undefined stays at the end either way.
    if (a.key === null || b.key === null) return (a.key === null) - (b.key === null);
    return down ? compare(b.key, a.key) : compare(a.key, b.key);
  });
  body.append(...rows.map((each) => each.row));
}

for (const table of document.querySelectorAll("table.sortable")) {
  const headings = Array.from(table.tHead.rows[0].cells);
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const first = heading.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = heading.getAttribute("aria-sort") === first ? other : first;
      headings.forEach((each) => each.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", order);
      sort(table, column, order === "descending");
    });
  });
}
