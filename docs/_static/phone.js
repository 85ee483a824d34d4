document.addEventListener("DOMContentLoaded", () => {
  // On a phone a table of words is one block a row (custom.css): there each cell says which column it is of.
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
  // On a phone code wraps: each line is a box, so that the rest of it is indented further than its beginning.
  for (const block of document.querySelectorAll("article .highlight pre")) {
    block.innerHTML = block.innerHTML
      .trimEnd()
      .split("\n")
      .map((line) => {
        const indent = line.replace(/<[^>]*>/g, "").search(/\S|$/);
        return `<span class="line" style="--indent: ${indent + 2}ch">${line}</span>`;
      })
      .join("\n");
  }
});
