// On a phone a table of words is one block a row (custom.css): there each cell says which column it is of.
document.addEventListener("DOMContentLoaded", () => {
  for (const table of document.querySelectorAll("article table.docutils")) {
    const heads = [...table.querySelectorAll("thead th")].map((head) => head.textContent.trim());
    for (const row of heads.length > 2 ? table.querySelectorAll("tbody tr") : []) {
      [...row.cells].slice(1).forEach((cell, index) => {
        if (heads[index + 1] && cell.textContent.trim()) {
          cell.dataset.column = heads[index + 1];
        }
      });
    }
  }
});
