"use strict";
const table = document.getElementById("ports"), body = table && table.tBodies[0];
if (table) {
  const rows = Array.from(body.rows), heads = Array.from(table.tHead.rows[0].cells);
  const text = document.getElementById("filter-text"), rank = document.getElementById("filter-rank");
  const shown = document.getElementById("shown");
  document.getElementById("tools").hidden = false;
  heads.forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent.trim();
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const falling = head.getAttribute("aria-sort") === "ascending";
      heads.forEach((other) => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", falling ? "descending" : "ascending");
      const key = (row) => row.cells[column].dataset.key;
      rows.sort((one, other) => key(one).localeCompare(key(other), undefined, {numeric: true}) * (falling ? -1 : 1));
      body.append(...rows);
    });
  });
  const words = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));
  const filter = () => {
    let count = 0;
    for (const row of rows) {
      const fits = words.get(row).includes(text.value.trim().toLowerCase());
      row.hidden = !(fits && (!rank.value || row.dataset.rank === rank.value));
      count += row.hidden ? 0 : 1;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  text.addEventListener("input", filter);
  rank.addEventListener("change", filter);
  filter();
}
const reveal = () => {
  const found = location.hash && document.getElementById(location.hash.slice(1));
  if (found && found.tagName === "DETAILS") { found.open = true; found.closest("tr").hidden = false; }
};
addEventListener("hashchange", reveal);
reveal();
