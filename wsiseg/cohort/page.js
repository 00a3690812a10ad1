"use strict";
const body = document.getElementById("slides").tBodies[0];
const rows = [...body.rows].map(row => ({ row, text: row.textContent.toLowerCase() }));
const find = document.getElementById("find");
const [word, state, shown] = ["input", "select", "output"].map(tag => find.querySelector(tag));

function filter() {
  const wanted = word.value.trim().toLowerCase();
  let count = 0;
  for (const { row, text } of rows) {
    row.hidden = !text.includes(wanted) || (state.value !== "" && row.dataset.state !== state.value);
    count += !row.hidden;
  }
  shown.textContent = `${count.toLocaleString("en")} of ${rows.length.toLocaleString("en")} slides`;
}

function sort(head) {
  const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign === 1 ? "ascending" : "descending");
  const key = ({ row }) => {
    const cell = row.cells[head.cellIndex];
    return head.className === "number" ? parseFloat(cell.dataset.value ?? "NaN") : cell.textContent;
  };
  const sorted = rows.map(each => ({ row: each.row, value: key(each) })).sort((a, b) =>
    head.className !== "number" ? sign * a.value.localeCompare(b.value, "en", { numeric: true })
      : isNaN(a.value) - isNaN(b.value) || sign * (a.value - b.value) || 0);  // unknown values stay at the end
  body.append(...sorted.map(each => each.row));
}

for (const head of document.querySelectorAll("#slides th")) head.onclick = () => sort(head);
word.oninput = state.onchange = filter;
find.hidden = false;
filter();
